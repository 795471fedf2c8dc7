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

_WIDTH = 8.0  # inches; wider than the page, so the type is larger as well
_TYPE = 13  # points
_APART = 0.35  # between the three parts, in widths of an image
_PAD = 0.06  # between images, likewise
_LINE = 0.27  # inches per line of text


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

  Neighbours of another class have a frame and a cross.

  Args:
    queries: images, RGB, 0 to 255.
    query_labels: their classes.
    fc7: neighbours by fc7, nearest first.
    fc7_labels: their classes.
    pixels: neighbours by pixels, nearest first.
    pixel_labels: their classes.
    classes: names by label.
  """
  page = _Page(queries=len(queries), count=fc7.shape[1])
  for part, head in enumerate(('query', 'nearest in fc7', 'nearest in pixels')):
    page.write(page.left(part), page.height - _LINE / 2, head, bold=True)
  for i, query in enumerate(queries):
    name = style.label(classes[int(query_labels[i])], width=60)
    page.write(0.0, page.top(i) + _LINE / 2, name)
    parts = [query[None], fc7[i], pixels[i]]
    labels = [query_labels[i : i + 1], fc7_labels[i], pixel_labels[i]]
    for part, (images, own) in enumerate(zip(parts, labels, strict=True)):
      for k, image in enumerate(images):
        axes = page.cell(page.left(part) + k * page.side, page.top(i))
        style.picture(axes, image, inches=page.side)
        if own[k] != query_labels[i]:
          _mark(axes)
  return page.finished()


class _Page:
  """The layout, in inches from the lower left."""

  def __init__(self, *, queries: int, count: int):
    self._count = count
    self.side = _WIDTH / (1 + 2 * count + 2 * _APART)  # of an image
    self._row = _LINE + self.side + 0.06
    self.height = 1.3 * _LINE + queries * self._row + 1.2 * _LINE
    self._figure = Figure(figsize=(_WIDTH, self.height))

  def left(self, part: int) -> float:
    """Left edge of the query, the neighbours by fc7, or those by pixels."""
    images = (0.0, 1 + _APART, 1 + self._count + 2 * _APART)[part]
    return images * self.side

  def top(self, query: int) -> float:
    """Top edge of a query's images."""
    return self.height - 2.3 * _LINE - query * self._row

  def write(
    self, x: float, y: float, words: str, *, bold: bool = False
  ) -> None:
    """Writes a line of text that begins at x, with its middle at y."""
    self._figure.text(
      x / _WIDTH,
      y / self.height,
      words,
      va='center_baseline',
      fontsize=_TYPE,
      fontweight='bold' if bold else 'normal',
    )

  def cell(self, left: float, top: float) -> Axes:
    """Makes axes for one image."""
    size = self.side * (1 - _PAD)
    return self._figure.add_axes(
      (
        left / _WIDTH,
        (top - size) / self.height,
        size / _WIDTH,
        size / self.height,
      )
    )

  def finished(self) -> Figure:
    """Explains the mark in the last line, and returns the figure."""
    axes = self.cell(0.0, 0.9 * _LINE)
    axes.set_position((0, 0, 1, _LINE / self.height))
    axes.set(xlim=(0, _WIDTH), ylim=(0, _LINE))
    axes.set_axis_off()
    axes.plot(0.1, _LINE / 2, **style.CROSS, mec=style.palette().wrong)
    axes.text(
      0.25,
      _LINE / 2,
      "of another class than the query's",
      va='center_baseline',
      fontsize=_TYPE,
    )
    return self._figure


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
    path_effects=[patheffects.withStroke(linewidth=5, foreground='white')],
    gid='other',
  )
