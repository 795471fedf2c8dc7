"""Images with their most probable classes, as in Figure 4, left."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.figures import style

_LABELS = 5
_ACROSS = 3
_NAME = 16  # letters that fit
_NAME_RIGHT = 14  # letters that fit in bold, beside a check mark
# Inches: side of an image, the line of text below, height of a bar, gap.
_SIDE, _LINE, _BAR, _APART = 1.39, 0.3, 0.23, 0.165


def figure(
  images: UInt8[np.ndarray, 'n s s 3'],
  *,
  labels: Integer[np.ndarray, 'n'],
  probabilities: Float[np.ndarray, 'n c'],
  classes: Sequence[str],
) -> Figure:
  """Draws images, each above its class and its five most probable ones.

  A full bar is a probability of 1, of which there may be more than classes. The
  right class has a check mark, bold type and its own colour. Images are RGB, 0
  to 255. Raises ValueError without images.
  """
  if not len(images):
    raise ValueError('no images: nothing to show')
  across = _ACROSS  # of fewer images, too: they are not to be larger
  rows = math.ceil(len(images) / across)
  bars = min(_LABELS, len(classes))
  row_height = _SIDE + _LINE + bars * _BAR + _APART
  width, height = across * (_SIDE + _APART) - _APART, rows * row_height - _APART
  made = Figure(figsize=(width, height))

  def axes(left: float, top: float, tall: float) -> Axes:
    box = (left, height - top - tall, _SIDE, tall)
    x, y, w, h = np.divide(box, (width, height, width, height)).tolist()
    return made.add_axes((x, y, w, h))

  for i, image in enumerate(images):
    left, top = i % across * (_SIDE + _APART), i // across * row_height
    style.picture(axes(left, top, _SIDE), image, inches=_SIDE)
    below = axes(left, top + _SIDE + _LINE, bars * _BAR)
    name = style.label(classes[int(labels[i])], width=_NAME)
    below.set_title(name, loc='center', fontsize=style.SMALL, pad=8)
    scores = probabilities[i, : len(classes)]
    _bars(below, scores, right=labels[i], classes=classes)
  return made


def _bars(
  axes: Axes,
  scores: Float[np.ndarray, 'c'],
  *,
  right: int | np.integer,
  classes: Sequence[str],
) -> None:
  """Draws a bar per class, most probable first, with the name on it."""
  colours = style.palette()
  best = np.argsort(-scores, kind='stable')[:_LABELS]
  for row, label in enumerate(best):
    hit = label == right
    colour = colours.right if hit else colours.muted
    axes.barh(row, 1, height=0.84, color=colours.faint, alpha=0.6)
    axes.barh(row, scores[label], height=0.84, color=colour, alpha=0.5)
    axes.text(
      0.03,
      row,
      style.label(classes[int(label)], width=_NAME_RIGHT if hit else _NAME),
      va='center_baseline',
      fontsize=style.SMALL,
      fontweight='bold' if hit else 'normal',
      clip_on=True,
    )
    if hit:
      axes.plot(0.92, row, **style.CHECK, mec=colours.right, gid='right')
  axes.set(xlim=(0, 1), ylim=(len(best) - 0.5, -0.5))
  axes.set_axis_off()
