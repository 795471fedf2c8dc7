"""What the runs of a study add up to, beside the paper and the notes of 2012.

Errors are in per cent and their differences in points, ablated minus base: what
an ablation costs, as in the paper.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from alexnet_jax.config import ablations
from alexnet_jax.studies import provenance
from alexnet_jax.studies.ablation import paired, study
from alexnet_jax.studies.report import notes2012

_BASES = {'ILSVRC-2012 val': '145', 'ILSVRC-2010 test': '145-2010'}
_NONE = '–'
_CAVEAT = (
  'Other data, nets and lengths than theirs unless the base says so:\n'
  'compare signs, not sizes.'
)
Points = tuple[float | None, float | None]  # of top-1 and of top-5 error


class Row(NamedTuple):
  """The base or an ablation; fields are None where there is no run, or pair."""

  name: str
  top1: paired.Spread | None
  top5: paired.Spread | None
  loss: paired.Spread | None
  top1_cost: paired.Difference | None
  top5_cost: paired.Difference | None
  loss_cost: paired.Difference | None
  paper: Points
  bound: str  # of the paper's: '> ', '~ ' or ''
  notes: Points
  at_chance: int  # runs


class _Errors(NamedTuple):
  """Of one run that is done."""

  top1: float  # %
  top5: float
  loss: float
  at_chance: bool


_Found = dict[int, _Errors]  # by seed


def rows(runs: Sequence[study.Run], *, data: provenance.Data) -> list[Row]:
  """The base and then each ablation, from the runs that are done."""
  found: dict[str, _Found] = {run.name: {} for run in runs}
  for run in runs:
    if run.done:
      found[run.name][run.seed] = _errors(run, chance=data.chance)
  return [_row(name, of, base=found[study.BASE]) for name, of in found.items()]


def _errors(run: study.Run, *, chance: float) -> _Errors:
  last = study.final(run)
  return _Errors(
    100 * last['top1_error'],
    100 * last['top5_error'],
    last['loss'],
    is_chance(last['top1_error'], images=last['num_images'], chance=chance),
  )


def is_chance(error: float, *, images: int, chance: float) -> bool:
  """Whether an error rate is not below that of guessing, by 1.96 deviations.

  >>> is_chance(0.85, images=100, chance=0.9)  # 0.9 less 0.059
  True
  >>> is_chance(0.84, images=100, chance=0.9)
  False
  """
  return error > chance - 1.96 * math.sqrt(chance * (1 - chance) / images)


def _row(name: str, found: _Found, *, base: _Found) -> Row:
  known = ablations.ABLATIONS.get(name)
  paired_with = base if name != study.BASE else {}
  return Row(
    name,
    top1=_spread(found, 'top1'),
    top5=_spread(found, 'top5'),
    loss=_spread(found, 'loss'),
    top1_cost=_cost(found, 'top1', base=paired_with),
    top5_cost=_cost(found, 'top5', base=paired_with),
    loss_cost=_cost(found, 'loss', base=paired_with),
    paper=known.paper if known else (None, None),
    bound=bound(known.effect) if known else '',
    notes=notes(known.run) if known else (None, None),
    at_chance=sum(errors.at_chance for errors in found.values()),
  )


def _spread(found: _Found, field: str) -> paired.Spread | None:
  values = [getattr(errors, field) for errors in found.values()]
  return paired.spread(values) if values else None


def _cost(
  found: _Found, field: str, *, base: _Found
) -> paired.Difference | None:
  seeds = [seed for seed in found if seed in base]
  if not seeds:
    return None
  return paired.difference(
    [getattr(found[seed], field) for seed in seeds],
    base=[getattr(base[seed], field) for seed in seeds],
  )


def notes(run: str) -> Points:
  """What a run of 2012 cost against that of the whole net on the same data.

  >>> notes('148')
  (1.37, 1.152)
  """
  by_run = {note.run: note for note in reversed(notes2012.NOTES)}
  if run not in by_run:
    return None, None
  note = by_run[run]
  whole = by_run[_BASES[note.data]]
  return (
    round(100 * (note.top1_error - whole.top1_error), 4),
    round(100 * (note.top5_error - whole.top5_error), 4),
  )


def bound(effect: str) -> str:
  """Whether the paper gives a number, a bound or a round one.

  >>> bound('over +1 / not given'), bound('any layer: about +2'), bound('+1.4')
  ('> ', '~ ', '')
  """
  marks = {'over +': '> ', 'about +': '~ '}
  return next((mark for word, mark in marks.items() if word in effect), '')


def verdicts(found: Sequence[Row]) -> list[str]:
  """For each ablation what its pairs can tell, in a line."""
  lines = []
  for row in found:
    chance = f'{row.at_chance} of {_runs(row)} at chance' * bool(row.at_chance)
    if row.name == study.BASE:
      if chance:
        lines.append(f'{row.name} has not learned: {chance}; costs mean little')
    elif row.top1_cost:
      told = paired.verdict(row.name, row.top1_cost)
      lines.append(f'{told}; {chance}' if chance else told)
    else:
      lines.append(f'{row.name}: no pair of runs is done')
  return lines


def _runs(row: Row) -> str:
  count = row.top1.n if row.top1 else 0
  return f'{count} run{"s" * (count != 1)}'


def table(found: Sequence[Row]) -> str:
  """All of it, for a terminal."""
  lines = [f'{"":16}{"n":>2}{"top-1 error, %":>18}{"top-5, %":>10}{"loss":>18}']
  for row in found:
    lines.append(
      f'{row.name:16}{row.top1.n if row.top1 else 0:2}'
      f'{errors(row.top1):>18}{mean(row.top5):>10}'
      f'{errors(row.loss, digits=3):>18}'
    )
  lines += [
    '',
    'Paired differences to the base, in points and of the loss, with 95 % '
    'intervals;',
    'on ImageNet the paper as printed (> over, ~ about), and the notes of',
    '2012, of one run each:',
    f'{"":16}{"n":>2}{"top-1":>23}{"loss":>26}{"paper":>7}{"2012":>6}',
  ]
  for row in found:
    if row.name != study.BASE:
      pairs = row.top1_cost.n if row.top1_cost else 0
      lines.append(
        f'{row.name:16}{pairs:2}{cost(row.top1_cost):>23}'
        f'{cost(row.loss_cost, digits=3):>26}'
        f'{points(row.paper[0], bound=row.bound):>7}'
        f'{points(row.notes[0]):>6}'
      )
  return '\n'.join([*lines, _CAVEAT, '', *verdicts(found)])


def errors(found: paired.Spread | None, *, digits: int = 1) -> str:
  """A mean with its standard deviation.

  >>> errors(paired.Spread(3, 12.345, 1.5))
  '12.3 ± 1.5'
  """
  if found is None or found.stddev is None:
    return mean(found, digits=digits)
  return f'{found.mean:.{digits}f} ± {found.stddev:.{digits}f}'


def mean(found: paired.Spread | None, *, digits: int = 1) -> str:
  return _NONE if found is None else f'{found.mean:.{digits}f}'


def cost(found: paired.Difference | None, *, digits: int = 1) -> str:
  return _NONE if found is None else paired.describe(found, digits=digits)


def points(value: float | None, *, bound: str = '') -> str:
  """A difference; a bound or a round number as the paper prints it.

  >>> points(1.4), points(2.0, bound='~ '), points(None)
  ('+1.4', '~ +2', '–')
  """
  if value is None:
    return _NONE
  return f'{bound}{paired.signed(value, digits=0 if bound else 1)}'


def both(found: Points, *, bound: str = '') -> str:
  """Of top-1 / top-5 error.

  >>> both((1.4, 1.2)), both((2.0, None), bound='~ '), both((None, None))
  ('+1.4 / +1.2', '~ +2 / –', '–')
  """
  if found == (None, None):
    return _NONE
  return ' / '.join(points(value, bound=bound) for value in found)
