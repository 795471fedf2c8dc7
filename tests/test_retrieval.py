"""Nearest neighbours equal those of a brute-force search in numpy."""

import doctest
import json
import shutil

import numpy as np
import pytest

from alexnet_jax.studies.retrieval import neighbours
from tests import nets, saved

RNG = np.random.default_rng(3)


def _vectors(*, rows, units=40, far=0.0):
  """Vectors like features: not negative, many zeros, `far` from 0."""
  drawn = RNG.standard_normal((rows, units)) + far
  return np.maximum(drawn, 0).astype(np.float32)


def _by_hand(queries, database, *, count):
  """Brute force in float64; equal distances in the order of rows."""
  difference = queries[:, None].astype(float) - database[None].astype(float)
  distances = np.sqrt((difference**2).sum(axis=2))
  order = np.argsort(distances, axis=1, kind='stable')[:, :count]
  return order, np.take_along_axis(distances, order, axis=1)


def _same(found, queries, database, *, count):
  indices, distances = _by_hand(queries, database, count=count)
  np.testing.assert_array_equal(found.indices, indices)
  np.testing.assert_allclose(found.distances, distances, rtol=1e-12)


@pytest.mark.parametrize('block_rows', [1, 7, 64, 500])
@pytest.mark.parametrize('far', [0.0, 3000.0])
def test_blocks_find_what_a_search_by_hand_finds(block_rows, far):
  # Far from the origin float32 products are wrong by more than the distances.
  queries, database = _vectors(rows=9, far=far), _vectors(rows=300, far=far)
  found = neighbours.nearest(queries, database, count=6, block_rows=block_rows)
  _same(found, queries, database, count=6)


def test_more_queries_than_are_compared_at_once(monkeypatch):
  monkeypatch.setattr(neighbours, '_QUERIES', 4)
  queries, database = _vectors(rows=10), _vectors(rows=50)
  found = neighbours.nearest(queries, database, count=3, block_rows=16)
  _same(found, queries, database, count=3)


def test_equal_distances_come_in_the_order_of_the_database():
  database = np.repeat(_vectors(rows=5), 20, axis=0)[RNG.permutation(100)]
  for block_rows in (3, 100):
    found = neighbours.nearest(
      database[:7], database, count=30, block_rows=block_rows
    )
    _same(found, database[:7], database, count=30)


def test_rows_that_hardly_differ_are_told_apart():
  mean = 100 * _vectors(rows=1, units=512)
  queries, database = (
    mean + 1e-2 * _vectors(rows=rows, units=512) for rows in (10, 3000)
  )
  found = neighbours.nearest(queries, database, count=6)
  _same(found, queries, database, count=6)


def test_float64_corrects_the_order_of_float32(monkeypatch):
  # 40 rows lie within float32 rounding of each other, far from all others.
  near = np.ones((40, 64), np.float32)
  near += 1e-6 * RNG.standard_normal((40, 64)).astype(np.float32)
  database = np.concatenate([near, _vectors(rows=200, units=64)])
  queries = _vectors(rows=9, units=64) / 2 + 0.5
  found = neighbours.nearest(queries, database, count=6)
  _same(found, queries, database, count=6)
  monkeypatch.setattr(neighbours, '_spare', lambda count, of: count)
  rounded = neighbours.nearest(queries, database, count=6)
  assert (rounded.indices != found.indices).any()  # the case is a hard one


def test_rows_all_the_same_are_found_in_order():
  database = np.repeat(_vectors(rows=1), 3000, axis=0)
  for queries in (database[:5], _vectors(rows=5)):
    found = neighbours.nearest(queries, database, count=6, block_rows=512)
    _same(found, queries, database, count=6)


@pytest.mark.parametrize('block_rows', [97, 2048])
def test_more_equal_rows_than_are_measured_come_in_order(block_rows):
  database = _vectors(rows=1000, units=512)
  equal = np.sort(RNG.choice(1000, 400, replace=False))
  database[equal] = database[equal[0]]
  queries = database[equal[:5]] + 0.01 * _vectors(rows=5, units=512)
  found = neighbours.nearest(queries, database, count=6, block_rows=block_rows)
  _same(found, queries, database, count=6)
  assert (found.indices == equal[None, :6]).all()


def test_bytes_are_searched_as_numbers():
  images = RNG.integers(0, 256, (60, 27), dtype=np.uint8)
  found = neighbours.nearest(images[:5], images, count=4, block_rows=11)
  _same(found, images[:5], images, count=4)
  assert (found.distances[:, 0] == 0).all()


def test_a_file_is_searched_in_blocks(tmp_path):
  database = _vectors(rows=90)
  np.save(tmp_path / 'database.npy', database)
  mapped = np.load(tmp_path / 'database.npy', mmap_mode='r')[:80]
  found = neighbours.nearest(database[:5], mapped, count=6, block_rows=32)
  _same(found, database[:5], database[:80], count=6)


@pytest.mark.parametrize('search', ['nearest', 'hamming'])
@pytest.mark.parametrize('count', [0, 6])
def test_more_neighbours_than_there_are_is_one_line(search, count):
  rows = np.zeros((5, 8), np.uint8)
  with pytest.raises(
    ValueError, match=r'database of 5: ask for 1 to 5'
  ) as error:
    getattr(neighbours, search)(rows, rows, count=count)
  assert '\n' not in str(error.value)


def test_vectors_of_other_lengths_or_without_a_value_are_refused():
  rows = _vectors(rows=5)
  with pytest.raises(ValueError, match='queries of 39 values'):
    neighbours.nearest(rows[:, 1:], rows, count=1)
  for odd in (np.nan, np.inf, 1e30):
    broken = rows.copy()
    broken[3, 3] = odd
    with pytest.raises(ValueError, match='not finite, or not below'):
      neighbours.nearest(rows, broken, count=1)
    with pytest.raises(ValueError, match='not finite, or not below'):
      neighbours.nearest(broken, rows, count=1)


def test_hamming_counts_bits():
  queries = RNG.integers(0, 256, (9, 4), dtype=np.uint8)
  database = RNG.integers(0, 256, (200, 4), dtype=np.uint8)
  bits = np.unpackbits(database, axis=1)
  for block_rows in (1, 33, 200):
    found = neighbours.hamming(
      queries, database, count=7, block_rows=block_rows
    )
    for query, row, distance in zip(queries, *found, strict=True):
      away = (np.unpackbits(query)[None] != bits).sum(axis=1)
      order = np.argsort(away, kind='stable')[:7]
      assert row.tolist() == order.tolist()
      assert distance.tolist() == away[order].tolist()


@pytest.mark.parametrize('size', [1, 8, 9, 32])
def test_codes_of_any_length_and_all_that_tie(monkeypatch, size):
  monkeypatch.setattr(neighbours, '_QUERIES', 4)
  queries = RNG.integers(0, 256, (6, size), dtype=np.uint8)
  database = RNG.integers(0, 256, (70, size), dtype=np.uint8)[
    RNG.integers(0, 70, 500)
  ]
  away = np.bitwise_count(queries[:, None] ^ database[None]).sum(
    axis=2, dtype=int
  )
  order = np.argsort(away, axis=1, kind='stable')[:, :40]
  for block_rows in (30, 500):
    found = neighbours.hamming(
      queries, database, count=40, block_rows=block_rows
    )
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_array_equal(
      found.distances, np.take_along_axis(away, order, axis=1)
    )


def test_codes_longer_than_small_integers_count():
  ones, zeros = (np.full((1, 9000), x, np.uint8) for x in (255, 0))
  found = neighbours.hamming(ones, zeros, count=1)
  assert found.distances.tolist() == [[72_000]]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A workdir with a checkpoint of one device."""
  workdir = tmp_path_factory.mktemp('run')
  config = nets.config(short=True)
  config.data.embedded_train_images, config.eval.batch_size = 40, 20
  saved.checkpoint(workdir, config)
  return workdir


def _retrieve(command, workdir, *args):
  return command('alexnet_jax.tools.retrieve', f'--restore={workdir}', *args)


def test_the_tool_prints_tables_and_writes_what_it_found(command, run):
  done = _retrieve(command, run, '--queries=20', '--most_images=30', '--bits=8')
  assert done.returncode == 0, done.stderr
  assert '20 queries of val among 30 of 40 training images' in done.stdout
  written = json.loads((run / 'retrieval.json').read_text())
  assert written['step'] == 7 and written['of_images'] == 40
  assert set(written['precision']) == {'fc7', 'pixels', 'chance'}
  assert [code['bits'] for code in written['codes']] == [8]
  for name, value in written['precision'].items():
    assert f'{value:.4f}' in done.stdout, name
  assert len(written['queries']) == 8
  for query in written['queries']:
    assert query['name'] == f'embedded-val-{query["index"]:06d}'
    assert query['label'] == query['index'] % 10
    for space in ('fc7', 'pixels'):
      distances = [image['distance'] for image in query[space]]
      assert len(distances) == 6 and distances == sorted(distances)
      for image in query[space]:
        assert image['name'] == f'embedded-train-{image["index"]:06d}'


def test_an_old_command_line_learns_that_search_is_exact(command, run):
  done = _retrieve(command, run, '--index=faiss')
  assert done.returncode == 2 and done.stderr.count('\n') == 1
  assert '--index=faiss: exact search is all there is' in done.stderr


@pytest.mark.parametrize(
  ('args', 'said'),
  [
    (['--bits=12'], 'codes of 12 bits: use a multiple of 8'),
    (['--bits=many'], '--bits=many: use whole numbers'),
    (['--most_images=3'], 'most_images = 3, but 6 neighbours are looked for'),
    (['--restore=A,B'], '--restore=A,B: give one WORKDIR or checkpoint'),
  ],
)
def test_flags_that_cannot_work_are_one_line(command, run, args, said):
  done = _retrieve(command, run, '--queries=4', *args)
  assert done.returncode == 1
  assert said in done.stderr and done.stderr.count('\n') == 1


def test_a_step_outside_of_a_run_needs_an_output(command, run, tmp_path):
  step = tmp_path / 'deep' / '7'
  shutil.copytree(run / 'checkpoints' / '7', step)
  few = ('--queries=4', '--most_images=6', '--bits=8')
  done = _retrieve(command, step, *few)
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert 'does not lie in the checkpoints of a run' in done.stderr
  assert [path.name for path in tmp_path.iterdir()] == ['deep']
  done = _retrieve(command, step, f'--output={tmp_path / "out"}', *few)
  assert done.returncode == 0, done.stderr
  assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
    'features',
    'retrieval.json',
  ]
  assert [path.name for path in step.parent.iterdir()] == ['7']


_ONE_GPU = """
import jax
from alexnet_jax import cli
from alexnet_jax.tools import retrieve

jax.default_backend = lambda: 'gpu'
retrieve.mesh.make_cpu_devices = lambda number: None
cli.run(retrieve.main)
"""


def test_one_gpu_is_enough_for_a_run_of_eight(command, tmp_path):
  config = nets.config(data=2, column=2, short=True)
  config.data.embedded_train_images, config.eval.batch_size = 12, 12
  saved.checkpoint(tmp_path / 'run', config)
  (tmp_path / 'one_gpu.py').write_text(_ONE_GPU)
  done = command(
    'one_gpu',
    f'--restore={tmp_path / "run"}',
    '--queries=4',
    '--bits=8',
    cwd=tmp_path,
  )
  assert done.returncode == 0, done.stderr
  assert '4 queries of val among 12 of 12 training images' in done.stdout


def test_examples():
  assert doctest.testmod(neighbours).failed == 0
