"""Writes the generated parts of README.md anew (not in the paper).

  python -m alexnet_jax.tools.readme

- deviations: where the paper is silent or its program differs, from the
  comments that say so. Such a comment has three sentences or more: what the
  paper says, `2012:` what the program does, `Here:` what this one does.
- presets: training curves, from the rows of the newest
  alexnet_jax/bench/results/*_presets.json.
- input: images/s of preparing and feeding, from *_input.json.
- step, ops, scaling, end_to_end: training steps and ten views beside PyTorch,
  each operation, other meshes and minibatches, training from records; from
  *_step.json, *_eval.json and so on, once there are any.
"""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from absl import flags

from alexnet_jax import cli
from alexnet_jax.bench import tables

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
    'presets': tables.curves(_newest(root, 'presets')),
    'input': tables.rates(_newest(root, 'input')),
    'deviations': table(deviations(root)),
  }
  steps = _newest(root, 'step') + _newest(root, 'eval')
  parts |= {'step': tables.speeds(steps)} if steps else {}
  for name, make in (
    ('ops', tables.times),
    ('scaling', tables.scaled),
    ('end_to_end', tables.fed),
  ):
    found = _newest(root, name)
    parts |= {name: make(found)} if found else {}
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


def _newest(root: pathlib.Path, name: str) -> list[dict[str, Any]]:
  """The rows of the newest results of that name; none, if there are none."""
  files = sorted((root / _RESULTS).glob(f'*_{name}.json'))
  return json.loads(files[-1].read_text()) if files else []


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
  lines = tables.begin(['where', 'the paper', 'the 2012 program', 'here'])
  for row in rows:
    paper = f'silent: {row.paper}' if row.silent else row.paper
    cells = [f'`{row.file}`', paper, row.program or '-', row.here]
    lines.append(tables.line(cells))
  return '\n'.join(lines) + '\n'


if __name__ == '__main__':
  cli.run(main)
