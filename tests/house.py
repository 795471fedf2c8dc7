"""The layout of the package as a table of figures, and as a map.

  python -m tests.house          prints the figures
  python -m tests.house --write  renews the map in README.md and CONTRIBUTING.md

tests/test_architecture.py holds the floors against the imports.
"""

import ast
import pathlib
import re
import subprocess
import sys
import tokenize

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / 'alexnet_jax'

# Rooms from the bottom up; a module imports only from floors below its own.
# Rooms of one floor do not import each other, unless listed in order below.
FLOORS: list[dict[str, str]] = [
  {
    'paper': 'the numbers of the paper',
    'configs': 'finds ../configs; in a wheel its files',
    'ops': 'convolution, LRN, pooling, the columns and their collectives',
    'runtime': 'signals, locks, paths, buckets, compiler options',
  },
  {'config': 'fields, checks, ablations, flags'},
  {
    'models': 'the network, and its table of layers',
    'optim': 'update rule, schedules, plateau',
    'data': 'data sets, augmentation, batches; prepare/ makes data sets',
    'parallel': 'mesh, hosts, consensus, HLO',
  },
  {'steps': 'the compiled training and evaluation steps'},
  {'setup': 'from a config to data, mesh and programs'},
  {'checkpoint': 'saving, restoring, checksums, buckets'},
  {'evaluate': 'predictions, ensembles'},
  {'train': 'loop, resuming, guard, log, workdir'},
  {'cli': 'how every command starts and ends'},
  {'main': 'the command: train, eval, summary'},
  {
    'studies': 'report, figures, retrieval, ablations, Figure 1, scaling',
    'interop': 'weights of other programs in, and out to them',
  },
  {'bench': 'measurements, and PyTorch beside them'},
  {'tools': 'one command a file'},
]
FLOOR = {room: n for n, floor in enumerate(FLOORS) for room in floor}
# Below this line is the core, which never imports from above it.
BEYOND = ('studies', 'interop', 'bench', 'tools')
CORE = frozenset(r for r in FLOOR if r not in BEYOND)

READING = (  # what a student of the paper's net reads, in this order
  'paper.py',
  '../configs/default.py:model',
  'models/alexnet.py',
  'ops/columns.py',
  'ops/lrn.py',
  'ops/pool.py',
  'steps/train.py',
  'optim/sgd.py',
  'optim/plateau.py',
  'steps/preprocess.py',
  'data/augment.py',
  'data/pipeline.py',
  'train/loop.py',
  'evaluate/predict.py',
)
# Calls in which hosts agree on a result or an error, and others in which they
# pass arrays.
AGREEMENT = re.compile(
  r'\bhosts\.(run_everywhere|raise_everywhere|from_host0|on_host0|all_sum|'
  r'assert_equal)\('
)
PASSING = re.compile(
  r'\bhosts\.(gather_text|gather_rows|gather_to_host0|broadcast_from_host0|'
  r'to_host)\('
)


def files(package: pathlib.Path = PACKAGE) -> list[pathlib.Path]:
  """All sources of the package."""
  return sorted(package.rglob('*.py'))


def imports(path: pathlib.Path) -> set[str]:
  """Dotted names of everything that a file imports."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: imports should be absolute'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def room(path: pathlib.Path) -> str:
  """The module or folder right below alexnet_jax; '' for the package itself."""
  name = path.relative_to(PACKAGE).parts[0].removesuffix('.py')
  return '' if name == '__init__' else name


def room_of_name(name: str) -> str:
  """The room that an imported name is in; '' if it is not of the package."""
  package, *parts = name.split('.')
  known = package == 'alexnet_jax' and parts and parts[0] in FLOOR
  return parts[0] if known else ''


def arrows() -> set[tuple[str, str]]:
  """Pairs of rooms of which the first imports the second."""
  pairs = {
    (room(path), room_of_name(name))
    for path in files()
    for name in imports(path)
  }
  return {(a, b) for a, b in pairs if a and b and a != b}


def loaded_by(module: str) -> tuple[int, int]:
  """Modules that an import loads, without `__init__`s, and their lines."""
  program = (
    f'import sys; sys.argv = ["x"]; import {module}\n'
    'print(*(m.__file__ for n, m in sorted(sys.modules.items())'
    ' if n.split(".")[0] == "alexnet_jax"), sep="\\n")'
  )
  done = subprocess.run(
    [sys.executable, '-P', '-c', program],
    capture_output=True,
    text=True,
    check=True,
    env={'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'PATH': ''},
  )
  paths = [pathlib.Path(line) for line in done.stdout.splitlines()]
  modules = [path for path in paths if path.name != '__init__.py']
  return len(modules), sum(map(lines, modules))


def lines(path: pathlib.Path) -> int:
  return len(path.read_text().splitlines())


def reading_lines() -> int:
  """Lines of READING; FILE.py:NAME counts that function alone."""
  total = 0
  for entry in READING:
    name, _, function = entry.removeprefix('../').partition(':')
    path = (ROOT if entry.startswith('../') else PACKAGE) / name
    if not function:
      total += lines(path)
      continue
    (node,) = [
      n
      for n in ast.parse(path.read_text()).body
      if isinstance(n, ast.FunctionDef) and n.name == function
    ]
    total += (node.end_lineno or 0) - node.lineno + 1
  return total


def comments(paths: list[pathlib.Path]) -> float:
  """Comments, on lines of their own or trailing, for 100 lines of code."""
  found = code = 0
  for path in paths:
    with open(path, 'rb') as file:
      tokens = list(tokenize.tokenize(file.readline))
    found += sum(t.type == tokenize.COMMENT for t in tokens)
    strings = {
      line
      for node in ast.walk(ast.parse(path.read_text()))
      if isinstance(node, ast.Expr)
      and isinstance(node.value, ast.Constant)
      and isinstance(node.value.value, str)
      for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    skip = (
      tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING,
      tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    )  # fmt: skip
    rows = {
      row
      for t in tokens
      if t.type not in skip
      for row in range(t.start[0], t.end[0] + 1)
    }
    code += len(rows - strings)
  return 100 * found / code


def host_calls(pattern: re.Pattern[str]) -> int:
  """Calls that match, outside parallel/ and train/workdir.py."""
  return sum(
    len(pattern.findall(path.read_text()))
    for path in files()
    if room(path) != 'parallel' and path.name != 'workdir.py'
  )


def table() -> list[tuple[str, str, str]]:
  """(what, found, aim) of each figure."""
  core = [p for p in files() if room(p) in CORE]
  train, main = loaded_by('alexnet_jax.train'), loaded_by('alexnet_jax.main')
  sources = [*files(), *(ROOT / 'configs').glob('*.py')]
  loose = [p.name for p in PACKAGE.glob('*.py')]
  return [
    ('rooms', str(len({room(p) for p in files()} - {''})), '20'),
    ('arrows between rooms', str(len(arrows())), '85'),
    (
      'loose modules at the top',
      f'{len(loose)} ({" ".join(sorted(loose))})',
      '5',
    ),
    ('import alexnet_jax.train: modules, lines', _pair(train), '50, 8,000'),
    ('import alexnet_jax.main: modules, lines', _pair(main), '60, 9,500'),
    ("lines of a student's reading path", f'{reading_lines():,}', '2,800'),
    (
      'host agreements outside parallel/ and Workdir',
      f'{host_calls(AGREEMENT)} (and {host_calls(PASSING)} that pass arrays)',
      '10',
    ),
    (
      'comments for 100 lines of code in the core',
      f'{comments(core):.1f}',
      '10',
    ),
    (
      'lines of source with configs',
      f'{sum(map(lines, sources)):,}',
      '22,000',
    ),
  ]


def _pair(pair: tuple[int, int]) -> str:
  return f'{pair[0]}, {pair[1]:,}'


def map_text() -> str:
  """The map of the package, from the top floor down."""
  rows = []
  for n, floor in reversed(list(enumerate(FLOORS))):
    rows += [
      f'{name + ("/" if (PACKAGE / name).is_dir() else ".py"):14}{what}'
      for name, what in floor.items()
    ]
    if n == FLOOR[BEYOND[0]]:
      rows.append('-- the core, which imports nothing from above this line --')
  return '\n'.join(['```', *rows, '```'])


MAP = re.compile(r'(<!-- map -->\n).*?(<!-- /map -->)', re.DOTALL)
PAGES = ('README.md', 'CONTRIBUTING.md')


def with_map(text: str) -> str:
  """A page with the map of today."""
  found = MAP.search(text)
  assert found, 'the page has no <!-- map --> ... <!-- /map -->'
  return text[: found.end(1)] + map_text() + '\n' + text[found.start(2) :]


if __name__ == '__main__':
  if sys.argv[1:] == ['--write']:
    for page in PAGES:
      (ROOT / page).write_text(with_map((ROOT / page).read_text()))
  for what, found, aim in table():
    print(f'{what:48} {found:>30}   aim {aim}')
