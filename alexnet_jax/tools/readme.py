"""Writes the generated parts of README.md anew (not in the paper).

  python -m alexnet_jax.tools.readme

- deviations: where the paper is silent or its program differs, from the
  comments that say so. Such a comment has three sentences or more: what the
  paper says, `2012:` what the program does, `Here:` what this one does.
- presets: training curves, from the rows of the newest
  alexnet_jax/bench/results/*_presets.json.
- input: images/s of preparing and feeding, from *_input.json.
- step, ops: training steps and ten views beside PyTorch, and each operation,
  from *_step.json, *_eval.json and *_ops.json, once there are any.
"""

import json
import pathlib
import re
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from absl import flags

from alexnet_jax.tools import cli

_ROOT = flags.DEFINE_string('root', '.', 'The folder of README.md.')

_MARK = re.compile(r'(Paper silent|Paper differs from code|Deviation):\s*')
_PARTS = re.compile(r'^(.*?)(?: 2012: (.*?))? Here: (.*)$')
_RESULTS = 'alexnet_jax/bench/results'
_FOLDERS = ('configs', 'alexnet_jax')


class Deviation(NamedTuple):
  """One comment's row."""

  file: str
  silent: bool  # the paper says nothing of it
  paper: str
  program: str
  here: str


def main() -> None:
  """Replaces what stands between the marks of each part."""
  path = pathlib.Path(_ROOT.value) / 'README.md'
  path.write_text(rewrite(path.read_text(), root=path.parent))


def rewrite(readme: str, *, root: pathlib.Path) -> str:
  """The text with its generated parts made from the tree at `root`."""
  parts = {
    'presets': curves(_newest(root, 'presets')),
    'input': rates(_newest(root, 'input')),
    'deviations': table(deviations(root)),
  }
  steps = _newest(root, 'step') + _newest(root, 'eval')
  operations = _newest(root, 'ops')
  parts |= {'step': speeds(steps)} if steps else {}
  parts |= {'ops': times(operations)} if operations else {}
  for name, part in parts.items():
    readme = _replace(readme, name=name, part=part)
  return readme


def _replace(readme: str, *, name: str, part: str) -> str:
  """The text with what stands between a part's marks replaced."""
  begin, end = f'<!-- {name} -->\n', f'<!-- end of {name} -->'
  before, found, rest = readme.partition(begin)
  _, closed, after = rest.partition(end)
  if not found or not closed:
    raise ValueError(f'README.md has no {begin.strip()} ... {end}: add both')
  return before + begin + part + closed + after


def curves(rows: list[dict[str, Any]]) -> str:
  """Mean training loss of each run's steps, seeds together, as Markdown."""
  names = list(dict.fromkeys(row['name'] for row in rows))
  spans = [f'{first}-{last}' for first, last in rows[0]['steps']]
  heads = ['training loss, steps', *spans, 'n', 'validation errors of 300']
  lines = [_row(heads), '|' + '---|' * len(heads)]
  for name in names:
    own = [row for row in rows if row['name'] == name]
    losses = zip(*(row['loss'] for row in own), strict=True)
    means = [f'{statistics.mean(values):.2f}' for values in losses]
    wrong = ', '.join(str(row['val_errors']) for row in own)
    lines.append(_row([f'`{name}`', *means, str(len(own)), wrong]))
  return '\n'.join(lines) + '\n'


def _newest(root: pathlib.Path, name: str) -> list[dict[str, Any]]:
  """The rows of the newest results of that name; none, if there are none."""
  files = sorted((root / _RESULTS).glob(f'*_{name}.json'))
  return json.loads(files[-1].read_text()) if files else []


def rates(rows: list[dict[str, Any]]) -> str:
  """Images/s, median and range, and CPU time an image, as Markdown."""
  lines = [
    _row(['what', 'images/s', 'range', 'n', 'CPU time an image']),
    '|---|---|---|---|---|',
  ]
  for row in rows:
    low, high = row['range']
    rate, cpu = row['images_per_second'], row['cpu_us_per_image']
    cells = [f'{rate:,.0f}', f'{low:,.0f} to {high:,.0f}', f'{row["n"]}']
    lines.append(_row([row['what'], *cells, f'{cpu:,.0f} us']))
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
  heads = (
    'what', 'images', 'mesh', 'dtype', 'images/s', 'PyTorch', 'ratio', 'range',
    'of a matrix product', 'peak memory', 'of PyTorch', 'n',
  )  # fmt: skip
  what = {'step': 'training step', 'eval': 'ten views'}
  lines = [_row(list(heads)), '|' + '---|' * len(heads)]
  for row in rows:
    low, high = row['ratio_range'] or (None, None)
    cells = [
      what[row['bench']], str(row['batch_size']), row['mesh'], row['dtype'],
      f'{row["images_per_second"]:,.1f}',
      _number(row['peer_images_per_second'], ',.1f'),
      _number(row['ratio'], '.2f'),
      f'{low:.2f} to {high:.2f}' if low else '-',
      f'{row["matmul_share"]:.0%}',
      _gigabytes(row['peak_memory_bytes']),
      _gigabytes(row['peer_peak_memory_bytes']),
      str(row['n']),
    ]  # fmt: skip
    lines.append(_row(cells))
  return '\n'.join([*lines, '', *_measured(rows)]) + '\n'


def times(rows: list[dict[str, Any]]) -> str:
  """Milliseconds of each operation, as Markdown."""
  heads = [
    'operation', 'ms', 'naive', 'PyTorch', 'a product or copy', 'GFLOP/s', 'n',
  ]  # fmt: skip
  lines = [_row(heads), '|' + '---|' * len(heads)]
  kinds = ('ms', 'naive_ms', 'peer_ms', 'floor_ms')
  for row in rows:
    cells = [_number(row[kind], ',.2f') for kind in kinds]
    rate = f'{row["gflops"]:,.0f}' if row['flop'] else '-'
    lines.append(_row([row['what'], *cells, rate, str(row['n'])]))
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


def _row(cells: list[str]) -> str:
  return '| ' + ' | '.join(cell.replace('|', r'\|') for cell in cells) + ' |'


def deviations(root: pathlib.Path) -> list[Deviation]:
  """Every marked comment below configs/ and alexnet_jax/, in order.

  Raises:
    ValueError: if one lacks its `Here:`.
  """
  return [
    deviation
    for folder in _FOLDERS
    for path in sorted((root / folder).rglob('*.py'))
    if path.name != pathlib.Path(__file__).name  # which names the marks
    for deviation in _in_file(path, name=str(path.relative_to(root)))
  ]


def _in_file(path: pathlib.Path, *, name: str) -> Iterator[Deviation]:
  for comment in _comments(path.read_text()):
    mark = _MARK.search(comment)
    if mark is None:
      continue
    parts = _PARTS.match(comment[mark.end() :])
    if parts is None:
      raise ValueError(
        f'{name}: "{comment[mark.start() :][:60]}..." does not say what is '
        'done: add a line that begins with "Here:"'
      )
    paper, program, here = (part or '' for part in parts.groups())
    yield Deviation(name, mark[1] == 'Paper silent', paper, program, here)


def _comments(text: str) -> Iterator[str]:
  """Paragraphs of comments and docstrings, each on one line.

  A mark begins a paragraph of its own; so does any change between comments and
  other lines.
  """
  paragraph, was_comment = [], False
  for line in [*text.splitlines(), '']:
    stripped = line.strip()
    is_comment = stripped.startswith('#')
    words = stripped.lstrip('#').strip()
    starts = is_comment != was_comment or _MARK.match(words)
    if paragraph and (starts or not words or words.startswith('"""')):
      yield ' '.join(paragraph)
      paragraph = []
    if words:
      paragraph.append(words)
    was_comment = is_comment


def table(rows: list[Deviation]) -> str:
  """The rows as Markdown."""
  lines = [
    _row(['where', 'the paper', 'the 2012 program', 'here']),
    '|---|---|---|---|',
  ]
  for row in rows:
    paper = f'silent: {row.paper}' if row.silent else row.paper
    lines.append(_row([f'`{row.file}`', paper, row.program or '-', row.here]))
  return '\n'.join(lines) + '\n'


if __name__ == '__main__':
  cli.run(main)
