"""Chooses by a measurement what is fastest on this machine (schema.MEASURED).

One field is the number of parts of a minibatch: on a CPU the maps of a few
images stay in its cache, but each part adds up the gradients of all parameters
once more. Another is whether a CPU uses instructions for bfloat16 or multiplies
it as float32. The third is whether it convolves by Winograd's
algorithm: with fewer products, in more memory. Before a long run this module
times training steps of each form in turn, and keeps the fastest beside the
compiled programs. The run's config.json holds the choice, since other forms
round in other places.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import statistics
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
_MOST = 64  # more take no less time, and memory that is cleared at each step
# While other fields are measured. Of a whole minibatch of 128 images Winograd's
# algorithm may take longer, and in four parts be the fastest.
_USUAL = 32
_ROUNDS = 5  # the first is not counted
_GAIN = 0.97  # of the time: what saves less is not worth it
_WORTH = 20  # a run is as many times as long as the measurement, or longer
# A rough guess at what is to come, which decides only whether to measure.
_COMPILE_SECONDS = 10.0  # of a program
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
) -> dict[str, int]:
  """Returns the fastest value here for each field of MEASURED that is None.

  It is that of MEASURED where the devices are no CPUs or of several hosts, and
  before a run that is too short for a measurement, unless `always` asks for
  one. `tell` gets lines on what is measured.
  """
  found: dict[str, int] = {}
  for field in (f for f in schema.MEASURED if config[f] is None):
    able = _candidates(config, field, mesh=mesh)
    tried = _in_usual_parts(config, mesh=mesh)
    file = _file(tried, field, mesh=mesh)
    value = able[0] if len(able) == 1 else _read(file, able)
    if value is None:
      cost, step = _guess_seconds(config, forms=len(able))
      if always or plan.total_steps * step >= _WORTH * cost:
        tell(
          f'measuring once which config.{field} is fastest here, for about '
          f'{math.ceil(cost / 60)} min'
        )
        seconds = _measure(
          tried, field, able, mesh=mesh, plan=plan, inputs=inputs
        )
        _keep(file, seconds=seconds)
        value = best(seconds)
        tell(
          f'seconds of a training step by config.{field}: {_shown(seconds)}; '
          f'it is set to {value}'
        )
    found[field] = schema.MEASURED[field] if value is None else value
    config = _with(config, field, found[field])
  return found


def _candidates(
  config: schema.Config, field: str, *, mesh: Mesh
) -> Sequence[int]:
  """Values to be measured; one where there is nothing to choose."""
  cpu = mesh.devices.flat[0].platform == 'cpu'
  if not cpu or distributed.is_multihost():
    able: tuple[int, ...] = ()
  elif field == 'native_bfloat16':
    able = (False, True) if config.dtype == 'bfloat16' else ()
  elif field == 'winograd':
    able = (False, True)
  else:
    images = config.batch_size // mesh.shape[mesh_lib.DATA]  # of a device
    able = tuple(
      n
      for n in _PARTS
      if n == 1 or (images % n == 0 and images // n >= _FEWEST)
    )
    few = tuple(n for n in able if images // n <= _MOST)
    able = few if len(few) > 1 else able
  return able or (schema.MEASURED[field],)


def _in_usual_parts(config: schema.Config, *, mesh: Mesh) -> schema.Config:
  """Returns the config with parts of at most _USUAL images, if undecided."""
  field = 'grad_accumulation_steps'
  if config[field] is not None:
    return config
  able = _candidates(config, field, mesh=mesh)
  images = config.batch_size // mesh.shape[mesh_lib.DATA]  # of a device
  few = (n for n in able if images // n <= _USUAL)
  return _with(config, field, next(few, able[-1]))


def _with(config: schema.Config, field: str, value: int) -> schema.Config:
  config = config.copy_and_resolve_references()
  config[field] = value
  return config


def _guess_seconds(config: schema.Config, *, forms: int) -> tuple[float, float]:
  """Guesses what measuring so many forms takes, and what a step takes."""
  work = summary.operations(config.model, crop_size=config.data.crop_size)
  step = work['train'] * config.batch_size / _CORE_FLOPS / (os.cpu_count() or 1)
  return forms * (_COMPILE_SECONDS + _ROUNDS * step), step


def _measure(
  config: schema.Config,
  field: str,
  able: Sequence[int],
  *,
  mesh: Mesh,
  plan: durations.Plan,
  inputs: Inputs,
) -> dict[int, float]:
  """Times training steps of the forms that `in_turns` tries."""
  programs = {
    value: build.build(_with(config, field, value), mesh=mesh, plan=plan)
    for value in able
  }
  batch, state = inputs.batch(), programs[able[0]].init()

  def take(value: int) -> float:
    nonlocal state
    begun = time.perf_counter()
    state, outputs = programs[value].train(state, inputs.mean_image, batch)
    jax.block_until_ready((state, outputs))
    return time.perf_counter() - begun

  return in_turns(able, take)


def in_turns(
  able: Sequence[int], take: Callable[[int], float]
) -> dict[int, float]:
  """Times one value after another; returns the median time of each.

  Each takes turns with the fastest before it, and the first that is slower is
  the last: to compile one more takes longer than its steps. `take` takes a step
  and returns its seconds.

  >>> in_turns((1, 2, 4, 8), {1: 4.0, 2: 3.0, 4: 3.5, 8: 1.0}.get)
  {1: 4.0, 2: 3.0, 4: 3.5}
  """
  fastest: int = able[0]
  took: dict[int, list[float]] = {value: [] for value in able}
  for value in able[1:]:
    for round_ in range(_ROUNDS):
      for each in (fastest, value):
        seconds = take(each)
        if round_:  # the first compiles
          took[each].append(seconds)
    if statistics.median(took[value]) >= statistics.median(took[fastest]):
      break
    fastest = value
  # Not the shortest: some forms take longer now and then, for their memory.
  return {v: statistics.median(each) for v, each in took.items() if each}


def best(seconds: Mapping[int, float]) -> int:
  """The value with the shortest step; the first if that saves little.

  >>> best({1: 4.0, 2: 3.5, 4: 3.0, 8: 3.1}), best({1: 4.0, 2: 3.9, 4: 4.2})
  (4, 1)
  """
  first, fastest = next(iter(seconds)), min(seconds, key=lambda v: seconds[v])
  return fastest if seconds[fastest] < _GAIN * seconds[first] else first


def _shown(seconds: Mapping[int, float]) -> str:
  """Such as '1: 3.71, 2: 3.52, 4: 3.01'."""
  return ', '.join(f'{value}: {took:.3g}' for value, took in seconds.items())


def _file(
  config: schema.Config, field: str, *, mesh: Mesh
) -> pathlib.Path | None:
  """Where the choice for this config and machine is kept; None: nowhere."""
  folder = jax.config.jax_compilation_cache_dir
  if not folder or paths.is_remote(folder):
    return None
  depends = {
    'model': config.model.to_dict(),
    'crop_size': config.data.crop_size,
    'dtype': config.dtype,
    'measured': field,
    **{name: config[name] for name in schema.MEASURED if name != field},
    'batch_size': config.batch_size,
    'mesh': dict(mesh.shape),
    'lars': config.batch_scaling.lars,
    'environment': environment.recorded(),
    'jax': jax.__version__,
    'processor': [environment.processor(), os.cpu_count()],
  }
  text = json.dumps(depends, sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()
  return pathlib.Path(folder) / f'measured-{digest[:16]}.json'


def _read(file: pathlib.Path | None, able: Sequence[int]) -> int | None:
  """The choice that was kept; None if there is none, or it cannot be read."""
  try:
    found = json.loads(file.read_text()) if file else {}
    kept = {v: float(found[str(v)]) for v in able if str(v) in found}
    return best(kept) if able[0] in kept else None
  except (OSError, ValueError, TypeError):
    return None


def _keep(file: pathlib.Path | None, *, seconds: Mapping[int, float]) -> None:
  """Writes what was measured, if it can be: it only saves time."""
  if file is not None:
    with contextlib.suppress(OSError), paths.replacing(file) as opened:
      content = {str(value): took for value, took in seconds.items()}
      opened.write(json.dumps(content).encode())
