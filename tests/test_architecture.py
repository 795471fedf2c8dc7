"""The floors of the house: a module imports only from floors below its own."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / 'alexnet_jax'

# module or folder: floor; CONTRIBUTING.md has the picture
FLOORS = {
  'paper': 0,
  'links': 0,
  'cache': 0,
  'locking': 0,
  'fields': 0,
  'stopping': 0,
  'integrity': 0,
  'ops': 0,
  'models': 1,
  'optim': 1,
  'data': 1,
  'parallel': 1,
  'metrics': 1,
  'config': 1,
  'ablations': 1,
  'health': 1,
  'inputs': 1,
  'steps': 2,
  'checkpoint': 2,
  'writers': 2,
  'predictions': 2,
  'timing': 2,
  'run': 3,
  'communication': 3,
  'evaluate': 4,
  'reload': 4,
  'scaling': 4,
  'analysis': 5,
  'bench': 5,
  'ensemble': 5,
  'train': 5,
  'experiments': 6,
  'main': 7,
  'tools': 7,
}
FILES = sorted(PACKAGE.rglob('*.py'))


def _imports(path):
  """Dotted names of everything a file imports."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: imports should be absolute'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def _part(name):
  """The module or folder right below alexnet_jax, '' for the package."""
  parts = name.split('.')
  return parts[1] if len(parts) > 1 and parts[1] in FLOORS else ''


def test_every_part_has_a_floor():
  assert {_own_part(path) for path in FILES} - {''} <= set(FLOORS)


def _own_part(path):
  name = path.relative_to(PACKAGE).parts[0].removesuffix('.py')
  return '' if name == '__init__' else name


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_come_from_below(path):
  own = _own_part(path)
  if not own:
    return  # the package itself
  for name in _imports(path):
    part = _part(name) if name.startswith('alexnet_jax') else ''
    if part and part != own:
      assert FLOORS[part] < FLOORS[own] or {own, part} <= {'main', 'tools'}, (
        f'{own} (floor {FLOORS[own]}) imports {part} (floor {FLOORS[part]})'
      )


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_package_stays_where_it_belongs(path):
  roots = {name.split('.')[0] for name in _imports(path)}
  assert not roots & {'tensorflow', 'clu', 'pickle'}
  if not path.match('bench/torch_*.py'):  # peers, run by their own interpreter
    assert 'torch' not in roots
  if _own_part(path) == 'data':
    assert 'jax' not in roots
  if _own_part(path) != 'analysis':
    assert 'matplotlib' not in roots
  if _own_part(path) == 'paper':
    assert not roots


def test_collectives_are_called_in_three_places_only():
  """Of the model in ops/columns.py, of gradients in parallel/rows.py."""
  calls = (
    'psum',
    'all_gather',
    'pmean',
    'ppermute',
    'psum_scatter',
    'all_to_all',
  )
  users = {
    str(path.relative_to(PACKAGE))
    for path in FILES
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Attribute) and node.attr in calls
  }
  assert users == {'ops/columns.py', 'parallel/ballots.py', 'parallel/rows.py'}


def test_configs_import_only_the_paper_and_each_other():
  for path in (ROOT / 'configs').glob('*.py'):
    for name in _imports(path):
      if name.startswith('alexnet_jax'):
        assert name == 'alexnet_jax.paper', path
