"""The kind of device that an op is traced for."""

import jax


def here() -> str:
  """Returns 'cpu', 'gpu' or 'tpu': of the mesh of `shard_map`, else JAX's own.

  A program may be compiled for devices that this machine does not have
  (parallel/target.py): then JAX's own devices say nothing of it.
  """
  device = jax.sharding.get_abstract_mesh().abstract_device
  return device.platform if device else jax.default_backend()
