"""What a config's training step should cost on 1 to 1,024 devices, on paper.

  python -m alexnet_jax.tools.plan --config=configs/imagenet.py \\
    --devices=1,2,8,64,1024 --link=infiniband-ndr --host_link=nvlink4

Bytes are those that tools.audit finds in the compiled step; times are a model
(alexnet_jax/studies/scaling.py), and docs/scaling.md says how far to trust them. Needs
neither data nor devices. Give what was measured on one device as --step_seconds
or --images_per_second; else a share of a GPU's peak is assumed.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from absl import flags

from alexnet_jax import cli
from alexnet_jax.bench import rows, tables
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.config import validate
from alexnet_jax.studies import links, scaling

flags_lib.define()
_DEVICES = flags.DEFINE_list(
  'devices', '1,2,8,64,1024', 'How many, a row each.'
)
_LINK = flags.DEFINE_string(
  'link',
  'infiniband-ndr',
  f'Between any two devices: {", ".join(links.LINKS)}, or GB/S:MICROSECONDS.',
)
_HOST_LINK = flags.DEFINE_string(
  'host_link', '', 'Between the devices of one host, if it is another.'
)
_DEVICES_PER_HOST = flags.DEFINE_integer(
  'devices_per_host', 8, 'As many as a host has.', lower_bound=1
)
_IMAGES_PER_DEVICE = flags.DEFINE_integer(
  'images_per_device',
  None,
  'Images that a step has for each device; default: all of them share out '
  'config.batch_size.',
  lower_bound=1,
  upper_bound=2**16,
)
_STEP_SECONDS = flags.DEFINE_float(
  'step_seconds', None, 'Measured: of config.batch_size images on one device.'
)
_IMAGES_PER_SECOND = flags.DEFINE_float(
  'images_per_second', None, 'Measured: of training on one device.'
)
_TABLES = flags.DEFINE_list(
  'tables',
  'steps,columns,input',
  'Which to print: times of steps, up to where splitting columns pays, images '
  'to read.',
)
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead.')


class Compute(NamedTuple):
  """Seconds of an image on one device, and where they are from."""

  seconds_per_image: float
  source: str


class Plan(NamedTuple):
  """All that is printed.

  Attributes:
    compute: of an image.
    links: of --link and --host_link.
    rows: a step on each mesh that can take its images.
    left_out: why the other meshes cannot.
    crossovers: images a device by link and number of devices; if asked for.
    host_images_per_second: what a host takes at most, of all rows.
    feeds: kinds of records beside it.
  """

  compute: Compute
  links: str
  rows: list[scaling.Row]
  left_out: list[str]
  crossovers: dict[str, dict[int, float]]
  host_images_per_second: float
  feeds: list[scaling.Feed]


def main() -> None:
  """Prints the plan."""
  config = flags_lib.value()
  found = _plan(config)
  if _JSON.value:
    print(json.dumps(_as_json(found), indent=2))
  else:
    print('\n'.join(_as_text(found)).strip())


def _plan(config: validate.Config) -> Plan:
  _check_tables()
  devices = [_whole(number) for number in _DEVICES.value]
  compute = _compute(config)
  cluster, name = _cluster()
  found, left_out = _rows(
    config, devices=devices, compute=compute, cluster=cluster
  )
  if not found:
    raise ValueError(f'{"; ".join(left_out)}: use fewer --devices')
  host = scaling.host_rate(found, devices_per_host=_DEVICES_PER_HOST.value)
  return Plan(
    compute=compute,
    links=name + _width_note(config),
    rows=found,
    left_out=left_out,
    crossovers=_crossovers(config, devices=devices, own={name: cluster})
    if 'columns' in _TABLES.value
    else {},
    host_images_per_second=host,
    feeds=scaling.feed(_measured_input(), images_per_second=host),
  )


def _check_tables() -> None:
  unknown = [name for name in _TABLES.value if name not in _PARTS]
  if unknown:
    raise ValueError(f'--tables={unknown[0]}: use {", ".join(_PARTS)}')


def _whole(number: str) -> int:
  if not number.isdecimal():
    raise ValueError(f'--devices={number}: use whole numbers, such as 1,2,8')
  return int(number)


def _compute(config: validate.Config) -> Compute:
  """What was given, or else what is assumed."""
  step, rate = _STEP_SECONDS.value, _IMAGES_PER_SECOND.value
  if step is not None and rate is not None:
    raise ValueError(
      f'--step_seconds={step} and --images_per_second={rate} say the same: use '
      'one of the two'
    )
  for name, value in (('step_seconds', step), ('images_per_second', rate)):
    if value is not None and not 1e-9 <= value <= 1e9:
      raise ValueError(f'--{name}={value}: use a number from 1e-9 to 1e9')
  if step is not None:
    source = f'{step:g} s for {config.batch_size} images on one device, given'
    return Compute(step / config.batch_size, source)
  if rate is not None:
    return Compute(1 / rate, f'{rate:,g} images/s on one device, given')
  peak = scaling.PEAKS[config.dtype]
  return Compute(
    scaling.assumed_seconds(config),
    f'{scaling.ASSUMED_SHARE:.0%} of the {peak / 1e12:g} TFLOP/s of an '
    f'{scaling.PEAK_DEVICE}: assumed, not measured',
  )


def _cluster() -> tuple[scaling.Cluster, str]:
  """The cluster of the flags, and its name."""
  between, within = _LINK.value, _HOST_LINK.value
  cluster = scaling.Cluster(
    link=links.named(between),
    host_link=links.named(within) if within else None,
    devices_per_host=_DEVICES_PER_HOST.value,
  )
  if not within:
    return cluster, between
  hosts = f'hosts of {cluster.devices_per_host}'
  return cluster, f'{within} in {hosts}, {between} between'


def _width_note(config: validate.Config) -> str:
  """What a plan made on a CPU has of a config for GPUs."""
  if config.dtype == 'float32' or jax.default_backend() != 'cpu':
    return ''
  return f'; columns send float32, as on a CPU: a GPU sends {config.dtype}'


def _rows(
  config: validate.Config,
  *,
  devices: list[int],
  compute: Compute,
  cluster: scaling.Cluster,
) -> tuple[list[scaling.Row], list[str]]:
  """A row of each mesh; of those that cannot take the images, why."""
  found, left_out = [], []
  for number in devices:
    each = _IMAGES_PER_DEVICE.value
    images = config.batch_size if each is None else each * number
    for mesh in scaling.meshes(number, columns=config.model.columns):
      if images % mesh.data:
        left_out.append(scaling.cannot_share(images, mesh=mesh))
        continue
      found.append(
        scaling.row(
          config,
          mesh=mesh,
          images=images,
          seconds_per_image=compute.seconds_per_image,
          cluster=cluster,
        )
      )
  return found, left_out


def _crossovers(
  config: validate.Config,
  *,
  devices: list[int],
  own: dict[str, scaling.Cluster],
) -> dict[str, dict[int, float]]:
  """Of every link, and of the flags' own; none of a net with one column."""
  if config.model.columns == 1:
    return {}
  clusters = {
    name: scaling.Cluster(link) for name, link in links.LINKS.items()
  } | own
  by_devices = {
    number: scaling.crossover(
      config, devices=number, clusters=list(clusters.values())
    )
    for number in devices
    if number > 1
  }
  return {
    name: {number: found[i] for number, found in by_devices.items()}
    for i, name in enumerate(clusters)
  }


def _measured_input() -> list[rows.Row]:
  """The newest rows of `bench --what=input`."""
  newest = max(rows.RESULTS.glob('*_input.json'))  # by the date in its name
  return json.loads(newest.read_text())


def _as_json(plan: Plan) -> dict[str, Any]:
  def row(one: scaling.Row) -> dict[str, Any]:
    return one._asdict() | {
      'mesh': one.mesh._asdict(),
      'columns': one.columns._asdict(),
      'gradients': one.gradients._asdict(),
      'slowest': one.slowest,
      'fastest': one.fastest,
    }

  return plan._asdict() | {
    'compute': plan.compute._asdict(),
    'rows': [row(one) for one in plan.rows],
    'feeds': [one._asdict() for one in plan.feeds],
  }


def _as_text(plan: Plan) -> Iterator[str]:
  """The tables as Markdown, as they are in docs/scaling.md."""
  image = plan.compute.seconds_per_image * 1e6
  yield f'Links: {plan.links}.'
  yield f'An image: {image:,.1f} us of compute ({plan.compute.source}).'
  yield ''
  for name in _TABLES.value:
    yield from _PARTS[name](plan)


_STEP_HEADS = [
  'devices', 'mesh', 'images', 'columns, MB', 'gradients, MB', 'compute, ms',
  'columns, ms', 'gradients, ms', 'step, ms', 'efficiency', 'images/s',
]  # fmt: skip


def _steps(plan: Plan) -> Iterator[str]:
  yield from tables.begin(_STEP_HEADS)
  for row in plan.rows:
    low, high = row.fastest, row.slowest
    yield tables.line([
      f'{row.mesh.devices:,}',
      f'{row.mesh.data} x {row.mesh.column}',
      f'{row.images:,}',
      f'{row.column_bytes / 1e6:,.1f}',
      f'{row.gradient_bytes / 1e6:,.1f}',
      f'{row.compute * 1e3:,.2f}',
      f'{row.columns.total * 1e3:,.2f}',
      f'{row.gradients.total * 1e3:,.2f}',
      _range(low * 1e3, high * 1e3, ',.2f'),
      _range(row.compute / high, row.compute / low, '.0%'),
      _range(row.images / high, row.images / low, ',.0f'),
    ])  # fmt: skip
  yield ''
  if plan.left_out:
    yield f'Left out: {"; ".join(plan.left_out)}.'
    yield ''


def _range(low: float, high: float, form: str) -> str:
  ends = dict.fromkeys(format(end, form) for end in (low, high))
  return ' to '.join(ends)


def _paying(plan: Plan) -> Iterator[str]:
  if not plan.crossovers:
    return
  numbers = next(iter(plan.crossovers.values()))
  heads = [f'{number:,} devices' for number in numbers]
  yield from tables.begin(['columns pay up to images a device', *heads])
  for name, found in plan.crossovers.items():
    yield tables.line([name, *(f'{images:,.0f}' for images in found.values())])
  yield ''


def _feeding(plan: Plan) -> Iterator[str]:
  yield (
    f'In these steps a host of {_DEVICES_PER_HOST.value} devices takes up to '
    f'{plan.host_images_per_second:,.0f} images/s.'
  )
  yield ''
  yield from tables.begin(
    ['records', 'images/s, measured', 'enough', 'cores that would be']
  )
  for feed in plan.feeds:
    enough = 'yes' if feed.keeps_up else 'no'
    cells = [feed.what, f'{feed.measured:,.0f}', enough, f'{feed.cores:,}']
    yield tables.line(cells)
  yield ''


_PARTS = {'steps': _steps, 'columns': _paying, 'input': _feeding}


if __name__ == '__main__':
  cli.run(main)
