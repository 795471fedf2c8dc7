"""Whether a network can learn at all: what to look at before and during a run.

Users of other implementations report losses that stay at ln(1000) = 6.9. The
usual reasons show before the first step: pixels on another scale than 0-255,
or initial values that let too little of the image through. Not in the paper.
"""

import collections
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Num

from alexnet_jax.steps import moments as moments_lib

# Caffe's mean pixel, blue first; RGB data have it the other way round.
_CAFFE_BGR = np.array([103.94, 116.78, 123.68])


class Row(NamedTuple):
  """One activation before training.

  Attributes:
    stage: its name, such as 'conv1/activation'.
    stddev: standard deviation over images, mean over units.
    dead: share of units at zero on every image, of a ReLU; else None.
  """

  stage: str
  stddev: float
  dead: float | None


class Report(NamedTuple):
  """Every activation, in order; the logits are the last."""

  rows: list[Row]
  images: int  # that it was measured on


def report(
  moments: Mapping[str, moments_lib.Moments], *, images: int, rectified: bool
) -> Report:
  """Turns moments over that many images into a row for each stage.

  >>> m = moments_lib.Moments(  # units that were 1 and 3, and 0 and 0, on two images
  ...   mean=np.array([[2, 0]]), squares=np.array([[2, 0]]),
  ...   positive=np.array([[2, 0]]))
  >>> report({'fc6/activation': m}, images=2, rectified=True).rows
  [Row(stage='fc6/activation', stddev=0.5, dead=0.5)]
  """
  rows = [
    _row(stage, m, images=images, rectified=rectified)
    for stage, m in moments.items()
  ]
  return Report(rows, images)


def _row(
  stage: str, m: moments_lib.Moments, *, images: int, rectified: bool
) -> Row:
  mean = np.asarray(m.mean, np.float64)
  within = np.asarray(m.squares, np.float64).sum(axis=0) / images
  stddev = np.sqrt(within + mean.var(axis=0))
  dead = None
  if rectified and stage.endswith('/activation'):
    dead = float((np.asarray(m.positive).sum(axis=0) == 0).mean())
  return Row(stage, float(stddev.mean()), dead)


def table(report: Report) -> str:
  """A line for each layer; health.json has every stage."""
  lines = [
    f'before step 1, on {report.images} images; std: standard deviation over '
    'images',
    f'  {"layer":12}{"std":>10}{"passed on":>15}{"ReLUs at zero on all":>22}',
  ]
  layers: dict[str, list[Row]] = {}
  for row in report.rows:
    layers.setdefault(row.stage.split('/')[0], []).append(row)
  for rows in layers.values():
    first, last = rows[0], rows[-1]
    dead = ''.join(f'{r.dead:22.1%}' for r in rows if r.dead is not None)
    lines.append(
      f'  {first.stage:12}{first.stddev:10.3g}{last.stddev:15.3g}{dead}'
    )
  return '\n'.join(lines)


def signal_warning(report: Report, *, minimum: float) -> str:
  """Why the logits may tell images too little apart; mostly ''."""
  signal = report.rows[-1].stddev
  if signal >= minimum or report.images < 2:
    return ''
  return (
    f'warning: the logits differ by {signal:.2g} from image to image (standard '
    f'deviation), less than config.health.min_signal = {minimum}: the network '
    'hardly sees its input and may stay at chance. Likely causes: pixels that '
    'are not 0-255 less their mean; or initial values '
    '(config.model.layer.*.stddev) too small for the widths of the layers: '
    'configs/source2012.py has 0.03 in conv3 to conv5'
  )


def input_warnings(
  images: Num[np.ndarray, 'b s s 3'],
  *,
  mean_image: Float32[np.ndarray, 't t 3'],
) -> list[str]:
  """What is odd about a first minibatch, before its mean is subtracted.

  Prepared data are uint8; floats come from those who feed the network by hand.

  Args:
    images: crops, RGB 0-255 if all is well.
    mean_image: of the training set, on the same scale.
  """
  warnings = []
  lowest, highest = float(images.min()), float(images.max())
  if lowest < 0:
    warnings.append(
      f'pixels run from {lowest:.3g} to {highest:.3g}: they look standardised '
      '(less a mean, divided by a deviation); give them as 0-255'
    )
  elif highest <= 1:
    warnings.append(
      f'pixels run from {lowest:.3g} to {highest:.3g}: they look like 0-1; '
      'multiply by 255'
    )
  if highest > 1 >= float(mean_image.max()):
    warnings.append(
      f'the mean image is at most {float(mean_image.max()):.3g} where pixels '
      f'reach {highest:.3g}: it looks like 0-1; multiply by 255'
    )
  return [
    f'warning: {w}' for w in warnings + _order_warnings(images, mean_image)
  ]


def _order_warnings(
  images: Num[np.ndarray, 'b s s 3'], mean_image: Float32[np.ndarray, 't t 3']
) -> list[str]:
  """Channels that stand the wrong way round."""
  mean = mean_image.mean(axis=(0, 1), dtype=np.float64)
  if np.abs(mean - _CAFFE_BGR).max() < 5:
    shown = ', '.join(f'{m:.1f}' for m in mean)
    return [
      f'the mean of the channels is {shown}: that is the mean of ImageNet in '
      'BGR order; images here are RGB, red first'
    ]
  each = images.mean(axis=(1, 2), dtype=np.float64)
  difference = each[:, 0] - each[:, 2]
  ours, theirs = difference.mean(), mean[0] - mean[2]
  error = difference.std() / math.sqrt(len(difference))
  if abs(theirs) > 8 and abs(ours) > max(8, 3 * error) and ours * theirs < 0:
    return [
      f'red less blue is {ours:.1f} in these images and {theirs:.1f} in the '
      'mean image: one of them is in BGR order'
    ]
  return []


class Watch:
  """Says once that the loss has stayed at chance for many steps."""

  def __init__(self, *, classes: int, steps: int, tolerance: float):
    """Watches the mean over so many steps.

    Args:
      classes: in the training set; chance is a loss of ln(classes).
      steps: that the mean is taken over.
      tolerance: how far below chance counts as chance still, relative.
    """
    self._chance = math.log(classes)
    self._classes = classes
    self._steps = steps
    self._tolerance = tolerance
    self._lines: collections.deque[tuple[int, float]] = collections.deque()
    self._said = False

  def replay(self, records: Iterable[Mapping[str, Any]]) -> None:
    """Sees the lines of metrics.jsonl that a run before this one wrote."""
    before = 0
    for record in records:
      if record['split'] == 'train':
        self.see(record['loss'], steps=record['step'] - before)
        before = record['step']

  def see(self, loss: float, *, steps: int) -> str:
    """A warning after a line with the mean loss of `steps` steps; mostly ''."""
    lines = self._lines
    lines.append((steps, loss))
    while sum(n for n, _ in lines) - lines[0][0] >= self._steps:
      lines.popleft()
    seen = sum(n for n, _ in lines)
    mean = sum(n * value for n, value in lines) / seen
    learned = mean < (1 - self._tolerance) * self._chance
    if self._said or learned or seen < self._steps:
      return ''
    self._said = True
    return (
      f'warning: the loss, {mean:.3f} on average over {seen:,} steps, is no '
      f'better than chance, ln({self._classes}) = {self._chance:.3f}: nothing '
      'is learned yet. If it stays, look at: the initial values (0.03 in conv3 '
      'to conv5 in configs/source2012.py), the scale of pixels (0-255), the '
      'labels, and --config.optim.learning_rate'
    )


class InputWatch:
  """Says once that training waits for its input."""

  _LINES = 3  # in a row: the first after a start may be odd

  def __init__(self, *, most: float):
    """Watches for a share of the time, 0 to 1, above `most`."""
    self._most = most
    self._lines = 0
    self._said = False

  def see(self, wait_fraction: float) -> str:
    """A warning after a line with that share; mostly ''."""
    self._lines = self._lines + 1 if wait_fraction > self._most else 0
    if self._said or self._lines < self._LINES:
      return ''
    self._said = True
    return (
      f'warning: training waits for images {wait_fraction:.0%} of the time '
      f'(config.health.max_input_wait = {self._most:.0%}). Try '
      '--config.data.read_threads=N with a thread for each core, a data set '
      'prepared with --encoding=raw, or one on a local disk'
    )
