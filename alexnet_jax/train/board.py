"""What TensorBoard shows of a run besides its curves.

  tensorboard --logdir=WORKDIR

IMAGES has the kernels of conv1 (Figure 3) after each evaluation, and an image
of each class; TEXT has the config, HPARAMS its numbers and words.
"""

import json
import math
import re

import numpy as np
from jaxtyping import Float, UInt8
from tensorboardX import summary
from tensorboardX.proto import summary_pb2

from alexnet_jax.config import schema
from alexnet_jax.data import dataset as dataset_lib

Summary = summary_pb2.Summary
_CLASSES = 20  # of which an image is shown, at most
_LOOKED_THROUGH = 200  # training images, to find one of each
_ACROSS = 16  # kernels in a row, as in Figure 3
_ENLARGED = 4  # pixels of a weight
_RESULT = 'val/top1_error'  # the column of HPARAMS


def of_run(
  config: schema.Config, data: dataset_lib.Dataset
) -> list[summary_pb2.Summary]:
  """The config as text and as hyperparameters, and an image of each class."""
  text = json.dumps(config.to_dict(), indent=2, sort_keys=True)
  leaves = {
    name: value if isinstance(value, bool | int | float | str) else str(value)
    for name, value in schema.leaves(config)
  }
  return [
    summary.text('config', f'```json\n{text}\n```'),
    *summary.hparams(leaves, {_RESULT: 0.0}),
    *_of_classes(data),
  ]


def _of_classes(data: dataset_lib.Dataset) -> list[summary_pb2.Summary]:
  """The first training image of each class, of up to 20 classes."""
  found: dict[int, UInt8[np.ndarray, 's s 3']] = {}
  most = min(_CLASSES, len(data.classes))
  for index in range(min(_LOOKED_THROUGH, len(data.train))):
    (one,) = data.train.take([index])
    if isinstance(one, dataset_lib.Example):
      found.setdefault(one.label, one.image)
    if len(found) == most:
      break
  return [
    _image(f'classes/{label}_{_plain(data.classes[label].name)}', image)
    for label, image in sorted(found.items())
  ]


def _plain(name: str) -> str:
  """A name as TensorBoard has them: letters, digits, - and _."""
  return re.sub(r'[^-\w]', '_', name)


def kernels(weights: Float[np.ndarray, 'h w 3 k']) -> summary_pb2.Summary:
  """Kernels of conv1 in rows of 16, each scaled to its largest weight."""
  return _image('conv1', montage(weights))


def montage(
  weights: Float[np.ndarray, 'h w 3 k'],
) -> UInt8[np.ndarray, 'r c 3']:
  """Kernels side by side on white; a weight of 0 is grey."""
  h, w, _, count = weights.shape
  rows = math.ceil(count / _ACROSS)
  largest = np.abs(weights).max(axis=(0, 1, 2))
  scaled = 127.5 + 127.5 * weights / np.where(largest > 0, largest, 1)
  cells = np.full((rows * _ACROSS, h + 1, w + 1, 3), 255.0)
  cells[:count, :h, :w] = np.moveaxis(scaled, -1, 0)
  grid = cells.reshape(rows, _ACROSS, h + 1, w + 1, 3).swapaxes(1, 2)
  picture = grid.reshape(rows * (h + 1), _ACROSS * (w + 1), 3).astype(np.uint8)
  return picture.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)


def _image(tag: str, pixels: UInt8[np.ndarray, 'h w 3']) -> summary_pb2.Summary:
  return summary.image(tag, pixels, dataformats='HWC')
