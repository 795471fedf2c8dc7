"""Rows of results: value and spread, n, hardware, versions, commit, command.

Not in the paper. README's tables are made from the files in results/.
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
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]
RESULTS = pathlib.Path(__file__).parent / 'results'
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'grain', 'array-record', 'numpy')


class Round(NamedTuple):
  """One repetition."""

  images_per_second: float
  cpu_us_per_image: float  # of all processes and threads


def row(bench: str, what: str, rounds: Sequence[Round]) -> Row:
  """Median and range of the repetitions, with the conditions."""
  rates = [r.images_per_second for r in rounds]
  return {
    'bench': bench,
    'what': what,
    'images_per_second': round(statistics.median(rates), 1),
    'range': [round(min(rates), 1), round(max(rates), 1)],
    'cpu_us_per_image': round(
      statistics.median(r.cpu_us_per_image for r in rounds), 1
    ),
    'n': len(rounds),
  }


def spread(name: str, values: Sequence[float], *, digits: int = 3) -> Row:
  """Median and range of the repetitions as two fields; of none, null."""
  if not values:
    return {name: None, f'{name}_range': None}
  ends = [round(end, digits) for end in (min(values), max(values))]
  return {
    name: round(statistics.median(values), digits),
    f'{name}_range': ends,
  }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
  """Ours over theirs, pair by pair; none if there are none of theirs."""
  pairs = zip(ours, theirs, strict=bool(theirs))
  return [one / other for one, other in pairs]


def conditions(arguments: Sequence[str] | None = None) -> Row:
  """Where and with what the rows were measured.

  Args:
    arguments: of the command; None: those of this process.
  """
  arguments = sys.argv[1:] if arguments is None else arguments
  return {
    'date': datetime.date.today().isoformat(),
    'hardware': f'{_processor()}, {os.cpu_count()} cores',
    'python': platform.python_version(),
    'versions': dict(_versions()),
    'commit': _commit(),
    'command': ' '.join(['python -m', _module(), *map(_short, arguments)]),
  }


def save(rows: Sequence[Row], *, name: str) -> pathlib.Path:
  """Writes results/DATE_NAME.json, a row a line.

  Rows that other commands have left there on that day are kept.
  """
  path = RESULTS / f'{datetime.date.today().isoformat()}_{name}.json'
  before = json.loads(path.read_text()) if path.exists() else []
  new = {row['command'] for row in rows}
  kept = [row for row in before if row['command'] not in new]
  lines = ',\n'.join(f' {json.dumps(r)}' for r in [*kept, *rows])
  path.write_text(f'[\n{lines}\n]\n')
  return path


def _versions() -> Iterator[tuple[str, str]]:
  """Of the packages that are installed."""
  for name in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      yield name, importlib.metadata.version(name)


def _short(argument: str) -> str:
  """A flag without the folders of a path that is one machine's own."""
  name, equals, value = argument.partition('=')
  path = pathlib.PurePath(value)
  own = path.is_absolute() or '..' in path.parts
  return f'{name}{equals}{path.name}' if own else argument


def _module() -> str:
  main = sys.modules['__main__']
  spec = getattr(main, '__spec__', None)
  return spec.name if spec else pathlib.Path(sys.argv[0]).name


def _processor() -> str:
  """The processor's name, where the machine tells it."""
  info = pathlib.Path('/proc/cpuinfo')
  text = info.read_text() if info.exists() else ''
  names = [line for line in text.splitlines() if line.startswith('model name')]
  name = names[0].split(':')[1].strip() if names else platform.machine()
  return f'{name} with AVX-512' if 'avx512f' in text else name


def _commit() -> str:
  done = subprocess.run(
    ['git', 'describe', '--always', '--dirty'],
    cwd=pathlib.Path(__file__).parent,
    capture_output=True,
    text=True,
  )
  return done.stdout.strip() or 'unknown'
