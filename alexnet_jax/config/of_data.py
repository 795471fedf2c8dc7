"""Fills in config fields that follow from the data set.

config.model.num_classes, config.batch_size and config.num_epochs may be None
where the data are not known yet, as in configs/finetune.py.
"""

import math

from alexnet_jax.config import schema

Config = schema.Config
_MOST_BATCH = 32  # images
_STEPS = 4  # an epoch has as many at least, if there are the images for it
_FEW_BATCH = 4  # images; fewer in a minibatch only if there are no more
_IMAGES = 2000  # seen in training, if that is 5 to 30 epochs
_EPOCHS = (5, 30)


def fill(config: Config, *, classes: int, train_images: int) -> Config:
  """Replaces None in the fields of schema.OF_DATA; returns a copy.

  Raises ValueError if there are fewer than two classes and their number is
  asked for.
  """
  filled = config.copy_and_resolve_references()
  if config.model.num_classes is None:
    if classes < 2:
      raise ValueError(
        f'config.model.num_classes = None, and the data have {classes} class: '
        'there is nothing to tell apart; give images of two classes or more'
      )
    with filled.ignore_type():
      filled.model.num_classes = filled.model.layer.fc8.units = classes
  with filled.ignore_type():
    if config.batch_size is None:
      unit = config.mesh.data * (config.grad_accumulation_steps or 1)
      filled.batch_size = batch_size(train_images, multiple_of=unit)
    if config.num_epochs is None:
      filled.num_epochs = num_epochs(train_images)
  return filled


def batch_size(images: int, *, multiple_of: int = 1) -> int:
  """32 images; fewer, by halves, where an epoch would have less than 4 steps.

  Never more than there are, unless the devices must share a larger multiple.

  >>> [batch_size(images) for images in (1000, 108, 20, 3)]
  [32, 16, 4, 3]
  """
  size = _MOST_BATCH
  while size > max(images // _STEPS, _FEW_BATCH):
    size //= 2
  size = min(size, images)
  return max(size - size % multiple_of, multiple_of)


def num_epochs(images: int) -> int:
  """Epochs in which about 2,000 images are seen; 5 at least, 30 at most.

  >>> [num_epochs(images) for images in (20, 108, 1000, 100_000)]
  [30, 19, 5, 5]
  """
  low, high = _EPOCHS
  return min(max(math.ceil(_IMAGES / images), low), high)
