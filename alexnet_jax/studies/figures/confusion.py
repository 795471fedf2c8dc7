"""Which class is taken for which, as a matrix of counts."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from alexnet_jax.studies.figures import style

_NAME = 16  # letters of a name
_CELL = 0.45  # inches of a cell, at most
_ROOM = 2.9  # inches for all cells
_LINE = 0.145  # inches of a name or a number, at least
_WRITTEN = 0.2  # inches of a cell in which a count can be read


def figure(
  counts: Integer[np.ndarray, 'n m'], *, classes: Sequence[str]
) -> Figure:
  """Draws a row of cells for each class: what its images were taken for.

  counts[i, j] are the images of class i that were taken for j; `classes` names
  the columns, of which the first n are the rows. Cells are as dark as their
  share of the row. Where names have no room above the columns, classes have
  numbers. Raises ValueError without images.
  """
  if not counts.any():
    raise ValueError('no images: no class was taken for another')
  rows, columns = counts.shape
  cell = min(_CELL, _ROOM / columns)
  tall = max(cell, _LINE)
  numbered = cell < _LINE + 0.05
  made = style.figure(rows * tall + (0.9 if numbered else 1.8))
  axes = made.subplots()
  for row, column in np.argwhere(counts).tolist():
    _cell(axes, counts, row=row, column=column, cell=cell)
  names = [style.label(name, width=_NAME) for name in classes]
  heads = names
  if numbered:
    names = [f'{name}  {n + 1}' for n, name in enumerate(names)]
    step = 1 if cell >= _LINE else 2
    heads = [str(n + 1) if n % step == 0 else '' for n in range(columns)]
  axes.set_yticks(range(rows), names[:rows])
  axes.set_xticks(range(columns), heads, rotation=90)
  axes.xaxis.tick_top()
  axes.xaxis.set_label_position('top')
  axes.set_xlabel('taken for', fontsize=style.SMALL)
  axes.tick_params(length=0)
  axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
  if not numbered:  # else as wide as the names leave room
    axes.set_aspect('equal')
  axes.spines[:].set_visible(True)
  return made


def _cell(
  axes: Axes,
  counts: Integer[np.ndarray, 'n m'],
  *,
  row: int,
  column: int,
  cell: float,
) -> None:
  colours = style.palette()
  share = counts[row, column] / counts[row].sum()
  colour = colours.right if row == column else colours.wrong
  axes.add_patch(
    Rectangle(
      (column - 0.5, row - 0.5),
      1,
      1,
      facecolor=colour,
      alpha=0.15 + 0.6 * float(share),
      linewidth=0,
    )
  )
  if cell >= _WRITTEN:
    axes.text(
      column,
      row,
      str(counts[row, column]),
      ha='center',
      va='center_baseline',
      fontsize=style.SMALL,
    )
