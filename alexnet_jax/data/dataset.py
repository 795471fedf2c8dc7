"""What a data set is, whatever it was read from (paper §2).

Every image is square, RGB and uint8; the mean image and the colour statistics
belong to the training split. Labels index `classes`, in that order.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from alexnet_jax.data import stats


class ClassInfo(NamedTuple):
  """One class: its stable id, a short name, and all the words for it."""

  id: str  # WordNet id such as 'n01440764', or the folder's name
  name: str
  words: str


class Example(NamedTuple):
  """One labelled image and where it came from."""

  image: UInt8[np.ndarray, 's s 3']
  label: int
  name: str


class Unreadable(Exception):
  """An image that cannot be had; says why, always in one wording."""


@runtime_checkable
class Split(Protocol):
  """Random access to examples; safe to share among threads, and picklable."""

  @property
  def image_size(self) -> int:
    """Pixels a side."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Example:
    """One example.

    Raises:
      Unreadable: if its record is damaged.
    """
    ...

  def take(self, indices: Sequence[int]) -> Sequence[Example | Unreadable]:
    """Several at once, which is faster; damage is returned, not raised."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """The splits, and all that training needs to know about them.

  `fingerprint` is a hex digest of images, labels and class order: two data
  sets with one fingerprint train identically.
  """

  name: str
  image_size: int
  classes: tuple[ClassInfo, ...]
  train: Split
  val: Split
  test: Split | None = None
  mean_image: Float32[np.ndarray, 's s 3']  # 0-255
  pca: stats.RgbPca
  fingerprint: str
