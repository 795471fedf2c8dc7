"""The floors: a module imports only from floors below its own."""

import ast

import pytest

from tests import house

FILES = house.files()
each_file = pytest.mark.parametrize(
  'path', FILES, ids=lambda p: p.relative_to(house.PACKAGE).as_posix()
)


def test_every_room_has_a_floor():
  assert {house.room(path) for path in FILES} - {''} == set(house.FLOOR)


@each_file
def test_imports_come_from_below(path):
  own = house.room(path)
  if not own:
    return  # the package itself
  for name in house.imports(path):
    other = house.room_of_name(name)
    if other and other != own:
      assert house.FLOOR[other] < house.FLOOR[own], f'{own} imports {other}'


@each_file
def test_the_core_imports_nothing_from_beyond_the_line(path):
  if house.room(path) in house.CORE:
    beyond = {house.room_of_name(name) for name in house.imports(path)}
    assert not beyond - house.CORE - {''}


@each_file
def test_training_never_imports_what_prepares_data(path):
  preparing = {n for n in house.imports(path) if '.data.prepare' in n}
  place = path.relative_to(house.PACKAGE).as_posix()
  if house.room(path) in house.CORE and 'data/prepare/' not in place:
    assert not preparing


@each_file
def test_each_package_stays_where_it_belongs(path):
  place = path.relative_to(house.PACKAGE).as_posix()
  roots = {name.split('.')[0] for name in house.imports(path)}
  assert not roots & {'tensorflow', 'clu', 'pickle'}
  if not place.startswith('bench/baselines/torch_'):
    assert 'torch' not in roots
  if place.startswith('data/'):
    assert 'jax' not in roots
  if not place.startswith('studies/figures/'):
    assert 'matplotlib' not in roots
  if place == 'paper.py':
    assert not roots
  private = {n for n in house.imports(path) if n.startswith('jax._src')}
  if place == 'parallel/distributed.py':  # the state has no public name
    assert private == {'jax._src.distributed'}
  else:
    assert not private


def test_collectives_are_called_in_three_places_only():
  """Those of the model, of the gradients, and of the hosts' flags."""
  calls = (
    'psum',
    'all_gather',
    'pmean',
    'ppermute',
    'psum_scatter',
    'all_to_all',
  )
  users = {
    str(path.relative_to(house.PACKAGE))
    for path in FILES
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Attribute)
    and node.attr in calls
    and not (isinstance(node.value, ast.Name) and node.value.id == 'data')
  }
  assert users == {
    'ops/columns.py',
    'parallel/consensus.py',
    'parallel/mesh.py',
  }


def test_configs_import_only_the_paper_and_each_other():
  for path in (house.ROOT / 'configs').glob('*.py'):
    for name in house.imports(path):
      if name.startswith('alexnet_jax') and name != 'alexnet_jax.paper':
        assert name.startswith('alexnet_jax.configs.'), path


@pytest.mark.parametrize('page', house.PAGES)
def test_pages_show_the_map(page):
  text = (house.ROOT / page).read_text()
  assert text == house.with_map(text), 'renew it: python -m tests.house --write'
