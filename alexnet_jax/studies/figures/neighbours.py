"""Query images with their nearest training images, as in Figure 4, right.

The paper measures distances in fc7, "the last hidden layer", and says that
distances between pixels find other images. This figure shows both.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, UInt8
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.figures import style

_WIDTH = style.WIDTH  # inches
_TEXT = {'va': 'center_baseline', 'fontsize': style.SMALL}
_APART = 0.6  # between the three parts, in widths of an image
_PAD = 0.06  # between images, likewise
_LINE = 0.2  # inches per line of text


def figure(
  queries: UInt8[np.ndarray, 'q s s 3'],
  *,
  query_labels: Integer[np.ndarray, 'q'],
  fc7: UInt8[np.ndarray, 'q k s s 3'],
  fc7_labels: Integer[np.ndarray, 'q k'],
  pixels: UInt8[np.ndarray, 'q k s s 3'],
  pixel_labels: Integer[np.ndarray, 'q k'],
  classes: Sequence[str],
) -> Figure:
  """Draws a row per query: its image, its neighbours by fc7 and by pixels.

  Images are RGB, 0 to 255; neighbours come nearest first, and those of another
  class than the query's have a frame and a cross.
  """
  count = fc7.shape[1]
  side = _WIDTH / (1 + 2 * count + 2 * _APART)  # of an image, in inches
  each = _LINE + side + 0.06
  height = 1.3 * _LINE + len(queries) * each + 1.2 * _LINE
  made = Figure(figsize=(_WIDTH, height))

  def write(x: float, y: float, words: str, weight: str = 'normal') -> None:
    """Writes a line of text that begins at x, with its middle at y."""
    at = (x / _WIDTH, y / height)
    made.text(*at, words, **_TEXT, fontweight=weight)

  def cell(left: float, top: float) -> Axes:
    size = side * (1 - _PAD)
    x, y = left / _WIDTH, (top - size) / height
    return made.add_axes((x, y, size / _WIDTH, size / height))

  lefts = [n * side for n in (0.0, 1 + _APART, 1 + count + 2 * _APART)]
  heads = ('query', 'nearest in fc7', 'nearest in pixels')
  for left, head in zip(lefts, heads, strict=True):
    write(left, height - _LINE / 2, head, 'bold')
  for i, (query, label) in enumerate(zip(queries, query_labels, strict=True)):
    top = height - 2.3 * _LINE - i * each
    write(0.0, top + _LINE / 2, style.label(classes[int(label)], width=50))
    parts = [query[None], fc7[i], pixels[i]]
    labels = [label[None], fc7_labels[i], pixel_labels[i]]
    for left, images, own in zip(lefts, parts, labels, strict=True):
      for k, image in enumerate(images):
        axes = cell(left + k * side, top)
        style.picture(axes, image, inches=side)
        if own[k] != label:
          _mark(axes)
  _explain(made.add_axes((0, 0, 1, _LINE / height)))
  return made


def _mark(axes: Axes) -> None:
  """Draws a frame, and a cross in a corner."""
  colour = style.palette().wrong
  axes.spines[:].set(visible=True, color=colour, linewidth=2)
  axes.plot(
    0.82,
    0.82,
    **style.CROSS,
    mec=colour,
    transform=axes.transAxes,
    path_effects=[patheffects.withStroke(linewidth=4, foreground='white')],
    gid='other',
  )


def _explain(axes: Axes) -> None:
  """Says what a cross means, in a line at the foot of the figure."""
  axes.set(xlim=(0, _WIDTH), ylim=(0, _LINE))
  axes.set_axis_off()
  axes.plot(0.1, _LINE / 2, **style.CROSS, mec=style.palette().wrong)
  axes.text(0.25, _LINE / 2, "of another class than the query's", **_TEXT)
