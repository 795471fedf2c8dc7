"""What a data set is, whatever it was read from (paper §2).

Images are square, RGB and uint8. Labels index `classes`. The mean image and
the RGB components are those of the training split.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from alexnet_jax.data import stats


class ClassInfo(NamedTuple):
  """A class: its stable id, a short name, and all of its words."""

  id: str  # WordNet id such as 'n01440764', or the folder's name
  name: str
  words: str


class Example(NamedTuple):
  """A labelled image and the name of its file."""

  image: UInt8[np.ndarray, 's s 3']  # 0-255
  label: int
  name: str


class Unreadable(Exception):
  """An image that cannot be read; the same damage gives the same message."""


@runtime_checkable
class Split(Protocol):
  """Random access to examples; thread-safe, and can be pickled."""

  @property
  def image_size(self) -> int:
    """Height and width of every image, in pixels."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Example:
    """Reads one example; Unreadable if it is damaged, IndexError if missing."""
    ...

  def take(self, indices: Sequence[int]) -> Iterable[Example | Unreadable]:
    """Reads several examples in order; damage is returned, not raised."""
    ...


def get_by_take(split: Split, index: int) -> Example:
  """Implements `__getitem__` of a split by its `take`."""
  if not 0 <= index < len(split):
    raise IndexError(f'image {index} of {len(split)}')
  (example,) = split.take([index])
  if isinstance(example, Unreadable):
    raise example
  return example


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """The splits of a data set, its classes and its statistics.

  `fingerprint` is a hex digest of images, labels and class order: two data
  sets with the same fingerprint train identically. In a data set to evaluate on
  `train` is `val`; it cannot be trained on.
  """

  name: str
  image_size: int  # pixels
  classes: tuple[ClassInfo, ...]
  train: Split
  val: Split
  test: Split | None = None
  mean_image: Float32[np.ndarray, 's s 3']  # 0-255
  pca: stats.RgbPca
  fingerprint: str

  @property
  def statistics(self) -> stats.Statistics:
    """The mean image and the RGB components."""
    return stats.Statistics(self.mean_image, self.pca)
