"""What processes decide together, carried by the training steps themselves.

A signal, the clock or a failing disk is seen by one process at one moment, and
all have to save or stop after the same step. So each puts a ballot into its
part of a minibatch, the step sums them, and whoever looks at the sums of step n
sees what all others see. Of one process nothing is asked. Not in the paper.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

from alexnet_jax.parallel import mesh as mesh_lib

NAME = 'ballot'  # in a batch, and in what a step says
_AXES = (mesh_lib.DATA, mesh_lib.COLUMN)
SPEC = P(_AXES)


class Ballot(NamedTuple):
  """How many say so; of one process 0 or 1."""

  stop: int = 0  # it was asked to
  save: int = 0  # it is time to
  failed: int = 0  # an error waits to be told


def put(ballot: Ballot, *, mesh: Mesh) -> Int[Array, 'devices 3']:
  """One for each device: this process knows its own."""
  row = np.array([ballot], np.int32)
  return jax.make_array_from_callback(
    (mesh.size, len(ballot)), NamedSharding(mesh, SPEC), lambda _: row
  )


def count(ballot: Int[Array, '1 3']) -> Int[Array, ' 3']:
  """The sum over devices; inside `shard_map`."""
  return lax.psum(ballot[0], _AXES)
