"""Convolution of float32 with fewer multiplications: Winograd's algorithm.

Rows of an image are to the rows of a kernel as the coefficients of one
polynomial to those of another, and a product of polynomials takes no more
products of numbers than it has coefficients. So m rows of a convolution with a
kernel of r rows take n = m + r - 1 products of rows in place of m r:

    y = A ((B x) * (G k))    x: n rows, k: r rows, y: m rows

A, B and G are fixed matrices, and * convolves rows along the width, channels
and all. conv3 then takes 0.54 of the multiplications, conv2 0.41. Sums are
rounded elsewhere: about 3e-6 of the largest value is off, with n <= 8.

Source: Winograd, Arithmetic Complexity of Computations (1980); for images Lavin
and Gray, arXiv:1509.09308 (2015), who do the same along the width as well. Here
it is for CPUs alone (bench/NOTES.md).
"""

import fractions
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32

Padding = tuple[tuple[int, int], tuple[int, int]]
Matrix = tuple[tuple[float, ...], ...]
Convolve = Callable[..., Array]  # images, kernels, stride, padding -> maps

_HALF = fractions.Fraction(1, 2)
# Where polynomials are evaluated, besides infinity; the first n - 1 of them.
_POINTS = (0, 1, -1, 2, -2, _HALF, -_HALF)


class Matrices(NamedTuple):
  """What turns rows of images and of kernels into those to be multiplied."""

  a: Matrix  # m x n
  b: Matrix  # n x n
  g: Matrix  # n x r


@functools.cache
def matrices(m: int, r: int) -> Matrices:
  """Returns A, B and G for m rows of a correlation with a kernel of r rows.

  B is of whole numbers. The products of n = m + r - 1 coefficients by values at
  n points are V^-1 ((V a) (V b)), V being Vandermonde's matrix; a correlation
  is the transpose of that.

  >>> matrices(2, 3).a
  ((1.0, 1.0, 1.0, 0.0), (0.0, 1.0, -1.0, 1.0))
  """
  n = m + r - 1
  inverse = _inverse(_vandermonde(n, n))
  a, b = zip(*_vandermonde(n, m)), zip(*inverse)
  rows_b, rows_g = [], []
  for row_b, row_g in zip(b, _vandermonde(n, r), strict=True):
    whole = math.lcm(*(x.denominator for x in row_b))
    rows_b.append([x * whole for x in row_b])
    rows_g.append([x / whole for x in row_g])
  return Matrices(_floats(a), _floats(rows_b), _floats(rows_g))


def _vandermonde(n: int, width: int) -> list[list[fractions.Fraction]]:
  """Powers 0 to width - 1 of n points; the last is infinity."""
  finite = [fractions.Fraction(p) for p in _POINTS[: n - 1]]
  last = [fractions.Fraction(0)] * (width - 1) + [fractions.Fraction(1)]
  return [[p**i for i in range(width)] for p in finite] + [last]


def _inverse(
  matrix: list[list[fractions.Fraction]],
) -> list[list[fractions.Fraction]]:
  """Inverts a matrix exactly (Gauss and Jordan)."""
  n = len(matrix)
  rows = [
    [*row, *(fractions.Fraction(i == j) for j in range(n))]
    for i, row in enumerate(matrix)
  ]
  for i in range(n):
    pivot = next(j for j in range(i, n) if rows[j][i])
    rows[i], rows[pivot] = rows[pivot], rows[i]
    rows[i] = [x / rows[i][i] for x in rows[i]]
    for j in range(n):
      if j != i:
        factor = rows[j][i]
        rows[j] = [x - factor * y for x, y in zip(rows[j], rows[i])]
  return [row[n:] for row in rows]


def _floats(rows) -> Matrix:
  return tuple(tuple(float(x) for x in row) for row in rows)


def tile(rows: int, r: int) -> int:
  """Returns how many rows of the result to compute together; 0: no gain.

  As takes the fewest products; the fewest points of those.

  >>> tile(13, 3), tile(27, 5), tile(55, 3), tile(10, 1), tile(1, 3)
  (5, 4, 5, 0, 0)
  """
  most = len(_POINTS) + 1 - r + 1
  cost = {m: -(-rows // m) * (m + r - 1) for m in range(2, most + 1)}
  best = min(cost, key=lambda m: (cost[m], m), default=0)
  return best if best and cost[best] < rows * r else 0


def convolve(
  x: Float32[Array, 'b h w c'],
  kernel: Float32[Array, 'kh kw c k'],
  padding: Padding,
  *,
  m: int,
  by: Convolve,
) -> Float32[Array, 'b i j k']:
  """Convolves with a stride of 1, m rows at a time; `by` convolves a row."""
  (above, below), beside = padding
  r = len(kernel)
  height = x.shape[1] + above + below - r + 1
  tiles = -(-height // m)
  a, b, g = matrices(m, r)
  after = tiles * m + r - 1 - above - x.shape[1]
  x = jnp.pad(x, ((0, 0), (above, after), (0, 0), (0, 0)))
  xs = _every(x, m, len(b), axis=1)  # n of [B, tiles, W, C]
  products = [
    by(_sum(to_x, xs), _sum(to_k, kernel)[None], 1, ((0, 0), beside))
    for to_x, to_k in zip(b, g, strict=True)
  ]  # n of [B, tiles, W', K]
  y = jnp.stack([_sum(row, products) for row in a], axis=2)
  return y.reshape(len(x), tiles * m, *y.shape[3:])[:, :height]


def kernel_gradient(
  x: Float32[Array, 'b h w c'],
  padding: Padding,
  g: Float32[Array, 'b i j k'],
  *,
  m: int,
  by: Convolve,
) -> Float32[Array, 'kh kw c k']:
  """Correlates x, padded, with g: the gradient of `convolve`'s kernels.

  Axes are put in the order of `by` before they are padded: XLA then does so
  once, and not for each of the n products.
  """
  height, width = g.shape[1:3]
  r = x.shape[1] + sum(padding[0]) - height + 1
  tiles = -(-height // m)
  a, b, to_kernel = matrices(m, r)
  (above, _), beside = padding
  after = tiles * m + r - 1 - above - x.shape[1]
  x = jnp.pad(x.transpose(3, 1, 2, 0), ((0, 0), (above, after), beside, (0, 0)))
  g = jnp.pad(
    g.transpose(1, 2, 0, 3), ((0, tiles * m - height), (0, 0), (0, 0), (0, 0))
  )
  xs = _every(x, m, len(b), axis=1)  # n of [C, tiles, W, B]
  gs = _every(g, m, m, axis=0)  # m of [tiles, W', B, K]
  products = [
    by(_sum(to_x, xs), _sum(to_g, gs), 1, ((0, 0), (0, 0)))
    for to_x, to_g in zip(b, zip(*a, strict=True), strict=True)
  ]  # n of [C, 1, KW, K]
  rows = [_sum(row, products) for row in zip(*to_kernel, strict=True)]
  return jnp.concatenate(rows, axis=1).transpose(1, 2, 0, 3)


def _every(x: Array, m: int, number: int, *, axis: int) -> list[Array]:
  """Every m-th row from row 0, from row 1, ...: `number` arrays as long."""
  last = x.shape[axis] - number  # the first row of the last tile
  return [
    lax.slice_in_dim(x, i, last + i + 1, stride=m, axis=axis)
    for i in range(number)
  ]


def _sum(factors: Sequence[float], terms: Sequence[Array]) -> Array:
  """Sums terms times factors, leaving out zeros."""
  return sum(
    term if factor == 1 else term * factor
    for factor, term in zip(factors, terms, strict=True)
    if factor
  )
