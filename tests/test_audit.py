"""What the compiled step moves, against Figure 2 by hand; reading HLO."""

import pytest

from alexnet_jax.parallel import audit, placement
from alexnet_jax.parallel import mesh as mesh_lib
from tests import nets

B = nets.BATCH
# The smoke net before conv3: 3 x 3 x 32 maps, half on each column, which sends
# it to the other as float32. fc6 sees 1 x 1 x 32, fc7 64 units; fc8 sums 10
# scores, each column sending its own 10. Bytes of both columns for an image.
MAPS = {'conv3': 2 * 3 * 3 * 16 * 4, 'fc6': 2 * 16 * 4, 'fc7': 2 * 32 * 4}
FORWARD = [(name, 'forward', 'all-gather', MAPS[name] * B) for name in MAPS]
FORWARD.append(('fc8', 'forward', 'all-reduce', 2 * 10 * 4 * B))
BACKWARD = [
  (name, 'backward', 'reduce-scatter', MAPS[name] * B)
  for name in reversed(MAPS)
]


def _moved(*, data, column):
  """(layer, direction, kind, bytes) by axis, of the training step."""
  run = nets.trained(data=data, column=column)
  mesh = mesh_lib.create(data=data, column=column)
  batch = placement.put_batch(nets.batch(), mesh=mesh)
  step = run.programs.train.lower(run.programs.state, run.mean, batch)
  out = {'data': [], 'column': [], 'data,column': []}
  for c in audit.collectives(step.compile().as_text(), mesh=mesh):
    out[c.axis].append((c.layer, c.direction, c.kind, c.bytes))
  return out


def test_two_columns_meet_where_figure_2_says_and_nowhere_else():
  moved = _moved(data=1, column=2)
  assert moved['column'] == FORWARD + BACKWARD
  assert not moved['data'] and not moved['data,column']


def test_rows_of_devices_add_one_sum_of_gradients():
  moved = _moved(data=2, column=2)
  assert moved['column'] == FORWARD + BACKWARD
  # fc8's biases lie on both columns, every other parameter on one; with the
  # gradients go the loss and two error rates. A sum of two: each sends its own.
  parameters = 47_354
  values = (parameters - 10) // 2 + 10 + 3
  assert moved['data'] == [('', 'backward', 'all-reduce', 4 * values * 4)]


def test_one_device_moves_nothing():
  assert not any(_moved(data=1, column=1).values())


@pytest.fixture(scope='module')
def mesh():
  return mesh_lib.create(data=2, column=2)


def _read(text, mesh):
  return [(c.kind, c.axis, c.bytes) for c in audit.collectives(text, mesh=mesh)]


def test_start_and_done_are_one(mesh):
  text = """
  %s = (f32[4,8]{1,0}, f32[4,16]{1,0}) all-gather-start(%x), channel_id=1, replica_groups={{0,1},{2,3}}, dimensions={1}
  %d = f32[4,16]{1,0} all-gather-done(%s)
  """  # noqa: E501
  assert _read(text, mesh) == [('all-gather', 'column', 4 * 16 * 4 // 2 * 4)]


def test_a_tuple_counts_every_array(mesh):
  text = '%r = (f32[6]{0}, bf16[2,5]{1,0}) all-reduce(%a, %b), replica_groups={{0,2},{1,3}}'  # noqa: E501
  assert _read(text, mesh) == [('all-reduce', 'data', (24 + 20) * 4)]


def test_short_groups_are_read_like_long_ones(mesh):
  rows = '%r = f32[6]{0} all-reduce(%a), replica_groups=[2,2]<=[4]'
  across = '%r = f32[6]{0} all-reduce(%a), replica_groups=[2,2]<=[2,2]T(1,0)'
  both = '%r = f32[6]{0} all-reduce(%a), replica_groups=[1,4]<=[4]'
  assert [_read(t, mesh)[0][1] for t in (rows, across, both)] == [
    'column',
    'data',
    'data,column',
  ]


def test_groups_of_one_move_nothing(mesh):
  text = '%r = f32[6]{0} all-reduce(%a), replica_groups={{0},{1},{2},{3}}'
  assert _read(text, mesh) == []


def test_groups_across_the_mesh_are_an_error(mesh):
  text = '%r = f32[6]{0} all-reduce(%a), replica_groups={{0,3},{1,2}}'
  with pytest.raises(ValueError, match='no axis of the mesh'):
    audit.collectives(text, mesh=mesh)
