"""Curves of several runs: training loss and validation error over epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from alexnet_jax.studies.figures import style

_POINTS = 300  # per line
# Each line has a stroke of its own besides its colour.
_STROKES = ('-', '--', '-.', ':')

_Records = Sequence[Mapping[str, Any]]


def figure(runs: Sequence[tuple[str, _Records, _Records]]) -> Figure:
  """The loss of minibatches above, the error of the centre crop below.

  A run is its name, its records of training and those of evaluations.
  """
  made = style.figure(5.2)
  loss, error = made.subplots(2, sharex=True)
  for (name, train, evaluations), look in zip(runs, _looks(), strict=False):
    some = train[:: max(1, len(train) // _POINTS)]
    label = style.label(name, width=24)
    loss.plot(*style.over_epochs(some, 'loss'), **look, label=label)
    crops = [r for r in evaluations if r['views'] == 1]
    points = style.over_epochs(crops, 'top1_error')
    error.plot(*points, **look, marker='o', markersize=4)
  loss.set_title('training loss')
  error.set_title('validation top-1 error')
  error.set(xlabel='epoch', ylim=(0, 1.02))
  error.yaxis.set_major_formatter(style.percent)
  for axes in (loss, error):
    axes.grid(axis='y')
  made.legend(loc='outside upper left', ncols=2)
  return made


def _looks() -> list[dict[str, str]]:
  """Colours and strokes of lines, the most different first."""
  return [
    {'color': colour, 'linestyle': _STROKES[(n + turn) % len(_STROKES)]}
    for turn in (0, 2)
    for n, colour in enumerate(style.palette().runs)
  ]
