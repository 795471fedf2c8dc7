"""The rows of devices, each of which takes a part of a minibatch.

Not in the paper, whose two GPUs are one row. Of one row nothing is asked: a sum
over one device would have XLA copy all the gradients, 20 ms of a step.
"""

from typing import Any, NamedTuple

from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from alexnet_jax.parallel import mesh as mesh_lib


class Rows(NamedTuple):
  """So many rows; what follows is called inside `shard_map`."""

  count: int

  @property
  def spec(self) -> P:
    """Of arrays whose first axis is images."""
    return P(mesh_lib.DATA) if self.count > 1 else P()

  def first_image(self, here: int) -> Any:
    """Place in the minibatch of the first of the `here` images of a row."""
    return lax.axis_index(mesh_lib.DATA) * here if self.count > 1 else 0

  def apart(self, tree: PyTree) -> PyTree:
    """Arrays, marked as differing between rows.

    Of parameters so marked each row finds the gradient of its own images, and
    JAX leaves the sum over rows to `total`.
    """
    if self.count == 1:
      return tree
    return lax.pcast(tree, mesh_lib.DATA, to='varying')

  def total(self, tree: PyTree) -> PyTree:
    """Sums over rows, in one reduction."""
    return lax.psum(tree, mesh_lib.DATA) if self.count > 1 else tree


def of(mesh: Mesh) -> Rows:
  """The rows of a mesh."""
  return Rows(mesh.shape[mesh_lib.DATA])
