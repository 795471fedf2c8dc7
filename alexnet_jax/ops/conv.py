"""Convolution (paper §3.5): NHWC images, HWIO kernels.

What a reader gets wrong: a 224x224 image, 11x11 kernels and stride 4 give
54.25 positions, and the paper never says how that becomes 55. The 2012 program
rounds up: it reads 3 rows and columns of zeros beyond the bottom and right
edges (`ceil_padding`), and none at the top and left.
"""

import functools
import math
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from alexnet_jax.ops import platform, products
from alexnet_jax.ops import winograd as winograd_lib

Padding = products.Padding
ORDER = ('NHWC', 'HWIO', 'NHWC')  # of images, kernels and maps


def ceil_padding(
  size: int, kernel: int, stride: int, *, padding: int = 0
) -> tuple[int, int]:
  """Returns the zeros (before, after) an axis that make its last window whole.

  Output sizes are then rounded up: 1 + ceil((size + 2 padding - kernel) /
  stride).

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
  padding: Padding = ((0, 0), (0, 0)),
  groups: int = 1,
  native: bool = False,
  winograd: bool = False,
) -> Float[Array, 'b h_out w_out k']:
  """Correlates images with kernels.

      y[b,h,w,k] = sum_{i,j,c} x[b, s*h + i, s*w + j, c] kernel[i,j,c,k]

  Args:
    kernel: I is the number of channels that one group sees, C / groups.
    stride: s, the same down and across.
    groups: equal blocks of input channels and of kernels; block g of the
      kernels reads only block g of the channels. 2 if one device holds both
      columns.
    native: whether a CPU uses its instructions for bfloat16, see
      ops/products.py. If not, it multiplies as float32, and rounds no kernel.
    winograd: whether a CPU takes about half as many products, of float32, see
      ops/winograd.py. Layers that it does not fit are as without it.

  >>> x = jnp.ones((1, 4, 4, 2))
  >>> kernel = jnp.ones((3, 3, 1, 2))
  >>> conv(x, kernel, groups=2)[0, :, :, 0]
  Array([[9., 9.],
         [9., 9.]], dtype=float32)
  """
  if platform.here() != 'cpu':
    return _lax_conv(x, kernel.astype(x.dtype), stride, padding, groups)
  xs = jnp.split(x, groups, axis=-1)  # each [B, H, W, C/groups]
  kernels = jnp.split(kernel, groups, axis=-1)  # each [., ., I, K/groups]
  pairs = (products.vary_alike(*pair) for pair in zip(xs, kernels, strict=True))
  forms = _Forms(
    winograd=winograd and x.dtype in (jnp.float32, jnp.bfloat16),
    products=native and x.dtype == jnp.bfloat16,
  )
  return jnp.concatenate(
    [_cpu_conv(*pair, stride, padding, forms) for pair in pairs], axis=-1
  )


def _lax_conv(x, kernel, stride, padding, groups=1):
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=padding,
    dimension_numbers=ORDER,
    feature_group_count=groups,
  )


# On a CPU XLA is slow at three things (bench/NOTES.md): grouped convolution, so
# each group has its own; strides, so conv1 reads 4 x 4 pixels as one of 48
# channels with a stride of 1; and the gradient of kernels where maps are large,
# so it is summed over a few images at a time. Other backends run XLA's own
# convolution (cuDNN's on a GPU).


class _Forms(NamedTuple):
  """Ways to convolve other than XLA's, the first that fits a layer wins."""

  winograd: bool
  products: bool

  def rows_together(self, height: int, r: int) -> int:
    """Rows that Winograd's algorithm computes together; 0: it does not fit."""
    return winograd_lib.rows_together(height, r) if self.winograd else 0


def _cpu_conv(x, kernel, stride, padding, forms):
  if stride == 1:
    return _convolve(x, kernel, padding, forms)
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))  # 227 x 227 for conv1
  kh, kw = kernel.shape[:2]  # 11, 11 for conv1
  h, w = ((x.shape[i + 1] - s) // stride + 1 for i, s in enumerate((kh, kw)))
  # Blocks of stride x stride pixels in a window, the last filled with zeros.
  taps_h, taps_w = (-(-s // stride) for s in (kh, kw))
  x = _cut(x, (h + taps_h - 1) * stride, (w + taps_w - 1) * stride, axes=(1, 2))
  kernel = _cut(kernel, taps_h * stride, taps_w * stride, axes=(0, 1))
  return _convolve(
    _blocks(x, stride),  # [B, 57, 57, 48] for conv1
    _blocks(kernel.transpose(3, 0, 1, 2), stride).transpose(1, 2, 3, 0),
    ((0, 0), (0, 0)),
    forms,
  )


def _cut(x, *sizes, axes):
  """Crops axes to sizes at their ends, or pads them there with zeros."""
  config = [(0, 0, 0)] * x.ndim
  for axis, size in zip(axes, sizes, strict=True):
    config[axis] = (0, size - x.shape[axis], 0)  # negative padding crops
  return lax.pad(x, jnp.zeros((), x.dtype), config)


def _blocks(x, size):
  """Joins blocks of pixels: [B, H, W, C] -> [B, H/size, W/size, size^2 C]."""
  b, h, w, c = x.shape
  x = x.reshape(b, h // size, size, w // size, size, c)
  return lax.collapse(x.transpose(0, 1, 3, 2, 4, 5), 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x, kernel, padding, forms):
  """Convolves with a stride of 1; its gradient is written below."""
  return _stride_1(x, kernel, padding, forms)


def _stride_1(x, kernel, padding, forms):
  if forms.products:
    kernel = kernel.astype(x.dtype)
  height = x.shape[1] + sum(padding[0]) - len(kernel) + 1
  m = forms.rows_together(height, len(kernel))
  if m:
    arguments = x.astype(jnp.float32), kernel.astype(jnp.float32), padding
    return winograd_lib.convolve(*arguments, m=m, by=_lax_conv).astype(x.dtype)
  if forms.products and kernel.shape[-1] >= _KERNELS:
    return products.convolve(x, kernel, padding).astype(x.dtype)
  return _lax_conv(x.astype(kernel.dtype), kernel, 1, padding).astype(x.dtype)


def _convolve_forward(x, kernel, padding, forms):
  return _convolve(x, kernel, padding, forms), (x, kernel)


def _convolve_backward(padding, forms, saved, g):
  x, kernel = saved
  dkernel = _kernel_gradient(x, padding, g, forms)  # float32 [KH, KW, I, K]
  # Nothing uses dx of conv1: jit removes it.
  dx = _image_gradient(kernel, padding, g, forms)
  return dx, dkernel.astype(kernel.dtype)


_convolve.defvjp(_convolve_forward, _convolve_backward)


_KERNELS = 128  # fewer are too narrow a matrix to be worth it
_POSITIONS = 2**14  # in a part of the kernels' gradient (measured: NOTES.md)
_PARTS = 32  # about as many at most: each is unrolled, and costs compile time
_WINOGRAD_PARTS = 8  # the same; a part is 15 fusions


def _images_of_part(g, parts):
  """Returns how many images a part of the kernels' gradient sums over.

  About _POSITIONS positions of g, but a part of `parts` or more: 4 of 128
  images in conv1, 16 in conv2; by Winograd's algorithm 16 in both.
  """
  images = max(_POSITIONS // math.prod(g.shape[1:3]), len(g) // parts, 1)
  return 2 ** (images.bit_length() - 1)  # rounded down


# Both gradients are convolutions too. They are transposed to the order that
# XLA's fast kernels take: within a loop (config.grad_accumulation_steps) XLA
# does not do so itself, and falls back on code that takes 30 times as long.


def _image_gradient(kernel, padding, g, forms):
  """Convolves g, padded with zeros, with the kernels rotated by 180 degrees."""
  turned = kernel[::-1, ::-1].swapaxes(2, 3)  # [KH, KW, K, I]
  about = tuple(
    (size - 1 - before, size - 1 - after)
    for size, (before, after) in zip(kernel.shape, padding, strict=False)
  )
  return _stride_1(g, turned, about, forms)  # [B, H, W, I]


def _kernel_gradient(x, padding, g, forms):
  """Sums the gradients of a few images at a time; float32 [KH, KW, I, K]."""
  few = _images_of_part(g, _WINOGRAD_PARTS if forms.winograd else _PARTS)
  parts = (
    _gradient_of_few(x[i : i + few], padding, g[i : i + few], forms)
    for i in range(0, len(x), few)
  )
  return functools.reduce(operator.add, parts)


def _gradient_of_few(x, padding, g, forms):
  """Correlates a few images with g as kernels of its own size."""
  height = g.shape[1]
  m = forms.rows_together(height, x.shape[1] + sum(padding[0]) - height + 1)
  if forms.products and not m:
    return products.kernel_gradient(x, padding, g)
  x, g = x.astype(jnp.float32), g.astype(jnp.float32)
  if m:
    return winograd_lib.kernel_gradient(x, padding, g, m=m, by=_lax_conv)
  # Channels stand in for the batch, and the batch for channels.
  y = _lax_conv(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), 1, padding)
  return y.transpose(1, 2, 0, 3)
