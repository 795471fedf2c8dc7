"""The error of each ablated net beside the base's over epochs, as bands.

A line is the mean over seeds, a band reaches from the lowest to the highest.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.figures import style

_ROW = 1.45  # inches per row of two panels
_LETTERS = 24  # per name


# A net's name, the epochs, and the errors at them, 0 to 1, a row for each seed.
Band = tuple[str, Sequence[float], Float[np.ndarray, '_ _']]


def figure(nets: Sequence[Band]) -> Figure:
  """Draws a panel for each net but the first, which is the base, in all.

  Raises ValueError if there is no other.
  """
  base, *ablated = nets
  if not ablated:
    raise ValueError('no ablated net: nothing to draw')
  rows = (len(ablated) + 1) // 2
  made = style.figure(rows * _ROW + 0.9)
  panels = made.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
  colours = style.palette()
  for axes, band in zip(panels.flat, ablated, strict=False):
    _draw(axes, base, colour=colours.muted, stroke='--', label='base')
    _draw(axes, band, colour=colours.validation, stroke='-', label='ablated')
    axes.set_title(style.label(band[0], width=_LETTERS))
    axes.grid(axis='y')
    axes.yaxis.set_major_formatter(style.percent)
  for axes in panels.flat[len(ablated) :]:
    axes.set_axis_off()
    axes.figure.axes[len(ablated) - 2].tick_params(labelbottom=True)
  made.supxlabel('epoch', fontsize=10.5)
  labels = panels.flat[0].get_legend_handles_labels()
  made.legend(*labels, loc='outside upper left', ncols=2)
  return made


def _draw(
  axes: Axes, band: Band, *, colour: str, stroke: str, label: str
) -> None:
  _, epochs, errors = band
  low, high = errors.min(axis=0), errors.max(axis=0)
  axes.fill_between(epochs, low, high, color=colour, alpha=0.25, linewidth=0)
  mean = errors.mean(axis=0)
  axes.plot(epochs, mean, color=colour, linestyle=stroke, label=label)
