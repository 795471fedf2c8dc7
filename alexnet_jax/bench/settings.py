"""Settings of a measurement, from the flags of tools/bench.py."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ml_collections import config_dict

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """Network, sizes, meshes and rounds of one measurement."""

  what: str  # as --what of tools.bench
  config: Config  # the network and the update rule
  batch_size: int  # images of a step, or of each view
  meshes: Sequence[Mesh]  # each is measured, interleaved
  dtype: str  # of the network's arithmetic
  seconds: float  # of a round, which has one call at least
  rounds: int  # of each worker
  kernels: Sequence[str] = ()  # interleaved; (): that of the config
  baseline: pytorch.Baseline | None = None  # PyTorch
  source: str = ''  # images to prepare and read, as tools.prepare takes them
  images: int = 0  # training images to read; those of the source are repeated

  def with_mesh(self, mesh: Mesh, *, kernels: str = '') -> Config:
    """The config to measure; ValueError if it does not fit the mesh."""
    config = self.config.copy_and_resolve_references()
    config.mesh.data, config.mesh.column = mesh
    config.batch_size = config.eval.batch_size = self.batch_size
    config.dtype = self.dtype
    config.kernels = kernels or config.kernels
    if self.what == 'eval':
      config.grad_accumulation_steps = 1
    validate.check(config)
    return config


def parse(
  config: Config,
  *,
  batch_sizes: Iterable[str],
  dtypes: Iterable[str],
  meshes: Iterable[str],
  **others: Any,
) -> list[Settings]:
  """Settings for each dtype and batch size; those of the config if not given.

  Raises ValueError if a value cannot be used.
  """
  dtypes = [*dtypes] or [config.dtype]
  for dtype in dtypes:
    if dtype not in _DTYPES:
      raise ValueError(f'--dtype={dtype}: use {" or ".join(_DTYPES)}')
  sizes = [_positive('batch_size', text) for text in batch_sizes]
  fixed = {'config': config, 'meshes': [*map(_parse_mesh, meshes)], **others}
  return [
    Settings(batch_size=size, dtype=dtype, **fixed)
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
