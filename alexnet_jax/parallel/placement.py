"""What lies where on the mesh: images by row of devices, the rest as told.

A mesh may span processes. Each then gives its own devices what they are to
hold, and nothing is sent. Not in the paper.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from alexnet_jax.parallel import mesh as mesh_lib


def shardings(mesh: Mesh, specs: PyTree) -> PyTree:
  """The PartitionSpecs of a tree as shardings on the mesh."""
  return jax.tree.map(
    lambda spec: NamedSharding(mesh, spec),
    specs,
    is_leaf=lambda x: isinstance(x, P),
  )


def images_here(images: int, *, mesh: Mesh) -> slice:
  """Which of a minibatch's images the devices of this process need."""
  sharding = NamedSharding(mesh, P(mesh_lib.DATA))
  parts = sharding.addressable_devices_indices_map((images,)).values()
  ranges = [part[0].indices(images) for part in parts if part]
  return slice(min(r[0] for r in ranges), max(r[1] for r in ranges))


def put_batch(
  batch: PyTree, *, mesh: Mesh, images: int | None = None
) -> PyTree:
  """Splits arrays by image over `data`; every column gets the same images.

  Args:
    batch: arrays on the host, whose first axis is images.
    mesh: the run's.
    images: of the whole minibatch, of which `batch` is the part that
      `images_here` names; none given: it is the whole.
  """
  sharding = NamedSharding(mesh, P(mesh_lib.DATA))
  if not mesh_lib.spans_processes(mesh):
    return jax.device_put(batch, sharding)
  first = images_here(images, mesh=mesh).start if images else 0

  def put_part(array: np.ndarray) -> jax.Array:
    whole = images or len(array)

    def part(index: Any) -> np.ndarray:
      start, stop, _ = index[0].indices(whole)
      return array[start - first : stop - first]

    return jax.make_array_from_callback(
      (whole, *array.shape[1:]), sharding, part
    )

  return jax.tree.map(put_part, batch)


def replicate(tree: Any, *, mesh: Mesh) -> Any:
  """Puts a whole copy on every device."""
  sharding = NamedSharding(mesh, P())
  if not mesh_lib.spans_processes(mesh):
    return jax.device_put(tree, sharding)
  return jax.tree.map(
    lambda leaf: put(np.asarray(leaf), sharding=sharding), tree
  )


def put(array: np.ndarray, *, sharding: Sharding) -> jax.Array:
  """Lays out an array that every process has the whole of."""
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )
