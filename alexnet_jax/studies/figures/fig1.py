"""Figure 1: training error over epochs, ReLU solid and tanh dashed (§3.1).

Thin lines are seeds, and thick ones their mean over the epochs that all have. A
dotted line marks the target.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.fig1 import curves as curves_lib
from alexnet_jax.studies.figures import style
from alexnet_jax.train import log

_STYLES = {'relu': '-', 'tanh': '--', 'logistic': '-.'}
_NAMES = {'relu': 'ReLU'}


def write(
  results: Sequence[curves_lib.ActivationResult],
  *,
  folder: pathlib.Path,
  of: str,
) -> list[pathlib.Path]:
  """Writes FOLDER/fig1.png and fig1.svg; their paths."""
  curves = {one.activation: list(one.curves.values()) for one in results}
  with style.theme(dark=False):
    made = figure(curves, of=of)
    made.set_facecolor('white')  # no page lies behind it
    contents = {'fig1.png': style.png(made), 'fig1.svg': style.svg(made)}
  for name, content in contents.items():
    with log.write_errors(folder / name):
      (folder / name).write_bytes(content)
  return [folder / name for name in contents]


def figure(
  curves: Mapping[str, Sequence[Sequence[float]]], *, of: str = ''
) -> Figure:
  """Draws curves: activation -> per seed, the training error of each epoch.

  Errors are 0 to 1; `of` names the data, for the axis of epochs. Raises
  ValueError if no run has a whole epoch.
  """
  drawn = {name: [c for c in lines if c] for name, lines in curves.items()}
  every = [errors for lines in drawn.values() for errors in lines]
  if not every:
    raise ValueError('no run has a whole epoch: nothing to draw')
  made = style.figure(4.2)
  axes = made.subplots()
  colours = style.palette()
  axes.axhline(curves_lib.TARGET, color=colours.muted, lw=1, ls=':', zorder=1)
  for name, lines in drawn.items():
    if lines:
      _lines(axes, lines, name=name, colour=colours.training)
  axes.set_title('training error')
  axes.set_xlabel(f'epoch of {style.label(of, width=48)}' if of else 'epoch')
  axes.set_xlim(0, 1.03 * max(map(len, every)))
  axes.set_ylim(0, 1.05 * max(map(max, every)))
  axes.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
  axes.yaxis.set_major_locator(ticker.MultipleLocator(0.25))
  axes.yaxis.set_major_formatter(style.percent)
  axes.grid(axis='y')
  style.legend_above(axes)
  return made


def _lines(
  axes: Axes, lines: Sequence[Sequence[float]], *, name: str, colour: str
) -> None:
  look: dict[str, Any] = {'color': colour, 'ls': _STYLES.get(name, '-')}
  for errors in lines if len(lines) > 1 else ():
    axes.plot(range(1, len(errors) + 1), errors, lw=0.7, alpha=0.6, **look)
  shortest = min(map(len, lines))
  mean = np.mean([errors[:shortest] for errors in lines], axis=0)
  look['marker'] = 'o' if shortest == 1 else ''
  epochs = range(1, shortest + 1)
  axes.plot(epochs, mean, lw=2, label=_NAMES.get(name, name), **look)
