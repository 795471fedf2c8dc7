"""Where images come from: drawn on the spot, or a prepared folder (paper §2).

`load` is the one way in. What it returns is the same whatever the source, and
each mistake a user can make is a ValueError of one line.
"""

from typing import Literal, get_args

from alexnet_jax.data import dataset, records, synthetic

ClassInfo = dataset.ClassInfo
Dataset = dataset.Dataset
Example = dataset.Example
Split = dataset.Split

Source = Literal['embedded', 'prepared']


def load(
  *,
  source: str,  # a Source; checked here
  directory: str,
  image_size: int,
  train_images: int,
  val_images: int,
  seed: int,
) -> Dataset:
  """Opens a data set.

  Args:
    source: 'embedded' draws coloured gratings, 'prepared' reads `directory`.
    directory: a folder written by tools.prepare; unused by 'embedded'.
    image_size: pixels a side, 256 in the paper; a prepared folder must agree.
    train_images: to draw; unused by 'prepared', which has its own number.
    val_images: likewise.
    seed: of the drawing, >= 0; unused by 'prepared'.
  """
  match source:
    case 'embedded':
      return synthetic.load(
        image_size=image_size,
        train_images=train_images,
        val_images=val_images,
        seed=seed,
      )
    case 'prepared':
      return records.load(directory, image_size=image_size)
    case _:
      choices = ' or '.join(get_args(Source))
      raise ValueError(f'data source {source!r} is not known: use {choices}')
