"""A model of the time of a training step on many devices (§3.2 beyond two).

Bytes follow from the config by the formulas that tools/audit.py checks against
compiled programs (communication.expected). Times are calculated, not measured:
an image takes the same compute time whatever the batch of a device, and every
collective is a ring. With `size` bytes, g devices and p passes (all-reduce has
2, all-gather and reduce-scatter 1)

  seconds = p (g - 1) / g size / bandwidth + p (g - 1) latency

Without overlap these times add up; with full overlap the longer of compute and
transfer counts, and latency not at all. docs/scaling.md lists what both omit.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ml_collections import config_dict

from alexnet_jax.models import summary
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.studies import communication
from alexnet_jax.studies.scaling import links

Config = config_dict.ConfigDict
MOST_DEVICES = 1024  # the limit of config.mesh.data

# No step was measured on this device: a share of its peak stands in.
PEAK_DEVICE = 'H100 SXM'
PEAK_SOURCE = 'https://glennklockwood.com/garden/processors/h100'
PEAKS = {'float32': 494.7e12, 'bfloat16': 989.4e12}  # FLOP/s; float32 as TF32
ASSUMED_SHARE = 0.3


class Cluster(NamedTuple):
  """The links of a cluster."""

  link: links.Link  # between any two devices; with host_link, hosts only
  host_link: links.Link | None = None  # inside a host; None: the same
  devices_per_host: int = 8


class Mesh(NamedTuple):
  """Sizes of the mesh axes: images are split over data, kernels over column."""

  data: int
  column: int

  @property
  def devices(self) -> int:
    return self.data * self.column


class Seconds(NamedTuple):
  """Time of collectives: bytes over bandwidth, and latency over all hops."""

  transfer: float
  latency: float

  @property
  def total(self) -> float:
    return self.transfer + self.latency


class StepCost(NamedTuple):
  """Bytes and times of a training step on one mesh."""

  mesh: Mesh  # sizes of its axes
  images: int  # of the whole batch
  column_bytes: int  # that a device sends over the column axis
  gradient_bytes: int  # that a device sends over the data axis
  compute: float  # seconds
  columns: Seconds  # time of the collectives over the column axis
  gradients: Seconds  # time of the collective over the data axis

  @property
  def slowest(self) -> float:
    """Seconds if nothing overlaps."""
    return self.compute + self.columns.total + self.gradients.total

  @property
  def fastest(self) -> float:
    """Seconds if everything overlaps and hops take no time."""
    return max(self.compute, self.columns.transfer + self.gradients.transfer)


def assumed_seconds(config: Config) -> float:
  """Seconds an image on one device at ASSUMED_SHARE of PEAK_DEVICE's peak."""
  operations = summary.operations(config.model, crop_size=config.data.crop_size)
  return operations['train'] / (PEAKS[config.dtype] * ASSUMED_SHARE)


def meshes(devices: int, *, columns: int) -> list[Mesh]:
  """The meshes of so many devices: (n, 1) and, as in the paper, (n / 2, 2).

  Raises ValueError for too many devices, or no multiple of the columns.
  """
  if not 1 <= devices <= MOST_DEVICES:
    raise ValueError(f'{devices} devices: use 1 to {MOST_DEVICES:,}')
  if devices > 1 and devices % columns:
    raise ValueError(
      f'{devices} devices: the network has {columns} columns, use 1 or a '
      f'multiple of {columns}'
    )
  split = columns > 1 and devices > 1
  return [Mesh(devices, 1)] + split * [Mesh(devices // columns, columns)]


def step_cost(
  config: Config,
  *,
  mesh: Mesh,
  images: int,
  seconds_per_image: float,
  cluster: Cluster,
) -> StepCost:
  """The cost of a training step of so many images on a mesh.

  Raises ValueError if the images do not divide over the data axis.
  """
  moved = movements(config, mesh=mesh, images=images)
  columns = [m for m in moved if m.axis == mesh_lib.COLUMN]
  gradients = [m for m in moved if m.axis == mesh_lib.DATA]
  of_step = {'mesh': mesh, 'images': images}
  return StepCost(
    **of_step,
    column_bytes=round(sum(_sent(m, **of_step) for m in columns)),
    gradient_bytes=round(sum(_sent(m, **of_step) for m in gradients)),
    compute=seconds_per_image * images / mesh.devices,
    columns=collective_time(columns, **of_step, cluster=cluster),
    gradients=collective_time(gradients, **of_step, cluster=cluster),
  )


def movements(
  config: Config, *, mesh: Mesh, images: int
) -> list[communication.Movement]:
  """Collectives of a training step of so many images on a mesh."""
  if images % mesh.data:
    raise ValueError(uneven(images, mesh=mesh))
  config = config.copy_and_resolve_references()
  config.mesh.data, config.mesh.column = mesh
  config.batch_size = images
  return communication.expected(config)


def uneven(images: int, *, mesh: Mesh) -> str:
  """Why a mesh cannot take that many images."""
  return f'{images:,} images do not divide over a data axis of {mesh.data:,}'


def _sent(m: communication.Movement, *, mesh: Mesh, images: int) -> float:
  """Bytes that one device sends in a step."""
  return m.bytes_per_image * images / mesh.devices


def collective_time(
  moved: Iterable[communication.Movement],
  *,
  mesh: Mesh,
  images: int,
  cluster: Cluster,
) -> Seconds:
  """Time of collectives that run one after another.

  Each is a ring in each host, then one between the hosts. Each device of a host
  sends an equal part of what leaves it, so the bytes are those of a single ring
  over all devices, with fewer hops.
  """
  transfer = latency = 0.0
  for m in moved:
    group = mesh.data if m.axis == mesh_lib.DATA else mesh.column
    local = _devices_in_host(m.axis, mesh=mesh, cluster=cluster)
    passes = 2 if m.kind == 'all-reduce' else 1
    sent = _sent(m, mesh=mesh, images=images)
    size = sent / passes * group / (group - 1)
    rings = (
      (local, cluster.host_link or cluster.link, size),
      (group // local, cluster.link, size / local),
    )
    transfer += sum(
      passes * (devices - 1) / devices * part / link.bandwidth
      for devices, link, part in rings
    )
    latency += sum(passes * (n - 1) * link.latency for n, link, _ in rings)
  return Seconds(transfer, latency)


def _devices_in_host(axis: str, *, mesh: Mesh, cluster: Cluster) -> int:
  """Devices of one group of an axis that share a host; columns come first."""
  if cluster.host_link is None:
    return 1
  per_host, devices = cluster.devices_per_host, mesh.devices
  if devices > per_host and devices % per_host:
    raise ValueError(
      f'{devices} devices do not fill hosts of {per_host}: use a multiple, or '
      'another --devices_per_host'
    )
  if per_host > 1 and per_host % mesh.column:
    raise ValueError(
      f'hosts of {per_host} devices split a group of {mesh.column} columns: '
      f'use a multiple of {mesh.column} as --devices_per_host'
    )
  if axis == mesh_lib.COLUMN:
    return min(mesh.column, per_host)
  return min(mesh.data, max(1, per_host // mesh.column))


def crossover(
  config: Config, *, devices: int, clusters: Sequence[Cluster]
) -> list[float]:
  """Images a device below which splitting columns beats splitting images only.

  Compares the meshes (n / 2, 2) and (n, 1) at the same images and devices. A
  device of the first sums half as many gradients, and gathers activations. The
  time of the gathers grows with the images; that of the sum does not. Gives one
  number for each cluster, without overlap; 0 where the split never pays.
  """
  whole, split = meshes(devices, columns=config.model.columns)
  moved = {
    (mesh, each): movements(config, mesh=mesh, images=each * devices)
    for mesh, each in ((whole, 1), (split, 1), (split, 2))
  }

  def total(mesh: Mesh, each: int, cluster: Cluster) -> float:
    of_step = {'mesh': mesh, 'images': each * devices}
    return collective_time(moved[mesh, each], **of_step, cluster=cluster).total

  found = []
  for cluster in clusters:
    one, two = (total(split, each, cluster) for each in (1, 2))
    room = total(whole, 1, cluster) - one
    slope = two - one  # seconds for one more image a device
    found.append(max(0.0, 1 + room / slope))
  return found


def host_rate(costs: Iterable[StepCost], *, devices_per_host: int) -> float:
  """The most images/s that a host consumes, over all the steps."""
  return max(
    cost.images / cost.fastest / math.ceil(cost.mesh.devices / devices_per_host)
    for cost in costs
  )


class InputRate(NamedTuple):
  """The measured rate of one kind of records, and what a host needs."""

  what: str  # the kind, as bench/input.py names it
  measured: float  # images/s
  cores: int  # CPU cores that a host needs, if the rate scales with them
  keeps_up: bool  # whether the measured rate is enough


def input_rates(
  rows: Iterable[dict[str, Any]], *, images_per_second: float
) -> list[InputRate]:
  """Compares rows of bench/results/*_input.json with what a host needs."""
  return [
    InputRate(
      what=row['what'],
      measured=row['images_per_second'],
      cores=math.ceil(images_per_second * row['cpu_us_per_image'] / 1e6),
      keeps_up=row['images_per_second'] >= images_per_second,
    )
    for row in rows
    if row['what'].startswith('train, ')
  ]
