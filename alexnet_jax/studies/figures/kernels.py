"""The kernels of conv1 (Figure 3), a block per column.

The paper shows three rows of 16 kernels of the first column above three of the
second. Which column learns colour differs from run to run.
"""

import math

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from alexnet_jax.studies.figures import style
from alexnet_jax.studies.report import statistics

_ACROSS = 16  # kernels per row, at most
_GAP = 1  # between kernels, in weights
_TITLE = 44  # pixels above a block
_BETWEEN = 26  # pixels between blocks


def figure(kernels: Float[np.ndarray, 'h w 3 k'], *, columns: int) -> Figure:
  """Draws a block per column, titled with its mean colour selectivity.

  The first k / columns kernels belong to the first column.
  """
  blocks = np.split(kernels, columns, axis=-1)
  pictures = [montage(block) for block in blocks]
  height, width = pictures[0].shape[:2]
  unit = max(1, int(style.WIDTH * style.DPI) // width)  # pixels a weight
  each = _TITLE + unit * height
  total = columns * each + (columns - 1) * _BETWEEN
  made = Figure(figsize=(unit * width / style.DPI, total / style.DPI))
  for number, (block, picture) in enumerate(zip(blocks, pictures, strict=True)):
    bottom = total - each - number * (each + _BETWEEN)
    axes = made.add_axes((0, bottom / total, 1, unit * height / total))
    axes.imshow(picture, interpolation='none', aspect='auto')
    axes.set_axis_off()
    index = statistics.colour_selectivity(block).mean()
    name = f'column {number + 1}: ' if columns > 1 else ''
    axes.set_title(f'{name}colour selectivity {index:.2f}', pad=6)
  return made


def montage(
  kernels: Float[np.ndarray, 'h w 3 k'],
) -> Float[np.ndarray, 'r c 4']:
  """Lays kernels out as one RGBA image, 0 to 1, with transparent gaps.

  A weight of zero is grey, and the largest absolute weight of each kernel is at
  0 or 1, so differences in strength between kernels are not shown.
  """
  h, w, _, count = kernels.shape
  rows, across = _grid(count)
  out = np.zeros((rows * (h + _GAP) - _GAP, across * (w + _GAP) - _GAP, 4))
  for i in range(count):
    top, left = i // across * (h + _GAP), i % across * (w + _GAP)
    kernel = kernels[..., i].astype(np.float64)
    largest = np.abs(kernel).max() or 1.0
    out[top : top + h, left : left + w, :3] = 0.5 + kernel / (2 * largest)
    out[top : top + h, left : left + w, 3] = 1
  return out


def _grid(count: int) -> tuple[int, int]:
  """(rows, kernels per row), about 16 to 3 as in Figure 3, evenly filled.

  >>> _grid(48), _grid(6)
  ((3, 16), (1, 6))
  """
  wide = min(_ACROSS, math.ceil(math.sqrt(count * 16 / 3)))
  rows = math.ceil(count / wide)
  return rows, math.ceil(count / rows)
