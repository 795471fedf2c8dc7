"""Overlapping max pooling (paper §3.4).

The paper pools with z=3, s=2 everywhere: windows overlap by one row. What a
reader gets wrong is the size of the output: the 2012 program rounds it *up*,
and a window that hangs over the bottom or right edge ignores what is outside.
(At the paper's own sizes, 55, 27 and 13, no window hangs over.)
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from alexnet_jax.ops import platform


def max_pool(
  x: Float[Array, 'b h w c'],
  *,
  size: int = 3,
  stride: int = 2,
  partial_windows: bool = True,
) -> Float[Array, 'b h_out w_out c']:
  """Takes the maximum of each size x size window, `stride` apart (§3.4).

      out = 1 + ceil((in - size) / stride)

  `size` is z of §3.4, `stride` is s, at most z. Without `partial_windows` the
  size is rounded down, and rows that no whole window holds are left out. Raises
  ValueError if stride > size.

  >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  >>> max_pool(x)[0, :, :, 0]
  Array([[10., 11.],
         [14., 15.]], dtype=float32)
  """
  if stride > size:
    raise ValueError(f'stride {stride} > size {size}: pooling skips activities')
  if not partial_windows:
    for axis in (1, 2):
      whole = x.shape[axis] - (x.shape[axis] - size) % stride
      x = lax.slice_in_dim(x, 0, whole, axis=axis)
  if platform.here() == 'cpu':  # exact, and XLA is slow at it in bfloat16
    return _max_pool(x.astype(jnp.float32), size, stride).astype(x.dtype)
  return _max_pool(x, size, stride)


# Training pools one axis after the other, since a window's maximum is that of
# its rows' maxima: the gradient then needs no scatter, which is slow in XLA.
# The first axis is slices and lax.max, which is fast, but which XLA fuses into
# every consumer and so recomputes; the second is a lax.reduce_window, which it
# does not fuse. Test time needs no gradient: one lax.reduce_window does it all
# (bench/NOTES.md).
#
# A GPU waits for its memory: training keeps a byte for each window, the number
# of its maximum, in place of the arrays before and between the axes.
#
# Paper silent: which of several equal maxima gets the gradient.
# 2012: each of them, whole (conv_util.cu:1497 of the public predecessor).
# Here: the first, row by row, as in XLA's own pooling. After ReLU ties are of
# zeros, but for a few, and ReLU stops their gradient.


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x, size, stride):
  return _reduce_windows(x, (1, 2), size, stride)  # [B, H', W', C]


def _max_pool_forward(x, size, stride):
  """Pools W, then H: [B, H, W, C] -> [B, H, W', C] -> [B, H', W', C]."""
  if platform.here() == 'gpu':
    y, chosen = _choose(x, size, stride)
    return y, (x, chosen)  # only the shape of x is used
  across = functools.reduce(jnp.maximum, _taps(x, 2, size, stride))
  y = _reduce_windows(across, (1,), size, stride)  # [B, H', W', C]
  return y, (x, across, y)


def _max_pool_backward(size, stride, saved, g):
  if platform.here() == 'gpu':
    return (_spread(*saved, g, size=size, stride=stride),)
  x, across, y = saved
  g = _back_along(across, y, g, axis=1, size=size, stride=stride)
  return (_back_along(x, across, g, axis=2, size=size, stride=stride),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _reduce_windows(x, axes, size, stride):
  """Takes maxima over windows along some axes."""
  dimensions, strides, padding = [1] * x.ndim, [1] * x.ndim, [(0, 0)] * x.ndim
  for axis in axes:
    dimensions[axis], strides[axis] = size, stride
    padding[axis] = (0, _hanging(x, axis, size, stride))
  return lax.reduce_window(x, -jnp.inf, lax.max, dimensions, strides, padding)


def _choose(x, size, stride):
  """Returns maxima and the number, row by row, of the tap that each is."""
  rows = _taps(x, 1, size, stride)
  taps = [tap for row in rows for tap in _taps(row, 2, size, stride)]
  y = functools.reduce(jnp.maximum, taps)  # [B, H', W', C]
  none = len(taps)  # the number where none is: the maximum is NaN
  dtype = np.min_scalar_type(none + 1)
  chosen = jnp.full(y.shape, none, dtype)
  for n, tap in reversed(list(enumerate(taps))):  # the first one stays
    chosen = jnp.where(tap == y, dtype.type(n), chosen)
  return y, chosen


def _spread(x, chosen, g, *, size, stride):
  """Sums for each element of x the gradients of the windows that chose it.

  Of the windows that hold element h, the last is number h // stride.
  """
  places = [np.arange(n) % stride for n in x.shape[1:3]]  # in the last window
  total = jnp.zeros(x.shape, jnp.float32)
  for back in itertools.product(range((size - 1) // stride + 1), repeat=2):
    row, column = (p + b * stride for p, b in zip(places, back, strict=True))
    held = (row[:, None] < size) & (column < size)  # [H, W]
    tap = np.where(held, row[:, None] * size + column, size**2 + 1)
    tap = jnp.asarray(tap[None, :, :, None], chosen.dtype)
    number, share = chosen, g.astype(jnp.float32)
    for axis, late in zip((1, 2), back, strict=True):
      length = x.shape[axis]
      number = _windows_back(number, axis, late, length, stride, size**2)
      share = _windows_back(share, axis, late, length, stride, 0)
    total += jnp.where(number == tap, share, 0)
  return total.astype(x.dtype)


def _windows_back(x, axis, late, length, stride, fill):
  """Gives each of `length` elements its window: number h // stride - late."""
  number = -(-length // stride)
  x = _pad(x, axis, late, number - late - x.shape[axis], fill)
  shape = (*x.shape[: axis + 1], stride, *x.shape[axis + 1 :])
  own = [i for i in range(len(shape)) if i != axis + 1]
  x = lax.collapse(lax.broadcast_in_dim(x, shape, own), axis, axis + 2)
  return lax.slice_in_dim(x, 0, length, axis=axis)


def _back_along(x, y, g, *, axis, size, stride):
  """Sums for each element of x the gradients of the windows that chose it.

  Element m * stride + p is tap p of window m, tap p + stride of window m - 1,
  and so on: gradients are summed for each phase p, then interleaved.
  """
  shares = _shares(_taps(x, axis, size, stride), y, g)
  late = (size - 1) // stride  # most windows back that hold an element
  phases = [  # stride arrays, each [.., H' + late, ..]
    sum(
      _pad(shares[tap], axis, tap // stride, late - tap // stride)
      for tap in range(p, size, stride)
    )
    for p in range(stride)
  ]
  dx = lax.collapse(jnp.stack(phases, axis + 1), axis, axis + 2)  # interleaved
  return lax.slice_in_dim(dx, 0, x.shape[axis], axis=axis)  # less overhang


def _shares(taps, y, g):
  """Gives each window's gradient to the first tap that equals its maximum."""
  free = jnp.ones(y.shape, bool)  # windows with no choice yet
  shares = []
  for tap in taps:
    chosen = free & (tap == y)
    shares.append(jnp.where(chosen, g, jnp.zeros_like(g)))
    free &= ~chosen
  return shares


def _taps(x, axis, size, stride):
  """Returns element 0, 1, ... size - 1 of every window along one axis."""
  x = _pad(x, axis, 0, _hanging(x, axis, size, stride), value=-jnp.inf)
  last = x.shape[axis] - size  # start of the last window
  return [
    lax.slice_in_dim(x, tap, tap + last + 1, stride, axis)
    for tap in range(size)
  ]


def _hanging(x, axis, size, stride):
  """Returns by how many elements the last window hangs over the end."""
  length = x.shape[axis]
  if length < size:
    raise ValueError(f'cannot pool {length} rows by windows of {size}')
  return (size - length) % stride  # 0 at 55, 27 and 13


def _pad(x, axis, before, after, value=0.0):
  widths = [(0, 0, 0)] * x.ndim
  widths[axis] = (before, after, 0)
  return lax.pad(x, jnp.asarray(value, x.dtype), widths)
