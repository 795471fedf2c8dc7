"""The columns of the network and all that passes between them (§3.2, Figure 2).

The paper puts half of the kernels on each GPU and lets the halves meet only in
front of conv3, fc6 and fc7 and in fc8. Here each half is a shard of the mesh
axis `column`, and these are the only collectives in the model:

  gather   forward: all-gather of channels        backward: reduce-scatter
  combine  forward: all-reduce of partial sums    backward: nothing

A device may also hold both columns (an axis of size 1). It makes the same
calls, which the types of `shard_map` require, and XLA moves nothing. Its
columns are blocks of the last axis. `agree`, `collect` and `norms` serve
config.guard, parallel/consensus.py and config.batch_scaling, and are not in the
paper.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

AXIS = 'column'


def gather(x: Float[Array, '... c']) -> Float[Array, '... whole']:
  """Gathers the channels of all columns: [..., C/2] -> [..., C].

  It gathers along a new first axis and transposes: all_gather along the last
  axis makes XLA pick a channels-major layout, which slows the neighbouring ops
  severalfold (bench/NOTES.md).
  """
  columns = lax.all_gather(x, AXIS)  # [columns, ..., C/2]
  return lax.collapse(jnp.moveaxis(columns, 0, -2), x.ndim - 1)  # [..., C]


def combine(partial: Float[Array, '...']) -> Float[Array, '...']:
  """Sums over the columns what each computed from its own units (fc8)."""
  return lax.psum(partial, AXIS)


def agree(sound: Bool[Array, '']) -> Bool[Array, '']:
  """Returns whether `sound` is true on every column (config.guard)."""
  return lax.psum(1 - sound.astype(jnp.int32), AXIS) == 0  # columns not sound


def collect(flags: Bool[Array, ' n']) -> Bool[Array, 'columns n']:
  """Returns the flags of all columns on each of them.

  By a sum, not a gather: only then does `shard_map` know that all are equal.
  """
  own = jnp.arange(lax.axis_size(AXIS)) == lax.axis_index(AXIS)  # [columns]
  return lax.psum((own[:, None] & flags).astype(jnp.int32), AXIS) > 0


def norms(
  tree: PyTree[Float[Array, '...']], *, specs: PyTree | None = None
) -> PyTree[Float[Array, '']]:
  """Returns the L2 norm of each whole array, for LARS.

  Args:
    tree: arrays, or this device's parts of them.
    specs: their PartitionSpecs; squares of arrays that are split over `column`
      are summed over it, in one reduction. None: nothing is split.
  """
  leaves, structure = jax.tree.flatten(tree)
  squares = [jnp.square(x).sum() for x in leaves]  # each []
  split = structure.flatten_up_to(specs) if specs else []
  parts = [i for i, spec in enumerate(split) if any(spec)]  # not replicated
  if parts:
    sums = lax.psum(jnp.stack([squares[i] for i in parts]), AXIS)
    for i, total in zip(parts, sums, strict=True):
      squares[i] = total
  return structure.unflatten([jnp.sqrt(total) for total in squares])


def indices(here: int) -> Int[Array, ' here']:
  """Returns the numbers of this device's columns in the whole network."""
  return lax.axis_index(AXIS) * here + jnp.arange(here)
