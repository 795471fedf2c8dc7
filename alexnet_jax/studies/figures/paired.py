"""What each ablation costs: paired differences with 95 % intervals.

The differences that the paper prints (§3, §7) are marked beside them.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.ablation import paired, results
from alexnet_jax.studies.figures import style

_ROW = 0.42  # inches per row
_APART = 0.22  # rows between our mark and the authors'
_LETTERS = 16  # per name


def figure(rows: Sequence[results.NetResult]) -> Figure:
  """Draws a row per ablation: points of top-1 error left, the loss right.

  A dot is filled if the interval excludes 0. A single seed has no interval.
  Raises ValueError without rows.
  """
  if not rows:
    raise ValueError('no pair of runs: nothing to draw')
  made = style.figure(len(rows) * _ROW + 1.7)
  errors, losses = made.subplots(1, 2, sharey=True, width_ratios=[3, 2])
  _dots(errors, [row.costs['top1'] for row in rows])
  _authors(errors, rows)
  _dots(losses, [row.costs['loss'] for row in rows])
  errors.set_title('top-1 error, points')
  losses.set_title('loss')
  names = [style.label(row.name, width=_LETTERS) for row in rows]
  errors.set_yticks(range(len(rows)), names)
  errors.set_ylim(len(rows) - 0.5, -0.5)
  labels = errors.get_legend_handles_labels()
  made.legend(*labels, loc='outside lower left', ncols=2)
  return made


def _dots(axes: Axes, found: Sequence[paired.Difference]) -> None:
  """Draws a dot with its interval per row, and a line at 0."""
  colours = style.palette()
  axes.axvline(0, color=colours.muted, linewidth=1)
  dot = {'ls': '', 'marker': 'o', 'ms': 8, 'mew': 1.6}
  dot |= {'color': colours.validation}
  for at, one in enumerate(found):
    if one.low is not None and one.high is not None:
      axes.plot([one.low, one.high], [at, at], color=colours.validation, lw=2)
    fill = colours.validation if one.is_significant else 'none'
    label = None if at else 'mean and 95 % interval'
    axes.plot(one.mean, at, **dot, mfc=fill, label=label)
  axes.grid(axis='x')
  axes.tick_params(axis='y', length=0)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(5))


def _authors(axes: Axes, rows: Sequence[results.NetResult]) -> None:
  """Draws the authors' costs on ImageNet, below the dots."""
  look: dict[str, Any] = {'ls': '', 'mew': 1.4, 'ms': 6}
  look |= {'color': style.palette().ink}
  authors: tuple[tuple[str, list, dict[str, Any]], ...] = (
    ('paper', [r.paper for r in rows], {'marker': 'D', 'mfc': 'none'}),
    ('notes of 2012', [r.notes for r in rows], {'marker': 'x'}),
  )
  for label, costs, shape in authors:
    marks = [(top1, n + _APART) for n, (top1, _) in enumerate(costs)]
    marks = [mark for mark in marks if mark[0] is not None]
    if marks:
      axes.plot(*zip(*marks, strict=True), **look | shape, label=label)
