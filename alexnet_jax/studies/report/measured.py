"""Measurements besides errors: health, data, speed, communication."""

import math
import statistics
from typing import Any

from alexnet_jax import paper
from alexnet_jax.studies import communication
from alexnet_jax.studies.report import gather
from alexnet_jax.train import health


def is_finite(run: gather.Run) -> bool:
  """Whether every loss of a minibatch is a finite number."""
  return all(math.isfinite(r['loss']) for r in run.train)


def signal(run: gather.Run) -> tuple[str, str, str]:
  """Whether logits differ before training: (warning or '', spread, limit)."""
  rows = [
    health.ActivationSummary(r['stage'], r['stddev'], r.get('dead'))
    for r in run.health
  ]
  floor = 0.0 if run.config is None else run.config.health.min_signal
  found = health.Report(rows, run.probed)
  warning = health.signal_warning(found, minimum=floor) or ''
  spread = f'{rows[-1].stddev:.2g}'
  return warning.removeprefix('warning: '), spread, f'{floor:g}'


def speed(run: gather.Run) -> dict[str, Any]:
  """Images/s, share of the time spent waiting for images, and the duration."""
  settled = run.train[1:] or run.train  # the first waits for the compiler
  waits = (r.get('input_wait_fraction', 0.0) for r in settled)
  return {
    'median': statistics.median(r['images_per_second'] for r in settled),
    'waiting': statistics.fmean(waits),
    'duration': _duration(run.records[-1]['time'] - run.records[0]['time']),
  }


def _duration(seconds: float | int) -> str:
  """A time in two units at most.

  >>> _duration(3725), _duration(61), _duration(0)
  ('1 h 2 min', '1 min 1 s', '0 s')
  """
  minutes, s = divmod(round(max(seconds, 0)), 60)
  hours, m = divmod(minutes, 60)
  if hours:
    return f'{hours:,} h {m} min'
  return f'{m} min {s} s' if m else f'{s} s'


def exchanges(run: gather.Run) -> list[tuple[str, str, tuple[str, str, str]]]:
  """What moves between devices: (what, how, bytes an image).

  Bytes are those that the config needs, those of the compiled program, and
  those of Figure 2.
  """
  expected = communication.expected(run.config)
  wanted = {e.key: float(e.bytes_per_image) for e in expected}
  fields = ('layer', 'direction', 'kind', 'axis')
  measured = {
    tuple(r[f] for f in fields): float(r['bytes_per_image'])
    for r in (run.audit['train'] if run.audit else [])
  }
  rows = []
  for key in dict.fromkeys([*wanted, *measured]):
    layer, direction, kind, axis = key
    figure = paper.FIGURE_2_EXCHANGES.get(layer)
    found = (
      f'{wanted.get(key, 0):,.0f}',
      f'{measured[key]:,.0f}' if key in measured else '–',
      f'{4 * figure:,}' if figure else '–',
    )
    what = f'{layer}, {direction}' if layer else 'gradients'
    rows.append((what, f'{kind} over {axis}', found))
  return rows
