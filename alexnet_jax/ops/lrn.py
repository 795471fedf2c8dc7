"""Local response normalisation (paper §3.3), with a hand-written gradient.

Three things readers get wrong. `alpha` multiplies the plain *sum* of squares,
as §3.3 prints it; the 2012 program, Caffe and PyTorch divide it by the size of
the window first. Windows are clipped at the ends: what lies outside counts as
zero. And a window never leaves its column: where one device holds both
columns, channel 47 of conv1 is no neighbour of channel 48.
"""

import dataclasses
import functools
from typing import Protocol

from jax import lax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np


def local_response_norm(
  a: Float[Array, 'b h w c'],
  *,
  n: int = 5,
  k: float = 2.0,
  alpha: float = 1e-4,
  beta: float = 0.75,
  columns: int = 1,
) -> Float[Array, 'b h w c']:
  """Divides each activity by a power of its neighbours across channels (§3.3).

      b_i = a_i / (k + alpha * sum_j a_j^2)^beta,
      j from max(0, i - n/2) to min(N - 1, i + n/2), n/2 rounded down

  Args:
    a: activities; N of the equation is the channels of one column.
    n: how many neighbouring channels a window holds; odd.
    k: the constant that keeps the divisor away from zero.
    alpha: the weight of the sum, used as given: for the 2012 program's net,
      pass its alpha / n.
    beta: the exponent.
    columns: how many columns `a` holds, each an equal block of channels.

  >>> a = jnp.ones((1, 1, 1, 4))
  >>> local_response_norm(a, n=3, k=2.0, alpha=1.0, beta=1.0).ravel()
  Array([0.25, 0.2 , 0.2 , 0.25], dtype=float32)
  """
  return _norm(a, _Channels(n, columns), k, alpha, beta)


def spatial_response_norm(
  a: Float[Array, 'b h w c'],
  *,
  size: int = 5,
  k: float = 1.0,
  alpha: float,
  beta: float = 0.75,
) -> Float[Array, 'b h w c']:
  """Divides each activity by a power of its neighbours in the same map.

  Not in the paper: the released 2012 network has this norm (`rnorm`) after
  conv2. The equation of §3.3, with the sum over a size x size window of
  positions around the activity; positions outside the image count as zero.
  `alpha` is used as given: the 2012 program's, divided by size^2.

  >>> a = jnp.ones((1, 3, 3, 1))
  >>> b = spatial_response_norm(a, size=3, k=1.0, alpha=1.0, beta=1.0)
  >>> (1 / b[0, :, :, 0]).round()
  Array([[ 5.,  7.,  5.],
         [ 7., 10.,  7.],
         [ 5.,  7.,  5.]], dtype=float32)
  """
  return _norm(a, _Positions(size), k, alpha, beta)


class _Window(Protocol):
  """A sum over each element's window. Symmetric: i sees j as j sees i."""

  def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']: ...


@dataclasses.dataclass(frozen=True)
class _Channels:
  """Sums over n neighbouring channels of the same column."""

  n: int
  columns: int

  def __call__(self, x):
    """One matrix product with a band of ones."""
    band = jnp.asarray(self.band(x.shape[-1]), x.dtype)
    return jnp.matmul(x, band, precision=lax.Precision.HIGHEST)

  def band(self, channels):
    """[C, C], one where two channels are at most n // 2 apart in a column."""
    if self.n % 2 == 0:
      raise ValueError(f'n must be odd, to have a middle channel; got {self.n}')
    if channels % self.columns:
      raise ValueError(f'{channels} channels do not make {self.columns} columns')
    channel = np.arange(channels)
    column = channel // (channels // self.columns)
    near = abs(channel[:, None] - channel) <= self.n // 2
    return near & (column[:, None] == column)


@dataclasses.dataclass(frozen=True)
class _Positions:
  """Sums over size x size positions of the same map: rows, then columns."""

  size: int

  def __call__(self, x):
    if self.size % 2 == 0:
      raise ValueError(f'size must be odd, to have a middle; got {self.size}')
    for axis in (1, 2):
      x = _sum_shifts(x, axis=axis, reach=self.size // 2)
    return x


def _sum_shifts(x, *, axis, reach):
  """Adds to each element those up to `reach` away along one axis."""
  length = x.shape[axis]
  widths = [(0, 0)] * x.ndim
  widths[axis] = (reach, reach)
  padded = jnp.pad(x, widths)
  shifts = range(2 * reach + 1)
  return sum(lax.slice_in_dim(padded, s, s + length, axis=axis) for s in shifts)


# With d_i = k + alpha * sum_j a_j^2 the divisor before its power, g the
# gradient of b, and windows symmetric (a_i is in window j where a_j is in i):
#
#   dL/da_i = g_i d_i^-beta
#             - 2 alpha beta a_i sum_{j in window(i)} g_j a_j d_j^(-beta-1)
#
# Only `a` is kept for it; d costs less to compute again than to store and
# read. Squares, sums and powers are float32 whatever the activities are.


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _norm(a, window: _Window, k, alpha, beta):
  a32 = a.astype(jnp.float32)
  d = k + alpha * window(a32 * a32)
  return (a32 * _negative_power(d, beta)).astype(a.dtype)


def _norm_forward(a, window, k, alpha, beta):
  return _norm(a, window, k, alpha, beta), a


def _norm_backward(window, k, alpha, beta, a, g):
  a32, g32 = a.astype(jnp.float32), g.astype(jnp.float32)
  d = k + alpha * window(a32 * a32)
  direct = g32 * _negative_power(d, beta)
  through_d = window(direct * a32 / d)
  return ((direct - 2 * alpha * beta * a32 * through_d).astype(a.dtype),)


_norm.defvjp(_norm_forward, _norm_backward)


def _negative_power(d, beta):
  """d^-beta; the paper's 3/4 by square roots, which cost far less than pow."""
  if beta == 0.75:
    root = lax.rsqrt(d)
    return root * jnp.sqrt(root)
  return d**-beta
