"""Activations before training, and velocities in training, per layer.

Activations that differ less from layer to layer leave the last layers little
information about the image; see train/health.py.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.figures import style

_ROW = 0.34  # inches


class _Kind(NamedTuple):
  """A kind of stage, such as 'conv1/pool', 'conv2/pool' and so on."""

  name: str
  marker: str
  colour: str  # ink or muted: shapes tell kinds apart
  filled: bool
  shift: float  # of the markers, in rows


def figure(health_rows: Sequence[dict], statistics: Sequence[dict]) -> Figure:
  """Draws a row per layer: spread of activations left, velocity right.

  Left, each stage's standard deviation over images (mean over units), and the
  share of ReLUs that are zero on all images. Right, the root mean square of the
  velocity divided by that of the kernel. The rows are those of health.json and
  of statistics.layer_statistics; a side without any is left out. Raises
  ValueError if both are empty.
  """
  widths = [3] * bool(health_rows) + [2] * bool(statistics)
  if not widths:
    raise ValueError('neither activations nor kernels: nothing to draw')
  names = [r['stage'].split('/')[0] for r in health_rows]
  layers = list(dict.fromkeys(names + [r['layer'] for r in statistics]))
  made = style.figure(len(layers) * _ROW + 1.5)
  grid = made.subplots(
    1, len(widths), sharey=True, squeeze=False, width_ratios=widths
  )
  panels = list(grid[0])
  if health_rows:
    _spread(panels[0], health_rows, layers=layers)
    made.legend(loc='outside lower left', ncols=3, columnspacing=1)
  if statistics:
    _pace(panels[-1], statistics, layers=layers)
  _rows(panels, layers=layers)
  return made


def _spread(
  axes: Axes, health_rows: Sequence[dict], *, layers: Sequence[str]
) -> None:
  """Draws a marker per stage, and the share of dead ReLUs at the right."""
  for kind, rows in _by_kind(health_rows):
    at = [layers.index(r['stage'].split('/')[0]) for r in rows]
    _dots(axes, at, [r['stddev'] for r in rows], kind=kind)
    for row, r in zip(at, rows, strict=True):
      if r['dead'] is not None:
        style.beside(axes, row, style.percent(float(r['dead'])))
  if any(r['dead'] is not None for r in health_rows):
    style.beside(axes, None, 'dead')
  axes.set_title('spread of activations')


def _by_kind(
  health_rows: Sequence[dict],
) -> list[tuple[_Kind, list[dict[str, Any]]]]:
  """Groups rows by the part after the layer's name, in their order."""
  p = style.palette()
  known = {
    '': _Kind('sums', 'o', p.muted, False, -0.2),
    'activation': _Kind('activations', 'o', p.ink, True, -0.07),
    'lrn': _Kind('normalised', 's', p.muted, True, 0.07),
    'pool': _Kind('pooled', 'D', p.ink, False, 0.2),
  }
  groups: dict[str, list[dict[str, Any]]] = {}
  for row in health_rows:
    groups.setdefault(row['stage'].partition('/')[2], []).append(row)
  return [
    (known.get(op, _Kind(op, '^', p.ink, False, 0.3)), rows)
    for op, rows in groups.items()
  ]


def _dots(
  axes: Axes, rows: Sequence[int], values: Sequence[float], *, kind: _Kind
) -> None:
  """Draws positive values; a zero is a '0' at the foot of the log scale."""
  shown = [v if v > 0 and math.isfinite(v) else math.nan for v in values]
  look = {'ls': '', 'marker': kind.marker, 'ms': 6, 'mew': 1.3}
  look |= {'mec': kind.colour, 'mfc': kind.colour if kind.filled else 'none'}
  axes.plot(shown, [n + kind.shift for n in rows], **look, label=kind.name)
  zero = {
    'color': kind.colour,
    'fontsize': style.SMALL,
    'va': 'center_baseline',
  }
  zero |= {'transform': axes.get_yaxis_transform()}
  for row, value in zip(rows, values, strict=True):
    if value == 0:
      axes.text(0.01, row + kind.shift, '0', **zero)


def _pace(
  axes: Axes, statistics: Sequence[dict], *, layers: Sequence[str]
) -> None:
  """Draws the ratio of velocity to kernel per layer."""
  ratios = [
    r['velocity_rms'] / r['weight_rms'] if r['weight_rms'] else math.nan
    for r in statistics
  ]
  at = [layers.index(r['layer']) for r in statistics]
  kind = _Kind('_pace', 'o', style.palette().ink, True, 0)
  _dots(axes, at, ratios, kind=kind)
  axes.set_title('velocity / weights')


def _rows(panels: Sequence[Axes], *, layers: Sequence[str]) -> None:
  """Names the layers, and puts a log scale under each panel."""
  panels[0].set_yticks(range(len(layers)), list(layers))
  panels[0].set_ylim(len(layers) - 0.5, -0.5)
  for axes in panels:
    axes.set_xscale('log')
    axes.set_xlim(*_decades(axes))
    axes.xaxis.set_major_locator(ticker.LogLocator(numticks=4))
    axes.xaxis.set_major_formatter(_power)
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.tick_params(axis='y', length=0)
    axes.grid()
    axes.spines['left'].set_visible(False)


def _decades(axes: Axes) -> tuple[float, float]:
  """The powers of ten that enclose all values."""
  found = np.concatenate([np.asarray(line.get_xdata()) for line in axes.lines])
  found = found[np.isfinite(found)].tolist()
  if not found:
    return 0.1, 1.0
  low, high = math.log10(min(found)), math.log10(max(found))
  return 10.0 ** math.floor(low - 0.05), 10.0 ** math.ceil(high + 0.05)


def _power(value: float, _: Any = None) -> str:
  """Formats a power of ten with its exponent.

  >>> _power(0.001)
  '10⁻³'
  """
  exponent = str(round(math.log10(value)))
  return '10' + exponent.translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))
