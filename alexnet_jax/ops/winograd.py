"""Convolution with about half the multiplications, by Winograd's algorithm.

A product of polynomials, and with it a correlation of rows, needs no more
multiplications than it has coefficients. So m rows of a convolution with a
kernel of r rows take n = m + r - 1 products of rows, not m r:

    y = A ((B x) * (G k))    x: n rows, k: r rows, y: m rows

A, B and G are fixed matrices; * convolves a row of images with a row of kernels
along the width, channels and all. The paper's layers, of 55, 27 and 13 rows,
take 0.47 (conv1), 0.41 (conv2) and 0.54 (conv3 to conv5) of the products.
Results are rounded a little more: they are off by 1e-6 to 3e-6 of the largest
value, where a plain convolution is off by 3e-7 to 5e-7.

Source: Winograd, Arithmetic Complexity of Computations (1980). Lavin and Gray
(arXiv:1509.09308) do so for images along the width, too; that takes more passes
over memory (bench/NOTES.md).
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32

from alexnet_jax.ops import products

# A plain convolution of images with kernels, with a stride and padding.
Convolve = Callable[[Array, Array, int, products.Padding], Array]
Matrix = tuple[tuple[float, ...], ...]

# Where polynomials are evaluated: the first n - 1 of these, and infinity. More
# points, or others, round worse.
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


class Matrices(NamedTuple):
  """A [m, n], B [n, n] and G [n, r] of the formula above."""

  a: Matrix
  b: Matrix
  g: Matrix


@functools.cache
def matrices(m: int, r: int) -> Matrices:
  """Returns A, B and G for m rows at a time and kernels of r rows.

  Row i of B holds, lowest power first, the coefficients of the product of t - q
  over all finite points q but p_i. The last row belongs to the point infinity:
  its product takes them all. Row i of G is divided by the product of p_i - q,
  the rest of Lagrange's formula.

  >>> a, b, g = matrices(2, 3)
  >>> a
  ((1.0, 1.0, 1.0, 0.0), (0.0, 1.0, -1.0, 1.0))
  >>> b
  ((-1.0, 0.0, 1.0, 0.0), (0.0, 1.0, 1.0, 0.0), (0.0, -1.0, 1.0, 0.0), \
(0.0, -1.0, 0.0, 1.0))
  >>> g
  ((-1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
  """
  n = m + r - 1
  points = np.array(_POINTS[: n - 1])
  others = [np.delete(points, i) for i in range(n - 1)]
  b = np.zeros((n, n))
  b[:-1, :-1] = [np.poly(q)[::-1] for q in others]
  b[-1] = np.poly(points)[::-1]
  g = _powers(points, r)
  g[:-1] /= [[np.prod(p - q)] for p, q in zip(points, others, strict=True)]
  return Matrices(*(_tuples(x) for x in (_powers(points, m).T, b, g)))


def _powers(points: np.ndarray, number: int) -> np.ndarray:
  """Powers 0 to number - 1 of the points, and of infinity: its last alone."""
  infinity = np.eye(number)[-1:]
  return np.concatenate([np.vander(points, number, increasing=True), infinity])


def _tuples(rows: np.ndarray) -> Matrix:
  return tuple(tuple(row) for row in (rows + 0.0).tolist())  # -0 is 0


def rows_together(height: int, r: int) -> int:
  """Returns how many rows of the result, m, to compute together; 0: no gain.

  It is the m with the fewest products, ceil(height / m) (m + r - 1), for
  `height` rows of the result and kernels of r rows.

  >>> rows_together(55, 3), rows_together(27, 5), rows_together(13, 3)
  (5, 4, 5)
  >>> rows_together(13, 1), rows_together(1, 3)
  (0, 0)
  """
  most = len(_POINTS) + 2 - r
  taken = {m: -(-height // m) * (m + r - 1) for m in range(2, most + 1)}
  best = min(taken, key=lambda m: taken[m], default=0)
  return best if best and taken[best] < height * r else 0


def convolve(
  x: Float32[Array, 'b h w c'],
  kernel: Float32[Array, 'kh kw c k'],
  padding: products.Padding,
  *,
  m: int,
  by: Convolve,
) -> Float32[Array, 'b i j k']:
  """Convolves with a stride of 1, m rows together: y = A ((B x) * (G k)).

  `by` is called n times, each time with one row of every tile of m rows and a
  kernel of one row.
  """
  (above, below), beside = padding
  r = len(kernel)
  height = x.shape[1] + above + below - r + 1
  tiles = -(-height // m)
  a, b, g = matrices(m, r)
  x = _pad(x, axis=1, before=above, length=tiles * m + r - 1)
  xs = _rows_of_tiles(x, m, len(b), tiles=tiles, axis=1)  # n [B, tiles, W, C]
  rows = [
    by(
      _weighted_sum(to_x, xs),
      _weighted_sum(to_k, kernel)[None],
      1,
      ((0, 0), beside),
    )
    for to_x, to_k in zip(b, g, strict=True)
  ]  # n of [B, tiles, W', K]
  y = jnp.stack([_weighted_sum(to_y, rows) for to_y in a], axis=2)
  return y.reshape(len(x), tiles * m, *y.shape[3:])[:, :height]


def kernel_gradient(
  x: Float32[Array, 'b h w c'],
  padding: products.Padding,
  dy: Float32[Array, 'b i j k'],
  *,
  m: int,
  by: Convolve,
) -> Float32[Array, 'kh kw c k']:
  """Correlates x, padded, with dy: G^T ((B x) * (A^T dy)), summed over tiles.

  That is the gradient of `convolve` by its kernels. `by` is called n times with
  images and kernels of one row of every tile, [C, tiles, W, B] and [tiles, W',
  B, K]: channels stand in for the batch, and the batch for channels.
  """
  height = dy.shape[1]
  (above, below), beside = padding
  r = x.shape[1] + above + below - height + 1
  tiles = -(-height // m)
  a, b, g = matrices(m, r)
  x = _pad(
    x.transpose(3, 1, 2, 0),
    axis=1,
    before=above,
    length=tiles * m + r - 1,
    beside=beside,
  )
  dy = _pad(dy.transpose(1, 2, 0, 3), axis=0, before=0, length=tiles * m)
  xs = _rows_of_tiles(x, m, len(b), tiles=tiles, axis=1)  # n [C, tiles, W, B]
  dys = _rows_of_tiles(dy, m, m, tiles=tiles, axis=0)  # m of [tiles, W', B, K]
  rows = [
    by(_weighted_sum(to_x, xs), _weighted_sum(to_dy, dys), 1, ((0, 0), (0, 0)))
    for to_x, to_dy in zip(b, zip(*a, strict=True), strict=True)
  ]  # n of [C, 1, KW, K]
  dk = [_weighted_sum(to_k, rows) for to_k in zip(*g, strict=True)]
  return jnp.concatenate(dk, axis=1).transpose(1, 2, 0, 3)


def _pad(
  x: Array,
  *,
  axis: int,
  before: int,
  length: int,
  beside: tuple[int, int] = (0, 0),
) -> Array:
  """Pads an axis with zeros to `length` + 1, and the next by `beside`.

  Negative padding crops. Nothing reads the last row. If nothing is padded, XLA
  computes what comes before, such as a transpose, anew for each of the n sums:
  conv1's kernel gradient then takes 1.1 times as long, 2.8 times to compile.
  """
  config = [(0, 0, 0)] * x.ndim
  config[axis] = (before, length + 1 - before - x.shape[axis], 0)
  config[axis + 1] = (*beside, 0)
  return lax.pad(x, jnp.zeros((), x.dtype), config)


def _rows_of_tiles(
  x: Array, m: int, number: int, *, tiles: int, axis: int
) -> list[Array]:
  """Returns rows 0 to number - 1 of all tiles, which are m rows apart."""
  end = (tiles - 1) * m + 1
  return [
    lax.slice_in_dim(x, i, i + end, stride=m, axis=axis) for i in range(number)
  ]


def _weighted_sum(factors: Sequence[float], terms: Iterable[Array]) -> Array:
  """Sums terms times factors, leaving out zeros."""
  pairs = zip(factors, terms, strict=True)
  return sum(x if f == 1 else x * f for f, x in pairs if f)
