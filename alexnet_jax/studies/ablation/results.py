"""Errors of a study's runs and what ablations cost, beside the paper's numbers.

Errors are in per cent. A cost is ablated minus base, in points for errors, as
in the paper.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from alexnet_jax.config import ablations
from alexnet_jax.studies import provenance
from alexnet_jax.studies.ablation import paired, study
from alexnet_jax.studies.report import notes2012

MEASURES = ('top1', 'top5', 'loss')
_BASES = {'ILSVRC-2012 val': '145', 'ILSVRC-2010 test': '145-2010'}
_NONE = '–'
_CAVEAT = (
  'Other data, nets and lengths than theirs unless the base says so:\n'
  'compare signs, not sizes.'
)
Points = tuple[float | None, float | None]  # of top-1 and of top-5 error
# Measures of the runs that are done; None: a top-5 error of few classes.
_BySeed = dict[int, dict[str, float | None]]


class NetResult(NamedTuple):
  """Errors of the base or of an ablation, and what it costs."""

  name: str  # study.BASE, or the ablation's
  runs: int  # that are done
  pairs: int  # runs whose base is done too; 0 for the base
  errors: dict[str, paired.Spread]  # over runs, by measure; {} without runs
  costs: dict[str, paired.Difference]  # over pairs, likewise
  paper: Points  # the paper's cost on ImageNet
  bound: str  # how exact that is: '> ', '~ ' or ''
  notes: Points  # the cost in the authors' notes of 2012
  at_chance: int  # runs no better than guessing


def collect(
  runs: Sequence[study.Run], *, data: provenance.Data
) -> list[NetResult]:
  """Results of the base and then of each ablation, from the runs done."""
  found: dict[str, _BySeed] = {run.name: {} for run in runs}
  for run in runs:
    if run.done:
      last = study.last_evaluation(run)
      error, images = last['top1_error'], last['num_images']
      found[run.name][run.seed] = {
        'top1': 100 * error,
        'top5': _per_cent(last['top5_error']),
        'loss': last['loss'],
        'at_chance': is_chance(error, images=images, chance=data.chance),
      }
  base = found.get(study.BASE, {})
  return [_net_result(name, each, base=base) for name, each in found.items()]


def is_chance(error: float, *, images: int, chance: float) -> bool:
  """Whether an error rate is within 1.96 deviations of guessing, or above.

  >>> is_chance(0.85, images=100, chance=0.9)  # 0.9 less 0.059
  True
  >>> is_chance(0.84, images=100, chance=0.9)
  False
  """
  return error > chance - 1.96 * math.sqrt(chance * (1 - chance) / images)


def _net_result(name: str, found: _BySeed, *, base: _BySeed) -> NetResult:
  known = ablations.ABLATIONS.get(name)
  pairs = [seed for seed in found if seed in base and name != study.BASE]
  errors, costs = {}, {}
  for measure in MEASURES:
    own = _known(found, measure)
    if own and len(own) == len(found):
      errors[measure] = paired.spread([*own.values()])
    theirs = _known(base, measure)
    if pairs and {*pairs} <= {*own} & {*theirs}:
      costs[measure] = paired.difference(
        [own[s] for s in pairs], base=[theirs[s] for s in pairs]
      )
  return NetResult(
    name,
    runs=len(found),
    pairs=len(pairs),
    errors=errors,
    costs=costs,
    paper=known.paper if known else (None, None),
    bound=bound(known.effect) if known else '',
    notes=notes(known.run) if known else (None, None),
    at_chance=sum(bool(run['at_chance']) for run in found.values()),
  )


def _known(runs: _BySeed, measure: str) -> dict[int, float]:
  values = {seed: run[measure] for seed, run in runs.items()}
  return {seed: value for seed, value in values.items() if value is not None}


def _per_cent(error: float | None) -> float | None:
  return None if error is None else 100 * error


def notes(run: str) -> Points:
  """The cost of a run of 2012 against that of the whole net on the same data.

  >>> notes('148')
  (1.37, 1.152)
  """
  by_run = {note.run: note for note in reversed(notes2012.NOTES)}
  if run not in by_run:
    return None, None
  note = by_run[run]
  whole = by_run[_BASES[note.data]]
  top1 = note.top1_error - whole.top1_error
  top5 = note.top5_error - whole.top5_error
  return round(100 * top1, 4), round(100 * top5, 4)


def bound(effect: str) -> str:
  """Marks the paper's number as a bound, a round one or an exact one.

  >>> bound('over +1 / not given'), bound('any layer: about +2'), bound('+1.4')
  ('> ', '~ ', '')
  """
  marks = {'over +': '> ', 'about +': '~ '}
  return next((mark for word, mark in marks.items() if word in effect), '')


def verdicts(found: Sequence[NetResult]) -> list[str]:
  """Describes the cost of each ablation, a line each."""
  lines = []
  for net in found:
    runs = f'{net.runs} run{"s" * (net.runs != 1)}'
    chance = f'{net.at_chance} of {runs} at chance' * bool(net.at_chance)
    if net.name == study.BASE:
      if chance:
        lines.append(f'{net.name} has not learned: {chance}; costs mean little')
    elif net.pairs:
      verdict = paired.verdict(net.name, net.costs['top1'])
      lines.append(f'{verdict}; {chance}' if chance else verdict)
    else:
      lines.append(f'{net.name}: no pair of runs is done')
  return lines


def describe(found: Sequence[NetResult]) -> str:
  """Errors, costs and verdicts as text."""
  lines = [f'{"":16}{"n":>2}{"top-1 error, %":>18}{"top-5, %":>10}{"loss":>18}']
  for net in found:
    top1, top5, loss = map(net.errors.get, MEASURES)
    lines.append(
      f'{net.name:16}{net.runs:2}{errors(top1):>18}'
      f'{errors(top5, spread=False):>10}{errors(loss, digits=3):>18}'
    )
  lines += [
    '',
    'Paired differences to the base, in points and of the loss, with 95 % '
    'intervals;',
    'on ImageNet the paper as printed (> over, ~ about), and the notes of',
    '2012, of one run each:',
    f'{"":16}{"n":>2}{"top-1":>23}{"loss":>26}{"paper":>7}{"2012":>6}',
  ]
  for net in found:
    if net.name != study.BASE:
      lines.append(
        f'{net.name:16}{net.pairs:2}{cost(net.costs.get("top1")):>23}'
        f'{cost(net.costs.get("loss"), digits=3):>26}'
        f'{points(net.paper[0], bound=net.bound):>7}'
        f'{points(net.notes[0]):>6}'
      )
  return '\n'.join([*lines, _CAVEAT, '', *verdicts(found)])


def errors(
  found: paired.Spread | None, *, digits: int = 1, spread: bool = True
) -> str:
  """A mean with its standard deviation, if there is one.

  >>> errors(paired.Spread(3, 12.345, 1.5))
  '12.3 ± 1.5'
  """
  if found is None:
    return _NONE
  mean = f'{found.mean:.{digits}f}'
  wide = spread and found.stddev is not None
  return f'{mean} ± {found.stddev:.{digits}f}' if wide else mean


def cost(found: paired.Difference | None, *, digits: int = 1) -> str:
  return _NONE if found is None else paired.describe(found, digits=digits)


def points(value: float | None, *, bound: str = '') -> str:
  """A difference in points; a bound or a round number as the paper prints it.

  >>> points(1.4), points(2.0, bound='~ '), points(None)
  ('+1.4', '~ +2', '–')
  """
  if value is None:
    return _NONE
  return bound + paired.signed(value, digits=0 if bound else 1)


def both(found: Points, *, bound: str = '') -> str:
  """Points of top-1 / top-5 error.

  >>> both((1.4, 1.2)), both((2.0, None), bound='~ '), both((None, None))
  ('+1.4 / +1.2', '~ +2 / –', '–')
  """
  if found == (None, None):
    return _NONE
  return ' / '.join(points(value, bound=bound) for value in found)
