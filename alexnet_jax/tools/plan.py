"""Calculates what a config's training step should cost on 1 to 1,024 devices.

  python -m alexnet_jax.tools.plan --config=configs/imagenet.py \\
    --devices=1,2,8,64,1024 --link=infiniband-ndr --host_link=nvlink4

Bytes are those that tools.audit finds in the compiled step; times are a model
(studies/scaling/model.py), and docs/scaling.md says how far to trust them.
Needs neither data nor devices. Give a time measured on one device as
--step_seconds or --images_per_second; else a share of a GPU's peak is assumed.
"""

import json

from absl import flags

from alexnet_jax import cli
from alexnet_jax.bench import rows
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.studies.scaling import links, model, plan

flags_lib.define()
_DEVICES = flags.DEFINE_list(
  'devices', '1,2,8,64,1024', 'Numbers of devices to plan for.'
)
_LINK = flags.DEFINE_string(
  'link',
  'infiniband-ndr',
  'Link between any two devices: '
  f'{", ".join(links.LINKS)}, or GB/S:MICROSECONDS.',
)
_HOST_LINK = flags.DEFINE_string(
  'host_link', '', 'Link between devices of one host, if it differs.'
)
_DEVICES_PER_HOST = flags.DEFINE_integer(
  'devices_per_host', 8, 'Devices of each host.', lower_bound=1
)
_IMAGES_PER_DEVICE = flags.DEFINE_integer(
  'images_per_device',
  None,
  'Images of a step for each device; default: config.batch_size is divided.',
  lower_bound=1,
  upper_bound=2**16,
)
_STEP_SECONDS = flags.DEFINE_float(
  'step_seconds',
  None,
  'Measured time of a step of config.batch_size images on one device.',
)
_IMAGES_PER_SECOND = flags.DEFINE_float(
  'images_per_second', None, 'Measured rate of training on one device.'
)
_TABLES = flags.DEFINE_list(
  'tables',
  list(plan.TABLES),
  'Tables to print: step times, the batch up to which splitting columns pays, '
  'images to read.',
)
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead.')


def main() -> None:
  """Prints the plan."""
  config = flags_lib.value()
  for name in _TABLES.value:
    if name not in plan.TABLES:
      raise ValueError(f'--tables={name}: use {", ".join(plan.TABLES)}')
  for number in _DEVICES.value:
    if not number.isdecimal():
      raise ValueError(f'--devices={number}: use whole numbers, such as 1,2,8')
  found = plan.make(
    config,
    devices=[*map(int, _DEVICES.value)],
    compute=plan.compute(
      config,
      step_seconds=_STEP_SECONDS.value,
      images_per_second=_IMAGES_PER_SECOND.value,
    ),
    cluster=_cluster(),
    images_per_device=_IMAGES_PER_DEVICE.value,
    input_rows=rows.last_run('input'),
    with_crossovers='columns' in _TABLES.value,
  )
  if _JSON.value:
    print(json.dumps(plan.as_json(found), indent=2))
    return
  per_host = _DEVICES_PER_HOST.value
  tables = _TABLES.value
  print(plan.as_markdown(found, tables=tables, devices_per_host=per_host))


def _cluster() -> tuple[str, model.Cluster]:
  """The cluster of the flags, named."""
  between, within = _LINK.value, _HOST_LINK.value
  per_host = _DEVICES_PER_HOST.value
  cluster = model.Cluster(
    link=links.parse(between),
    host_link=links.parse(within) if within else None,
    devices_per_host=per_host,
  )
  if not within:
    return between, cluster
  return f'{within} in hosts of {per_host}, {between} between', cluster


if __name__ == '__main__':
  cli.run(main)
