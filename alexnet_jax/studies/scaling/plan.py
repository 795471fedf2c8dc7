"""The tables of tools/plan.py: step times, crossovers, rates of reading."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jinja2

from alexnet_jax.studies.scaling import links, model

TABLES = ('steps', 'columns', 'input')  # macros of plan.md.j2


class Compute(NamedTuple):
  """Seconds of compute an image on one device, and the source of the number."""

  seconds_per_image: float
  source: str


class Plan(NamedTuple):
  """Everything that tools/plan.py prints; also the keys of its --json."""

  compute: Compute  # of one image
  links: str  # the cluster in words
  rows: list[model.StepCost]  # a step on each mesh that its images divide over
  left_out: list[str]  # why other meshes are missing
  # Link name -> devices -> images a device; {} if not asked for
  crossovers: dict[str, dict[int, float]]
  host_images_per_second: float  # the most in any of the rows
  feeds: list[model.InputRate]  # measured rates of reading, compared with it


def compute(
  config: model.Config,
  *,
  step_seconds: float | None,
  images_per_second: float | None,
) -> Compute:
  """The time of an image as measured on one device, else an assumed one.

  `step_seconds` is that of a step of config.batch_size images. Raises
  ValueError if both are given, or one is out of range.
  """
  step, rate = step_seconds, images_per_second
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
  return Compute(
    model.assumed_seconds(config),
    f'{model.ASSUMED_SHARE:.0%} of the {model.PEAKS[config.dtype] / 1e12:g} '
    f'TFLOP/s of an {model.PEAK_DEVICE}: assumed, not measured',
  )


def make(
  config: model.Config,
  *,
  devices: Sequence[int],
  compute: Compute,
  cluster: tuple[str, model.Cluster],
  images_per_device: int | None,
  input_rows: Iterable[dict[str, Any]],
  with_crossovers: bool,
) -> Plan:
  """Plans a training step for each number of devices.

  Each number gives one mesh, or two with columns. Without images_per_device
  config.batch_size is divided. `input_rows` are those of
  bench/results/*_input.json. Raises ValueError if no mesh can take its images,
  or the hosts do not fit.
  """
  name, joined = cluster
  rows, left_out = [], []
  for number in devices:
    each = images_per_device
    images = config.batch_size if each is None else each * number
    for mesh in model.meshes(number, columns=config.model.columns):
      if images % mesh.data:
        left_out.append(model.uneven(images, mesh=mesh))
        continue
      cost = model.step_cost(
        config,
        mesh=mesh,
        images=images,
        seconds_per_image=compute.seconds_per_image,
        cluster=joined,
      )
      rows.append(cost)
  if not rows:
    raise ValueError(f'{"; ".join(left_out)}: use fewer --devices')
  rate = model.host_rate(rows, devices_per_host=joined.devices_per_host)
  clusters = {n: model.Cluster(link) for n, link in links.LINKS.items()}
  note, crossovers = '', {}
  if config.dtype != 'float32' and jax.default_backend() == 'cpu':
    note = f'; columns send float32, as on a CPU: a GPU sends {config.dtype}'
  if with_crossovers:
    crossovers = _crossovers(config, devices, clusters | {name: joined})
  return Plan(
    compute=compute,
    links=name + note,
    rows=rows,
    left_out=left_out,
    crossovers=crossovers,
    host_images_per_second=rate,
    feeds=model.input_rates(input_rows, images_per_second=rate),
  )


def _crossovers(
  config: model.Config,
  devices: Sequence[int],
  clusters: dict[str, model.Cluster],
) -> dict[str, dict[int, float]]:
  """Crossovers by cluster and devices; {} for a network of one column."""
  if config.model.columns == 1:
    return {}
  joined = [*clusters.values()]
  found = {
    number: model.crossover(config, devices=number, clusters=joined)
    for number in devices
    if number > 1
  }
  return {
    name: {number: images[at] for number, images in found.items()}
    for at, name in enumerate(clusters)
  }


def as_json(plan: Plan) -> dict[str, Any]:
  """The plan as --json prints it."""
  return plan._asdict() | {
    'compute': plan.compute._asdict(),
    'rows': [
      row._asdict()
      | {k: getattr(row, k)._asdict() for k in ('mesh', 'columns', 'gradients')}
      | {'slowest': row.slowest, 'fastest': row.fastest}
      for row in plan.rows
    ],
    'feeds': [feed._asdict() for feed in plan.feeds],
  }


def as_markdown(
  plan: Plan, *, tables: Iterable[str], devices_per_host: int
) -> str:
  """Tables of TABLES by name, as in docs/scaling.md."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  template = environment.get_template('plan.md.j2')
  return template.render(
    plan=plan, tables=tables, devices_per_host=devices_per_host, range=_range
  ).strip()


def _range(low: float, high: float, form: str) -> str:
  return ' to '.join(dict.fromkeys(form.format(end) for end in (low, high)))
