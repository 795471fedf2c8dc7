"""Local response normalisation (paper §3.3), with a hand-written gradient.

Two things readers get wrong. `alpha` multiplies the plain *sum* of squares, as
§3.3 prints it; the 2012 program, Caffe and PyTorch divide it by the size of the
window first. And windows are clipped at the ends: channels beyond them count as
zero.

Paper differs from code: N is "the total number of kernels in the layer" (§3.3),
so that windows reach across the columns.
2012: each column normalises its own kernels (layers-145.cfg:35-45).
Here: as in the program, on one device too: channel 47 of conv1 is no neighbour
of channel 48.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from alexnet_jax.ops import platform


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
    k: keeps the divisor away from zero.
    alpha: the weight of the sum, used as given: for the 2012 program's net,
      pass its alpha / n.
    columns: columns that `a` holds, each an equal block of channels.

  Raises ValueError if n is even, or the blocks cannot be equal.

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

  Not in the paper: the released 2012 network has it (`rnorm`) after conv2. The
  equation of §3.3, with the sum over a size x size window of positions around
  the activity; positions outside the image count as zero. `alpha` is used as
  given: the 2012 program's, divided by size^2.

  >>> a = jnp.ones((1, 3, 3, 1))
  >>> b = spatial_response_norm(a, size=3, k=1.0, alpha=1.0, beta=1.0)
  >>> (1 / b[0, :, :, 0]).round()
  Array([[ 5.,  7.,  5.],
         [ 7., 10.,  7.],
         [ 5.,  7.,  5.]], dtype=float32)
  """
  return _norm(a, _Positions(size), k, alpha, beta)


@dataclasses.dataclass(frozen=True)
class _Channels:
  """Sums over n neighbouring channels of the same column."""

  n: int
  columns: int

  def __call__(self, x):
    width, rest = divmod(x.shape[-1], self.columns)
    if rest:
      raise ValueError(
        f'{x.shape[-1]} channels cannot be split into {self.columns} equal '
        f'columns: use a multiple of {self.columns}'
      )
    place = np.arange(x.shape[-1]) % width  # [C], counted within its column
    total = x  # the middle of each window
    for step, neighbour in _neighbours(x, axis=3, size=self.n):
      own = (0 <= place + step) & (place + step < width)  # [C]
      total += jnp.where(own[None, None, None], neighbour, 0)
    return total


@dataclasses.dataclass(frozen=True)
class _Positions:
  """Sums over size x size positions of the same map: down, then across."""

  size: int

  def __call__(self, x):
    for axis in (1, 2):
      x = x + sum(y for _, y in _neighbours(x, axis=axis, size=self.size))
    return x


def _neighbours(x, *, axis, size):
  """Yields (step, x shifted so that i holds element i + step); not step 0."""
  if size % 2 == 0:
    raise ValueError(f'a window needs a middle: {size} is not odd')
  reach, length = size // 2, x.shape[axis]  # n/2 of §3.3, rounded down
  widths = [(0, 0)] * x.ndim
  widths[axis] = (reach, reach)  # zeros beyond both ends
  padded = jnp.pad(x, widths)
  for step in (*range(-reach, 0), *range(1, reach + 1)):  # 0 is x itself
    start = reach + step
    yield step, lax.slice_in_dim(padded, start, start + length, axis=axis)


# With d_i = k + alpha * sum_j a_j^2 the divisor before its power, g the
# gradient of b, and windows symmetric (a_i is in window j where a_j is in i):
#
#   dL/da_i = g_i d_i^-beta
#             - 2 alpha beta a_i sum_{j in window(i)} g_j a_j d_j^(-beta-1)
#
# Only `a` is kept for it; d costs less to compute again than to store and
# read. Squares, sums and powers are float32 whatever the activities are.


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _norm(a, window: Callable[[Array], Array], k, alpha, beta):
  a32 = a.astype(jnp.float32)
  d = k + alpha * window(a32 * a32)  # [B, H, W, C]
  return (a32 * _negative_power(d, beta)).astype(a.dtype)


def _norm_forward(a, window, k, alpha, beta):
  return _norm(a, window, k, alpha, beta), a


def _norm_backward(window, k, alpha, beta, a, g):
  if platform.here() == 'gpu':
    return (_norm_backward_gpu(a, g, window, k, alpha, beta),)
  direct, summed, a32 = _terms(a, g, window, k, alpha, beta)
  through_d = window(summed)
  return ((direct - 2 * alpha * beta * a32 * through_d).astype(a.dtype),)


def _norm_backward_gpu(a, g, window, k, alpha, beta):
  """Computes the terms twice, so that one array of a's dtype is stored.

  XLA by itself stores d and g_j a_j d_j^(-beta-1) as float32 and reads them
  again: two to three times the bytes (bench/NOTES.md).
  """
  one = lax.optimization_barrier(jnp.ones((), a.dtype))  # XLA cannot know it
  _, summed, _ = _terms(a * one, g, window, k, alpha, beta)
  summed, one = lax.optimization_barrier((summed.astype(a.dtype), one))
  direct, _, a32 = _terms(a * one, g * one, window, k, alpha, beta)
  through_d = window(summed.astype(jnp.float32))
  return (direct - 2 * alpha * beta * a32 * through_d).astype(a.dtype)


def _terms(a, g, window, k, alpha, beta):
  """Returns the first term above, what the second sums, and a, in float32."""
  a32, g32 = a.astype(jnp.float32), g.astype(jnp.float32)
  d = k + alpha * window(a32 * a32)  # computed again
  direct = g32 * _negative_power(d, beta)
  return direct, direct * a32 / d, a32


_norm.defvjp(_norm_forward, _norm_backward)


def _negative_power(d, beta):
  """Returns d^-beta; 3/4 by square roots, which cost far less than pow."""
  if beta == 0.75:
    root = lax.rsqrt(d)  # d^-1/2
    return root * jnp.sqrt(root)  # d^-1/2 d^-1/4
  return d**-beta
