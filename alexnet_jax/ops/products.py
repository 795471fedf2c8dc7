"""Matrix products on a CPU, and convolutions of bfloat16 made of them.

A large product of float32 has its own gradient of the input, which several
cores compute. The rest is about bfloat16.

Processors with instructions for it (AVX-512 BF16, AMX) multiply bfloat16 two to
five times as fast as float32. XLA uses these only where the result is float32,
and in no convolution, so a convolution is a sum of products here, one for each
row of the kernel. Sums are float32 throughout (bench/NOTES.md).

Where that is slower, products are of float32. Activations are bfloat16 all the
same; kernels are not rounded to it, which would take time and gain nothing.
Gradients of kernels are float32 either way.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, BFloat16, Float, Float32

from alexnet_jax.ops import platform

# Rows of zeros (top, bottom) and columns of zeros (left, right).
Padding = tuple[tuple[int, int], tuple[int, int]]
_LARGE = 2**20  # numbers of a kernel; reading fewer takes no time to speak of
_BLOCKS = 4  # of 2 to 16, two and four were the fastest on two cores


def matmul(
  x: Float[Array, 'b d'],
  kernel: Float32[Array, 'd units'],
  *,
  out: DTypeLike,
  native: bool = False,
) -> Float[Array, 'b units']:
  """Multiplies matrices; the result's dtype is `out`.

  The kernel is rounded to x's dtype, unless a CPU multiplies as float32.

  Args:
    native: whether a CPU uses its instructions for bfloat16, in the gradients
      too, unless `out` is float32: a loss's gradient is not rounded. If not,
      it multiplies as float32.

  >>> ones = jnp.ones((2, 3), jnp.bfloat16)
  >>> matmul(ones, jnp.ones((3, 1)), out=jnp.float32)
  Array([[3.],
         [3.]], dtype=float32)
  """
  if platform.here() != 'cpu':
    return jnp.matmul(x, kernel.astype(x.dtype), preferred_element_type=out)
  if not native or out == jnp.float32:
    x = x.astype(jnp.float32)
  if x.dtype == jnp.float32 and kernel.size < _LARGE:
    return (x @ kernel).astype(out)
  return _matmul(*vary_alike(x, kernel)).astype(out)


@jax.custom_vjp
def _matmul(x, kernel):
  y, _ = _matmul_forward(x, kernel)
  return y


def _matmul_forward(x, kernel):
  kernel = kernel.astype(x.dtype)
  return _product(x, kernel, over=(1, 0)), (x, kernel)


def _matmul_backward(saved, g):
  x, kernel = saved
  g = g.astype(x.dtype)
  dx, dkernel = _input_gradient(kernel, g), _product(x, g, over=(0, 0))
  return dx.astype(x.dtype), dkernel


_matmul.defvjp(_matmul_forward, _matmul_backward)


def _input_gradient(
  kernel: Float[Array, 'd units'], g: Float[Array, 'b units']
) -> Float32[Array, 'b d']:
  """Multiplies g by the transpose of kernel; of float32 in blocks of its rows.

  XLA computes blocks side by side, one on each core, and a single product of
  this kind more slowly (bench/NOTES.md).
  """
  if kernel.dtype != jnp.float32 or kernel.shape[0] % _BLOCKS:
    return _product(g, kernel, over=(1, 1))
  blocks = kernel.reshape(_BLOCKS, -1, kernel.shape[1])  # [4, D/4, units]
  g = jnp.broadcast_to(g, (_BLOCKS, *g.shape))
  rows = jnp.matmul(blocks, g.swapaxes(1, 2))  # [4, D/4, B]
  return rows.reshape(-1, g.shape[1]).T


def convolve(
  x: BFloat16[Array, 'b h w c'],
  kernel: BFloat16[Array, 'kh kw c k'],
  padding: Padding,
) -> Float32[Array, 'b i j k']:
  """Convolves with a stride of 1.

  Columns of a window stand side by side as channels: a row of the kernel is
  then one matrix. All windows at once would take longer to make than they save.
  """
  kh, kw, c, k = kernel.shape
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  height = x.shape[1] - kh + 1
  x = _side_by_side(x, kw, along=2, channels=3)  # [B, H + KH - 1, W, KW C]
  rows = kernel.reshape(kh, kw * c, k)
  return sum(
    _product(x[:, i : i + height], row, over=(3, 0))  # [B, H, W, K]
    for i, row in enumerate(rows)
  )


def kernel_gradient(
  x: BFloat16[Array, 'b h w c'],
  padding: Padding,
  g: BFloat16[Array, 'b i j k'],
) -> Float32[Array, 'kh kw c k']:
  """Correlates x, padded, with g; channels first, so nothing is transposed."""
  c, (height, width, k) = x.shape[-1], g.shape[1:]
  x = jnp.pad(x.transpose(3, 1, 2, 0), ((0, 0), *padding, (0, 0)))
  kh, kw = x.shape[1] - height + 1, x.shape[2] - width + 1
  x = _side_by_side(x, kw, along=2, channels=0)  # [KW C, H + KH - 1, W, B]
  g = g.transpose(1, 2, 0, 3).reshape(-1, k)  # [H W B, K]
  rows = [
    _product(x[:, i : i + height].reshape(kw * c, -1), g, over=(1, 0))
    for i in range(kh)
  ]
  return jnp.stack(rows).reshape(kh, kw, c, k)


def _side_by_side(x, number, *, along, channels):
  """Joins x and its shifts by 1, ... number - 1 along an axis, as channels."""
  length = x.shape[along] - number + 1
  shifts = (
    lax.slice_in_dim(x, j, j + length, axis=along) for j in range(number)
  )
  return jnp.concatenate([*shifts], axis=channels)


def _product(a, b, *, over):
  """Sums over an axis of a and one of b; float32."""
  axes = tuple((axis,) for axis in over)
  return lax.dot_general(
    a, b, (axes, ((), ())), preferred_element_type=jnp.float32
  )


def vary_alike(*arrays: Array) -> list[Array]:
  """Marks arrays as varying over every mesh axis that one of them varies over.

  Inside shard_map a custom gradient must have the type of its input. The
  transpose of this cast sums the gradient of replicated kernels over `data`, as
  in JAX's own convolution, which makes the same cast itself.
  """
  varying = [jax.typeof(a).manual_axis_type.varying for a in arrays]
  axes = frozenset().union(*varying)  # what all must vary over
  return [
    lax.pcast(a, tuple(axes - own), to='varying') if axes - own else a
    for a, own in zip(arrays, varying, strict=True)
  ]
