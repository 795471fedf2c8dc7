"""Compiler options for the CPU, and the cache of compiled programs.

This holds for jaxlib 0.10 to 0.12: on a CPU it hands convolutions to YNNPACK,
whose kernels are slower for this net than XLA's older ones (Eigen's). A
training step takes 1.15 to 1.3 times as long without these options
(bench/NOTES.md). YNNPACK keeps matrix products and sums. Region analysis mainly
saves memory.
"""

import functools
import hashlib
import os
import pathlib
import warnings
from collections.abc import Callable
from concurrent import futures
from typing import Any

import jax

from alexnet_jax.runtime import environment, paths

_CPU = {
  'xla_cpu_experimental_ynn_fusion_type': (  # all but convolutions
    'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE'
  ),
  # Sees that parameters are read before they are overwritten: the default
  # copies the kernels of fc6 and fc7 first, 0.16 GB of scratch at batch 32.
  'xla_cpu_copy_insertion_use_region_analysis': True,
}
_CPU_ONCE = {  # of the initial values, and of the health check
  # Initial values compile in half the time, to the same numbers, and take 0.5 s
  # in place of 0.4.
  'xla_backend_optimization_level': 1,
  # Matrix products alone: YNNPACK of jaxlib 0.10 takes 40 times as long as XLA
  # for sums over images, which the health check makes.
  'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT',
}


def jit(
  function: Callable[..., Any],
  *,
  platform: str = '',
  once: bool = False,
  **options: Any,
) -> jax.stages.Wrapped:
  """Returns `jax.jit` of a function with `compiler_options`.

  `platform` is that of the devices it compiles for; '': JAX's default. A
  program that runs only `once` is optimised less.
  """
  # That setting asks for level 0: level 1 would be more.
  once = once and not jax.config.read('jax_disable_most_optimizations')
  found = compiler_options(platform or environment.backend(), once=once)
  return jax.jit(function, compiler_options=found, **options)


def ahead(program: jax.stages.Wrapped, *arguments: Any) -> Callable[..., Any]:
  """Starts to compile a program in a thread; returns a function that runs it.

  `arguments` are arrays, or jax.ShapeDtypeStructs with shardings. Calls wait
  for the thread and raise its error. They take the same shapes, dtypes and
  shardings alone, else TypeError or ValueError, where `jax.jit` would compile
  again. Settings of JAX's context managers do not reach the thread; those of
  jax.config.update do. The interpreter waits for the thread before it exits.
  """
  pool = futures.ThreadPoolExecutor(1, 'compile')
  compiled = pool.submit(lambda: program.lower(*arguments).compile())
  pool.shutdown(wait=False)  # takes no more
  return lambda *args: compiled.result()(*args)


@functools.cache
def compiler_options(
  backend: str, *, once: bool = False
) -> dict[str, str | bool | int]:
  """Returns the options for a backend that this jaxlib knows."""
  if backend != 'cpu':
    return {}
  options = _CPU | (_CPU_ONCE if once else {})
  return {n: value for n, value in options.items() if _is_known(n, value)}


@functools.cache
def _is_known(name: str, value: str | bool | int) -> bool:
  """Whether jaxlib takes an option; warns if it refuses the value."""
  try:
    jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
  except jax.errors.JaxRuntimeError as error:
    if 'No such compile option' not in str(error):
      warnings.warn(f'this jaxlib refuses {name}={value}', stacklevel=2)
    return False
  return True


def keep_programs() -> None:
  """Lets JAX cache compiled programs in the user's cache folder.

  That is programs-PROCESSOR in $XDG_CACHE_HOME/alexnet_jax, or in
  ~/.cache/alexnet_jax, unless JAX_COMPILATION_CACHE_DIR names another folder.
  Each kind of processor has its own: JAX would load a program that was compiled
  for another. JAX warns of an entry that it cannot read or write, and compiles.
  A folder that others can write is not used: what it holds is executed. Raises
  ValueError if JAX has no device.
  """
  environment.backend()
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:  # JAX reads it itself
    return
  cache = paths.cache_folder()
  if cache is None:
    return
  digest = hashlib.sha256(environment.processor().encode()).hexdigest()
  folder = cache / f'programs-{digest[:16]}'
  try:
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    own = _is_own(cache) and _is_own(folder)
  except OSError:  # no cache, no error: it only saves time
    return
  if own:
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


def _is_own(folder: pathlib.Path) -> bool:
  """Returns whether only this user can write a folder."""
  found = folder.stat()
  own = found.st_uid == os.getuid() and not found.st_mode & 0o022
  return own and os.access(folder, os.W_OK)
