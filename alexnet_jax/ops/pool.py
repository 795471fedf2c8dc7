"""Overlapping max pooling (paper §3.4).

The paper pools with z=3, s=2 everywhere: windows overlap by one row. What a
reader gets wrong is the size of the output: the 2012 program rounds it *up*,
and a window that hangs over the bottom or right edge sees only what is there.
(At the paper's own sizes, 55, 27 and 13, no window hangs over.)
"""

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(
  x: Float[Array, 'b h w c'], *, size: int = 3, stride: int = 2
) -> Float[Array, 'b h_out w_out c']:
  """The maximum of each size x size window, `stride` apart (§3.4).

      out = 1 + ceil((in - size) / stride)

  Args:
    x: activities.
    size: z of §3.4.
    stride: s of §3.4, at most `size`.

  >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  >>> max_pool(x)[0, :, :, 0]
  Array([[10., 11.],
         [14., 15.]], dtype=float32)
  """
  if stride > size:
    raise ValueError(f'stride {stride} > size {size}: pooling skips activities')
  for axis in (1, 2):  # [B, H, W, C] -> [B, H', W, C] -> [B, H', W', C]
    x = _max_along(x, axis=axis, size=size, stride=stride)
  return x


# Strided slices and jnp.maximum, and no lax.reduce_window: its gradient is a
# scatter, four times slower on a CPU (bench/NOTES.md).
#
# Ties: autodiff of jnp.maximum shares the gradient between equal elements, the
# 2012 program gives it whole to each of them, XLA's own pooling to one. Here
# the total is kept. After ReLU it makes no difference: all but a few ties are
# between zeros, whose gradient ReLU stops.


def _max_along(x, *, axis, size, stride):
  """Pools one axis: the maximum of `size` strided slices."""
  length = x.shape[axis]
  if length < size:
    raise ValueError(f'cannot pool {length} rows by windows of {size}')
  steps = -((size - length) // stride)  # Ceil of (length - size) / stride.
  overhang = steps * stride + size - length
  if overhang:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, overhang)
    x = jnp.pad(x, widths, constant_values=-jnp.inf)
  pooled = None
  for start in range(size):
    stop = start + steps * stride + 1
    part = lax.slice_in_dim(x, start, stop, stride, axis)
    pooled = part if pooled is None else jnp.maximum(pooled, part)
  return pooled
