"""Variables of the environment that would change this program's numbers.

JAX reads its own, JAX_..., when it is imported. Commands set those of `PINNED`
back to JAX's defaults, and say so; checkpoints record those of `RECORDED`, and
a resumed run says which differ. docs/operations.md lists them all.
"""

import os
import pathlib
import platform
import sys
from collections.abc import Mapping

import jax

# Dtypes of arrays, random numbers, rounding, and whether steps are compiled and
# run at all.
PINNED = {
  'jax_enable_x64': False,
  'jax_default_prng_impl': 'threefry2x32',
  'jax_threefry_partitionable': True,
  'jax_random_seed_offset': 0,
  'jax_default_matmul_precision': None,
  'jax_softmax_custom_jvp': False,
  'jax_disable_jit': False,
  'jax_no_tracing': False,
  'jax_no_execution': False,
}
# What compilers and libraries read: it may be needed, and changes rounding.
RECORDED = (
  'XLA_FLAGS',
  'LIBTPU_INIT_ARGS',
  'NVIDIA_TF32_OVERRIDE',
  'JAX_DISABLE_MOST_OPTIMIZATIONS',
  'JAX_OPTIMIZATION_LEVEL',
  'JAX_EXEC_TIME_OPTIMIZATION_EFFORT',
)


def pin() -> None:
  """Sets what changes numbers to JAX's defaults; one line for each change."""
  for name, value in PINNED.items():
    if getattr(jax.config, name, value) == value:  # older versions lack some
      continue
    given = os.environ.get(name.upper(), getattr(jax.config, name))
    jax.config.update(name, value)
    print(
      f'warning: {name.upper()}={given} is not used: it would change the '
      'numbers of a run',
      file=sys.stderr,
      flush=True,
    )


def processor() -> str:
  """Name and features of the processor, as far as the system tells."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return f'{platform.machine()} {platform.processor()}'
  wanted = ('model name', 'flags', 'Features')
  return ' '.join(sorted({x for x in lines if x.startswith(wanted)}))


def recorded() -> dict[str, str]:
  """The variables of RECORDED that are set, for a checkpoint."""
  return {name: os.environ[name] for name in RECORDED if os.environ.get(name)}


def changes(before: Mapping[str, str]) -> list[str]:
  """Says what of RECORDED differs now, one line for each variable.

  >>> import unittest.mock
  >>> with unittest.mock.patch.dict(os.environ, {'NVIDIA_TF32_OVERRIDE': '0'}):
  ...   changes({**recorded(), 'NVIDIA_TF32_OVERRIDE': '1'})
  ["NVIDIA_TF32_OVERRIDE was '1', is '0': numbers may round differently"]
  """
  now = recorded()
  return [
    f'{name} was {before.get(name, "")!r}, is {now.get(name, "")!r}: numbers '
    'may round differently'
    for name in RECORDED
    if before.get(name, '') != now.get(name, '')
  ]


def backend() -> str:
  """Returns the platform of JAX's devices, such as 'cpu'.

  Raises ValueError if JAX finds no device of the platform that it is told, or
  cannot reach the other processes of a run.
  """
  try:
    return jax.default_backend()
  except (RuntimeError, AssertionError) as error:
    asked = os.environ.get('JAX_PLATFORMS', '')
    reason = str(error).split('\n')[0] or 'it finds no such device'
    if 'gloo' in reason:  # by which the processes of a run on CPUs talk
      name = platform.node()
      raise ValueError(
        f'the name of this host, {name}, has no address, so that the other '
        f'processes cannot reach it: add a line "ADDRESS {name}" to /etc/hosts'
      ) from error
    raise ValueError(
      f'JAX_PLATFORMS={asked!r}: JAX cannot be started ({reason}): leave it '
      "out, or use JAX_PLATFORMS=cpu; 'cuda' needs a GPU and jax[cuda12]"
    ) from error
