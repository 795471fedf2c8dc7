"""Result rows as tables: Markdown for tools/docs.py, text for tools/bench.py.

The columns of a table are a dict, from head to the form of the cells. A cell is
"-" where a field of the form is missing or None.
"""

import re
import statistics
from collections.abc import Mapping, Sequence

from alexnet_jax.bench.rows import ResultRow

Columns = dict[str, str]
Rows = Sequence[ResultRow]

IMAGENET = 'ILSVRC-2012, ten views'  # `data` of a row in *_runs.json
_MEASURED = '{hardware}, Python {python}, {date}; `{command}`.'
_MEASURED_INPUT = _MEASURED.replace(';', ', {images:,} training images;')
_FORMS = {  # of the cells below each head
  'CPU time an image': '{cpu_us_per_image:,.0f} us',
  'GB/s': '{gb_per_second:,.0f}',
  'GFLOP/s': '{gflops:,.0f}',
  'PyTorch': '{peer_images_per_second:,.1f}',
  'Winograd': '{winograd}',
  'a product or copy': '{floor_ms:,.2f}',
  'bytes an image between devices': '{moved_bytes_per_image:,}',
  'compiled in': '{compile_seconds:.1f} s',
  'config': '`{config}`',
  'error here': '{error}',
  'form of PyTorch': '{peer_form}',
  'images': '{batch_size}',
  'images/s': '{images_per_second:,.1f}',
  'machine': '{hardware}',
  'ms': '{ms:,.2f}',
  'naive': '{naive_ms:,.2f}',
  'of PyTorch': '{peer_peak_memory_gb:.2f} GB',
  'of a matrix product': '{matmul_share:.0%}',
  'of one process': '{of_one_process:.3f}',
  'of the first mesh': '{ratio_to_first_mesh:.2f}',
  'of the step alone': '{of_step_alone:.3f}',
  'operation': '{what}',
  'peak memory': '{peak_memory_gb:.2f} GB',
  'points': '{points:+.1f}',
  'ratio': '{ratio:.2f}',
  'the authors': '{authors}',
}


def _columns(heads: str, **own: str) -> Columns:
  """The columns with these heads; `own` forms are of this table alone."""
  forms = _FORMS | own
  return {head: forms.get(head, f'{{{head}}}') for head in heads.split('; ')}


def _range(field: str, form: str) -> str:
  return f'{{{field}[0]:{form}}} to {{{field}[1]:{form}}}'


_STEP = _columns(
  'what; images; parts; Winograd; mesh; dtype; images/s; PyTorch; ratio; '
  'range; of a matrix product; peak memory; of PyTorch; machine; n',
  range=_range('ratio_range', '.2f'),
)
_BENCHMARKS = {  # by `bench`
  'input': _columns('what; images/s; range; CPU time an image; machine; n')
  | {'images/s': '{images_per_second:,.0f}', 'range': _range('range', ',.0f')},
  'step': _STEP,
  'eval': _STEP,
  'scaling': _columns(
    'images; mesh; images/s; of the first mesh; peak memory; '
    'bytes an image between devices; n'
  ),
  'ops': _columns(
    'operation; ms; naive; PyTorch; a product or copy; GFLOP/s; n',
    PyTorch='{peer_ms:,.2f}',
  ),
  'end_to_end': _columns(
    'what; images; images/s; of the step alone; range; n',
    range=_range('of_step_alone_range', '.3f'),
  ),
  'processes': _columns(
    'what; images; images/s; of one process; range; n',
    range=_range('of_one_process_range', '.3f'),
  ),
}
_MORE = _columns(  # also printed by tools/bench.py
  'mesh; dtype; kernels; of a matrix product; of the first mesh; '
  'bytes an image between devices; images/s, range; compiled in; '
  'form of PyTorch; GB/s'
) | {'images/s, range': _range('images_per_second_range', ',.1f')}
_RUNS = _columns('config; data; steps; result; images/s; time; machine; n') | {
  'images/s': _range('images_per_second_range', '')
}
_RESULTS = _columns('config; data; machine; time; error here; the authors; n')
_STUDY = _columns('ablation; error; points; 95 % interval; differs; n') | {
  '95 % interval': _range('points_interval', '+.1f')
}


def markdown(rows: Rows, *, columns: Columns, note: str = '') -> str:
  """The rows as Markdown, and below them each different note of a row."""
  lines = [
    '| ' + ' | '.join(cell.replace('|', r'\|') for cell in line) + ' |'
    for line in _lines(rows, columns)
  ]
  lines.insert(1, '|' + '---|' * len(columns))
  notes = dict.fromkeys(note.format_map(row) for row in rows if note)
  return '\n'.join([*lines, *([''] if notes else []), *notes]) + '\n'


def text(rows: Rows) -> str:
  """The rows of one benchmark as aligned text, without empty columns."""
  own = _BENCHMARKS[rows[0]['bench']]
  columns = {**own, **_MORE, **own}  # in this order; own heads mean their own
  lines = _lines(_with_gigabytes(rows), columns)
  kept = [c for c in zip(*lines, strict=True) if set(c[1:]) != {'-'}]
  widths = [max(map(len, column)) for column in kept]
  return '\n'.join(
    '  '.join(map(str.ljust, line, widths)).rstrip()
    for line in zip(*kept, strict=True)
  )


def _lines(rows: Rows, columns: Columns) -> list[list[str]]:
  """The heads, then the cells of each row."""
  cells = [[_cell(row, form) for form in columns.values()] for row in rows]
  return [list(columns), *cells]


def _cell(row: ResultRow, form: str) -> str:
  fields = re.findall(r'{(\w+)', form)
  missing = any(row.get(field) is None for field in fields)
  return '-' if missing else form.format_map(row)


def _with_gigabytes(rows: Rows) -> Rows:
  """Rows as the tables of steps and operations show them."""
  kinds = {'step': 'training step', 'eval': 'ten views'}
  shown = []
  for row in rows:
    row = {'what': kinds.get(row['bench']), 'mesh': row.get('failed')} | row
    for name in ('peak_memory', 'peer_peak_memory'):
      size = row.get(f'{name}_bytes')
      row[f'{name}_gb'] = size and size / 1e9
    shown.append(row if row.get('flop', 1) else row | {'gflops': None})
  return shown


def benchmark(rows: Rows) -> str:
  """The rows of one benchmark, with where, when and how they were measured."""
  kind = rows[0]['bench']
  return markdown(
    _with_gigabytes(rows),
    columns=_BENCHMARKS[kind],
    note=_MEASURED_INPUT if kind == 'input' else _MEASURED,
  )


def curves(rows: Rows) -> str:
  """Mean training loss of each run's steps, seeds together."""
  spans = {
    f'{first}-{last}': f'{{loss[{place}]:.2f}}'
    for place, (first, last) in enumerate(rows[0]['steps'])
  }
  columns = {'training loss, steps': '`{name}`', **spans, 'n': '{n}'}
  columns['validation errors of 300'] = '{wrong}'
  return markdown(_by_config(rows), columns=columns)


def _by_config(rows: Rows) -> Rows:
  """Rows of *_presets.json, the seeds of each config in one."""
  found = []
  for name in dict.fromkeys(row['name'] for row in rows):
    own = [row for row in rows if row['name'] == name]
    losses = zip(*(row['loss'] for row in own), strict=True)
    found.append(
      own[0]
      | {'loss': [statistics.mean(each) for each in losses], 'n': len(own)}
      | {'wrong': ', '.join(str(row['val_errors']) for row in own)}
    )
  return found


def runs(rows: Rows) -> str:
  """Every row of *_runs.json with its conditions."""
  shown = [
    row | ({'result': f'top-1 error {row["error"]}'} if row['error'] else {})
    for row in map(_with_error, rows)
  ]
  return markdown(shown, columns=_RUNS)


def _with_error(row: ResultRow) -> ResultRow:
  """A run with the errors of its seeds; None without any."""
  if not row['top1_error']:
    return row | {'error': None}
  errors = ', '.join(f'{error:.1%}' for error in row['top1_error'])
  return row | {'error': _spaced(f'{errors}, {row["views"]} views')}


def study(rows: Rows) -> str:
  """Top-1 error of each net, and the points of it that an ablation costs."""
  shown = [
    row
    | {'ablation': row['what'].removeprefix('study ')}
    | {'error': _spread(row.get('top1_error_by_seed'))}
    | {'differs': {True: 'yes', False: 'not shown'}.get(row.get('tells'))}
    for row in rows
    if row['what'].startswith('study ')
  ]
  return markdown(shown, columns=_STUDY)


def _spread(errors: list[float] | None) -> str | None:
  """Mean and standard deviation over seeds, of errors in per cent."""
  if not errors or len(errors) < 2:
    return None
  mean, deviation = statistics.mean(errors), statistics.stdev(errors)
  return f'{mean:.1f} ± {deviation:.1f} %'


def results(
  rows: Rows, *, expected: Mapping[str, tuple[float, float] | None]
) -> str:
  """The errors of all runs: the expected ones, then the others.

  Rows are of *_runs.json, *_presets.json and *_experiments.json; `expected` has
  the authors' top-1 and top-5 error for each config that has a line even if it
  was not trained on ImageNet.
  """
  runs = [row for row in rows if row['bench'] == 'runs']
  made = [run for run in map(_with_error, runs) if run['error']]
  shown = []
  for config, errors in expected.items():
    authors = errors and ' / '.join(f'{error:.1%}' for error in errors)
    none = {'config': config, 'data': IMAGENET, 'error': 'not run', 'n': 0}
    own = [r for r in made if (r['config'], r['data']) == (config, IMAGENET)]
    shown += [row | {'authors': authors} for row in own or [none]]
    made = [row for row in made if row not in own]
  presets = [row for row in rows if row['bench'] == 'presets']
  shown += made + list(map(_preset, _by_config(presets)))
  experiments = (row for row in rows if row['bench'] == 'experiments')
  shown += [line for row in experiments for line in _experiment(row)]
  return _spaced(markdown(shown, columns=_RESULTS))


def _preset(row: ResultRow) -> ResultRow:
  return {
    'config': row['name'],
    'data': 'drawn gratings, 80 steps',
    'hardware': row['hardware'].split(',')[0],
    'time': 'not recorded',
    'error': f'{row["wrong"]} of 300 images, centre crop',
    'n': row['n'],
  }


def _experiment(row: ResultRow) -> Rows:
  """The row of an experiment that README names; none of another."""
  paper = None
  match row['what'].split():
    case ['fig1']:
      config, paper = 'cifar10_fig1.py', f'{row["paper_ratio"]} times'
      need = f'tanh needs {row["ratio"]} times the epochs of ReLU'
      error = f'25% training error: {need}'
    case ['cifar10_lrn', which]:
      config, paper = f'cifar10_lrn.py:{which}', which.replace('pct', '%')
      error = f'{row["top1_by_epoch"][-1]:.1%}, centre crop'
      row = row | {'data': f'{row["data"]}, {row["epochs"]} epochs'}
    case ['study', 'base']:
      config = 'study.py'
      error = ', '.join(f'{each:.1f}%' for each in row['top1_error_by_seed'])
    case ['transfer']:
      kinds = ('fine_tuned', 'from_scratch')
      tuned, scratch = (statistics.median(row[kind]) for kind in kinds)
      steps = f'{tuned:g} steps fine-tuned, {scratch:g} from scratch (medians)'
      config, error = 'transfer.py', f'{row["error"]:.0%} error after {steps}'
    case _:
      return []
  minutes = row.get('minutes') or row.get('seconds', 0) / 60
  time = f'{minutes:g} min' if minutes else 'not recorded'
  shown = {'config': config, 'time': time, 'error': error, 'authors': paper}
  return [row | shown]


def _spaced(text: str) -> str:
  """Percentages written as 40.7 %."""
  return re.sub(r'(?<=\d)%', ' %', text)
