"""Chooses by a measurement into how many parts a minibatch is divided.

On a CPU the maps of a few images stay in its cache, but each part adds up the
gradients of all parameters once more. Which weighs more depends on the machine
and on what else it does, so before a long run training steps in 1, 2, 4 and 8
parts take turns. The choice is kept beside the compiled programs, and the run's
config.json holds it: sums over other parts are rounded in other places.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from alexnet_jax.config import durations, schema
from alexnet_jax.models import summary
from alexnet_jax.parallel import distributed
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.runtime import environment, paths
from alexnet_jax.steps import build

_PARTS = (1, 2, 4, 8)
_FEWEST = 8  # images of a device in a part: with fewer, cores wait
_ROUNDS = 3  # the first is not counted
_GAIN = 0.97  # of the time: parts that save less are not worth it
_WORTH = 20  # a run is as many times as long as the measurement, or longer
# A rough guess at what is to come, which decides only whether to measure.
_COMPILE_SECONDS = 6.0  # of a program
_CORE_FLOPS = 5e10  # operations a second of a core


class Inputs(NamedTuple):
  """What a training step takes besides the state."""

  mean_image: Float[Array, 's s 3']
  batch: Callable[[], Mapping[str, Any]]  # makes a minibatch on the mesh


def choose(
  config: schema.Config,
  *,
  mesh: Mesh,
  plan: durations.Plan,
  inputs: Inputs,
  always: bool = False,
  tell: Callable[[str], object] = print,
) -> int:
  """Returns how many parts are fastest here, as measured now or before.

  It is 1 where the devices are no CPUs or of several hosts, and before a run
  that is too short for a measurement, unless `always` asks for one. `tell` gets
  a line on what was measured.
  """
  images = config.batch_size // mesh.shape[mesh_lib.DATA]  # of a device
  able = [
    n for n in _PARTS if n == 1 or (images % n == 0 and images // n >= _FEWEST)
  ]
  alone = not distributed.is_multihost()
  if mesh.devices.flat[0].platform != 'cpu' or not alone or len(able) == 1:
    return 1
  file = _file(config, mesh=mesh)
  kept = _read(file)
  if kept in able:
    return kept
  if not (always or _is_worth_it(config, plan=plan, forms=len(able))):
    return 1
  seconds = _measure(config, able, mesh=mesh, plan=plan, inputs=inputs)
  _keep(file, seconds=seconds)
  tell(
    f'measured once, seconds of a step by its parts: {_shown(seconds)}; so '
    f'config.grad_accumulation_steps = {best(seconds)}'
  )
  return best(seconds)


def _is_worth_it(
  config: schema.Config, *, plan: durations.Plan, forms: int
) -> bool:
  work = summary.operations(config.model, crop_size=config.data.crop_size)
  step = work['train'] * config.batch_size / _CORE_FLOPS / (os.cpu_count() or 1)
  cost = forms * (_COMPILE_SECONDS + _ROUNDS * step)
  return plan.total_steps * step >= _WORTH * cost


def _measure(
  config: schema.Config,
  able: Sequence[int],
  *,
  mesh: Mesh,
  plan: durations.Plan,
  inputs: Inputs,
) -> dict[int, float]:
  """Takes training steps of each form in turns; the shortest of each."""
  batch, programs = inputs.batch(), {}
  for parts in able:
    tried = config.copy_and_resolve_references()
    tried.grad_accumulation_steps = parts
    programs[parts] = build.build(tried, mesh=mesh, plan=plan)
  state = programs[1].init()
  seconds = dict.fromkeys(able, float('inf'))
  for round_ in range(_ROUNDS):
    for parts, steps in programs.items():
      begun = time.perf_counter()
      state, outputs = steps.train(state, inputs.mean_image, batch)
      jax.block_until_ready((state, outputs))
      if round_:  # the first compiles
        took = time.perf_counter() - begun
        seconds[parts] = min(seconds[parts], took)
  return seconds


def best(seconds: Mapping[int, float]) -> int:
  """The number of parts with the shortest step; 1 if that saves little.

  >>> best({1: 4.0, 2: 3.5, 4: 3.0, 8: 3.1}), best({1: 4.0, 2: 3.9, 4: 4.2})
  (4, 1)
  """
  fastest = min(seconds, key=lambda parts: seconds[parts])
  return fastest if seconds[fastest] < _GAIN * seconds[1] else 1


def _shown(seconds: Mapping[int, float]) -> str:
  """Such as '1: 3.71, 2: 3.52, 4: 3.01'."""
  return ', '.join(f'{parts}: {took:.3g}' for parts, took in seconds.items())


def _file(config: schema.Config, *, mesh: Mesh) -> pathlib.Path | None:
  """Where the choice for this config and machine is kept; None: nowhere."""
  folder = jax.config.jax_compilation_cache_dir
  if not folder or paths.is_remote(folder):
    return None
  depends = {
    'model': config.model.to_dict(),
    'crop_size': config.data.crop_size,
    'dtype': config.dtype,
    'batch_size': config.batch_size,
    'mesh': dict(mesh.shape),
    'lars': config.batch_scaling.lars,
    'environment': environment.recorded(),
    'jax': jax.__version__,
    'processor': [_processor(), os.cpu_count()],
  }
  text = json.dumps(depends, sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()
  return pathlib.Path(folder) / f'parts-{digest[:16]}.json'


def _processor() -> str:
  """Name and features of the processor, as far as the system tells."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return f'{platform.machine()} {platform.processor()}'
  wanted = ('model name', 'flags', 'Features')
  return ' '.join(sorted({x for x in lines if x.startswith(wanted)}))


def _read(file: pathlib.Path | None) -> int | None:
  """The choice that was kept; None if there is none, or it cannot be read."""
  try:
    found = json.loads(file.read_text()) if file else None
    return best({int(k): float(v) for k, v in found.items()}) if found else None
  except (OSError, ValueError, AttributeError, KeyError, TypeError):
    return None


def _keep(file: pathlib.Path | None, *, seconds: Mapping[int, float]) -> None:
  """Writes what was measured, if it can be: it only saves time."""
  if file is not None:
    with contextlib.suppress(OSError), paths.replacing(file) as opened:
      opened.write(json.dumps(seconds).encode())
