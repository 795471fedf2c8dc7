"""Scaling: times worked by hand, bytes of compiled programs, docs/scaling.md.

  python -m tests.test_plan

regenerates the tables of docs/scaling.md.
"""

import json
import pathlib
import re

import pytest

from alexnet_jax.bench import rows as bench_rows
from alexnet_jax.configs import imagenet
from alexnet_jax.parallel import hlo
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.studies import communication
from alexnet_jax.studies.scaling import links, model
from tests import commands, nets

TOOL = 'alexnet_jax.tools.plan'
PAGE = commands.ROOT / 'docs' / 'scaling.md'
PARAMETERS = 60_965_224
HDR = model.Cluster(links.LINKS['infiniband-hdr'])  # 25 GB/s, 14 us


def _cost(*, data, column, images=128, cluster=HDR):
  return model.step_cost(
    imagenet.get_config(),
    mesh=model.Mesh(data, column),
    images=images,
    seconds_per_image=1e-4,
    cluster=cluster,
  )


def test_a_sum_over_eight_devices_by_hand():
  """2 (g - 1) / g of every gradient, of the loss and of two error rates."""
  row = _cost(data=8, column=1)
  assert row.gradient_bytes == 2 * 7 * 4 * (PARAMETERS + 3) // 8 == 426_756_589
  assert row.gradients.transfer == pytest.approx(0.01707026)  # at 25 GB/s
  assert row.gradients.latency == pytest.approx(14 * 14e-6)
  assert (row.column_bytes, row.columns) == (0, (0, 0))


def test_two_columns_by_hand():
  """A device sends half of what docs/scaling.md's table has, there and back.

  Three gathers, their transposes, and a sum of two passes: eight hops.
  """
  maps = 173_056 + 36_864 + 16_384
  row = _cost(data=1, column=2)
  assert row.column_bytes == 128 * (2 * maps + 8_000) // 2 == 29_478_912
  assert row.columns.transfer == pytest.approx(29_478_912 / 25e9)
  assert row.columns.latency == pytest.approx(8 * 14e-6)
  assert (row.gradient_bytes, row.gradients) == (0, (0, 0))


def test_a_column_sums_half_of_the_gradients():
  """All but fc8's 1000 biases, which every device holds."""
  values = (PARAMETERS - 1000) // 2 + 1000 + 3
  row = _cost(data=4, column=2)
  assert row.gradient_bytes == 2 * 3 * 4 * values // 4
  assert row.gradients.latency == pytest.approx(6 * 14e-6)


def test_times_with_and_without_overlap():
  row = _cost(data=4, column=2)._replace(
    compute=3.0,
    columns=model.Seconds(transfer=1.0, latency=0.25),
    gradients=model.Seconds(transfer=1.5, latency=0.5),
  )
  assert (row.slowest, row.fastest) == (6.25, 3.0)
  assert row._replace(compute=2.0).fastest == 2.5


def test_compute_is_shared_by_all_devices():
  assert _cost(data=4, column=2).compute == pytest.approx(128 * 1e-4 / 8)


def test_hosts_share_out_a_sum_between_them():
  """1,600 bytes on 16 devices in two hosts of eight, in seconds by hand."""
  mesh = model.Mesh(16, 1)
  sent = 2 * 15 * 1600 // 16
  whole = communication.Movement(
    '', 'backward', 'all-reduce', 'data', 1, 16 * sent
  )
  slow, fast = (links.Link(*ends, '') for ends in ((100.0, 10), (1000.0, 1)))

  def took(cluster):
    return model.collective_time([whole], mesh=mesh, images=1, cluster=cluster)

  assert took(model.Cluster(slow)) == (sent / 100, 2 * 15 * 10) == (30, 300)
  # In a host 2 * 7/8 * 1600 bytes, then 2 * 1/2 of an eighth between the two.
  both = took(model.Cluster(slow, host_link=fast, devices_per_host=8))
  assert both == pytest.approx((2.8 + 2.0, 2 * 7 * 1 + 2 * 1 * 10))


def test_columns_stay_in_a_host():
  mesh = model.Mesh(2, 2)
  gather = communication.Movement(
    'conv3', 'forward', 'all-gather', 'column', 1, 4 * 500
  )
  gradients = communication.Movement(
    '', 'backward', 'all-reduce', 'data', 1, 4 * 500
  )
  cluster = model.Cluster(
    links.Link(100, 10, ''), links.Link(1000, 1, ''), devices_per_host=2
  )

  def took(one):
    return model.collective_time([one], mesh=mesh, images=1, cluster=cluster)

  assert took(gather) == (0.5, 1)
  assert took(gradients) == (5, 20)


@pytest.mark.parametrize(
  ('devices', 'images'),
  [(2, 243_860_908 / 460_608), (8, 243_857_899 / 460_608)],
)
def test_columns_pay_up_to_529_images_a_device_by_hand(devices, images):
  """Half of the gradients, over what two images move: any bandwidth cancels."""
  clusters = [
    model.Cluster(links.Link(bandwidth, 0, '')) for bandwidth in (1e9, 3e11)
  ]
  found = model.crossover(
    imagenet.get_config(), devices=devices, clusters=clusters
  )
  assert found == pytest.approx([images, images])
  assert round(images) == 529


def test_at_the_crossover_both_meshes_take_as_long():
  config = imagenet.get_config()
  (images,) = model.crossover(config, devices=64, clusters=[HDR])

  def gap(each):
    split = _cost(data=32, column=2, images=64 * each)
    return split.slowest - _cost(data=64, column=1, images=64 * each).slowest

  assert gap(int(images)) < 0 < gap(int(images) + 1)


def test_split_that_never_pays():
  """Eight hops of a split cost more than two of a whole, if a hop is slow."""
  cluster = model.Cluster(links.Link(1e15, 1.0, ''))
  config = imagenet.get_config()
  assert model.crossover(config, devices=2, clusters=[cluster]) == [0]


def test_assumed_compute_by_hand():
  """Three times two operations a multiply-add, but for conv1's inputs."""
  config = imagenet.get_config()
  operations = 6 * 724_406_816 - 2 * 105_415_200
  found = model.assumed_seconds(config)
  assert found == pytest.approx(operations / (0.3 * 494.7e12))
  config.dtype = 'bfloat16'
  assert model.assumed_seconds(config) == pytest.approx(found / 2)


@pytest.mark.parametrize(('data', 'column'), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_bytes_are_those_of_compiled_programs(data, column):
  short = (data, column) != (2, 2)  # one mesh with all layers is enough
  run = nets.trained(data=data, column=column, short=short)
  mesh = mesh_lib.create(data=data, column=column)
  batch = mesh_lib.put_batch(nets.batch(), mesh=mesh)
  step = run.programs.train.lower(run.programs.state, run.mean, batch)
  moved = {'data': 0, 'column': 0}
  for c in hlo.collectives(step.compile().as_text(), mesh=mesh):
    moved[c.axis] += c.bytes
  row = model.step_cost(
    nets.config(short=short),
    mesh=model.Mesh(data, column),
    images=nets.BATCH,
    seconds_per_image=1.0,
    cluster=HDR,
  )
  devices = data * column
  assert row.column_bytes * devices == moved['column']
  assert row.gradient_bytes * devices == moved['data']
  assert bool(moved['column']) == (column > 1)
  assert bool(moved['data']) == (data > 1)


def test_images_that_do_not_divide_over_the_data_axis_are_refused():
  with pytest.raises(ValueError, match='over a data axis of 1,024'):
    _cost(data=1024, column=1)


def test_a_custom_link():
  assert links.parse('4.5:30') == (4.5e9, pytest.approx(30e-6), 'given')


def test_the_host_rate_is_that_of_the_fastest_step():
  def row(data, seconds):
    return _cost(data=data, column=1)._replace(compute=seconds)

  rows = [row(1, 0.5), row(64, 0.125)]  # 256 and, on eight hosts, 128 images/s
  assert model.host_rate(rows, devices_per_host=8) == 256


def test_input_rates_are_compared_with_what_a_host_needs():
  measured = [
    {'what': what, 'images_per_second': rate, 'cpu_us_per_image': cpu}
    for what, rate, cpu in (
      ('prepare, raw', 500.0, 4000.0),
      ('train, raw', 16_000.0, 100.0),
      ('train, JPEG', 7_500.0, 250.0),
    )
  ]
  assert model.input_rates(measured, images_per_second=8_001.0) == [
    ('train, raw', 16_000, 1, True),
    ('train, JPEG', 7_500, 3, False),
  ]


BAD = [
  ('link=nvlink', "'nvlink' is no link", 'use nvlink4, nvlink3'),
  ('host_link=0:1', "'0:1' is no link", 'GB/S:MICROSECONDS'),
  ('devices=2,3', '3 devices: the network has 2', 'a multiple of 2'),
  ('devices=0', '0 devices', 'use 1 to 1,024'),
  ('devices=2048', '2048 devices', 'use 1 to 1,024'),
  ('devices=two', '--devices=two', 'use whole numbers'),
  ('devices=512', 'a data axis of 512', 'use fewer --devices'),
  ('step_seconds=0', '--step_seconds=0', 'use a number from'),
  ('images_per_second=nan', '--images_per_second=nan', 'use a number from'),
  ('tables=bytes', '--tables=bytes', 'use steps, columns, input'),
]


@pytest.mark.parametrize(('flag', 'wrong', 'use'), BAD)
def test_mistakes_cost_one_line(command, flag, wrong, use):
  done = command(TOOL, '--config=configs/smoke.py', f'--{flag}')
  assert (done.returncode, done.stdout) == (1, '')
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert wrong in done.stderr and use in done.stderr


def test_flags_that_contradict_each_other_cost_one_line(command):
  for flags, said in (
    (('--step_seconds=1', '--images_per_second=1'), 'use one of the two'),
    (('--host_link=pcie5', '--devices=12'), '12 devices do not fill hosts'),
    (
      ('--host_link=pcie5', '--devices_per_host=3', '--devices=2'),
      'split a group',
    ),
  ):
    each = '--images_per_device=2'
    done = command(TOOL, '--config=configs/smoke.py', each, *flags)
    assert done.returncode == 1 and said in done.stderr, flags
    assert done.stderr.count('\n') == 1


def test_json_has_what_the_tables_have(command):
  done = command(
    TOOL, '--config=configs/imagenet.py', '--devices=2,1024',
    '--link=infiniband-hdr', '--step_seconds=0.0128', '--json',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  whole, split = found['rows']
  assert whole['gradient_bytes'] == 4 * (PARAMETERS + 3)
  assert (split['mesh'], split['images']) == ({'data': 1, 'column': 2}, 128)
  assert split['column_bytes'] == 29_478_912
  assert split['compute'] == pytest.approx(0.0064)
  took = 0.0064 + 29_478_912 / 25e9 + 8 * 14e-6
  assert split['slowest'] == pytest.approx(took)
  assert found['left_out'] == [
    f'128 images do not divide over a data axis of {size}'
    for size in ('1,024', '512')
  ]
  assert found['compute']['source'].endswith('on one device, given')
  assert found['crossovers']['infiniband-hdr']['2'] == pytest.approx(525, abs=1)
  rates = {f['what']: f['measured'] for f in found['feeds']}
  for row in bench_rows.last_run('input'):
    if row['what'].startswith('train, '):
      assert rates.pop(row['what']) == row['images_per_second']
  assert not rates


def test_a_net_of_one_column_has_nothing_to_split(command):
  done = command(
    TOOL, '--config=configs/smoke.py', '--config.model.columns=1',
    '--config.mesh.column=1', '--devices=3', '--images_per_device=2',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert '| 3 | 3 x 1 | 6 | 0.0 |' in done.stdout
  assert 'columns pay' not in done.stdout


def test_bfloat16_on_a_cpu_is_noted(command):
  done = command(
    TOOL, '--config=configs/smoke.py', '--config.dtype=bfloat16',
    '--config.mesh.column=1', '--devices=1', '--tables=steps',
  )  # fmt: skip
  assert 'a GPU sends bfloat16.\n' in done.stdout
  assert 'of the 989.4 TFLOP/s' in done.stdout


_BLOCK = re.compile(r'(<!-- plan (.*?) -->\n).*?(<!-- end of plan -->)', re.S)


def _rewritten(text, run):
  """The page with what the tool prints now between each pair of marks."""

  def block(match):
    done = run(TOOL, *match[2].split())
    assert done.returncode == 0, done.stderr
    return f'{match[1]}{done.stdout}{match[3]}'

  return _BLOCK.sub(block, text)


def test_docs_have_what_the_tool_prints(command):
  """If not: python -m tests.test_plan."""
  text = PAGE.read_text()
  assert len(_BLOCK.findall(text)) == text.count('<!-- plan ') >= 4
  assert _rewritten(text, command) == text


def test_docs_have_every_link_and_its_source():
  text = PAGE.read_text()
  for name, link in links.LINKS.items():
    cells = f'{link.bandwidth / 1e9:,.5g} | {link.latency * 1e6:g}'
    assert f'| {name} | {cells} |' in text, name
    assert link.source in text
  assert links.LATENCY_SOURCE in text and model.PEAK_SOURCE in text


if __name__ == '__main__':
  with commands.Server() as server:
    pathlib.Path(PAGE).write_text(_rewritten(PAGE.read_text(), server.run))
