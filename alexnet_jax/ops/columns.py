"""The columns of the network and all that passes between them (§3.2, Figure 2).

The paper puts half of the kernels on each GPU and lets the halves meet only in
front of conv3, fc6 and fc7 and in fc8. Here each half is a shard of the mesh
axis `column`, and these are the only collectives that the model contains:

  gather   forward: all-gather of channels        backward: reduce-scatter
  combine  forward: all-reduce of partial sums    backward: nothing

A device may also hold both columns (an axis of size 1). The same calls are
made then, since the types of `shard_map` ask for them, and XLA moves nothing.
Each device holds `here` columns, as the blocks of its last axis. `agree`,
`collect` and `norms` are not of the model: see config.guard,
parallel/consensus.py and config.batch_scaling.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

AXIS = 'column'


def gather(x: Float[Array, '... c']) -> Float[Array, '... whole']:
  """The channels of all columns, on each of them: [..., C/2] -> [..., C].

  They arrive one column after the other and are then put side by side: of XLA's
  own gathering of the last axis come layouts with the channels outermost, in
  which all that is near takes several times as long (bench/NOTES.md).
  """
  columns = lax.all_gather(x, AXIS)  # [columns, ..., C/2]
  return lax.collapse(jnp.moveaxis(columns, 0, -2), x.ndim - 1)


def combine(partial: Float[Array, '...']) -> Float[Array, '...']:
  """The sum over columns of what each has computed from its own units."""
  return lax.psum(partial, AXIS)


def agree(sound: Bool[Array, '']) -> Bool[Array, '']:
  """Whether all columns say so. Not in the paper: only where a config asks."""
  return lax.psum(1 - sound.astype(jnp.int32), AXIS) == 0


def collect(flags: Bool[Array, ' n']) -> Bool[Array, 'columns n']:
  """The flags of all columns, on each of them. Not in the paper.

  By a sum, since its type says that all have the same.
  """
  own = jnp.arange(lax.axis_size(AXIS)) == lax.axis_index(AXIS)
  return lax.psum((own[:, None] & flags).astype(jnp.int32), AXIS) > 0


def norms(
  tree: PyTree[Float[Array, '...']], *, specs: PyTree | None = None
) -> PyTree[Float[Array, '']]:
  """Of whole arrays: sqrt(sum of squares). Not in the paper: LARS alone asks.

  Args:
    tree: of arrays as they lie here.
    specs: their PartitionSpecs. Of an array that is split each column has its
      own part: squares are summed, for all such arrays in one reduction. What
      lies on every column is not. None: nothing is split.
  """
  leaves, structure = jax.tree.flatten(tree)
  squares = [jnp.square(x).sum() for x in leaves]
  split = structure.flatten_up_to(specs) if specs else []
  parts = [i for i, spec in enumerate(split) if any(spec)]
  if parts:
    sums = lax.psum(jnp.stack([squares[i] for i in parts]), AXIS)
    for i, total in zip(parts, sums, strict=True):
      squares[i] = total
  return structure.unflatten([jnp.sqrt(total) for total in squares])


def indices(here: int) -> Int[Array, ' here']:
  """The numbers, counted over the whole network, of this device's columns."""
  return lax.axis_index(AXIS) * here + jnp.arange(here)
