"""Which images an experiment is of; not in the paper.

A folder's results are of one data set: they are kept with its digest, and
others are refused.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import alexnet_jax
from alexnet_jax.data import dataset as dataset_lib


class Data(NamedTuple):
  """A data set, as results name it."""

  name: str
  train_images: int
  val_images: int
  classes: int
  fingerprint: str  # of images, labels and class order

  @property
  def chance(self) -> float:
    """Top-1 error of guessing, where classes are alike in number."""
    return 1 - 1 / self.classes


def of(data: dataset_lib.Dataset) -> Data:
  return Data(
    data.name,
    len(data.train),
    len(data.val),
    len(data.classes),
    data.fingerprint,
  )


def as_json(data: Data) -> dict[str, Any]:
  """For a file of results, with the version that made them."""
  return {'data': data._asdict(), 'version': alexnet_jax.__version__}


def refuse_other(
  before: Mapping[str, Any], now: Data, *, folder: pathlib.Path
) -> None:
  """Refuses to go on in a folder with other images.

  Args:
    before: what `as_json` gave, or a file from before there was any.
    now: the data at hand.
    folder: for the message.

  Raises:
    ValueError: naming both.
  """
  old = before.get('data')
  if old and old['fingerprint'] != now.fingerprint:
    was = f'{old["name"]} ({old["train_images"]:,} training images)'
    raise ValueError(
      f'{folder} is of other data: {was}, digest {old["fingerprint"][:12]}, '
      f'not {describe(now)}: use that data, or another --output'
    )


def describe(data: Data) -> str:
  """In a line.

  >>> describe(Data('cifar10', 50_000, 10_000, 10, '0123456789abcdef'))
  'cifar10 (50,000 training images), digest 0123456789ab'
  """
  return (
    f'{data.name} ({data.train_images:,} training images), digest '
    f'{data.fingerprint[:12]}'
  )
