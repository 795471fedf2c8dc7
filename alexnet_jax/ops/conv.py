"""Convolution (paper §3.5): NHWC images, HWIO kernels.

What a reader gets wrong: a 224x224 image, 11x11 kernels and stride 4 give
54.25 positions, and the paper never says how that becomes 55. The 2012 program
rounds up: it reads 3 rows and columns of zeros beyond the bottom and right
edges (`ceil_padding`), and none at the top and left.
"""

from jax import lax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def ceil_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
  """Zeros (before, after) that make the last window whole: ceil sizing.

  >>> ceil_padding(224, 11, 4)
  (0, 3)
  >>> ceil_padding(227, 11, 4)
  (0, 0)
  """
  return (0, (kernel - size) % stride)


def conv(
  x: Float[Array, 'b h w c'],
  kernel: Float[Array, 'kh kw i k'],
  *,
  stride: int = 1,
  padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
  groups: int = 1,
) -> Float[Array, 'b h_out w_out k']:
  """Correlates images with kernels.

      y[b,h,w,k] = sum_{i,j,c} x[b, s*h + i, s*w + j, c] kernel[i,j,c,k]

  Args:
    x: images or activities.
    kernel: I is the number of channels that one group sees, C / groups.
    stride: s, the same down and across.
    padding: rows of zeros (top, bottom) and columns of zeros (left, right).
    groups: equal blocks of input channels, and of kernels; block g of the
      kernels sees block g of the channels alone. Two, where one device holds
      both columns.

  >>> x = jnp.ones((1, 4, 4, 2))
  >>> kernel = jnp.ones((3, 3, 1, 2))
  >>> conv(x, kernel, groups=2)[0, :, :, 0]
  Array([[9., 9.],
         [9., 9.]], dtype=float32)
  """
  if groups == 1:
    return _plain(x, kernel, stride, padding)
  pairs = zip(
    jnp.split(x, groups, axis=-1),
    jnp.split(kernel, groups, axis=-1),
    strict=True,
  )
  parts = [_plain(x, kernel, stride, padding) for x, kernel in pairs]
  return jnp.concatenate(parts, axis=-1)


def _plain(x, kernel, stride, padding):
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
