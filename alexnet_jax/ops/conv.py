"""Convolution (paper §3.5): NHWC images, HWIO kernels.

What a reader gets wrong: a 224x224 image, 11x11 kernels and stride 4 give
54.25 positions, and the paper never says how that becomes 55. The 2012 program
rounds up: it reads 3 rows and columns of zeros beyond the bottom and right
edges (`ceil_padding`), and none at the top and left.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def ceil_padding(
  size: int, kernel: int, stride: int, *, padding: int = 0
) -> tuple[int, int]:
  """Zeros (before, after): `padding`, and what makes the last window whole.

  So sizes are rounded up, 1 + ceil((size + 2 padding - kernel) / stride).

  >>> ceil_padding(224, 11, 4)
  (0, 3)
  >>> ceil_padding(227, 11, 4)
  (0, 0)
  >>> ceil_padding(27, 5, 1, padding=2)
  (2, 2)
  """
  return (padding, padding + (kernel - size - 2 * padding) % stride)


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
  if jax.default_backend() != 'cpu':
    return _lax_conv(x, kernel, stride, padding, groups)
  xs = jnp.split(x, groups, axis=-1)
  kernels = jnp.split(kernel, groups, axis=-1)
  ys: list = [
    _cpu_conv(*_vary_alike(*pair), stride, padding)
    for pair in zip(xs, kernels, strict=True)
  ]
  return jnp.concatenate(ys, axis=-1)


def _lax_conv(x, kernel, stride, padding, groups=1):
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


# On a CPU two things of XLA's are slow (bench/NOTES.md): grouped convolution,
# 4 to 11 times slower than a convolution a group; and the gradient of the
# kernels, up to 6 times slower than the one matrix product written here:
#
#   dL/dkernel[i,j,c,k] = sum_{b,h,w} x[b, s*h + i, s*w + j, c] g[b,h,w,k]
#
# is patches^T g, when row (b,h,w) of `patches` holds the window of x that
# output position (h, w) of image b sees. Memory pays for it: the patches are 9
# to 25 times the size of x. XLA's own forward pass and input gradient stay.
# Elsewhere everything is XLA's (cuDNN's, on a GPU).


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _cpu_conv(x, kernel, stride, padding):
  return _lax_conv(x, kernel, stride, padding)


def _cpu_conv_forward(x, kernel, stride, padding):
  return _cpu_conv(x, kernel, stride, padding), (x, kernel)


def _cpu_conv_backward(stride, padding, saved, g):
  x, kernel = saved
  _, pull_back = jax.vjp(lambda x: _lax_conv(x, kernel, stride, padding), x)
  (dx,) = pull_back(g)  # Of conv1 nobody asks for it: jit removes it.
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  dkernel = _kernel_gradient(x, g, size=kernel.shape[:2], stride=stride)
  return dx, dkernel.astype(kernel.dtype)


_cpu_conv.defvjp(_cpu_conv_forward, _cpu_conv_backward)


def _kernel_gradient(x, g, *, size, stride):
  """The gradient of the kernels, float32, from padded images x."""
  taps_h, taps_w = (-(-s // stride) for s in size)  # Of stride x stride blocks.
  h, w = g.shape[1:3]
  x = _space_to_depth(x, h + taps_h - 1, w + taps_w - 1, stride)
  patches = jnp.concatenate(
    [x[:, i : i + h, j : j + w] for i in range(taps_h) for j in range(taps_w)],
    axis=-1,
  )  # [B, H', W', taps * C]
  dkernel = jnp.einsum(
    'bhwp,bhwk->pk', patches, g, preferred_element_type=jnp.float32
  )
  # [taps * s * s * C, K] -> [taps_h * s, taps_w * s, C, K] -> [kh, kw, C, K]
  dkernel = dkernel.reshape(taps_h, taps_w, stride, stride, -1, g.shape[-1])
  dkernel = dkernel.transpose(0, 2, 1, 3, 4, 5)
  dkernel = lax.collapse(lax.collapse(dkernel, 0, 2), 1, 3)
  return dkernel[: size[0], : size[1]]


def _space_to_depth(x, h, w, stride):
  """h x w blocks of stride x stride pixels, each block's pixels as channels.

  A convolution of stride s is one of stride 1 over such blocks: 11x11 kernels
  of stride 4 on 3 channels become 3x3 on 48. Zeros fill the last blocks.
  """
  b, rows, cols, c = x.shape
  fill = ((0, 0, 0), (0, h * stride - rows, 0), (0, w * stride - cols, 0))
  x = lax.pad(x, jnp.zeros((), x.dtype), (*fill, (0, 0, 0)))
  x = x.reshape(b, h, stride, w, stride, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(b, h, w, -1)


def _vary_alike(*arrays):
  """Marks arrays as varying over every mesh axis that one of them varies over.

  Inside shard_map a custom gradient has the type of its input. Kernels that
  all data rows share get the rows' sum from the transpose of this cast, as
  they would from JAX's own convolution, which casts unasked.
  """
  varying = [jax.typeof(a).manual_axis_type.varying for a in arrays]
  axes = frozenset().union(*varying)
  return [
    lax.pcast(a, tuple(axes - own), to='varying') if axes - own else a
    for a, own in zip(arrays, varying, strict=True)
  ]
