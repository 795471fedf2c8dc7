"""Rows of results: median and range, n, hardware, versions, commit, command.

Each file of results/ has the rows of one kind of measurement; tools.docs makes
the tables of README.md and docs/ from them.
"""

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ResultRow = dict[str, Any]
RESULTS = pathlib.Path(__file__).parent / 'results'
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'grain', 'array-record', 'numpy')


def spread(name: str, values: Sequence[float], *, digits: int = 3) -> ResultRow:
  """Median and range of the rounds as two fields, null without any rounds.

  >>> spread('ms', [3.0, 1.0, 2.0])
  {'ms': 2.0, 'ms_range': [1.0, 3.0]}
  """
  if not values:
    return {name: None, f'{name}_range': None}
  found = (statistics.median(values), min(values), max(values))
  median, *ends = (round(value, digits) for value in found)
  return {name: median, f'{name}_range': ends}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
  """Ours over theirs, round by round; [] without any of theirs."""
  return [a / b for a, b in zip(ours, theirs, strict=bool(theirs))]


def relative(
  rates: Mapping[str, Sequence[float]], *, name: str
) -> list[ResultRow]:
  """Interleaved images/s by `what`, each beside the first's as `name`."""
  first = next(iter(rates.values()))
  return [
    {
      'what': what,
      **spread('images_per_second', found, digits=2),
      **spread(name, ratios(found, first)),
      'n': len(found),
    }
    for what, found in rates.items()
  ]


def conditions(arguments: Sequence[str]) -> ResultRow:
  """Date, machine, versions and the command that has these arguments."""
  spec = getattr(sys.modules['__main__'], '__spec__', None)
  module = spec.name if spec else pathlib.Path(sys.argv[0]).name
  return {
    'date': datetime.date.today().isoformat(),
    'hardware': f'{_processor()}, {os.cpu_count()} cores',
    'python': platform.python_version(),
    'versions': dict(_versions()),
    'commit': _commit(),
    'command': ' '.join(['python -m', module, *map(_short, arguments)]),
  }


def save(rows: Sequence[ResultRow], *, name: str) -> pathlib.Path:
  """Writes results/DATE_NAME.json; returns its path.

  Today's rows of other commands, machines and versions of Python stay in it.
  """
  path = RESULTS / f'{datetime.date.today().isoformat()}_{name}.json'
  before = json.loads(path.read_text()) if path.exists() else []
  new = {_origin(row) for row in rows}
  kept = [row for row in before if _origin(row) not in new]
  lines = ',\n'.join(f' {json.dumps(r)}' for r in [*kept, *rows])
  path.write_text(f'[\n{lines}\n]\n')
  return path


def _origin(row: ResultRow) -> tuple[str | None, ...]:
  return tuple(row.get(name) for name in ('command', 'hardware', 'python'))


def newest(name: str, *, folder: pathlib.Path = RESULTS) -> list[ResultRow]:
  """The rows of DATE_NAME.json of each machine, from the newest that has some.

  Oldest first; none if there is no such file.
  """
  files = [
    json.loads(file.read_text())
    for file in sorted(folder.glob(f'*_{name}.json'))
  ]
  last = {
    row.get('hardware'): i for i, rows in enumerate(files) for row in rows
  }
  return [
    row
    for i, rows in enumerate(files)
    for row in rows
    if last[row.get('hardware')] == i
  ]


def last_run(name: str, *, folder: pathlib.Path = RESULTS) -> list[ResultRow]:
  """The rows of `newest` that one command on one machine has written last."""
  rows = newest(name, folder=folder)
  return [row for row in rows if _origin(row) == _origin(rows[-1])]


def _versions() -> Iterator[tuple[str, str]]:
  """Versions of the packages that are installed."""
  for name in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      yield name, importlib.metadata.version(name)


def _short(argument: str) -> str:
  """A flag without the folders of an absolute path, which say nothing here."""
  name, equals, value = argument.partition('=')
  path = pathlib.PurePath(value)
  own = path.is_absolute() or '..' in path.parts
  return f'{name}{equals}{path.name}' if own else argument


_NUMBERS = {'family': 'cpu family', 'model': 'model'}
_FEATURES = {'avx512f': 'AVX-512', 'avx512_bf16': 'BF16', 'amx_bf16': 'AMX'}


def _processor(info: pathlib.Path = pathlib.Path('/proc/cpuinfo')) -> str:
  """The processor's model name, numbers and features, or its architecture.

  In a virtual machine the name alone may say little: 'AMD EPYC'.
  """
  lines = info.read_text().splitlines() if info.exists() else []
  pairs = (line.partition(':') for line in lines)
  facts = {name.strip(): value.strip() for name, _, value in pairs}
  if 'model name' not in facts:
    return platform.machine()
  numbers = [f'{k} {facts[v]}' for k, v in _NUMBERS.items() if v in facts]
  flags = facts.get('flags', '').split()
  features = [shown for flag, shown in _FEATURES.items() if flag in flags]
  shown = [facts['model name']]
  shown += [f'({" ".join(numbers)})'] * bool(numbers)
  shown += [f'with {" and ".join(features)}'] * bool(features)
  return ' '.join(shown)


def _commit() -> str:
  done = subprocess.run(
    ['git', 'describe', '--always', '--dirty'],
    cwd=pathlib.Path(__file__).parent,
    capture_output=True,
    text=True,
  )
  return done.stdout.strip() or 'unknown'
