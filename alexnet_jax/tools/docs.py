"""Writes the generated tables of README.md and docs/ (run it after a change).

  python -m alexnet_jax.tools.docs

- README.md: `results`, the error of each run, from bench/results/*_runs.json,
  *_presets.json and *_experiments.json.
- docs/results.md: `runs`, `presets`, `study` and `study_cifar`, the same with
  conditions.
- docs/benchmarks.md: `input`, `step`, `ops`, `scaling`, `end_to_end` and
  `processes`, each from the newest results of that name (`step`: and `eval`).
- docs/configs.md: `fields`; docs/commands.md: `commands` and `shared`.
- docs/paper.md: a table for each section, from docs/paper.toml and the marks.
- docs/deviations.md: `deviations`, from comments that begin `Paper silent:`,
  `Paper differs from code:` or `Deviation:`. Such a comment has three parts:
  what the paper says, `2012:` what the authors' program does (may be missing),
  `Here:` what this program does.
"""

import functools
import pathlib
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from absl import flags

from alexnet_jax import cli, paper
from alexnet_jax.bench import rows as rows_lib
from alexnet_jax.bench import tables
from alexnet_jax.studies import reference

_ROOT = flags.DEFINE_string('root', '.', 'The folder of README.md.')

_MARK = re.compile(r'(Paper silent|Paper differs from code|Deviation):\s*')
_PARTS = re.compile(r'^(.*?)(?: 2012: (.*?))? Here: (.*)$')
_FOLDERS = ('configs', 'alexnet_jax')
_ONE_NET = paper.ERRORS['ILSVRC-2012 val, 1 CNN, 10 views']
SECTIONS = (
  *('1', '2', '3.1', '3.2', '3.3', '3.4', '3.5', '4.1', '4.2', '5', '6'),
  '6.1',
)
_EXPECTED = {  # configs for ImageNet: top-1 and top-5 error
  'imagenet.py': _ONE_NET,
  'source2012.py': _ONE_NET,
  'source2012_automatic.py': (0.405, 0.180),  # run 170 of the 2012 notes
  'source2012_256.py': None,
  'throughput.py': None,
  'chain2012.py:2012': paper.ERRORS['ILSVRC-2012 val, 1 CNN*, 10 views'],
}


class Deviation(NamedTuple):
  """One comment's row."""

  file: str
  paper: str  # begins with "silent: " if it says nothing
  program: str | None
  here: str


def main() -> None:
  """Replaces what stands between the marks of each table."""
  root = pathlib.Path(_ROOT.value)
  for page in PAGES:
    path = root / page
    path.write_text(rewrite(path.read_text(), page=page, root=root))


def rewrite(text: str, *, page: str, root: pathlib.Path) -> str:
  """The page's text with its tables made from the tree at `root`.

  Raises ValueError if the text lacks the marks of a table that has results.
  """
  for name, make in PAGES[page].items():
    if part := make(root):
      text = _replace(text, name=name, part=part, page=page)
  return text


def _replace(text: str, *, name: str, part: str, page: str) -> str:
  """The text with what stands between a table's marks replaced."""
  begin, end = f'<!-- {name} -->\n', f'<!-- end of {name} -->'
  before, found, rest = text.partition(begin)
  _, closed, after = rest.partition(end)
  if not found or not closed:
    raise ValueError(f'{page} has no {begin.strip()} ... {end}: add both')
  return before + begin + part + closed + after


def _table(
  make: Callable[[tables.Rows], str], *names: str
) -> Callable[[pathlib.Path], str]:
  """Makes a table of the newest results of those names; '' if none."""

  def of(root: pathlib.Path) -> str:
    folder = root / 'alexnet_jax' / 'bench' / 'results'
    rows = [r for name in names for r in rows_lib.newest(name, folder=folder)]
    return make(rows) if rows else ''

  return of


PAGES: dict[str, dict[str, Callable[[pathlib.Path], str]]] = {
  'README.md': {
    'results': _table(
      functools.partial(tables.results, expected=_EXPECTED),
      *('runs', 'presets', 'experiments'),
    ),
  },
  'docs/results.md': {
    'runs': _table(tables.runs, 'runs'),
    'presets': _table(tables.curves, 'presets'),
    'study': _table(tables.study, 'experiments'),
    'study_cifar': _table(tables.study, 'study_cifar'),
  },
  'docs/benchmarks.md': {
    'step': _table(tables.benchmark, 'step', 'eval'),
    **{
      name: _table(tables.benchmark, name)
      for name in ('input', 'ops', 'scaling', 'end_to_end', 'processes')
    },
  },
  'docs/deviations.md': {
    'deviations': lambda root: table(deviations(root)),
  },
  'docs/configs.md': {'fields': reference.fields},
  'docs/commands.md': {
    'commands': reference.commands,
    'shared': reference.shared_flags,
  },
  'docs/paper.md': {
    f'§{section}': functools.partial(
      lambda root, section: walk(root, section=section), section=section
    )
    for section in SECTIONS
  },
}


def deviations(root: pathlib.Path) -> list[Deviation]:
  """Every marked comment below configs/ and alexnet_jax/, in order."""
  return [
    deviation
    for folder in _FOLDERS
    for path in sorted((root / folder).rglob('*.py'))
    if path.name != pathlib.Path(__file__).name  # which names the marks
    for deviation in _in_file(path, name=str(path.relative_to(root)))
  ]


def _in_file(path: pathlib.Path, *, name: str) -> Iterator[Deviation]:
  for comment in _comments(path.read_text()):
    if (mark := _MARK.search(comment)) is None:
      continue
    parts = _PARTS.match(comment[mark.end() :])
    if parts is None:
      raise ValueError(
        f'{name}: "{comment[mark.start() :][:60]}..." does not say what is '
        'done: add a line that begins with "Here:"'
      )
    what, program, here = parts.groups()
    what = f'silent: {what}' if mark[1] == 'Paper silent' else what
    yield Deviation(name, what, program, here)


def _comments(text: str) -> Iterator[str]:
  """Paragraphs of comments and docstrings, each on one line.

  A mark begins one; so does any change between comments and other lines.
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
  columns = {
    'where': '`{file}`',
    'the paper': '{paper}',
    'the 2012 program': '{program}',
    'here': '{here}',
  }
  return tables.markdown([row._asdict() for row in rows], columns=columns)


def walk(root: pathlib.Path, *, section: str) -> str:
  """What a section says, the code, and where they part, as Markdown."""
  marks = deviations(root)
  rows = [
    {
      'says': row['says'],
      'code': '<br>'.join(f'`{place}`' for place in row['code']),
      'marks': '<br><br>'.join(map(_beside, marks_of(row, marks=marks)))
      or None,
    }
    for row in walk_rows(root)
    if row['section'] == section
  ]
  columns = {
    'the paper, in our words': '{says}',
    'the code': '{code}',
    'where they part': '{marks}',
  }
  return tables.markdown(rows, columns=columns)


def walk_rows(root: pathlib.Path) -> list[dict[str, Any]]:
  """The rows of docs/paper.toml."""
  text = (root / 'docs' / 'paper.toml').read_text('utf-8')
  return tomllib.loads(text)['row']


def marks_of(row: dict[str, Any], *, marks: list[Deviation]) -> list[Deviation]:
  """The deviations that begin as a row of docs/paper.toml says."""
  starts = tuple(row.get('marks', ()))
  return [mark for mark in marks if starts and mark.paper.startswith(starts)]


def _beside(mark: Deviation) -> str:
  """A deviation in one cell."""
  kind, colon, silent = mark.paper.partition('silent: ')
  said = f'**Silent:** {silent}' if colon and not kind else mark.paper
  program = f' **2012:** {mark.program}' if mark.program else ''
  return f'{said}{program} **Here:** {mark.here} (`{mark.file}`)'


if __name__ == '__main__':
  cli.run(main)
