"""Weights and images of full-size nets, drawn alike here and in PyTorch.

They are too large to store: each array follows from its name and shape, by
integer arithmetic that is the same everywhere. Imports nothing of alexnet_jax.
"""

import zlib

import numpy as np

# OIHW or [out, in], as Caffe and PyTorch have them.
CAFFE = {
  'conv1': (96, 3, 11, 11),
  'conv2': (256, 48, 5, 5),
  'conv3': (384, 256, 3, 3),
  'conv4': (384, 192, 3, 3),
  'conv5': (256, 192, 3, 3),
  'fc6': (4096, 9216),
  'fc7': (4096, 4096),
  'fc8': (1000, 4096),
}
TORCHVISION = {
  'features.0': (64, 3, 11, 11),
  'features.3': (192, 64, 5, 5),
  'features.6': (384, 192, 3, 3),
  'features.8': (256, 384, 3, 3),
  'features.10': (256, 256, 3, 3),
  'classifier.1': (4096, 9216),
  'classifier.4': (4096, 4096),
  'classifier.6': (1000, 4096),
}
IMAGES = 2
# What is stored of a net: every 4th map of conv5/pool, which is 6 x 6.
LAYERS = ('conv5/pool', 'fc7/activation')
EVERY = 4
TUNED_CLASSES = 10  # of the fine-tuned CaffeNet
_BLOCK = 2**16  # numbers at a time, so that they stay in the cache


def uniform(name, shape):
  """float32 from -1 to 1: a hash of the name and of each place."""
  y = np.empty(np.prod(shape), np.float32)
  for first in range(0, len(y), _BLOCK):
    part = y[first : first + _BLOCK]
    x = np.arange(first, first + len(part), dtype=np.uint32)
    x ^= np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
      x ^= x >> np.uint32(shift)
      x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    part[:] = x >> np.uint32(8)  # 24 bits are exact
    part *= np.float32(2**-23)
    part -= np.float32(1)
  return y.reshape(shape)


def weights(shapes):
  """'conv1/kernel' and 'conv1/bias', ...: the signal stays as large as it is.

  It is of the order of 100 grey levels, so that normalisation matters.
  """
  arrays = {}
  for name, shape in shapes.items():
    fan_in = np.prod(shape[1:])
    scale = np.float32(np.sqrt(6 / fan_in))
    arrays[f'{name}/kernel'] = scale * uniform(f'{name}/kernel', shape)
    arrays[f'{name}/bias'] = 9 * uniform(f'{name}/bias', shape[:1])
  return arrays


def images():
  """uint8 [2, 256, 256, 3]: coloured blocks of 16 x 16 pixels, with noise."""
  blocks = uniform('blocks', (IMAGES, 16, 16, 3)).repeat(16, 1).repeat(16, 2)
  noise = uniform('noise', (IMAGES, 256, 256, 3))
  return (127.5 + 90 * blocks + 30 * noise).astype(np.uint8)


def mean_image():
  """float32 [3, 256, 256], blue, green and red."""
  colours = np.float32([104, 117, 123])[:, None, None]
  return colours + 20 * uniform('mean', (3, 256, 256))
