"""Time of each operation, forward and backward, and the least it could take.

Each is compared with a naive form, with PyTorch (the faster of two layouts),
and with a floor: its arithmetic at the rate of a matrix product (the faster of
JAX's and PyTorch's), or its bytes at the rate of adding 1 in place, whichever
takes longer, both measured in the same run. What fits in a cache can be below
the floor. bench/jax_ops.py explains the names.
"""

import contextlib
import json
import statistics
import sys

from alexnet_jax.bench import rows, step, workers
from alexnet_jax.bench.baselines import pytorch


def measure_ops(settings: step.StepSettings) -> list[rows.ResultRow]:
  """One row for each operation and direction."""
  config = step.with_mesh(settings, step.Mesh(1, 1)).to_dict()
  options = {'config': config, 'dtype': settings.dtype}
  module = 'alexnet_jax.bench.jax_ops'
  command = [sys.executable, '-m', module, json.dumps(options)]
  with contextlib.ExitStack() as stack:
    ours = stack.enter_context(workers.Worker(command))
    options |= {'platform': ours.info['platform']}
    theirs = [
      stack.enter_context(workers.Worker(command))
      for command in _torch_commands(settings, options)
    ]
    limits = _limits(ours, theirs=theirs, settings=settings)
    common = {
      'bench': 'ops',
      'batch_size': settings.batch_size,
      'dtype': settings.dtype,
      'platform': ours.info['platform'],
      'device': ours.info['device'],
    }
    return [
      _op_row(op, ours=ours, theirs=theirs, settings=settings, limits=limits)
      | common
      for op in ours.info['ops']
      if not op.endswith(' naive')
    ]


def _torch_commands(
  settings: step.StepSettings, options: dict
) -> list[list[str]]:
  """Commands of the PyTorch workers, one for each layout."""
  if settings.baseline is None:
    return []
  return [
    settings.baseline.command(options, form=form, script='torch_ops')
    for form in (
      pytorch.Form('contiguous', 'eager', 'torch'),
      pytorch.Form('channels_last', 'eager', 'torch'),
    )
  ]


def _op_row(
  op: str,
  *,
  ours: workers.Worker,
  theirs: list[workers.Worker],
  settings: step.StepSettings,
  limits: dict[str, float],
) -> rows.ResultRow:
  """The operation, its naive form and PyTorch's, interleaved."""
  names = [name for name in (op, f'{op} naive') if name in ours.info['ops']]
  series = [(ours, name) for name in names]
  series += [(worker, op) for worker in theirs]
  rounds = [
    [worker.measure(name, seconds=settings.seconds) for worker, name in series]
    for _ in range(settings.rounds)
  ]
  times = [
    [1e3 * a['seconds'] for a in each] for each in zip(*rounds, strict=True)
  ]
  own, others = times[0], times[len(names) :]
  best = min(others, key=statistics.median, default=[])
  flop, bytes_ = (rounds[0][0][unit] for unit in ('flop', 'bytes'))
  floor = 1e3 * max(flop / limits['flop'], bytes_ / limits['bytes'])
  return {
    'what': op,
    **rows.spread('ms', own),
    **rows.spread('naive_ms', times[1] if len(names) == 2 else []),
    **rows.spread('peer_ms', best),
    **rows.spread('ratio', rows.ratios(best, own) if best else []),
    'flop': flop,
    'bytes': bytes_,
    'floor_ms': round(floor, 3),
    'gflops': round(flop / statistics.median(own) / 1e6, 1),
    'gb_per_second': round(bytes_ / statistics.median(own) / 1e6, 2),
    'limit_gflops': round(limits['flop'] / 1e9, 1),
    'limit_gb_per_second': round(limits['bytes'] / 1e9, 2),
    'n': settings.rounds,
  }


def _limits(
  ours: workers.Worker,
  *,
  theirs: list[workers.Worker],
  settings: step.StepSettings,
) -> dict[str, float]:
  """Measured peaks of the machine: FLOP/s and bytes/s."""

  def seconds(worker: workers.Worker, workload: str) -> float:
    return statistics.median(
      worker.measure(workload, seconds=settings.seconds)['seconds']
      for _ in range(settings.rounds)
    )

  flop = ours.measure('product', seconds=0.0)['flop']
  bytes_ = ours.measure('copy', seconds=0.0)['bytes']
  product = min(seconds(worker, 'product') for worker in [ours, *theirs])
  return {'flop': flop / product, 'bytes': bytes_ / seconds(ours, 'copy')}
