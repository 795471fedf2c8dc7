"""Rows of benchmarks as Markdown tables, for tools/docs.py."""

import statistics
from typing import Any


def curves(rows: list[dict[str, Any]]) -> str:
  """Mean training loss of each run's steps, seeds together, as Markdown."""
  names = list(dict.fromkeys(row['name'] for row in rows))
  spans = [f'{first}-{last}' for first, last in rows[0]['steps']]
  heads = ['training loss, steps', *spans, 'n', 'validation errors of 300']
  lines = begin(heads)
  for name in names:
    own = [row for row in rows if row['name'] == name]
    losses = zip(*(row['loss'] for row in own), strict=True)
    means = [f'{statistics.mean(values):.2f}' for values in losses]
    wrong = ', '.join(str(row['val_errors']) for row in own)
    lines.append(line([f'`{name}`', *means, str(len(own)), wrong]))
  return '\n'.join(lines) + '\n'


def rates(rows: list[dict[str, Any]]) -> str:
  """Images/s, median and range, and CPU time an image, as Markdown."""
  lines = begin(['what', 'images/s', 'range', 'n', 'CPU time an image'])
  for row in rows:
    low, high = row['range']
    rate, cpu = row['images_per_second'], row['cpu_us_per_image']
    cells = [f'{rate:,.0f}', f'{low:,.0f} to {high:,.0f}', f'{row["n"]}']
    lines.append(line([row['what'], *cells, f'{cpu:,.0f} us']))
  first = rows[0]
  lines += [
    '',
    f'{first["hardware"]}, Python {first["python"]}, {first["date"]}, '
    f'{first["images"]:,} training images; '
    f'`{first["command"]}`.',
  ]
  return '\n'.join(lines) + '\n'


def speeds(rows: list[dict[str, Any]]) -> str:
  """Steps and ten views beside PyTorch's, as Markdown."""
  heads = [
    'what', 'images', 'parts', 'mesh', 'dtype', 'images/s', 'PyTorch', 'ratio',
    'range', 'of a matrix product', 'peak memory', 'of PyTorch', 'n',
  ]  # fmt: skip
  what = {'step': 'training step', 'eval': 'ten views'}
  lines = begin(heads)
  for row in rows:
    low, high = row['ratio_range'] or (None, None)
    cells = [
      what[row['bench']], str(row['batch_size']), str(row['parts']),
      row['mesh'], row['dtype'],
      f'{row["images_per_second"]:,.1f}',
      _number(row['peer_images_per_second'], ',.1f'),
      _number(row['ratio'], '.2f'),
      f'{low:.2f} to {high:.2f}' if low else '-',
      f'{row["matmul_share"]:.0%}',
      _gigabytes(row['peak_memory_bytes']),
      _gigabytes(row['peer_peak_memory_bytes']),
      str(row['n']),
    ]  # fmt: skip
    lines.append(line(cells))
  return '\n'.join([*lines, '', *_measured(rows)]) + '\n'


def scaled(rows: list[dict[str, Any]]) -> str:
  """What other meshes and other minibatches cost, as Markdown."""
  heads = [
    'images', 'mesh', 'images/s', 'of the first mesh', 'peak memory',
    'bytes an image between devices', 'n',
  ]  # fmt: skip
  lines = begin(heads)
  for row in rows:
    if 'failed' in row:
      lines.append(line([str(row['batch_size']), row['failed'], *'-----']))
      continue
    cells = [
      str(row['batch_size']),
      row['mesh'],
      f'{row["images_per_second"]:,.1f}',
      f'{row["ratio_to_first_mesh"]:.2f}',
      _gigabytes(row['peak_memory_bytes']),
      f'{row["moved_bytes_per_image"]:,}',
      str(row['n']),
    ]
    lines.append(line(cells))
  return '\n'.join([*lines, '', *_measured(rows)]) + '\n'


def fed(rows: list[dict[str, Any]]) -> str:
  """Training steps fed from records, as Markdown."""
  return _relative(rows, ratio='of_step_alone', head='of the step alone')


def processes(rows: list[dict[str, Any]]) -> str:
  """Training by several processes beside one, as Markdown."""
  return _relative(rows, ratio='of_one_process', head='of one process')


def _relative(rows: list[dict[str, Any]], *, ratio: str, head: str) -> str:
  """Images/s, and what share they are of the first row's, pair by pair."""
  lines = begin(['what', 'images', 'images/s', head, 'range', 'n'])
  for row in rows:
    low, high = row[f'{ratio}_range']
    cells = [
      row['what'],
      str(row['batch_size']),
      f'{row["images_per_second"]:,.1f}',
      f'{row[ratio]:.3f}',
      f'{low:.3f} to {high:.3f}',
      str(row['n']),
    ]
    lines.append(line(cells))
  return '\n'.join([*lines, '', *_measured(rows)]) + '\n'


def times(rows: list[dict[str, Any]]) -> str:
  """Milliseconds of each operation, as Markdown."""
  heads = [
    'operation', 'ms', 'naive', 'PyTorch', 'a product or copy', 'GFLOP/s', 'n',
  ]  # fmt: skip
  lines = begin(heads)
  kinds = ('ms', 'naive_ms', 'peer_ms', 'floor_ms')
  for row in rows:
    cells = [_number(row[kind], ',.2f') for kind in kinds]
    rate = f'{row["gflops"]:,.0f}' if row['flop'] else '-'
    lines.append(line([row['what'], *cells, rate, str(row['n'])]))
  return '\n'.join([*lines, '', *_measured(rows)]) + '\n'


def _number(value: float | None, form: str) -> str:
  return '-' if value is None else format(value, form)


def _gigabytes(size: int | None) -> str:
  return '-' if size is None else f'{size / 1e9:.2f} GB'


def _measured(rows: list[dict[str, Any]]) -> list[str]:
  """Where, when and by what commands."""
  firsts = {row['command']: row for row in rows}.values()
  return [
    f'{row["hardware"]}, Python {row["python"]}, {row["date"]}; '
    f'`{row["command"]}`.'
    for row in firsts
  ]


def begin(heads: list[str]) -> list[str]:
  """The first two lines of a table."""
  return [line(heads), '|' + '---|' * len(heads)]


def line(cells: list[str]) -> str:
  """A line of a table."""
  return '| ' + ' | '.join(cell.replace('|', r'\|') for cell in cells) + ' |'
