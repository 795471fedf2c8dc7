"""What each ablation costs: paired differences with their intervals.

Not in the paper, whose own differences are marked beside them (§3, §7).
"""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.ablation import paired
from alexnet_jax.studies.figures import style

_ROW = 0.42  # inches
_APART = 0.22  # of a row, between our mark and the authors'
_LETTERS = 16  # of a name


class Cost(NamedTuple):
  """One ablation: its costs in points of top-1 error and of the loss."""

  name: str
  top1: paired.Difference
  loss: paired.Difference
  paper: float | None  # points
  notes: float | None  # of 2012


def figure(rows: Sequence[Cost]) -> Figure:
  """A row for each ablation: points of top-1 error left, the loss right.

  A filled dot stands for an interval without 0. Without one, from a single
  seed, there are no whiskers.

  Raises:
    ValueError: if there are none.
  """
  if not rows:
    raise ValueError('no pair of runs: nothing to draw')
  made = Figure(
    figsize=(style.WIDTH, len(rows) * _ROW + 1.5), layout='constrained'
  )
  errors, losses = made.subplots(1, 2, sharey=True, width_ratios=[3, 2])
  _dots(errors, [row.top1 for row in rows])
  _authors(errors, rows)
  _dots(losses, [row.loss for row in rows])
  errors.set_title('top-1 error, points')
  losses.set_title('loss')
  errors.set_yticks(
    range(len(rows)), [style.label(r.name, width=_LETTERS) for r in rows]
  )
  errors.set_ylim(len(rows) - 0.5, -0.5)
  made.legend(
    *errors.get_legend_handles_labels(), loc='outside lower left', ncols=3
  )
  return made


def _dots(axes: Axes, found: Sequence[paired.Difference]) -> None:
  """A dot with whiskers for each, and a line at 0."""
  colours = style.palette()
  axes.axvline(0, color=colours.muted, linewidth=1)
  named = False
  for at, one in enumerate(found):
    if one.low is not None and one.high is not None:
      axes.plot([one.low, one.high], [at, at], color=colours.first, lw=2)
    axes.plot(
      one.mean,
      at,
      ls='',
      marker='o',
      ms=8,
      mew=1.6,
      color=colours.first,
      mfc=colours.first if one.is_significant else 'none',
      label=None if named else 'mean and 95 % interval',
    )
    named = True
  axes.grid(axis='x')
  axes.tick_params(axis='y', length=0)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(5))


def _authors(axes: Axes, rows: Sequence[Cost]) -> None:
  """What it cost on ImageNet, below the dots."""
  colours = style.palette()
  looks = (
    ('paper', 'paper', {'marker': 'D', 'mfc': 'none', 'ms': 6}),
    ('notes', 'notes of 2012', {'marker': 'x', 'ms': 6}),
  )
  for field, label, look in looks:
    marks = [(getattr(r, field), n + _APART) for n, r in enumerate(rows)]
    marks = [mark for mark in marks if mark[0] is not None]
    if marks:
      axes.plot(
        *zip(*marks, strict=True),
        ls='',
        mew=1.4,
        color=colours.second,
        label=label,
        **look,
      )
