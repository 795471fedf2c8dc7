"""Training runs and their errors, as the tables of results in the docs.

Rows come from bench/results/: `*_runs.json` (one training run a row),
`*_presets.json` (curves of several seeds) and `*_experiments.json`.
"""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from alexnet_jax.bench import tables

Row = dict[str, Any]

_NOT_RECORDED = 'not recorded'


class Expected(NamedTuple):
  """A run on ImageNet: listed as "not run" while no row has its error.

  Attributes:
    config: a file in configs/, with what follows its colon.
    data: as the `data` of a row in *_runs.json.
    paper: top-1 and top-5 error with ten views, fractions; None: not given.
  """

  config: str
  data: str
  paper: tuple[float, float] | None


def results(rows: Sequence[Row], *, expected: Sequence[Expected]) -> str:
  """The errors of all runs as Markdown: the expected ones, then the others.

  Args:
    rows: of any bench; those that are no training runs are ignored.
    expected: runs that get a line even if they were not made.
  """
  runs = [row for row in rows if row['bench'] == 'runs' and row['top1_error']]
  heads = ['config', 'data', 'machine', 'time', 'error here', 'the paper', 'n']
  lines = tables.begin(heads)
  for one in expected:
    own = [r for r in runs if (r['config'], r['data']) == one[:2]]
    lines += [_trained(row, paper=_both(one.paper)) for row in own] or [
      _line(one.config, one.data, error='not run', paper=_both(one.paper))
    ]
  names = [one[:2] for one in expected]
  for row in runs:
    if (row['config'], row['data']) not in names:
      lines.append(_trained(row, paper='-'))
  lines += [*_presets(rows), *_experiments(rows)]
  return '\n'.join(lines) + '\n'


def conditions(rows: Sequence[Row]) -> str:
  """Every row of *_runs.json with its conditions, as Markdown."""
  heads = ['config', 'data', 'steps', 'result', 'images/s', 'time', 'machine']
  lines = tables.begin([*heads, 'n'])
  for row in rows:
    low, high = row.get('images_per_second_range') or (None, None)
    result = f'top-1 error {_errors(row)}' if row['top1_error'] else ''
    lines.append(
      tables.line(
        [
          f'`{row["config"]}`',
          row['data'],
          str(row['steps']),
          result or row['result'],
          f'{low} to {high}' if low else '-',
          row['time'],
          row['hardware'],
          str(row['n']),
        ]
      )
    )
  return '\n'.join(lines) + '\n'


def study(rows: Sequence[Row]) -> str:
  """Points of top-1 error that each ablation costs, as Markdown."""
  heads = ['ablation', 'points', '95 % interval', 'differs', 'n']
  lines = tables.begin(heads)
  for row in rows:
    if 'points_interval' in row:
      low, high = row['points_interval']
      cells = [f'{row["points"]:+.1f}', f'{low:+.1f} to {high:+.1f}']
      cells += ['yes' if row['tells'] else 'not shown', str(row['n'])]
      lines.append(tables.line([row['what'].removeprefix('study '), *cells]))
  return '\n'.join(lines) + '\n'


def _presets(rows: Sequence[Row]) -> Iterator[str]:
  """A line for each config of *_presets.json, its seeds together."""
  presets = [row for row in rows if row['bench'] == 'presets']
  for name in dict.fromkeys(row['name'] for row in presets):
    own = [row for row in presets if row['name'] == name]
    wrong = ', '.join(str(row['val_errors']) for row in own)
    yield _line(
      name,
      'drawn gratings, 80 steps',
      machine=own[0]['hardware'].split(',')[0],
      time=_NOT_RECORDED,
      error=f'{wrong} of 300 images, centre crop',
      n=len(own),
    )


def _experiments(rows: Sequence[Row]) -> Iterator[str]:
  """A line for each experiment of *_experiments.json that README names."""
  for row in rows:
    match row.get('what', '').split():
      case ['fig1']:
        yield _experiment(
          row,
          config='cifar10_fig1.py',
          error=f'25 % training error: tanh needs {row["ratio"]} times the '
          'epochs of ReLU',
          paper=f'{row["paper_ratio"]} times',
        )
      case ['cifar10_lrn', which]:
        yield _experiment(
          row | {'data': f'{row["data"]}, {row["epochs"]} epochs'},
          config=f'cifar10_lrn.py:{which}',
          error=_spaced(f'{row["top1_by_epoch"][-1]:.1%}, centre crop'),
          paper=which.replace('pct', ' %'),
        )
      case ['study', 'base']:
        errors = ', '.join(f'{e:.1f} %' for e in row['top1_error_by_seed'])
        yield _experiment(row, config='study.py', error=errors)
      case ['transfer']:
        tuned, scratch = (
          statistics.median(row[name])
          for name in ('fine_tuned', 'from_scratch')
        )
        yield _experiment(
          row,
          config='transfer.py',
          error=f'{row["error"]:.0%} error after {tuned:g} steps fine-tuned, '
          f'{scratch:g} from scratch (medians)'.replace('%', ' %'),
        )


def _experiment(row: Row, *, config: str, error: str, paper: str = '-') -> str:
  minutes = row.get('minutes') or row.get('seconds', 0) / 60
  time = f'{minutes:g} min' if minutes else _NOT_RECORDED
  machine = row['hardware']
  return _line(
    config, row['data'], machine=machine, time=time, error=error, paper=paper,
    n=row['n'],
  )  # fmt: skip


def _trained(row: Row, *, paper: str) -> str:
  return _line(
    row['config'], row['data'], machine=row['hardware'], time=row['time'],
    error=_errors(row), paper=paper, n=row['n'],
  )  # fmt: skip


def _errors(row: Row) -> str:
  """The top-1 error of each seed, and with how many views it was taken."""
  errors = ', '.join(f'{error:.1%}' for error in row['top1_error'])
  return f'{_spaced(errors)}, {row["views"]} views'


def _both(errors: tuple[float, float] | None) -> str:
  if errors is None:
    return '-'
  return _spaced(f'{errors[0]:.1%} / {errors[1]:.1%}')


def _spaced(text: str) -> str:
  return text.replace('%', ' %')


def _line(
  config: str,
  data: str,
  *,
  error: str,
  machine: str = '-',
  time: str = '-',
  paper: str = '-',
  n: int = 0,
) -> str:
  """A line of the table of results."""
  cells = [f'`{config}`', data, machine, time, error, paper, str(n)]
  return tables.line(cells)
