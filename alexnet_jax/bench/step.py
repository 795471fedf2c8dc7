"""How fast a training step (§5) and ten views (§4.1) are, beside PyTorch.

Each mesh is a process of its own (bench/jax_step.py), and so are the peer
(bench/baselines/torch_step.py) and a matrix product, which says what the machine can do.
They take turns, a round each, so ratios are of pairs measured seconds apart.
Images lie on the device; reading them is bench/input.py's.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ml_collections import config_dict

from alexnet_jax.bench import rows, workers
from alexnet_jax.bench.baselines import pytorch
from alexnet_jax.config import validate

Config = config_dict.ConfigDict


class Mesh(NamedTuple):
  """Devices: data x column."""

  data: int
  column: int

  def __str__(self) -> str:
    return f'{self.data}x{self.column}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
  """What is measured.

  Attributes:
    what: the training step, or ten views of whole images.
    config: the net and the rule.
    batch_size: images of a step, or of each view.
    meshes: they take turns.
    dtype: of the net's arithmetic.
    seconds: of a round, at least one step.
    rounds: of each.
    peer: None: no peer.
  """

  what: Literal['step', 'eval']
  config: Config
  batch_size: int
  meshes: Sequence[Mesh]
  dtype: str
  seconds: float
  rounds: int
  peer: pytorch.Peer | None = None


class Side(NamedTuple):
  """One of those that take turns, and its rounds so far."""

  process: workers.Process
  work: str
  rounds: list[workers.Answer]

  @property
  def facts(self) -> workers.Answer:
    """What the last round says that is no time."""
    return self.rounds[-1]

  @property
  def rates(self) -> list[float]:
    """Images/s, round by round."""
    return [r['images'] / r['seconds'] for r in self.rounds]


def run(bench: Bench) -> list[rows.Row]:
  """A row for each mesh.

  Raises:
    ValueError: if the config cannot be run so, or a process fails.
  """
  configs = {str(mesh): with_mesh(bench, mesh) for mesh in bench.meshes}
  with contextlib.ExitStack() as stack:

    def start(command: list[str], work: str) -> Side:
      return Side(stack.enter_context(workers.started(command)), work, [])

    sides = {
      mesh: start(_command(_options(bench, config)), bench.what)
      for mesh, config in configs.items()
    }
    first = next(iter(configs))
    options = _options(bench, configs[first])
    found = {'peer_form': None}
    if bench.peer:
      options |= {'platform': sides[first].process.machine['platform']}
      form, tried = bench.peer.best(options, seconds=bench.seconds)
      found = {'peer_form': str(form), 'peer_forms': tried}
      sides['peer'] = start(bench.peer.command(options, form=form), bench.what)
      found |= {'peer_version': sides['peer'].process.machine['version']}
    options |= {'what': 'product'}
    sides['product'] = start(_command(options), 'product')
    _take_turns(sides, bench=bench)
  return [
    _row(sides[str(mesh)], sides=sides)
    | {'bench': bench.what, 'mesh': str(mesh), 'dtype': bench.dtype}
    | {'batch_size': bench.batch_size, **found}
    | {'parts': configs[first].grad_accumulation_steps}
    for mesh in bench.meshes
  ]


def with_mesh(bench: Bench, mesh: Mesh) -> Config:
  """The config as it is measured.

  Raises:
    ValueError: if it does not fit the mesh.
  """
  config = bench.config.copy_and_resolve_references()
  config.mesh.data, config.mesh.column = mesh
  config.batch_size = config.eval.batch_size = bench.batch_size
  config.dtype = bench.dtype
  if bench.what == 'eval':
    config.grad_accumulation_steps = 1
  validate.check(config)
  return config


def _options(bench: Bench, config: Config) -> dict[str, Any]:
  config = config.to_dict()
  return {'what': bench.what, 'config': config, 'dtype': bench.dtype}


def _command(options: dict[str, Any]) -> list[str]:
  module = 'alexnet_jax.bench.jax_step'
  return [sys.executable, '-m', module, json.dumps(options)]


def _take_turns(sides: dict[str, Side], *, bench: Bench) -> None:
  """All the rounds of all sides."""
  for _ in range(bench.rounds):
    for side in sides.values():
      side.rounds.append(side.process.ask(side.work, seconds=bench.seconds))


def _row(ours: Side, *, sides: dict[str, Side]) -> rows.Row:
  """One mesh beside the peer, the product and the first mesh, pair by pair."""
  product, peer = sides['product'], sides.get('peer')
  first = next(iter(sides.values()))
  limit = [r['flop'] / r['seconds'] for r in product.rounds]
  flop, theirs = ours.facts['flop_per_image'], peer.rates if peer else []
  pairs = zip(ours.rates, limit, strict=True)
  return {
    **rows.spread('images_per_second', ours.rates, digits=2),
    **rows.spread('peer_images_per_second', theirs, digits=2),
    **rows.spread('ratio', rows.ratios(ours.rates, theirs), digits=3),
    **rows.spread('ratio_to_first_mesh', rows.ratios(ours.rates, first.rates)),
    **rows.spread('matmul_share', [flop * rate / most for rate, most in pairs]),
    **rows.spread('matmul_gflops', [most / 1e9 for most in limit], digits=1),
    'compile_seconds': round(ours.facts['compile_seconds'], 2),
    'peak_memory_bytes': ours.facts['peak_memory_bytes'],
    'peer_peak_memory_bytes': peer and peer.facts['peak_memory_bytes'],
    'flop_per_image': flop,
    'moved_bytes_per_image': round(ours.facts['moved_bytes_per_image']),
    'n': len(ours.rounds),
    'platform': ours.process.machine['platform'],
    'device': ours.process.machine['device'],
  }
