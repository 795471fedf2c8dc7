"""Images/s of training steps (§5) and of ten views (§4.1), beside PyTorch's.

Each mesh has a worker (bench/jax_step.py), and so do the PyTorch baseline
(bench/baselines/torch_step.py) and a matrix product, which shows the machine's
peak. Rounds are interleaved, so ratios are of rounds seconds apart. Images are
on the device; bench/input.py measures reading them.
"""

import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from ml_collections import config_dict

from alexnet_jax.bench import rows, workers
from alexnet_jax.bench.baselines import pytorch
from alexnet_jax.config import validate

Config = config_dict.ConfigDict
_DTYPES = ('float32', 'bfloat16')


class Mesh(NamedTuple):
  """Sizes of the mesh axes."""

  data: int
  column: int

  def __str__(self) -> str:
    return f'{self.data}x{self.column}'


# What `measure_scaling` compares.
SCALING_MESHES = (Mesh(1, 1), Mesh(1, 2), Mesh(2, 1))
SCALING_BATCH_SIZES = (16, 32, 64, 128, 256, 512)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSettings:
  """What to measure.

  Attributes:
    what: the training step, or ten views of whole images.
    config: the network and the update rule.
    batch_size: images of a step, or of each view.
    meshes: each is measured, interleaved.
    dtype: of the network's arithmetic.
    seconds: of a round, which has one call at least.
    rounds: of each worker.
    baseline: PyTorch; None: without.
  """

  what: Literal['step', 'eval']
  config: Config
  batch_size: int
  meshes: Sequence[Mesh]
  dtype: str
  seconds: float
  rounds: int
  baseline: pytorch.Baseline | None = None


class _Series(NamedTuple):
  """A worker, its workload, and the rounds measured so far."""

  worker: workers.Worker
  workload: str
  rounds: list[workers.Answer]

  @property
  def last(self) -> workers.Answer:
    return self.rounds[-1]

  @property
  def rates(self) -> list[float]:
    """Images/s of each round."""
    return [r['images'] / r['seconds'] for r in self.rounds]


def settings(
  config: Config,
  *,
  batch_sizes: Iterable[str],
  dtypes: Iterable[str],
  meshes: Iterable[str],
  **others: Any,
) -> list[StepSettings]:
  """Settings for each dtype and batch size, from the values of flags.

  Args:
    config: the network and the update rule.
    batch_sizes: of --batch_size; empty: the config's.
    dtypes: of --dtype; empty: the config's.
    meshes: of --mesh, such as '1x2'.
    **others: the other fields of StepSettings.

  Raises:
    ValueError: if a value cannot be used.
  """
  dtypes = [*dtypes] or [config.dtype]
  for dtype in dtypes:
    if dtype not in _DTYPES:
      raise ValueError(f'--dtype={dtype}: use {" or ".join(_DTYPES)}')
  sizes = [_positive('batch_size', text) for text in batch_sizes]
  parsed = [_parse_mesh(text) for text in meshes]
  return [
    StepSettings(
      config=config, batch_size=size, meshes=parsed, dtype=dtype, **others
    )
    for dtype, size in itertools.product(dtypes, sizes or [config.batch_size])
  ]


def _positive(flag: str, text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise ValueError(f'--{flag} holds {text!r}: use 1 or more')
  return int(text)


def _parse_mesh(text: str) -> Mesh:
  parts = text.split('x')
  if len(parts) != 2:
    raise ValueError(f'--mesh holds {text!r}: use data x column, as 1x2')
  return Mesh(*(_positive('mesh', part) for part in parts))


def measure_steps(settings: StepSettings) -> list[rows.ResultRow]:
  """One row for each mesh.

  Raises:
    ValueError: if the config does not fit a mesh, or a worker fails.
  """
  configs = {mesh: with_mesh(settings, mesh) for mesh in settings.meshes}
  first = settings.meshes[0]
  with contextlib.ExitStack() as stack:

    def started(command: list[str], workload: str) -> _Series:
      worker = stack.enter_context(workers.Worker(command))
      return _Series(worker, workload, [])

    ours = {
      mesh: started(_jax_command(_options(settings, config)), settings.what)
      for mesh, config in configs.items()
    }
    options = _options(settings, configs[first])
    theirs, about = None, {'peer_form': None}
    if settings.baseline:
      options |= {'platform': ours[first].worker.info['platform']}
      form, tried = settings.baseline.fastest(options, seconds=settings.seconds)
      command = settings.baseline.command(options, form=form)
      theirs = started(command, settings.what)
      version = theirs.worker.info['version']
      about = {'peer_form': str(form), 'peer_forms': tried}
      about |= {'peer_version': version}
    product = started(_jax_command(options | {'what': 'product'}), 'product')
    series = [*ours.values(), *([theirs] if theirs else []), product]
    for _, each in itertools.product(range(settings.rounds), series):
      answer = each.worker.measure(each.workload, seconds=settings.seconds)
      each.rounds.append(answer)
  return [
    _step_row(ours[mesh], first=ours[first], theirs=theirs, product=product)
    | {'bench': settings.what, 'mesh': str(mesh), 'dtype': settings.dtype}
    | {'batch_size': settings.batch_size, **about}
    | {'parts': configs[first].grad_accumulation_steps}
    for mesh in settings.meshes
  ]


def measure_scaling(settings: StepSettings) -> list[rows.ResultRow]:
  """Steps on three meshes, interleaved; then of each batch size on (1, 1).

  Virtual devices of a CPU share its cores: what (1, 2) and (2, 1) lose against
  (1, 1) is the cost of splitting (§3.2), what they win is a better use of the
  cores. The paper has batches of 128 only.
  """
  columns = settings.config.model.columns
  settings = dataclasses.replace(settings, what='step', baseline=None)
  meshes = [mesh for mesh in SCALING_MESHES if columns % mesh.column == 0]
  found = measure_steps(dataclasses.replace(settings, meshes=meshes))
  for size in SCALING_BATCH_SIZES:
    try:
      found += measure_steps(
        dataclasses.replace(settings, batch_size=size, meshes=meshes[:1])
      )
    except workers.WorkerError as error:  # such as too little memory
      found.append({'batch_size': size, 'failed': str(error)})
  return [row | {'bench': 'scaling'} for row in found]


def with_mesh(settings: StepSettings, mesh: Mesh) -> Config:
  """The config to measure, for one mesh.

  Raises:
    ValueError: if it does not fit the mesh.
  """
  config = settings.config.copy_and_resolve_references()
  config.mesh.data, config.mesh.column = mesh
  config.batch_size = config.eval.batch_size = settings.batch_size
  config.dtype = settings.dtype
  if settings.what == 'eval':
    config.grad_accumulation_steps = 1
  validate.check(config)
  return config


def _options(settings: StepSettings, config: Config) -> dict[str, Any]:
  config = config.to_dict()
  return {'what': settings.what, 'config': config, 'dtype': settings.dtype}


def _jax_command(options: dict[str, Any]) -> list[str]:
  module = 'alexnet_jax.bench.jax_step'
  return [sys.executable, '-m', module, json.dumps(options)]


def _step_row(
  ours: _Series, *, first: _Series, theirs: _Series | None, product: _Series
) -> rows.ResultRow:
  """One mesh, compared round by round with PyTorch, product and first mesh."""
  peak = [r['flop'] / r['seconds'] for r in product.rounds]
  flop = ours.last['flop_per_image']
  baseline = theirs.rates if theirs else []
  shares = rows.ratios([flop * rate for rate in ours.rates], peak)
  return {
    **rows.spread('images_per_second', ours.rates, digits=2),
    **rows.spread('peer_images_per_second', baseline, digits=2),
    **rows.spread('ratio', rows.ratios(ours.rates, baseline)),
    **rows.spread('ratio_to_first_mesh', rows.ratios(ours.rates, first.rates)),
    **rows.spread('matmul_share', shares),
    **rows.spread('matmul_gflops', [each / 1e9 for each in peak], digits=1),
    'compile_seconds': round(ours.last['compile_seconds'], 2),
    'peak_memory_bytes': ours.last['peak_memory_bytes'],
    'peer_peak_memory_bytes': theirs and theirs.last['peak_memory_bytes'],
    'flop_per_image': flop,
    'moved_bytes_per_image': round(ours.last['moved_bytes_per_image']),
    'n': len(ours.rounds),
    'platform': ours.worker.info['platform'],
    'device': ours.worker.info['device'],
  }
