"""The images that excite a unit most, and what it sees of each."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from alexnet_jax.studies.figures import style

_ACROSS = 2
_APART, _LINE = 0.14, 0.22  # inches between images, and of a line of text
_GAP = 0.04  # inches between the panels of an image


def figure(
  crops: Sequence[UInt8[np.ndarray, 's s 3']],
  *,
  projections: Sequence[UInt8[np.ndarray, 's s 3']],
  fields: Sequence[tuple[tuple[int, int], tuple[int, int]]],
  names: Sequence[str],
) -> Figure:
  """Draws images with a frame around what a unit sees; beside it, that part.

  `fields` are rows and columns of pixels, each from a first one to an end. The
  third panel shows the projection of that part. Raises ValueError without
  images.
  """
  if not len(crops):
    raise ValueError('no images: nothing to show')
  each = (style.WIDTH + _APART) / _ACROSS - _APART
  side = (each + _GAP) / 3 - _GAP
  rows = -(-len(crops) // _ACROSS)
  width = style.WIDTH
  height = rows * (_LINE + side + 0.1) - 0.1
  made = Figure(figsize=(width, height))
  for n, (crop, projection) in enumerate(zip(crops, projections, strict=True)):
    left = n % _ACROSS * (each + _APART)
    top = n // _ACROSS * (_LINE + side + 0.1)
    text = style.label(names[n], width=28)
    at = (left / width, 1 - (top + _LINE / 2) / height)
    made.text(*at, text, va='center', fontsize=style.SMALL)
    (first, end), (start, stop) = fields[n]
    bottom = (height - top - _LINE - side) / height
    size = (side / width, side / height)
    whole = made.add_axes((left / width, bottom, *size))
    style.picture(whole, crop, inches=side)
    shown = whole.images[0].get_array()
    scale = (1 if shown is None else len(shown)) / len(crop)
    whole.add_patch(
      Rectangle(
        (start * scale - 0.5, first * scale - 0.5),
        (stop - start) * scale,
        (end - first) * scale,
        fill=False,
        edgecolor=style.palette().right,
        linewidth=1.5,
      )
    )
    for panel, image in enumerate((crop, projection), start=1):
      at = (left + panel * (side + _GAP)) / width
      seen = made.add_axes((at, bottom, *size))
      part = _square(image[first:end, start:stop])
      style.picture(seen, part, inches=side)
  return made


def _square(patch: UInt8[np.ndarray, 'h w 3']) -> UInt8[np.ndarray, 's s 3']:
  """A patch that an edge has cut, filled up with grey."""
  size = max(patch.shape[:2])
  filled = np.full((size, size, 3), 127, np.uint8)
  filled[: len(patch), : patch.shape[1]] = patch
  return filled
