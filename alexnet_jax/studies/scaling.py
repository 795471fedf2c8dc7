"""What a step should cost on many devices, on paper (§3.2 beyond two GPUs).

Bytes are those that parallel/hlo.py finds in compiled programs, by the same
formulas (communication.expected). Times are a model, measured nowhere: a device
takes each image in the same time however few it has, and each collective goes
round a ring. Of p passes (a sum has 2, a gather or its transpose 1) over `size`
bytes among g devices

  seconds = p (g - 1) / g size / bandwidth + p (g - 1) latency

Without overlap these times add up; with full overlap the longest counts, and
latency not at all. docs/scaling.md says what either leaves out.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ml_collections import config_dict

from alexnet_jax.models import summary
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.studies import communication, links

MOST_DEVICES = 1024  # as many as config.mesh.data may be

# No step was measured on such a device: a share of its peak stands for it.
PEAK_DEVICE = 'H100 SXM'
PEAK_SOURCE = 'https://glennklockwood.com/garden/processors/h100'
PEAKS = {'float32': 494.7e12, 'bfloat16': 989.4e12}  # float32: as TF32
ASSUMED_SHARE = 0.3


class Cluster(NamedTuple):
  """How devices are joined.

  Attributes:
    link: between any two; with host_link, between those of different hosts.
    host_link: between those of one host; None: they are joined as all others.
    devices_per_host: as many as a host has.
  """

  link: links.Link
  host_link: links.Link | None = None
  devices_per_host: int = 8


class Mesh(NamedTuple):
  """Rows of devices that share out images, columns that share out kernels."""

  data: int
  column: int

  @property
  def devices(self) -> int:
    return self.data * self.column


class Seconds(NamedTuple):
  """Of collectives: bytes over bandwidth, and latency over all hops."""

  transfer: float
  latency: float

  @property
  def total(self) -> float:
    return self.transfer + self.latency


class Row(NamedTuple):
  """A step on one mesh.

  Attributes:
    mesh: of devices.
    images: of the whole minibatch.
    column_bytes: that leave a device for others of its row.
    gradient_bytes: that leave a device for others of its column.
    compute: seconds.
    columns: what column_bytes take.
    gradients: what gradient_bytes take.
  """

  mesh: Mesh
  images: int
  column_bytes: int
  gradient_bytes: int
  compute: float
  columns: Seconds
  gradients: Seconds

  @property
  def slowest(self) -> float:
    """Seconds, if nothing overlaps."""
    return self.compute + self.columns.total + self.gradients.total

  @property
  def fastest(self) -> float:
    """Seconds, if all overlaps and no hop takes time."""
    return max(self.compute, self.columns.transfer + self.gradients.transfer)


def assumed_seconds(config: config_dict.ConfigDict) -> float:
  """Of one image on one device: ASSUMED_SHARE of the peak of PEAK_DEVICE."""
  operations = summary.operations(config.model, crop_size=config.data.crop_size)
  return operations['train'] / (PEAKS[config.dtype] * ASSUMED_SHARE)


def meshes(devices: int, *, columns: int) -> list[Mesh]:
  """The ways to arrange them: (n, 1) and, as in the paper, (n / 2, 2).

  Raises:
    ValueError: if there are too many devices, or some left over.
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


def row(
  config: config_dict.ConfigDict,
  *,
  mesh: Mesh,
  images: int,
  seconds_per_image: float,
  cluster: Cluster,
) -> Row:
  """A training step of that many images on a mesh."""
  moved = movements(config, mesh=mesh, images=images)
  columns = [m for m in moved if m.axis == mesh_lib.COLUMN]
  gradients = [m for m in moved if m.axis == mesh_lib.DATA]
  of_step = {'mesh': mesh, 'images': images}
  return Row(
    **of_step,
    column_bytes=round(sum(sent(m, **of_step) for m in columns)),
    gradient_bytes=round(sum(sent(m, **of_step) for m in gradients)),
    compute=seconds_per_image * images / mesh.devices,
    columns=seconds(columns, **of_step, cluster=cluster),
    gradients=seconds(gradients, **of_step, cluster=cluster),
  )


def movements(
  config: config_dict.ConfigDict, *, mesh: Mesh, images: int
) -> list[communication.Movement]:
  """What a training step of that many images moves on a mesh.

  Raises:
    ValueError: if the rows of devices cannot share them out.
  """
  if images % mesh.data:
    raise ValueError(cannot_share(images, mesh=mesh))
  config = config.copy_and_resolve_references()
  config.mesh.data, config.mesh.column = mesh
  config.batch_size = images
  return communication.expected(config)


def cannot_share(images: int, *, mesh: Mesh) -> str:
  """Why a mesh cannot take that many images."""
  return f'{images:,} images cannot be shared out over {mesh.data:,} rows'


def sent(movement: communication.Movement, *, mesh: Mesh, images: int) -> float:
  """Bytes that leave one device in a step."""
  return movement.bytes_per_image * images / mesh.devices


def seconds(
  moved: Iterable[communication.Movement],
  *,
  mesh: Mesh,
  images: int,
  cluster: Cluster,
) -> Seconds:
  """Of collectives one after another."""
  transfer = latency = 0.0
  for movement in moved:
    bytes_ = sent(movement, mesh=mesh, images=images)
    one = _collective(movement, sent=bytes_, mesh=mesh, cluster=cluster)
    transfer += one.transfer
    latency += one.latency
  return Seconds(transfer, latency)


def _collective(
  movement: communication.Movement,
  *,
  sent: float,
  mesh: Mesh,
  cluster: Cluster,
) -> Seconds:
  """One of them: a ring in each host, and then one between the hosts.

  The devices of a host share out what goes to others: each sends its part, so
  that the bytes are those of a single ring, and the hops are fewer.
  """
  group = mesh.data if movement.axis == mesh_lib.DATA else mesh.column
  here = _in_a_host(movement.axis, mesh=mesh, cluster=cluster)
  passes = 2 if movement.kind == 'all-reduce' else 1
  size = sent / passes * group / (group - 1)
  transfer = latency = 0.0
  for devices, joined, part in (
    (here, cluster.host_link or cluster.link, size),
    (group // here, cluster.link, size / here),
  ):
    hops = passes * (devices - 1)
    transfer += hops / devices * part / joined.bandwidth
    latency += hops * joined.latency
  return Seconds(transfer, latency)


def _in_a_host(axis: str, *, mesh: Mesh, cluster: Cluster) -> int:
  """Devices of one group that a host has; columns are neighbours."""
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
      f'hosts of {per_host} devices cut a row of {mesh.column} columns: use a '
      f'multiple of {mesh.column} as --devices_per_host'
    )
  if axis == mesh_lib.COLUMN:
    return min(mesh.column, per_host)
  return min(mesh.data, max(1, per_host // mesh.column))


def crossover(
  config: config_dict.ConfigDict, *, devices: int, clusters: Sequence[Cluster]
) -> list[float]:
  """Images a device, up to which splitting columns beats sharing out images.

  The meshes (n / 2, 2) and (n, 1) have the same images and the same devices; a
  device of the first sums the gradients of half of the parameters, and gathers
  maps. With no overlap, the time of that rises with the images, and the other
  does not.

  Returns:
    Of each cluster; 0 where the split never pays.
  """
  whole, split = meshes(devices, columns=config.model.columns)
  moved = {
    (mesh, each): movements(config, mesh=mesh, images=each * devices)
    for mesh, each in ((whole, 1), (split, 1), (split, 2))
  }

  def total(mesh: Mesh, each: int, cluster: Cluster) -> float:
    images = each * devices
    return seconds(
      moved[mesh, each], mesh=mesh, images=images, cluster=cluster
    ).total

  found = []
  for cluster in clusters:
    one, two = (total(split, each, cluster) for each in (1, 2))
    room = total(whole, 1, cluster) - one
    slope = two - one  # seconds that another image takes
    found.append(max(0.0, 1 + room / slope))
  return found


def host_rate(rows: Iterable[Row], *, devices_per_host: int) -> float:
  """Images/s that a host takes at most, of any of the rows."""
  return max(
    one.images / one.fastest / math.ceil(one.mesh.devices / devices_per_host)
    for one in rows
  )


class Feed(NamedTuple):
  """A kind of records, beside what a host of devices takes of them.

  Attributes:
    what: as bench/input.py names it.
    measured: images/s.
    cores: of the CPU that such a host needs, if more cores take as much more.
    keeps_up: whether what was measured is enough.
  """

  what: str
  measured: float
  cores: int
  keeps_up: bool


def feed(
  measured: Iterable[dict[str, Any]], *, images_per_second: float
) -> list[Feed]:
  """Rows of bench/results/*_input.json beside what a host takes at most."""
  return [
    Feed(
      what=one['what'],
      measured=one['images_per_second'],
      cores=math.ceil(images_per_second * one['cpu_us_per_image'] / 1e6),
      keeps_up=one['images_per_second'] >= images_per_second,
    )
    for one in measured
    if one['what'].startswith('train, ')
  ]
