"""Bytes of the compiled step, against Figure 2 by hand; reading HLO."""

import json

import pytest

from alexnet_jax.parallel import hlo
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.studies import communication
from alexnet_jax.tools import audit as audit_tool
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


def _moved(*, data, column, parts=1):
  """(layer, direction, kind, bytes) by axis, of the training step."""
  run = nets.trained(data=data, column=column, parts=parts)
  mesh = mesh_lib.create(data=data, column=column)
  batch = mesh_lib.put_batch(nets.batch(), mesh=mesh)
  step = run.programs.train.lower(run.programs.state, run.mean, batch)
  out = {'data': [], 'column': [], 'data,column': []}
  for c in hlo.collectives(step.compile().as_text(), mesh=mesh):
    out[c.axis].append((c.layer, c.direction, c.kind, c.bytes))
  return out


def test_two_columns_meet_where_figure_2_says_and_nowhere_else():
  moved = _moved(data=1, column=2)
  assert moved['column'] == FORWARD + BACKWARD
  assert not moved['data'] and not moved['data,column']


def test_the_data_axis_adds_one_sum_of_gradients():
  moved = _moved(data=2, column=2)
  assert moved['column'] == FORWARD + BACKWARD
  # fc8's biases lie on both columns, every other parameter on one; with the
  # gradients go the loss and two error rates. A sum of two: each sends its own.
  parameters = 47_354
  values = (parameters - 10) // 2 + 10 + 3
  assert moved['data'] == [('', 'backward', 'all-reduce', 4 * values * 4)]


def test_parts_of_a_minibatch_move_what_the_whole_would():
  moved = _moved(data=1, column=2, parts=4)
  assert moved == {'column': FORWARD + BACKWARD, 'data': [], 'data,column': []}


def test_one_device_moves_nothing():
  assert not any(_moved(data=1, column=1).values())


@pytest.fixture(scope='module')
def mesh():
  return mesh_lib.create(data=2, column=2)


def _read(text, mesh):
  return [(c.kind, c.axis, c.bytes) for c in hlo.collectives(text, mesh=mesh)]


LOOP = """
%sums (a: f32[6]) -> f32[6] {
  %r = f32[6]{0} all-reduce(%a), replica_groups={{0,2},{1,3}}, to_apply=%add
}
%round (a: f32[6]) -> f32[6] {
  ROOT %c = f32[6]{0} call(%a), to_apply=%sums
}
ENTRY %main (a: f32[6]) -> f32[6] {
  ROOT %w = f32[6]{0} while(%a), condition=%go, body=%round, backend_config={KNOWN}
}
"""  # noqa: E501


def test_a_loop_moves_every_time_round(mesh):
  three = LOOP.replace('KNOWN', '"known_trip_count":{"n":"3"}')
  assert _read(three, mesh) == [('all-reduce', 'data', 3 * 6 * 4 * 4)]
  with pytest.raises(ValueError, match='in round, a loop of unknown length'):
    _read(LOOP.replace('KNOWN', ''), mesh)
  with pytest.raises(ValueError, match='in round, which nothing calls'):
    _read(three.replace('body=%round', ''), mesh)


BRANCHES = """
%turned (a: f32[6]) -> f32[6] {
  ROOT %r = f32[6]{0} all-reduce(%a), replica_groups={{0,2},{1,3}}, to_apply=%add
}
%round (a: f32[6]) -> f32[6] {
  ROOT %c = f32[6]{0} conditional(%p, %a, %a), branch_computations={%turned, %as_it_is}
}
%outer (a: f32[6]) -> f32[6] {
  %once = f32[6]{0} call(%a), to_apply=%turned
  ROOT %w = f32[6]{0} while(%a), body=%round, backend_config={"known_trip_count":{"n":"3"}}
}
ENTRY %main (a: f32[6]) -> f32[6] {
  ROOT %w = f32[6]{0} while(%a), body=%outer, backend_config={"known_trip_count":{"n":"2"}}
}
"""  # noqa: E501


def test_branches_in_loops_in_loops_and_second_callers_count(mesh):
  assert _read(BRANCHES, mesh) == [('all-reduce', 'data', 2 * (3 + 1) * 96)]


def test_start_and_done_are_one(mesh):
  text = """
  %s = (f32[4,8]{1,0}, f32[4,16]{1,0}) all-gather-start(%x), channel_id=1, replica_groups={{0,1},{2,3}}, dimensions={1}
  %d = f32[4,16]{1,0} all-gather-done(%s)
  """  # noqa: E501
  assert _read(text, mesh) == [('all-gather', 'column', 4 * 16 * 4 // 2 * 4)]


def test_a_tuple_counts_every_array(mesh):
  text = '%r = (f32[6]{0}, bf16[2,5]{1,0}) all-reduce(%a, %b), replica_groups={{0,2},{1,3}}'  # noqa: E501
  assert _read(text, mesh) == [('all-reduce', 'data', (24 + 20) * 4)]


def test_a_start_may_name_its_operands_before_its_results(mesh):
  """As jax 0.12 writes all of them; 0.10.2 an all-reduce without them."""
  groups = 'replica_groups={{0,2},{1,3}}'
  for types in ('f32[6]{0}', '(f32[6]{0}, f32[6]{0})'):
    text = f'%r = {types} all-reduce-start(%a), {groups}'
    assert _read(text, mesh) == [('all-reduce', 'data', 24 * 4)]


def test_short_groups_are_read_like_long_ones(mesh):
  rows = '%r = f32[6]{0} all-reduce(%a), replica_groups=[2,2]<=[4]'
  across = '%r = f32[6]{0} all-reduce(%a), replica_groups=[2,2]<=[2,2]T(1,0)'
  both = '%r = f32[6]{0} all-reduce(%a), replica_groups=[1,4]<=[4]'
  assert [_read(t, mesh)[0][1] for t in (rows, across, both)] == [
    'column',
    'data',
    'data,column',
  ]


@pytest.mark.parametrize(
  ('axes', 'axis'),
  [
    ("'column'", 'column'),
    ("'data'", 'data'),
    ("'data','column'", 'data,column'),
  ],
)
def test_groups_by_the_names_of_axes(mesh, axes, axis):
  text = (
    "= f32[6]{0} all-reduce(a), replica_groups=mesh['data'=2,'column'=2] "
    f'{{{axes}}}, to_apply=b'
  )
  assert [found[1] for found in _read(text, mesh)] == [axis]
  alone = text.replace("'data'=2,'column'=2", "'data'=4,'column'=1")
  one = _read(alone, mesh_lib.create(data=4, column=1))
  assert bool(one) == (axis != 'column')


def test_groups_in_a_form_that_is_not_known_are_an_error(mesh):
  text = '= f32[6]{0} all-reduce(a), replica_groups=new<0,1>'
  with pytest.raises(ValueError, match='unknown form of replica_groups'):
    hlo.collectives(text, mesh=mesh)


def test_groups_of_one_move_nothing(mesh):
  text = '%r = f32[6]{0} all-reduce(%a), replica_groups={{0},{1},{2},{3}}'
  assert _read(text, mesh) == []


def test_what_follows_a_layer_belongs_to_it(mesh):
  text = (
    '= f32[6]{0} all-gather(a), replica_groups={{0,1},{2,3}}, '
    'metadata={op_name="jit(f)/shard_map/%s"}'
  )
  for path, layer, direction in (
    ('conv1_lrn/all_gather', 'conv1', 'forward'),
    ('transpose(conv5_pool)/all_gather', 'conv5', 'backward'),
    ('fc6/all_gather', 'fc6', 'forward'),
    ('psum', '', 'backward'),
  ):
    (found,) = hlo.collectives(text % path, mesh=mesh)
    assert (found.layer, found.direction) == (layer, direction)


def test_groups_across_the_mesh_are_an_error(mesh):
  text = '%r = f32[6]{0} all-reduce(%a), replica_groups={{0,3},{1,2}}'
  with pytest.raises(ValueError, match='no axis of the mesh'):
    hlo.collectives(text, mesh=mesh)


AUDIT = 'alexnet_jax.tools.audit'
# Full width, bytes an image of both columns: each sends its half of the maps
# before conv3 (13 x 13 x 256), fc6 (6 x 6 x 256) and fc7 (4096) to the other,
# and its 1000 scores, as float32. Gradients of the gathers return.
FULL = {
  'conv3': 13 * 13 * 256 * 4,
  'fc6': 6 * 6 * 256 * 4,
  'fc7': 4096 * 4,
  'fc8': 2 * 1000 * 4,
}


def test_command_finds_figure_2_in_the_full_network(command):
  done = command(AUDIT, '--config=configs/default.py', '--json')
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  gathers = [(n, 'forward', 'all-gather') for n in ('conv3', 'fc6', 'fc7')]
  forward = [*gathers, ('fc8', 'forward', 'all-reduce')]
  backward = [(n, 'backward', 'reduce-scatter') for n, *_ in gathers]

  def rows(keys):
    return [
      {
        'layer': layer,
        'direction': direction,
        'kind': kind,
        'axis': 'column',
        'count': 1,
        'bytes_per_image': FULL[layer],
      }
      for layer, direction, kind in keys
    ]

  def plain(movements):
    left_out = ('shapes', 'asynchronous')
    return [{k: m[k] for k in m if k not in left_out} for m in movements]

  assert plain(found['train']) == rows(forward + backward)
  assert plain(found['eval']) == rows(forward)
  assert plain(found['expected']['train']) == rows(forward + backward)
  assert plain(found['expected']['eval']) == rows(forward)
  assert found['ok'] is True


def test_command_prints_a_table_with_totals_for_any_mesh(command):
  done = command(AUDIT, '--config=configs/smoke.py', '--config.mesh.data=2')
  assert done.returncode == 0, done.stderr
  assert 'conv3     forward   all-gather' in done.stdout
  assert 'gradients backward  all-reduce      data' in done.stdout
  assert done.stdout.endswith('\nnothing else moves\n')
  assert done.stdout.count('floating-point operations') == 2


def test_ablations_have_expectations_of_their_own(command):
  done = command(
    AUDIT, '--config=configs/smoke.py', '--ablation=no_exchange', '--json'
  )
  assert done.returncode == 0, done.stderr
  assert [m['layer'] for m in json.loads(done.stdout)['train']] == ['fc8']


def test_unexpected_movements_are_named_and_exit_with_1(capsys):
  call = communication.Movement(
    'conv3', 'forward', 'all-gather', 'column', 1, 8
  )
  extra = call._replace(layer='conv4')
  twice = call._replace(count=2)
  report = communication.Report(
    train=[call, extra],
    eval=[call._replace(bytes_per_image=16)],
    expected_train=[call],
    expected_eval=[call],
  )
  assert report.problems == [
    'train: conv4 forward all-gather column moves 8 bytes an image in 1; '
    'expected 0 in 0',
    'eval: conv3 forward all-gather column moves 16 bytes an image in 1; '
    'expected 8 in 1',
  ]
  assert audit_tool.print_problems(report) == 1
  assert capsys.readouterr().err.startswith('error: train: conv4 forward')
  split = communication.Report([twice], [], [call], [])
  assert 'in 2; expected 8 in 1' in split.problems[0]
  assert audit_tool.print_problems(communication.Report([], [], [], [])) == 0


def test_missing_movements_are_named():
  call = communication.Movement('', 'backward', 'all-reduce', 'data', 1, 8.0)
  report = communication.Report([], [], [call], [])
  assert report.problems == [
    'train: backward all-reduce data moves 0 bytes an image in 0; '
    'expected 8 in 1'
  ]
