"""Locally connected layers of the CIFAR-10 nets behind §3.3; not in the text.

Like a convolution, but with separate kernels at each position. They are local3
and local4 in the public predecessor of the 2012 program.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from alexnet_jax.ops import conv


def local(
  x: Float[Array, 'b h w c'],
  kernel: Float[Array, 'h_out w_out kh kw i k'],
  *,
  stride: int = 1,
  padding: conv.Padding = ((0, 0), (0, 0)),
  groups: int = 1,
) -> Float[Array, 'b h_out w_out k']:
  """Correlates each position of images with the kernels of that position.

      y[b,h,w,k] = sum_{i,j,c} x[b, s*h + i, s*w + j, c] kernel[h,w,i,j,c,k]

  Arguments are as in conv.conv, but for the kernels' positions [H', W'].

  >>> x = jnp.arange(3.0).reshape(1, 1, 3, 1)
  >>> kernel = jnp.array([[1.0, 1.0], [10.0, 100.0]])  # 1 x 2 at two places
  >>> local(x, kernel.reshape(1, 2, 1, 2, 1, 1))[0, 0, :, 0]  # 0 + 1, 10 + 200
  Array([  1., 210.], dtype=float32)
  """
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  pairs = zip(
    jnp.split(x, groups, axis=-1),  # [B, H, W, C/groups]
    jnp.split(kernel, groups, axis=-1),  # [H', W', KH, KW, I, K/groups]
    strict=True,
  )
  parts = [_one_group(*pair, stride=stride) for pair in pairs]
  return jnp.concatenate(parts, axis=-1)  # [B, H', W', K]


def _one_group(
  x: Float[Array, 'b h w i'],
  kernel: Float[Array, 'h_out w_out kh kw i k'],
  *,
  stride: int,
) -> Float[Array, 'b h_out w_out k']:
  """Sums over taps the matrix products [B, I] [I, K] at each position.

  Positions come before images for that; XLA would transpose for each product.
  """
  h, w, kh, kw = kernel.shape[:4]
  rows, across = (h - 1) * stride + 1, (w - 1) * stride + 1
  x = jnp.moveaxis(x, 0, 2)  # [H, W, B, I]
  y = sum(
    jnp.matmul(
      x[i : i + rows : stride, j : j + across : stride],  # [H', W', B, I]
      kernel[:, :, i, j].astype(x.dtype),  # [H', W', I, K]
      preferred_element_type=jnp.float32,  # bfloat16 sums lose small terms
    )
    for i, j in np.ndindex(kh, kw)
  )
  return jnp.moveaxis(jnp.asarray(y, x.dtype), 2, 0)  # [B, H', W', K]
