"""What a run's own numbers suggest to try next, in plain words."""

import math
from typing import Any

import numpy as np

from alexnet_jax.data import dataset
from alexnet_jax.steps import metrics
from alexnet_jax.studies.report import gather, page, statistics

_MOST_LINES = 3
_GAP = 0.1  # between training and validation error, that counts
_HIGH = 0.2  # training error at which longer training may help
_NEARLY = 0.9  # of the error of guessing
_FEW = 20  # images of a class
_MOST_READ = 2000  # images whose labels are counted
_WIDE = 0.2  # width of an interval that says little
_NAMES = 5  # of classes in a line


def taught(run: gather.Run) -> str:
  """What a run taught, in a sentence; '' if it has not been evaluated."""
  last = [r for r in run.evaluations if r['split'] == 'val']
  classes = len(run.class_names)
  if not last or classes < 2:
    return ''
  error, images = last[-1]['top1_error'], last[-1]['num_images']
  right, guessed = page.percent(1 - error), page.percent(1 / classes)
  low, high = metrics.interval(error, images=images)
  if high >= 1 - 1 / classes:
    return (
      f'On new images it does no better than guessing among {classes:,} '
      'classes.'
    )
  trained = training_error(run) if run.train else math.inf
  if trained < low and error - trained > _GAP:
    return (
      f'It knows the images it trained on ({page.percent(1 - trained)} right) '
      f'better than new ones ({right} right).'
    )
  return (
    f'It tells {classes:,} classes apart: {right} of new images are named '
    f'right; guessing names {guessed}.'
  )


def lines(run: gather.Run) -> list[str]:
  """Two or three things to try, the most useful first; [] if none stands out.

  They compare the training error of the last epoch, which is that of varied
  images with dropout, with the last validation error.
  """
  found = run.predictions
  if found is None or not run.train:
    return []
  said = [
    *_of_errors(run, found.errors),
    *_of_few_images(run),
    *_of_few_validation_images(found.errors),
    *_of_a_pair(run),
  ]
  return said[:_MOST_LINES]


def _of_errors(run: gather.Run, errors: metrics.Errors) -> list[str]:
  """No better than guessing, overfitting, or not learned yet."""
  val, training = errors.top1_error, training_error(run)
  low, high = metrics.interval(val, images=errors.num_images)
  classes = len(run.class_names)
  both = f'training error {training:.0%}, validation error {val:.0%}'
  guessing = 1 - 1 / classes if classes > 1 else math.inf
  if high >= guessing and training > _NEARLY * guessing:
    return [
      f'No better than guessing among {classes:,} classes ({both}): look at '
      f'the labels of some images, then train longer{_longer(run)} or at '
      f'another rate{_rate(run, times=3)}.'
    ]
  if training < low and val - training > _GAP:
    return [
      f'It knows the training images better than others ({both}): more images '
      'help most. Or vary them more (--config.augment.colour_stddev=0.2), or '
      'train less.'
    ]
  if training > _HIGH and val > _GAP:
    return [
      f'It has not learned the training images yet ({both}): train '
      f'longer{_longer(run)}, or at twice the rate{_rate(run, times=2)}.'
    ]
  return []


def training_error(run: gather.Run) -> float:
  """The mean top-1 error of the minibatches of the last epoch."""
  last = run.train[-1]['epoch']
  return float(
    np.mean([r['top1_error'] for r in run.train if r['epoch'] > last - 1])
  )


def _longer(run: gather.Run) -> str:
  config: Any = run.config or {}
  if config.get('total_steps'):
    return f' (--config.total_steps={2 * config.total_steps})'
  if config.get('num_epochs'):
    return f' (--config.num_epochs={2 * config.num_epochs})'
  return ''


def _rate(run: gather.Run, *, times: int) -> str:
  rate = run.config and run.config.get('optim', {}).get('learning_rate')
  return f' (--config.optim.learning_rate={rate * times:g})' if rate else ''


def _of_few_images(run: gather.Run) -> list[str]:
  """Classes with few training images, or half as many as the others."""
  if run.data is None or len(run.data.train) > _MOST_READ:
    return []
  counts = _counts(run.data.train, classes=len(run.data.classes))
  least = max(_FEW, float(np.median(counts)) / 2)
  order = np.argsort(counts, kind='stable').tolist()
  few = [i for i in order if counts[i] < least]
  if not few:
    return []
  shown = ', '.join(f'{run.class_name(i)} ({counts[i]})' for i in few[:_NAMES])
  more = f' and {len(few) - _NAMES:,} more' if len(few) > _NAMES else ''
  return [f'Classes with few training images: {shown}{more}. Add some there.']


def _counts(split: dataset.Split, *, classes: int) -> np.ndarray:
  labels = [
    example.label
    for start in range(0, len(split), 100)
    for example in split.take(range(start, min(start + 100, len(split))))
    if isinstance(example, dataset.Example)
  ]
  return np.bincount(labels, minlength=classes)


def _of_few_validation_images(errors: metrics.Errors) -> list[str]:
  low, high = metrics.interval(errors.top1_error, images=errors.num_images)
  if high - low < _WIDE:
    return []
  need = math.ceil(errors.num_images * ((high - low) / _WIDE) ** 2 / 10) * 10
  return [
    f'{errors.num_images} validation images tell the error only to within '
    f'{low:.0%} and {high:.0%}: with about {need} it would be '
    f'{_WIDE / 2:.0%} either way. Smaller differences between settings are '
    'chance.'
  ]


def _of_a_pair(run: gather.Run) -> list[str]:
  """The two classes that are confused most, if they are more than once."""
  assert run.predictions
  labels = run.predictions.labels
  predicted = run.predictions.probabilities.argmax(axis=1).astype(labels.dtype)
  for pair in statistics.most_confused(labels, predicted, count=1):
    if pair.count > 1:
      name, other = map(run.class_name, (pair.label, pair.predicted))
      return [
        f'{name} is taken for {other} most often ({pair.count} of '
        f'{round(pair.count / pair.share)} images): are some '
        'labels wrong? If not, add images that tell the two apart.'
      ]
  return []
