"""Warnings before and during a run that may not learn.

Users of other implementations report losses that stay at ln(1000) = 6.9. The
usual causes show before the first step: pixels on a scale other than 0-255, or
initial values so small that the logits hardly depend on the image.
"""

import collections
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Num, PyTree

from alexnet_jax import setup as setup_lib
from alexnet_jax.data import pipeline
from alexnet_jax.models import alexnet
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import evaluate

# The mean pixel of ImageNet that Caffe uses, in BGR order; images here are RGB.
_CAFFE_BGR = np.array([103.94, 116.78, 123.68])


class ActivationSummary(NamedTuple):
  """The spread of one activation over images."""

  stage: str  # name of the activation, such as 'conv1/activation'
  stddev: float  # standard deviation over images, mean over units
  dead: float | None  # share of units at 0 on every image; None: not of a ReLU


class Report(NamedTuple):
  """The spread of every activation."""

  rows: list[ActivationSummary]  # in the network's order; last the logits
  images: int  # how many it was measured on


def check(
  setup: setup_lib.Setup, variables: PyTree
) -> tuple[Report, list[str]]:
  """Checks the first minibatch and its activations; returns warnings, too."""
  batches = setup_lib.train_batches(setup, total_steps=1, all_hosts=True)
  batch = next(batches)  # numpy, of the whole minibatch
  report = probe(setup, variables=variables, batch=batch)
  warnings = input_warnings(batch['image'], mean_image=setup.dataset.mean_image)
  minimum = setup.config.health.min_signal
  warnings += [
    signal_warning(report, minimum=minimum),
    pipeline.order_warning(setup.dataset.train),
  ]
  return report, [warning for warning in warnings if warning]


def probe(
  setup: setup_lib.Setup,
  *,
  variables: PyTree,
  batch: Mapping[str, np.ndarray],
) -> Report:
  """Measures the activations of the first images of a whole minibatch."""
  config = setup.config
  images = min(config.health.probe_images, len(batch['label']))
  images = max(images // config.mesh.data, 1) * config.mesh.data
  placed = mesh_lib.put_batch(
    {name: array[:images] for name, array in batch.items()}, mesh=setup.mesh
  )
  moments = hosts.to_host(
    setup.programs.probe(variables, setup.mean_image, placed)
  )
  return summarise(
    {stage: moments[stage] for stage in alexnet.stages(config.model)},
    images=images,
    rectified=config.model.activation == 'relu',
  )


def summarise(
  moments: Mapping[str, evaluate.Moments], *, images: int, rectified: bool
) -> Report:
  """Turns moments over `images` images into the spread of each activation.

  >>> m = evaluate.Moments(  # two units: 1 and 3, 0 and 0 on two images
  ...   mean=np.array([[2, 0]]), squares=np.array([[2, 0]]),
  ...   positive=np.array([[2, 0]]))
  >>> summarise({'fc6/activation': m}, images=2, rectified=True).rows
  [ActivationSummary(stage='fc6/activation', stddev=0.5, dead=0.5)]
  """
  rows = [
    _summary(stage, m, images=images, rectified=rectified)
    for stage, m in moments.items()
  ]
  return Report(rows, images)


def _summary(
  stage: str, m: evaluate.Moments, *, images: int, rectified: bool
) -> ActivationSummary:
  mean = np.asarray(m.mean, np.float64)  # [data, units...]
  within = np.asarray(m.squares, np.float64).sum(axis=0) / images
  stddev = np.sqrt(within + mean.var(axis=0))  # [units...]: within + between
  dead = None
  if rectified and stage.endswith('/activation'):  # tanh has no zeros
    dead = float((np.asarray(m.positive).sum(axis=0) == 0).mean())
  return ActivationSummary(stage, float(stddev.mean()), dead)


_MOST_DEAD = 0.5  # share of a layer's ReLUs; more are called bad


def describe(report: Report, *, minimum: float) -> str:
  """The report as text, a line for each layer; health.json has every stage.

  `minimum` is config.health.min_signal. The last column says what is good or
  bad: the logits' spread by that minimum, and a layer whose ReLUs are at zero
  on every image by half of them, since those units cannot learn.
  """
  lines = [
    f'before step 1, on {report.images} images; std: standard deviation over '
    'images',
    f'  {"layer":12}{"std":>10}{"after ops":>15}{"ReLUs at zero on all":>22}',
  ]
  layers: dict[str, list[ActivationSummary]] = {}
  for row in report.rows:
    layers.setdefault(row.stage.split('/')[0], []).append(row)
  for rows in layers.values():
    first, last = rows[0], rows[-1]
    shares = [r.dead for r in rows if r.dead is not None]
    dead = f'{shares[0]:.1%}' if shares else ''
    low = last is report.rows[-1] and last.stddev < minimum
    good = not low and all(share <= _MOST_DEAD for share in shares)
    lines.append(
      f'  {first.stage:12}{first.stddev:10.3g}{last.stddev:15.3g}{dead:>22}'
      f'   {"good" if good else "bad"}'
    )
  spread = f', and a std of {minimum:g} or more in the end' if minimum else ''
  lines.append(f'  good: at most {_MOST_DEAD:.0%} of the ReLUs at zero{spread}')
  return '\n'.join(lines)


def signal_warning(report: Report, *, minimum: float) -> str:
  """Warns if the logits hardly differ between images; '' if all is well."""
  signal = report.rows[-1].stddev
  if signal >= minimum or report.images < 2:  # one image has no spread
    return ''
  return (
    f'warning: the logits differ by {signal:.2g} from image to image (standard '
    f'deviation), less than config.health.min_signal = {minimum}: the network '
    'hardly reacts to its input and may stay at chance. Likely causes: pixels '
    'that are not 0-255 minus their mean; or initial values '
    '(config.model.layer.*.stddev) too small for the widths of the layers: '
    '--config=source2012 has 0.03 in conv3 to conv5'
  )


def input_warnings(
  images: Num[np.ndarray, 'b s s 3'],
  *,
  mean_image: Float32[np.ndarray, 't t 3'],
) -> list[str]:
  """Warns of pixels on another scale or in another channel order.

  `images` are crops before the mean is subtracted; they and `mean_image` are
  RGB 0-255 if all is well. Prepared data are uint8; floats come from users who
  feed the network directly.
  """
  warnings = []
  lowest, highest = float(images.min()), float(images.max())  # uint8: 0, 255
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
  """Warns of channels in BGR order."""
  mean = mean_image.mean(axis=(0, 1), dtype=np.float64)  # [3]
  if np.abs(mean - _CAFFE_BGR).max() < 5:  # grey levels
    shown = ', '.join(f'{m:.1f}' for m in mean)
    return [
      f'the mean of the channels is {shown}: that is the mean of ImageNet in '
      'BGR order; images here are RGB, red first'
    ]
  each = images.mean(axis=(1, 2), dtype=np.float64)  # [B, 3]
  difference = each[:, 0] - each[:, 2]  # [B], red less blue
  ours, theirs = difference.mean(), mean[0] - mean[2]
  error = difference.std() / math.sqrt(len(difference))  # of the mean
  if abs(theirs) > 8 and abs(ours) > max(8, 3 * error) and ours * theirs < 0:
    return [
      f'red less blue is {ours:.1f} in these images and {theirs:.1f} in the '
      'mean image: one of them is in BGR order'
    ]
  return []


class LossWatch:
  """Warns once if the loss stays at chance for many steps."""

  def __init__(self, *, classes: int, steps: int, tolerance: float):
    """Watches the mean loss over `steps` steps; chance is ln(classes).

    `tolerance` is how far below chance still counts as chance, relative.
    """
    self._chance = math.log(classes)  # 6.908 for 1000 classes
    self._classes = classes
    self._steps = steps
    self._tolerance = tolerance
    self._lines: collections.deque[tuple[int, float]] = collections.deque()
    self._seen, self._total = 0, 0.0  # steps in `_lines`, the sum of losses
    self._warned = False  # warns once

  def replay(self, records: Iterable[Mapping[str, Any]]) -> None:
    """Takes the records that the run logged before it was resumed."""
    before = 0  # step of the line before
    for record in records:
      if record['split'] == 'train':
        self.see(record['loss'], steps=record['step'] - before)
        before = record['step']

  def see(self, loss: float, *, steps: int) -> str:
    """Takes the mean loss of `steps` steps; returns a warning or ''."""
    lines = self._lines
    lines.append((steps, loss))
    self._seen, self._total = self._seen + steps, self._total + steps * loss
    while self._seen - lines[0][0] >= self._steps:  # keeps the newest steps
      old, value = lines.popleft()
      self._seen, self._total = self._seen - old, self._total - old * value
    seen = self._seen
    mean = self._total / max(seen, 1)  # weighted by steps
    learned = mean < (1 - self._tolerance) * self._chance
    if self._warned or learned or seen < self._steps:
      return ''
    self._warned = True
    return (
      f'warning: the loss, {mean:.3f} on average over {seen:,} steps, is no '
      f'better than chance, ln({self._classes}) = {self._chance:.3f}: nothing '
      'is learned yet. If it stays, look at: the initial values (0.03 in conv3 '
      'to conv5 in --config=source2012), the scale of pixels (0-255), the '
      'labels, and --config.optim.learning_rate'
    )


class InputWatch:
  """Warns once if training waits for its input."""

  _LINES = 3  # in a row: the first one after a start may be an outlier

  def __init__(self, *, most: float):
    """Watches for a share of the time (0 to 1) above `most`."""
    self._most = most
    self._lines = 0
    self._warned = False

  def see(self, wait_fraction: float) -> str:
    """Takes the share of one log line; returns a warning or ''."""
    self._lines = self._lines + 1 if wait_fraction > self._most else 0
    if self._warned or self._lines < self._LINES:
      return ''
    self._warned = True
    return (
      f'warning: training waits for images {wait_fraction:.0%} of the time '
      f'(config.health.max_input_wait = {self._most:.0%}). Try '
      '--config.data.read_threads=N with a thread for each core, a data set '
      'prepared with --encoding=raw, or one on a local disk'
    )
