"""Time of each operation, forward and backward, and the least it could take.

Each is compared with a naive form, with PyTorch (the faster of two layouts),
and with a floor: its arithmetic at the rate of a matrix product (the faster of
JAX's and PyTorch's), or its bytes at the rate of adding 1 in place, whichever
takes longer, both measured in the same run. What fits in a cache can be below
the floor. bench/jax_ops.py explains the names.
"""

import contextlib
import functools
import statistics
from collections.abc import Callable, Sequence

from alexnet_jax.bench import rows, workers
from alexnet_jax.bench.settings import Mesh, Settings

_LAYOUTS = ('contiguous', 'channels_last')


def measure_ops(settings: Settings) -> list[rows.ResultRow]:
  """One row for each operation and direction."""
  config = settings.with_mesh(Mesh(1, 1)).to_dict()
  options = {'config': config, 'dtype': settings.dtype}
  with contextlib.ExitStack() as stack:
    command = workers.jax_command('jax_ops', options)
    ours, theirs = stack.enter_context(workers.Worker(command)), []
    about = {name: ours.info[name] for name in ('platform', 'device')}
    if settings.baseline:
      start = functools.partial(
        settings.baseline.start, options | about, script='torch_ops'
      )
      forms = [f'{layout}/eager/torch/returned' for layout in _LAYOUTS]
      theirs = [stack.enter_context(start(form=form)) for form in forms]
    measure = functools.partial(
      workers.measure, seconds=settings.seconds, rounds=settings.rounds
    )
    limits = _limits(ours, theirs=theirs, measure=measure)
    about |= {'bench': 'ops', 'dtype': settings.dtype, 'n': settings.rounds}
    about |= {'batch_size': settings.batch_size}
    row = functools.partial(
      _op_row, ours=ours, theirs=theirs, measure=measure, limits=limits
    )
    ops = (op for op in ours.info['ops'] if not op.endswith(' naive'))
    return [row(op) | about for op in ops]


def _op_row(
  op: str,
  *,
  ours: workers.Worker,
  theirs: Sequence[workers.Worker],
  measure: Callable[..., dict],
  limits: dict[str, float],
) -> rows.ResultRow:
  """The operation, its naive form and PyTorch's, interleaved."""
  works = [name for name in (op, f'{op} naive') if name in ours.info['ops']]
  series = [(ours, work) for work in works] + [(each, op) for each in theirs]
  found = [*measure(dict(enumerate(series))).values()]
  own, *others = ([1e3 * a['seconds'] for a in each] for each in found)
  naive = others.pop(0) if len(works) == 2 else []
  best = min(others, key=statistics.median, default=[])
  flop, size = (found[0][0][name] for name in ('flop', 'bytes'))
  ms = statistics.median(own)
  floor = 1e3 * max(flop / limits['flop'], size / limits['bytes'])
  return {
    'what': op,
    **rows.spread('ms', own),
    **rows.spread('naive_ms', naive),
    **rows.spread('peer_ms', best),
    **rows.spread('ratio', rows.ratios(best, own) if best else []),
    'flop': flop,
    'bytes': size,
    'floor_ms': round(floor, 3),
    'gflops': round(flop / ms / 1e6, 1),
    'gb_per_second': round(size / ms / 1e6, 2),
    'limit_gflops': round(limits['flop'] / 1e9, 1),
    'limit_gb_per_second': round(limits['bytes'] / 1e9, 2),
  }


def _limits(
  ours: workers.Worker,
  *,
  theirs: Sequence[workers.Worker],
  measure: Callable[..., dict],
) -> dict[str, float]:
  """Measured peaks of the machine: FLOP/s and bytes/s."""
  products = measure({n: (w, 'product') for n, w in enumerate([ours, *theirs])})
  (copies,) = measure({'copy': (ours, 'copy')}).values()

  def seconds(answers: list[workers.Answer]) -> float:
    return statistics.median(answer['seconds'] for answer in answers)

  return {
    'flop': products[0][0]['flop'] / min(map(seconds, products.values())),
    'bytes': copies[0]['bytes'] / seconds(copies),
  }
