"""Orbax in process 0 alone, whatever others there are; not in the paper.

Left to itself orbax lets each process write its parts, to a folder that all of
them see. The state is half a gigabyte at most, and a cluster need not have such
a folder: so process 0 writes and reads the whole.
"""

import orbax.checkpoint as ocp

from alexnet_jax.parallel import distributed


def orbax_options() -> ocp.options.MultiprocessingOptions:
  """So that orbax waits for no other process."""
  if not distributed.several():
    return ocp.options.MultiprocessingOptions()
  return ocp.options.MultiprocessingOptions(
    primary_host=0, active_processes={0}, barrier_sync_key_prefix='first'
  )
