"""Fine-tuning against training from scratch, on drawn images (§6).

Half of the embedded classes pre-trains a network. On the other half, one
network starts with its layers and one from scratch. The result is the number of
steps each takes to an error rate, at the resolution of evaluations; the steps
of pre-training are not counted.
"""

import contextlib
import math
import pathlib
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import config_dict

from alexnet_jax import train
from alexnet_jax.runtime import signals
from alexnet_jax.studies.ablation import paired
from alexnet_jax.train import log as log_lib

HALVES = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))  # of the embedded classes


class SeedResult(NamedTuple):
  """Steps of one seed's networks to the error; None: not within the run."""

  seed: int
  scratch: int | None
  tuned: int | None

  @property
  def first(self) -> str:
    """Which needed fewer steps: 'tuned', 'scratch' or ''."""
    scratch, tuned = self.scratch or math.inf, self.tuned or math.inf
    if scratch == tuned:
      return ''
    return 'tuned' if tuned < scratch else 'scratch'


def train_seeds(
  config: config_dict.ConfigDict,
  *,
  output: pathlib.Path,
  seeds: Sequence[int],
  error: float,
  stop: signals.Stop | None = None,
) -> list[SeedResult]:
  """Trains three networks for each seed; finished ones are not trained again.

  The config is of embedded data and has a number of steps, else a ValueError;
  fine-tuning starts with its init_layers. Each run in `output` has its log
  beside it. A seed is that of data, initial values and order of the three;
  `error` is the top-1 validation error to reach, 0 to 1; `stop` as in
  train.train.
  """
  if config.data.source != 'embedded':
    raise ValueError(
      f'config.data.source = {config.data.source!r}: halves are made of the '
      "classes of 'embedded'"
    )
  if config.total_steps is None:
    raise ValueError('config.total_steps = None: use a number of steps')
  rows = []
  for seed in seeds:
    folder = output / f'seed-{seed}'
    steps = {}
    for name, half, init_from in (
      ('pretrained', 0, ''),
      ('scratch', 1, ''),
      ('tuned', 1, str(folder / 'pretrained')),
    ):
      made = config.copy_and_resolve_references()
      made.data.embedded_classes = HALVES[half]
      made.seed, made.init_from = seed, init_from
      folder.mkdir(parents=True, exist_ok=True)
      with open(folder / f'{name}.log', 'a') as log:
        with contextlib.redirect_stdout(log):
          train.train(made, workdir=folder / name, stop=stop)
      records = log_lib.read_metrics(folder / name / 'metrics.jsonl')
      steps[name] = first_step(records, error=error)
      took = _steps(steps[name], config.total_steps)
      print(f'seed {seed}, {name}: {took}; {log.name}', flush=True)
    rows.append(SeedResult(seed, steps['scratch'], steps['tuned']))
  return rows


def first_step(
  records: Sequence[log_lib.Record], *, error: float
) -> int | None:
  """The first step evaluated with at most that error; None if there is none."""
  val = (record for record in records if record['split'] == 'val')
  return next((r['step'] for r in val if r['top1_error'] <= error), None)


def resolution(config: config_dict.ConfigDict) -> int:
  """Steps between two evaluations, at most."""
  images = config.data.embedded_train_images * config.eval.every_epochs
  return math.ceil(images / config.batch_size)


def describe(
  rows: Sequence[SeedResult], *, error: float, most_steps: int, every: int
) -> str:
  """Table of seeds, medians, which net was faster, the paired difference.

  `most_steps` is the length of every run, pre-training too, and `every` the
  number of steps between two evaluations.

  >>> steps = [(0, 30, 10), (1, None, 20), (2, 30, 60)]
  >>> rows = [SeedResult(*each) for each in steps]
  >>> print(describe(rows, error=0.1, most_steps=90, every=5))
  steps to a top-1 error of 10 %, evaluated every 5 steps
    seed   from scratch    fine-tuned    ratio
       0             30            10      3.0
       1      not in 90            20    > 4.5
       2             30            60      0.5
  median             30            20
  fewer steps: fine-tuned 2, from scratch 1, neither 0 of 3 seeds
  no mean, since a run did not get there: scratch seed 1
  not counted: 90 steps of pre-training on the other classes for each fine-tuned
  """
  lines = [
    f'steps to a top-1 error of {100 * error:g} %, evaluated every {every} '
    'steps',
    f'{"seed":>6}{"from scratch":>15}{"fine-tuned":>14}{"ratio":>9}',
  ]
  lines += [
    f'{row.seed:>6}{_steps(row.scratch, most_steps):>15}'
    f'{_steps(row.tuned, most_steps):>14}{_ratio(row, most_steps):>9}'
    for row in rows
  ]
  medians = [
    _steps(_median([getattr(row, name) for row in rows]), most_steps)
    for name in ('scratch', 'tuned')
  ]
  lines.append(f'median{medians[0]:>15}{medians[1]:>14}')
  first = [row.first for row in rows]
  lines += [
    f'fewer steps: fine-tuned {first.count("tuned")}, from scratch '
    f'{first.count("scratch")}, neither {first.count("")} of {len(rows)} seeds',
    _difference(rows),
    f'not counted: {most_steps} steps of pre-training on the other classes for '
    'each fine-tuned',
  ]
  return '\n'.join(lines)


def _steps(value: int | float | None, most_steps: int) -> str:
  return f'not in {most_steps}' if value is None else f'{value:g}'


def _ratio(row: SeedResult, most_steps: int) -> str:
  """Scratch over fine-tuned; a bound if one did not reach the error."""
  if row.scratch is None and row.tuned is None:
    return '-'
  bound = '> ' if row.scratch is None else '< ' if row.tuned is None else ''
  ratio = (row.scratch or most_steps) / (row.tuned or most_steps)
  return f'{bound}{ratio:.1f}'


def _median(steps: Sequence[int | None]) -> int | float | None:
  """The median; None if it is one that did not reach the error."""
  found = statistics.median(math.inf if n is None else n for n in steps)
  return None if found == math.inf else found


def _difference(rows: Sequence[SeedResult]) -> str:
  """The paired difference with its interval, if all reached the error."""
  missed = [
    f'{name} seed {row.seed}'
    for row in rows
    for name in ('scratch', 'tuned')
    if getattr(row, name) is None
  ]
  if missed:
    return f'no mean, since a run did not get there: {", ".join(missed)}'
  scratch = [float(r.scratch) for r in rows if r.scratch is not None]
  tuned = [float(r.tuned) for r in rows if r.tuned is not None]
  found = paired.difference(scratch, base=tuned)
  what = 'scratch minus fine-tuned, mean (95 % interval)'
  return f'{what}: {paired.describe(found)} steps'
