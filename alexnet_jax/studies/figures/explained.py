"""Images beside maps of why the net says what it says of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.figures import style

_MOST = 1.08  # inches of a side, at most
_APART, _LINE = 0.06, 0.22  # inches between panels, and of a line of text
_LETTERS = 56  # of a row's words


def figure(
  rows: Sequence[tuple[str, Mapping[str, UInt8[np.ndarray, 's s 3']]]],
) -> Figure:
  """Draws a row of panels for each image, under its words.

  A row is its words and its panels by name, RGB 0-255; all rows have the same
  names. Raises ValueError without rows.
  """
  if not rows:
    raise ValueError('no images: nothing to show')
  heads = [*rows[0][1]]
  side = min(_MOST, (style.WIDTH + _APART) / len(heads) - _APART)
  each = _LINE + side + 0.1
  width = style.WIDTH
  height = _LINE + len(rows) * each
  made = Figure(figsize=(width, height))

  def axes(left: float, top: float) -> Axes:
    bottom = height - top - side
    box = (left / width, bottom / height, side / width, side / height)
    return made.add_axes(box)

  for column, head in enumerate(heads):
    middle = column * (side + _APART) + side / 2
    at = (middle / width, 1 - _LINE / 2 / height)
    made.text(*at, head, ha='center', va='center', fontsize=style.SMALL)
  for row, (words, panels) in enumerate(rows):
    top = _LINE + row * each
    at = (0, 1 - (top + _LINE / 2) / height)
    text = style.label(words, width=_LETTERS)
    made.text(*at, text, va='center', fontsize=style.SMALL, fontweight='bold')
    for column, picture in enumerate(panels.values()):
      place = axes(column * (side + _APART), top + _LINE)
      style.picture(place, picture, inches=side)
  return made
