"""Kernels with channels first, as PyTorch, Caffe and ONNX hold them.

Here images are [B, H, W, C] and kernels HWIO or [in, out]; there they are
[B, C, H, W] and OIHW or [out, in]. A fully-connected layer that reads maps
therefore has its inputs in another order.
"""

import numpy as np
from jaxtyping import Float


def conv(kernel: Float[np.ndarray, 'h w i o']) -> Float[np.ndarray, 'o i h w']:
  """Transposes the kernels of a convolution: HWIO -> OIHW."""
  return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


def dense(
  kernel: Float[np.ndarray, 'd units'],
  *,
  maps: tuple[int, int] = (1, 1),
  blocks: int = 1,
) -> Float[np.ndarray, 'units d']:
  """Transposes weights, with their inputs in the order C, H, W.

  Args:
    kernel: its inputs are in the order (block, H, W, C / blocks).
    maps: height and width of what the layer reads; (1, 1): units.
    blocks: of channels that are flattened one after another.

  >>> kernel = np.arange(8.0).reshape(8, 1)  # 2 x 2 maps of 2 channels
  >>> dense(kernel, maps=(2, 2))
  array([[0., 2., 4., 6., 1., 3., 5., 7.]])
  """
  units = kernel.shape[-1]
  ordered = kernel.reshape(blocks, *maps, -1, units).transpose(4, 0, 3, 1, 2)
  return np.ascontiguousarray(ordered.reshape(units, -1))
