"""The error of each class, as bars."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.figures import style
from alexnet_jax.studies.report import statistics

_ALL = 30  # as many classes are all shown;
_ENDS = 15  # of more, these with the highest and these with the lowest error
_NAME = 18  # letters of a name
_BAR = 0.22  # inches from bar to bar


def figure(
  labels: Integer[np.ndarray, 'n'],
  ranks: Integer[np.ndarray, 'n'],
  *,
  classes: Sequence[str],
) -> Figure:
  """Draws the top-1 error of each class, worst first; both ends if many.

  A dashed line marks the error over all images. Classes without images are
  left out. `ranks` are those of metrics.ranks, `classes` names by label. Raises
  ValueError without images.
  """
  if not len(labels):
    raise ValueError('no images: no class has an error rate')
  errors = statistics.per_class_error(labels, ranks, num_classes=len(classes))
  order = np.argsort(-errors, kind='stable')[: np.isfinite(errors).sum()]
  parts = [order] if len(order) <= _ALL else [order[:_ENDS], order[-_ENDS:]]
  heights = [len(part) * _BAR for part in parts]
  made = style.figure(sum(heights) + 0.4 * len(parts) + 0.25)
  grid = made.subplots(len(parts), squeeze=False, height_ratios=heights)
  heads = ['top-1 error']
  if len(parts) > 1:
    heads = [f'top-1 error: highest {_ENDS}', f'lowest {_ENDS}']
  mean = float((ranks >= 1).mean())
  line = {'color': style.palette().ink, **style.DASHED}
  line |= {'label': f'all images: {style.percent(mean)}'}
  for axes, part, head in zip(grid[:, 0], parts, heads, strict=True):
    _bars(axes, errors[part], names=[classes[int(c)] for c in part])
    axes.axvline(mean, **line)
    axes.set_title(head)
  style.legend_above(grid[0, 0])
  return made


def _bars(
  axes: Axes, errors: Float[np.ndarray, 'bars'], *, names: Sequence[str]
) -> None:
  colours = style.palette()
  rows = np.arange(len(errors))
  axes.barh(rows, 1, height=0.8, color=colours.faint, alpha=0.5)
  axes.barh(rows, errors, height=0.8, color=colours.validation, alpha=0.75)
  for row, error in zip(rows, errors, strict=True):
    style.beside(axes, int(row), style.percent(error))
  axes.set_yticks(rows, [style.label(name, width=_NAME) for name in names])
  axes.tick_params(axis='y', length=0, labelsize=style.SMALL)
  axes.tick_params(axis='x', labelbottom=False, length=0)
  axes.set(xlim=(0, 1), ylim=(len(errors) - 0.5, -0.5))
  axes.spines[:].set_visible(False)
