"""How the steps are compiled, and kept compiled; not in the paper.

jaxlib 0.10 hands convolutions on a CPU to a library, YNNPACK, whose kernels are
slower for this net than XLA's older ones (Eigen's): a training step of 32
images takes 1.2 times as long (bench/NOTES.md). Products and sums are left
to it.
"""

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import jax

from alexnet_jax.runtime import paths

_CPU = {
  'xla_cpu_experimental_ynn_fusion_type': (
    'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE'
  ),
  # Finds out that parameters are read before they are overwritten, where the
  # default copies the kernels of fc6 and fc7 first.
  'xla_cpu_copy_insertion_use_region_analysis': True,
}


def jit(function: Callable[..., Any], **options: Any) -> jax.stages.Wrapped:
  """`jax.jit`, compiled as is fastest on this backend."""
  return jax.jit(
    function,
    compiler_options=compiler_options(jax.default_backend()),
    **options,
  )


@functools.cache
def compiler_options(backend: str) -> dict[str, str | bool]:
  """For `jax.jit`; without those that this jaxlib does not know."""
  if backend != 'cpu':
    return {}
  return {name: value for name, value in _CPU.items() if _is_known(name, value)}


def _is_known(name: str, value: str | bool) -> bool:
  """Whether jaxlib takes an option; a value that it refuses is told of."""
  try:
    jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
  except jax.errors.JaxRuntimeError as error:
    if 'No such compile option' not in str(error):
      warnings.warn(f'this jaxlib refuses {name}={value}', stacklevel=2)
    return False
  return True


def keep_programs() -> None:
  """Keeps what is compiled in the user's cache folder, for the next run.

  That is $XDG_CACHE_HOME/alexnet_jax, or ~/.cache/alexnet_jax, unless
  JAX_COMPILATION_CACHE_DIR names another. Of an entry that it cannot read or
  write JAX warns, and compiles. Nothing is kept where there is no such folder
  that this user alone can write, for what it holds is run.
  """
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:  # JAX reads it itself
    return
  folder = paths.cache_folder()
  if folder is None:
    return
  try:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
  except OSError:
    return
  own = found.st_uid == os.getuid() and not found.st_mode & 0o022
  if own and os.access(folder, os.W_OK):
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
