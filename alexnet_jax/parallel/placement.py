"""What lies where on the mesh: images by row of devices, the rest as told."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
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


def put_batch(batch: PyTree, *, mesh: Mesh) -> PyTree:
  """Splits arrays by image over `data`; every column gets the same images."""
  return jax.device_put(batch, NamedSharding(mesh, P(mesh_lib.DATA)))


def replicate(tree: Any, *, mesh: Mesh) -> Any:
  """Puts a whole copy on every device."""
  return jax.device_put(tree, NamedSharding(mesh, P()))
