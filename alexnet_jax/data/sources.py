"""Opens a data set: drawn, prepared, or of TFDS (paper §2).

`load` returns the same type whatever the source, and imports only what that
source needs. Every mistake that a user can make is a ValueError of one line.
"""

from typing import Literal, get_args

from ml_collections import config_dict

from alexnet_jax.data import dataset
from alexnet_jax.runtime import paths

Dataset = dataset.Dataset
Source = Literal['embedded', 'prepared', 'tfds']


def load(data: config_dict.ConfigDict, *, seed: int) -> Dataset:
  """Opens the data set that `config.data` describes.

  `data.dir` is a prepared folder (here or on a bucket) or the data_dir of TFDS;
  `seed` is that of the drawn images, >= 0. Raises ValueError if there is no
  such data set, or it does not fit `data`.
  """
  paths.check_name(data.dir, name='config.data.dir')
  match data.source:
    case 'embedded':
      from alexnet_jax.data import synthetic

      return synthetic.load(
        image_size=data.image_size,
        train_images=data.embedded_train_images,
        val_images=data.embedded_val_images,
        seed=seed,
        classes=data.embedded_classes,
      )
    case 'prepared':
      from alexnet_jax.data import download, records

      folder = download.local_copy(data.dir)
      return records.load(
        folder, image_size=data.image_size, resize=data.resize
      )
    case 'tfds':
      if paths.is_remote(data.dir):
        raise ValueError(
          f'{data.dir}: TFDS data sets are read from a local folder only: copy '
          'the folder here, or prepare it with tools.prepare'
        )
      from alexnet_jax.data import tfds

      return tfds.load(
        data.tfds,
        data_dir=data.dir,
        image_size=data.image_size,
        resize=data.resize,
      )
    case _:
      choices = ' or '.join(get_args(Source))
      raise ValueError(
        f'data source {data.source!r} is not known: use {choices}'
      )
