"""The mean image and the principal components of RGB (paper §2, §4.1).

Both come from integer sums over the training split, so any number of workers
may add their parts in any order and get the same bits.

Paper differs from code: the components are multiplied by the eigenvalues of
the RGB covariance (§4.1), which are of order 10,000 on the 0-255 scale.
2012: by its standard deviations, their square roots (convdata.py:40-41).
Here: by the standard deviations.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8


class RgbPca(NamedTuple):
  """Principal components of the RGB values of a training set (§4.1)."""

  components: Float32[np.ndarray, '3 3']  # unit columns, largest first
  stddevs: Float32[np.ndarray, '3']  # grey levels, >= 0


class Sums(NamedTuple):
  """Integer sums over a set of images; `merge` adds two of them."""

  count: int
  image: Int64[np.ndarray, 's s 3']  # sum of the images, pixel by pixel
  outer: Int64[np.ndarray, '3 3']  # sum over images and pixels of x x^T


class Statistics(NamedTuple):
  """The mean image and the RGB components of a training split."""

  mean_image: Float32[np.ndarray, 's s 3']  # 0-255
  pca: RgbPca


def empty(size: int) -> Sums:
  """Sums of zero images of size x size pixels."""
  return Sums(
    0, np.zeros((size, size, 3), np.int64), np.zeros((3, 3), np.int64)
  )


def add(sums: Sums, *, image: UInt8[np.ndarray, 's s 3']) -> Sums:
  """Adds one image to the sums. Overwrites the arrays of `sums`."""
  # float64 is exact for integers below 2^53, far above 255^2 s^2.
  pixels = image.reshape(-1, 3).astype(np.float64)  # [s*s, 3]
  np.add(sums.image, image, out=sums.image)
  np.add(sums.outer, (pixels.T @ pixels).astype(np.int64), out=sums.outer)
  return sums._replace(count=sums.count + 1)


def merge(a: Sums, *, b: Sums) -> Sums:
  """Adds the sums of two disjoint sets of images."""
  return Sums(a.count + b.count, a.image + b.image, a.outer + b.outer)


def finish(sums: Sums) -> Statistics:
  """Mean image and RGB components of the summed images.

  The covariance is E[x x^T] - E[x] E[x]^T over the RGB values x of all pixels
  of all images: about one mean colour, not about the mean image. Raises
  ValueError if no images were summed.
  """
  if not sums.count:
    raise ValueError('no images, so no mean image: the training split is empty')
  mean_image = sums.image / sums.count  # [s, s, 3]
  mean = mean_image.mean(axis=(0, 1))  # [3]
  pixels = sums.count * sums.image.shape[0] * sums.image.shape[1]
  covariance = sums.outer / pixels - np.outer(mean, mean)
  return Statistics(mean_image.astype(np.float32), pca(covariance))


def pca(covariance: Float[np.ndarray, '3 3']) -> RgbPca:
  """Components and standard deviations of an RGB covariance, largest first.

  The sign of a component has no effect in §4.1, where alpha is symmetric, but
  it must not vary between machines: the entry of the largest absolute value is
  made positive, and the first of those that are equal up to rounding.

  >>> pca(np.diag([1.0, 9.0, 4.0])).stddevs.tolist()
  [3.0, 2.0, 1.0]
  """
  variances, vectors = np.linalg.eigh(covariance)
  variances, vectors = variances[::-1], vectors[:, ::-1]
  size = np.abs(vectors)
  largest = (size > size.max(axis=0) - 1e-6).argmax(axis=0)
  vectors = vectors * np.sign(vectors[largest, np.arange(3)])
  stddevs = np.sqrt(np.maximum(variances, 0))
  return RgbPca(vectors.astype(np.float32), stddevs.astype(np.float32))
