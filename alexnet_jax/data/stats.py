"""The mean image and the principal components of RGB (paper §2, §4.1).

Both are sums over the training split, and all the sums here are integers:
parts may be added in any order, on any number of workers, to the same bits.

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

  components: Float32[np.ndarray, '3 3']  # a column each, largest first
  stddevs: Float32[np.ndarray, '3']  # grey levels, >= 0


class Sums(NamedTuple):
  """What the statistics need to know of some images; `merge` adds two."""

  count: int
  image: Int64[np.ndarray, 's s 3']  # sum of the images, pixel by pixel
  outer: Int64[np.ndarray, '3 3']  # sum over images and pixels of x x^T


class Statistics(NamedTuple):
  mean_image: Float32[np.ndarray, 's s 3']  # 0-255
  pca: RgbPca


def empty(size: int) -> Sums:
  """The sums of no images of size x size pixels."""
  return Sums(
    0, np.zeros((size, size, 3), np.int64), np.zeros((3, 3), np.int64)
  )


def add(sums: Sums, *, image: UInt8[np.ndarray, 's s 3']) -> Sums:
  """The sums with one more image. Reuses the arrays of `sums`."""
  # Exact: below 2^53 float64 is an integer type, and 255^2 s^2 is far below.
  pixels = image.reshape(-1, 3).astype(np.float64)
  np.add(sums.image, image, out=sums.image)
  np.add(sums.outer, (pixels.T @ pixels).astype(np.int64), out=sums.outer)
  return sums._replace(count=sums.count + 1)


def merge(a: Sums, *, b: Sums) -> Sums:
  """The sums of two disjoint sets of images."""
  return Sums(a.count + b.count, a.image + b.image, a.outer + b.outer)


def finish(sums: Sums) -> Statistics:
  """Mean image and PCA of the images summed.

  The covariance is that of all RGB values of all pixels about their one mean
  colour, E[x x^T] - E[x] E[x]^T; a mean image has no part in it.
  """
  if not sums.count:
    raise ValueError('no images, so no mean image: the training split is empty')
  mean_image = sums.image / sums.count
  mean = mean_image.mean(axis=(0, 1))
  pixels = sums.count * sums.image.shape[0] * sums.image.shape[1]
  covariance = sums.outer / pixels - np.outer(mean, mean)
  return Statistics(mean_image.astype(np.float32), pca(covariance))


def pca(covariance: Float[np.ndarray, '3 3']) -> RgbPca:
  """Components and standard deviations, largest first, of an RGB covariance.

  A component's sign means nothing to §4.1 (alpha is symmetric), but runs must
  agree on it: its entry of largest size is made positive, the first of them
  where rounding alone decides which is the largest.

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
