"""Training curves: loss, errors and learning rate over epochs (§5).

Lines show minibatches in training, with dropout and augmentation. Points show
the whole validation set, without either, and so may lie below the lines. Colour
tells training from validation, in both panels; shape tells top-1 from top-5.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_jax.studies.figures import style
from alexnet_jax.studies.report import statistics

_Records = Sequence[dict[str, Any]]

_SMOOTH = 150  # from as many records, a running mean over a faint line
_POINTS = 600  # per line, at most: more only make a larger file
_MANY = 40  # above as many validations, points are smaller
_IN_WORDS = {9: 'nine', 10: 'ten'}
_MANY_VIEWS = {'ls': '', 'marker': 'D', 'ms': 8, 'mew': 1.2, 'mfc': 'none'}
_TICKS_APART = 1.5  # the smallest ratio between two ticks


def figure(records: Sequence[dict]) -> Figure:
  """Draws three panels over epochs; dashed lines mark drops of the rate.

  Raises ValueError if no record is from training or validation.
  """
  train = [r for r in records if r['split'] == 'train']
  val = [r for r in records if r['split'] == 'val']
  if not train and not val:
    raise ValueError('no record of training or validation: nothing to draw')
  made = style.figure(5.6)
  loss, errors, rate = made.subplots(3, sharex=True, height_ratios=[4, 4, 2])
  _loss(loss, train, val)
  _errors(errors, train, val)
  _rate(rate, train)
  _mark_drops((loss, errors, rate), train)
  for axes in (loss, errors, rate):
    axes.grid(axis='y')
    style.legend_above(axes)
  rate.set_xlabel('epoch')
  rate.set_xlim(0, 1.03 * max(r['epoch'] for r in [*train, *val]) or 1)
  rate.xaxis.set_major_locator(ticker.MaxNLocator(6))
  return made


def _loss(axes: Axes, train: _Records, val: _Records) -> None:
  colours = style.palette()
  _line(axes, train, 'loss')
  _points(axes, val, 'loss', marker='o')
  axes.plot([], [], color=colours.training, label='training')
  dots = {'ls': '', 'marker': 'o', 'ms': 4.5, 'label': 'validation'}
  axes.plot([], [], color=colours.validation, **dots)
  axes.set_title('loss')
  axes.set_ylim(bottom=0)


def _errors(axes: Axes, train: _Records, val: _Records) -> None:
  colours = style.palette()
  for name, field, marker, stroke in (
    ('top-1', 'top1_error', 'o', '-'),
    ('top-5', 'top5_error', 's', (0, (4, 1.5))),
  ):
    # A top-5 error of fewer than six classes is None.
    lines, points = (
      [r for r in each if r.get(field) is not None] for each in (train, val)
    )
    if not lines and not points:
      continue
    _line(axes, lines, field, stroke=stroke)
    _points(axes, points, field, marker=marker)
    look = {'color': colours.ink, 'ls': stroke, 'marker': marker, 'ms': 4}
    axes.plot([], [], lw=1, **look, label=name)
  views = max((r['views'] for r in val), default=1)
  if views > 1:
    label = f'{_IN_WORDS[views]} views'
    axes.plot([], [], **_MANY_VIEWS, mec=colours.ink, label=label)
  axes.set_title('error')
  axes.set_ylim(0, 1.03)
  axes.yaxis.set_major_locator(ticker.MultipleLocator(0.25))
  axes.yaxis.set_major_formatter(style.percent)


def _line(
  axes: Axes, records: _Records, field: str, *, stroke: Any = '-'
) -> None:
  """Draws training as a line; a faint one under its running mean if long."""
  epochs, values = map(np.array, style.over_epochs(records, field))
  look = {'color': style.palette().training, 'ls': stroke}
  if len(values) < _SMOOTH:
    marker = '.' if len(values) == 1 else ''
    axes.plot(epochs, values, lw=1, marker=marker, **look)
    return
  some = np.unique(np.linspace(0, len(values) - 1, _POINTS).round().astype(int))
  axes.plot(epochs[some], values[some], lw=0.6, alpha=0.3, **look)
  means = statistics.running_mean(values, width=max(9, len(values) // 100))
  axes.plot(epochs[some], means[some], lw=1.4, **look)


def _points(axes: Axes, records: _Records, field: str, *, marker: str) -> None:
  """Draws validation: filled points for the centre crop, hollow for views."""
  finite = [r for r in records if math.isfinite(r[field])]
  one = [r for r in finite if r['views'] == 1]
  ten = [r for r in finite if r['views'] > 1]
  size = 4.5 if len(one) <= _MANY else 2.5
  filled: dict[str, Any] = {'ls': '', 'marker': marker, 'ms': size}
  colour = style.palette().validation
  filled |= {'color': colour}
  hollow = _MANY_VIEWS | {'mec': colour}
  for some, look in ((one, filled), (ten, hollow)):
    if some:  # clip_on=False shows all of a point at 0 %
      points = style.over_epochs(some, field)
      axes.plot(*points, clip_on=False, zorder=3, **look)


def _rate(axes: Axes, train: _Records) -> None:
  changes = [
    after
    for before, after in itertools.pairwise(train)
    if before['learning_rate'] != after['learning_rate']
  ]
  some = [*train[:1], *changes, *train[-1:]] if len(train) > 1 else train
  epochs, rates = style.over_epochs(some, 'learning_rate')
  axes.plot(
    epochs,
    rates,
    color=style.palette().ink,
    drawstyle='steps-post',
    marker='.' if len(rates) == 1 else '',
  )
  axes.set_title('learning rate')
  if rates and min(rates) > 0:
    axes.set_yscale('log')
    axes.set_ylim(min(rates) / 2, max(rates) * 2)
    axes.yaxis.set_major_locator(ticker.FixedLocator(_ticks(rates)))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
  axes.yaxis.set_major_formatter(_decimal)


def _decimal(rate: float, _: Any = None) -> str:
  """Formats a rate with three digits and without a power of ten.

  >>> _decimal(0.00001)
  '0.00001'
  """
  return np.format_float_positional(
    rate, precision=3, fractional=False, trim='-'
  )


def _ticks(rates: Sequence[float]) -> list[float]:
  """The run's own rates, highest first, without those too close together."""
  kept: list[float] = []
  for rate in sorted(set(rates), reverse=True):
    if not kept or kept[-1] > _TICKS_APART * rate:
      kept.append(rate)
  return kept


def _mark_drops(panels: Sequence[Axes], train: _Records) -> None:
  epochs = {r['step']: r['epoch'] for r in train}
  for number, (step, _) in enumerate(statistics.drops(train)):
    for axes in panels:
      axes.axvline(
        epochs[step],
        color=style.palette().muted,
        **style.DASHED,
        zorder=1,
        label='drop' if axes is panels[-1] and number == 0 else '_drop',
      )
