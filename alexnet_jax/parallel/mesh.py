"""The (data, column) mesh, and how arrays are sharded over it (§3.2).

Images are split over the axis `data`, kernels over the axis `column`. The
paper's machine is data = 1, column = 2. Either axis may span hosts: devices are
counted host by host, so that columns meet within one host where they can.

On the CPU JAX has one device, unless `make_cpu_devices` is called before its
first use.
"""

import collections
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from alexnet_jax.ops import columns
from alexnet_jax.parallel import distributed
from alexnet_jax.runtime import environment

DATA = 'data'  # the mesh axis of images
COLUMN = columns.AXIS  # the mesh axis of kernels


def make_cpu_devices(number: int) -> None:
  """Makes the CPUs of all hosts together stand for `number` devices.

  Call it before JAX runs anything, and after distributed.join. It has no effect
  on a mesh where JAX finds accelerators. A single host makes more devices
  if JAX_NUM_CPU_DEVICES says so; a mesh takes the first of them.

  Raises ValueError if the hosts cannot have the same number of devices each.
  """
  processes = distributed.host_count()
  if number % processes:
    raise ValueError(
      f'config.mesh asks for {number} devices, which {processes} processes '
      f'cannot share evenly: use --config.mesh.data={processes}, or another '
      'number of processes'
    )
  number //= processes  # of a host
  if processes == 1:
    number = max(number, jax.config.jax_num_cpu_devices)
  jax.config.update('jax_num_cpu_devices', number)


def check_hosts() -> None:
  """Raises ValueError if processes have different numbers of devices.

  Without this check JAX's collectives fail with an error about array shapes.
  """
  environment.backend()  # raises if there is none
  counts = collections.Counter(d.process_index for d in jax.devices())
  for process, count in counts.items():
    if count != counts[0]:
      raise ValueError(
        f'process {process} has {count} devices, process 0 has {counts[0]}: '
        'start all processes with the same --config.mesh, on equal machines'
      )


def create(*, data: int, column: int) -> Mesh:
  """Returns the mesh of data x column devices.

  Raises ValueError if there are fewer devices, or several hosts have more.
  """
  environment.backend()  # raises if there is none
  devices = jax.devices()  # of all hosts
  needed = data * column
  if needed > len(devices) or (
    distributed.is_multihost() and needed < len(devices)
  ):
    raise ValueError(_refusal(data=data, column=column, devices=devices))
  return jax.make_mesh(
    (data, column),
    (DATA, COLUMN),  # columns vary fastest: neighbours share a host
    axis_types=(AxisType.Auto,) * 2,  # shardings come from shard_map alone
    devices=devices[:needed],
  )


def spans_hosts(mesh: Mesh) -> bool:
  """Whether the mesh has devices of more than one host."""
  return len({device.process_index for device in mesh.devices.flat}) > 1


class DataAxis(NamedTuple):
  """The mesh axis `data`, as the compiled steps use it inside `shard_map`.

  With one device along it every method is a no-op: XLA would copy all the
  gradients for a sum over one device, 20 ms of a step.
  """

  size: int

  @property
  def spec(self) -> P:
    """PartitionSpec of arrays whose first axis is images."""
    return P(DATA) if self.size > 1 else P()  # the other axes are whole

  def first_image(self, per_device: int) -> Any:
    """Position in the whole minibatch of this device's first image."""
    return lax.axis_index(DATA) * per_device if self.size > 1 else 0

  def mark_varying(self, tree: PyTree) -> PyTree:
    """Marks arrays as differing along `data`.

    JAX then leaves gradients of such parameters per device, in place of summing
    each one by itself; `psum` sums them all at once.
    """
    if self.size == 1:
      return tree
    return lax.pcast(tree, DATA, to='varying')  # a type only: nothing moves

  def psum(self, tree: PyTree) -> PyTree:
    """Sums over the data axis, in one all-reduce."""
    return lax.psum(tree, DATA) if self.size > 1 else tree


def data_axis(mesh: Mesh) -> DataAxis:
  """The data axis of a mesh."""
  return DataAxis(mesh.shape[DATA])


def shardings(mesh: Mesh, specs: PyTree) -> PyTree:
  """Turns a tree of PartitionSpecs into NamedShardings on the mesh."""
  return jax.tree.map(
    lambda spec: NamedSharding(mesh, spec),
    specs,
    is_leaf=lambda x: isinstance(x, P),
  )


def host_images(images: int, *, mesh: Mesh) -> slice:
  """The slice of a minibatch of `images` that this host's devices need."""
  sharding = NamedSharding(mesh, P(DATA))  # [B, ...] -> [B/data, ...]
  parts = sharding.addressable_devices_indices_map((images,)).values()
  ranges = [part[0].indices(images) for part in parts if part]
  return slice(min(r[0] for r in ranges), max(r[1] for r in ranges))


def put_batch(
  batch: PyTree, *, mesh: Mesh, images: int | None = None
) -> PyTree:
  """Shards arrays by image over `data`; every column gets the same images.

  `batch` holds host arrays whose first axis is images: all of the minibatch, or
  of its `images` the slice that `host_images` names. If the mesh spans hosts,
  each host fills its own devices and nothing is sent.
  """
  sharding = NamedSharding(mesh, P(DATA))
  if not spans_hosts(mesh):
    return jax.device_put(batch, sharding)
  first = host_images(images, mesh=mesh).start if images else 0

  def put_part(array: np.ndarray) -> jax.Array:
    whole = images or len(array)

    def part(index: Any) -> np.ndarray:
      start, stop, _ = index[0].indices(whole)  # of one device
      return array[start - first : stop - first]  # of this host's slice

    return jax.make_array_from_callback(
      (whole, *array.shape[1:]), sharding, part
    )

  return jax.tree.map(put_part, batch)


def replicate(tree: Any, *, mesh: Mesh) -> Any:
  """Puts a whole copy of every array on every device."""
  sharding = NamedSharding(mesh, P())  # replicated
  if not spans_hosts(mesh):
    return jax.device_put(tree, sharding)
  return jax.tree.map(
    lambda leaf: put(np.asarray(leaf), sharding=sharding), tree
  )


def put(array: np.ndarray, *, sharding: Sharding) -> jax.Array:
  """Shards an array of which every host has the whole."""
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )


def _refusal(*, data: int, column: int, devices: list[jax.Device]) -> str:
  needed, there = data * column, len(devices)
  who = 'this machine has'
  if distributed.is_multihost():
    who = f'the {distributed.host_count()} processes have'
  return (
    f'config.mesh asks for data {data} x column {column} = {needed} devices, '
    f'{who} {there} ({devices[0].platform}): '
    + (
      _smaller(data=data, column=column, available=there)
      if needed > there
      else f'use all of them, with --config.mesh.data={there // column}'
    )
  )


def _smaller(*, data: int, column: int, available: int) -> str:
  """Names the flags that fit this machine."""
  column_fits = column <= available  # else one device holds both
  flags = [] if column_fits else ['--config.mesh.column=1']
  rows = available // (column if column_fits else 1)  # along `data`
  flags += [f'--config.mesh.data={rows}'] if data > rows else []
  both = '' if column_fits else ', which puts both columns on one device'
  return f'use {" ".join(flags)}{both}'
