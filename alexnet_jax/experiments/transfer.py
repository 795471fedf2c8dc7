"""Fine-tuning against training from scratch, on drawn images (§6).

One half of the embedded classes trains a network; the other half then trains
one that begins with its layers and one that begins afresh. What is counted is
how many steps each takes to reach an error rate.
"""

import pathlib
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import config_dict

from alexnet_jax import stopping, train, writers

HALVES = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))  # of the embedded classes


class Row(NamedTuple):
  """Steps that one seed's networks took; None: they never came so far."""

  seed: int
  scratch: int | None
  tuned: int | None


def run(
  config: config_dict.ConfigDict,
  *,
  output: pathlib.Path,
  seeds: Sequence[int],
  error: float,
  stop: stopping.Stop | None = None,
) -> list[Row]:
  """Trains three networks a seed; what is finished is not done again.

  Args:
    config: of the embedded data; its init_layers are those that are taken.
    output: gets a folder for each seed.
    seeds: of data, initial values and order, the same for the three.
    error: top-1 validation error to reach, 0 to 1.
    stop: see train.train.

  Raises:
    ValueError: if the config is of other data.
  """
  if config.data.source != 'embedded':
    raise ValueError(
      f'config.data.source = {config.data.source!r}: halves are made of the '
      "classes of 'embedded'"
    )
  rows = []
  for seed in seeds:
    folder = output / f'seed-{seed}'
    steps = {
      name: _steps(
        _of_half(config, half=half, seed=seed, init_from=init_from),
        workdir=folder / name,
        error=error,
        stop=stop,
      )
      for name, half, init_from in (
        ('pretrained', 0, ''),
        ('scratch', 1, ''),
        ('tuned', 1, str(folder / 'pretrained')),
      )
    }
    rows.append(Row(seed, steps['scratch'], steps['tuned']))
  return rows


def _of_half(
  config: config_dict.ConfigDict, *, half: int, seed: int, init_from: str
) -> config_dict.ConfigDict:
  made = config.copy_and_resolve_references()
  made.data.embedded_classes = HALVES[half]
  made.seed, made.init_from = seed, init_from
  return made


def _steps(
  config: config_dict.ConfigDict,
  *,
  workdir: pathlib.Path,
  error: float,
  stop: stopping.Stop | None,
) -> int | None:
  """Trains to the end; the first step whose evaluation is good enough."""
  train.train(config, workdir=workdir, stop=stop)
  for record in writers.read_metrics(workdir / 'metrics.jsonl'):
    if record['split'] == 'val' and record['top1_error'] <= error:
      return record['step']
  return None


def table(rows: Sequence[Row], *, error: float) -> str:
  """The rows, their means, and how many times fewer steps.

  >>> print(table([Row(0, 30, 10), Row(1, None, 20)], error=0.1))
  steps to a top-1 error of 10 %
    seed   from scratch    fine-tuned    ratio
       0             30            10      3.0
       1          never            20        -
  not every run came so far: no mean
  """
  lines = [
    f'steps to a top-1 error of {100 * error:g} %',
    f'{"seed":>6}{"from scratch":>15}{"fine-tuned":>14}{"ratio":>9}',
  ]
  pairs = []
  for row in rows:
    ratio = '-'
    if row.scratch and row.tuned:
      pairs.append((row.scratch, row.tuned))
      ratio = f'{row.scratch / row.tuned:.1f}'
    steps = ('never' if n is None else str(n) for n in row[1:])
    scratch, tuned = steps
    lines.append(f'{row.seed:>6}{scratch:>15}{tuned:>14}{ratio:>9}')
  if len(pairs) < len(rows):
    return '\n'.join([*lines, 'not every run came so far: no mean'])
  scratch, tuned = (statistics.mean(n) for n in zip(*pairs, strict=True))
  lines.append(f'{"mean":>6}{scratch:>15.1f}{tuned:>14.1f}')
  return '\n'.join([*lines, f'ratio of the means: {scratch / tuned:.2f}'])
