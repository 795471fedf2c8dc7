"""Durations of a run in steps and epochs, and where epochs end."""

import math
from collections.abc import Collection
from typing import NamedTuple

from alexnet_jax.config import schema


class Plan(NamedTuple):
  """Durations of a run in steps."""

  total_steps: int  # minibatches in the whole run
  images_per_epoch: int  # training images; an epoch may end within a minibatch
  batch_size: int  # images in a minibatch, over all devices

  def epoch(self, step: int) -> float:
    """Passes over the training set after `step` minibatches."""
    return step * self.batch_size / self.images_per_epoch

  def epoch_ends(self, step: int, *, every_epochs: int) -> bool:
    """Whether minibatch `step` (from 1) ends a multiple of `every_epochs`."""
    before, after = self.epoch(step - 1), self.epoch(step)
    return math.floor(after / every_epochs) > math.floor(before / every_epochs)

  def steps_in(self, unit: str) -> float:
    """Minibatches in a unit of `config.schedule.counts`; not always whole."""
    if unit == 'fractions':
      return float(self.total_steps)
    return self.images_per_epoch / self.batch_size  # 10,009.1 in the paper


def prefer_typed(config: schema.Config, *, typed: Collection[str]) -> None:
  """Lets a length that the user typed win over one that a preset says.

  Raises ValueError if both lengths are typed.
  """
  if 'num_epochs' not in typed:
    return
  if 'total_steps' in typed:
    raise ValueError(
      f'--config.num_epochs={config.num_epochs} and '
      f'--config.total_steps={config.total_steps} both say how long to train: '
      'use one of the two'
    )
  config.total_steps = None


def plan(config: schema.Config, *, train_images: int) -> Plan:
  """Turns epochs into steps; raises ValueError beyond schema.MOST_STEPS."""
  steps = config.total_steps
  if steps is None:
    steps = math.ceil(config.num_epochs * train_images / config.batch_size)
  if steps > schema.MOST_STEPS:  # the step is an int32
    raise ValueError(
      f'config.num_epochs = {config.num_epochs} of {train_images:,} images are '
      f'{steps:,} steps, more than {schema.MOST_STEPS:,}: use fewer'
    )
  return Plan(steps, train_images, config.batch_size)
