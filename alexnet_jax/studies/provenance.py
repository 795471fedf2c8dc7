"""The data set of a study's results, so that no folder mixes those of two."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import alexnet_jax
from alexnet_jax.data import dataset as dataset_lib


class Data(NamedTuple):
  """A data set as results name it."""

  name: str
  train_images: int
  val_images: int
  classes: int
  fingerprint: str  # digest of images, labels and class order

  @property
  def chance(self) -> float:
    """Top-1 error of guessing, if all classes have as many images."""
    return 1 - 1 / self.classes


def of(data: dataset_lib.Dataset) -> Data:
  """The provenance of a data set."""
  train, val, classes = map(len, (data.train, data.val, data.classes))
  return Data(data.name, train, val, classes, data.fingerprint)


def as_json(data: Data) -> dict[str, Any]:
  """Data set and program version, for a file of results."""
  return {'data': data._asdict(), 'version': alexnet_jax.__version__}


def refuse_other(
  before: Mapping[str, Any], now: Data, *, folder: pathlib.Path
) -> None:
  """Raises ValueError if a folder has results of another data set.

  `before` holds what `as_json` gave; {} and older files pass.
  """
  old = before.get('data')
  if old and old['fingerprint'] != now.fingerprint:
    was = f'{old["name"]} ({old["train_images"]:,} training images)'
    raise ValueError(
      f'{folder} is of other data: {was}, digest {old["fingerprint"][:12]}, '
      f'not {describe(now)}: use that data, or another --output'
    )


def describe(data: Data) -> str:
  """Name, size and digest in one line.

  >>> describe(Data('cifar10', 50_000, 10_000, 10, '0123456789abcdef'))
  'cifar10 (50,000 training images), digest 0123456789ab'
  """
  images = f'{data.train_images:,} training images'
  return f'{data.name} ({images}), digest {data.fingerprint[:12]}'
