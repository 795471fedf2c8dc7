"""Where images come from: drawn, a prepared folder, or TFDS (paper §2).

`load` is the one way in. What it returns is the same whatever the source, and
each mistake a user can make is a ValueError of one line.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from alexnet_jax.data import dataset, download, records, synthetic
from alexnet_jax.data import tfds as tfds_lib
from alexnet_jax.runtime import paths

ClassInfo = dataset.ClassInfo
Dataset = dataset.Dataset
Example = dataset.Example
Split = dataset.Split

Source = Literal['embedded', 'prepared', 'tfds']


def load(
  *,
  source: str,  # a Source; checked here
  directory: str,
  tfds: str,
  image_size: int,
  train_images: int,
  val_images: int,
  seed: int,
  embedded_classes: Sequence[int] = (),
) -> Dataset:
  """Opens a data set.

  Args:
    source: 'embedded' draws coloured gratings, 'prepared' reads `directory`,
      'tfds' the data set of that name.
    directory: a folder written by tools.prepare, here or on a bucket; for
      'tfds' its data_dir; unused by 'embedded'.
    tfds: name of a data set of TFDS; unused by the others.
    image_size: pixels a side, 256 in the paper; a prepared folder must agree.
    train_images: to draw; unused by 'prepared', which has its own number.
    val_images: likewise.
    seed: of the drawing, >= 0; unused by 'prepared'.
    embedded_classes: of 'embedded', numbers of some of its ten; () for all.
  """
  match source:
    case 'embedded':
      return synthetic.load(
        image_size=image_size,
        train_images=train_images,
        val_images=val_images,
        seed=seed,
        classes=embedded_classes,
      )
    case 'prepared':
      return records.load(download.local(directory), image_size=image_size)
    case 'tfds':
      if paths.is_remote(directory):
        raise ValueError(
          f'{directory}: TFDS reads its records from this machine alone: copy '
          'the folder here, or prepare it with tools.prepare'
        )
      return tfds_lib.load(tfds, data_dir=directory, image_size=image_size)
    case _:
      choices = ' or '.join(get_args(Source))
      raise ValueError(f'data source {source!r} is not known: use {choices}')
