"""How long each operation takes, forward and backward, and how long it must.

Beside each its naive form, PyTorch's (the faster of two layouts), and a floor:
its arithmetic at the rate of a matrix product (the faster of JAX's and
PyTorch's), or its bytes at that of adding 1 in place, whichever takes longer;
rates of this machine and this run. What fits a cache can go below it. Not in
the paper. bench/jax_ops.py explains the names.
"""

import contextlib
import json
import pathlib
import statistics
import sys

from alexnet_jax.bench import rows, step, workers

_PEER = pathlib.Path(__file__).with_name('torch_ops.py')
_LAYOUTS = ('contiguous', 'channels_last')


def run(bench: step.Bench) -> list[rows.Row]:
  """A row for each operation and direction."""
  config = step.with_mesh(bench, step.Mesh(1, 1)).to_dict()
  options = {'config': config, 'dtype': bench.dtype}
  module = 'alexnet_jax.bench.jax_ops'
  command = [sys.executable, '-m', module, json.dumps(options)]
  with contextlib.ExitStack() as stack:
    ours = stack.enter_context(workers.started(command))
    platform = ours.machine['platform']
    peers = [
      stack.enter_context(workers.started(peer))
      for peer in _peers(bench, options | {'platform': platform})
    ]
    limits = _limits(ours, peers=peers, bench=bench)
    common = {
      'bench': 'ops',
      'batch_size': bench.batch_size,
      'dtype': bench.dtype,
      'platform': platform,
      'device': ours.machine['device'],
    }
    return [
      _row(work, ours=ours, peers=peers, bench=bench, limits=limits) | common
      for work in _ops(ours)
      if not work.endswith(' naive')
    ]


def _peers(bench: step.Bench, options: dict) -> list[list[str]]:
  """Commands of the peer's processes, one for each layout."""
  if bench.peer is None:
    return []
  common = {'lrn': 'torch', 'memory': 'returned'}
  forms = [{'layout': layout} | common for layout in _LAYOUTS]
  script = [bench.peer.python, str(_PEER)]
  return [[*script, json.dumps(options | {'form': form})] for form in forms]


def _row(
  work: str,
  *,
  ours: workers.Process,
  peers: list[workers.Process],
  bench: step.Bench,
  limits: dict[str, float],
) -> rows.Row:
  """The operation, its naive form and the peer's, in turns."""
  names = [name for name in (work, f'{work} naive') if name in _ops(ours)]
  sides = [(ours, name) for name in names] + [(peer, work) for peer in peers]
  answers: list[list[workers.Answer]] = [[] for _ in sides]
  for _ in range(bench.rounds):
    for (process, name), found in zip(sides, answers, strict=True):
      found.append(process.ask(name, seconds=bench.seconds))
  times = [[1e3 * a['seconds'] for a in found] for found in answers]
  own, others = times[0], times[len(names) :]
  theirs = min(others, key=statistics.median, default=[])
  flop, bytes_ = (answers[0][0][unit] for unit in ('flop', 'bytes'))
  floor = 1e3 * max(flop / limits['flop'], bytes_ / limits['bytes'])
  return {
    'what': work,
    **rows.spread('ms', own),
    **rows.spread('naive_ms', times[1] if len(names) == 2 else []),
    **rows.spread('peer_ms', theirs),
    **rows.spread('ratio', rows.ratios(theirs, own) if theirs else []),
    'flop': flop,
    'bytes': bytes_,
    'floor_ms': round(floor, 3),
    'gflops': round(flop / statistics.median(own) / 1e6, 1),
    'gb_per_second': round(bytes_ / statistics.median(own) / 1e6, 2),
    'limit_gflops': round(limits['flop'] / 1e9, 1),
    'limit_gb_per_second': round(limits['bytes'] / 1e9, 2),
    'n': bench.rounds,
  }


def _ops(ours: workers.Process) -> list[str]:
  return ours.machine['ops']


def _limits(
  ours: workers.Process, *, peers: list[workers.Process], bench: step.Bench
) -> dict[str, float]:
  """Operations and bytes a second that the machine has been seen to do."""

  def seconds(process: workers.Process, work: str) -> float:
    return statistics.median(
      process.ask(work, seconds=bench.seconds)['seconds']
      for _ in range(bench.rounds)
    )

  flop = ours.ask('product', seconds=0.0)['flop']
  bytes_ = ours.ask('copy', seconds=0.0)['bytes']
  product = min(seconds(process, 'product') for process in [ours, *peers])
  return {'flop': flop / product, 'bytes': bytes_ / seconds(ours, 'copy')}
