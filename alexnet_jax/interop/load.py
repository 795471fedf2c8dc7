"""Loads a net from whatever holds one: a run, a checkpoint or one file."""

import os

from alexnet_jax.checkpoint import restore
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import native


def load(path: str | os.PathLike[str], *, data_dir: str = '') -> net_lib.Net:
  """Loads a net, whole by itself.

  Args:
    path: a WORKDIR (its newest checkpoint), a checkpoints/STEP or a
      .safetensors file that `save` wrote; here or on a bucket.
    data_dir: the data set of a checkpoint of versions before 0.2, which does
      not hold the mean image, if the data set has moved.

  Raises ValueError if there is no net, or it is not what was written.
  """
  given = os.fspath(path)
  if native.is_file(given):
    return native.read(given)
  return restore.of_newest(
    given,
    read=lambda step: net_lib.from_checkpoint(step, data_dir=data_dir),
  )


def save(net: net_lib.Net, path: str | os.PathLike[str]) -> None:
  """Writes a net, with all that it needs, to one .safetensors file."""
  native.write(net, os.fspath(path))
