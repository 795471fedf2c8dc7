"""Writes the weights under the names that torchvision's alexnet gives them.

Names and order are those of torchvision/models/alexnet.py of pytorch/vision:
features.0 is conv1, classifier.1 is fc6.
"""

import pathlib

import numpy as np
from safetensors import numpy as safetensors

from alexnet_jax.checkpoint import compatible
from alexnet_jax.config import presets
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import channels_first, from_torchvision
from alexnet_jax.models import alexnet

_POOLED = (6, 6)  # what its adaptive pooling makes of all maps
# Fields of config.model that do not change what the net computes from weights
# of given shapes: sizes, initial values, and parts that it does not have.
_FREE_ENDS = ('.kernels', '.units', '.bias', '.stddev')
_FREE_STARTS = (
  'num_classes',
  'dropout_rate',  # its factor at test time is 1
  'lrn.',
  'spatial_norm.',
  'layer.conv6.',
  'layer.fc7_bottleneck.',
)


def write(net: net_lib.Net, path: pathlib.Path) -> None:
  """Writes a state dict of torchvision's alexnet as safetensors.

  Raises ValueError if the net has another form than configs/torchvision.py;
  numbers of kernels and units may differ.
  """
  check(net)
  tensors = {}
  for name, theirs in from_torchvision.NAMES.items():
    kernel = np.asarray(net.params[name]['kernel'])
    tensors[f'{theirs}.weight'] = (
      channels_first.conv(kernel)
      if name.startswith('conv')
      else channels_first.dense(
        kernel, maps=_POOLED if name == 'fc6' else (1, 1)
      )
    )
    tensors[f'{theirs}.bias'] = np.asarray(net.params[name]['bias'])
  # Without metadata, as PyTorch's users write it: the same bytes come back.
  path.write_bytes(safetensors.save(tensors))  # save_file hides it from others


def check(net: net_lib.Net) -> None:
  """Raises ValueError, with the first field that differs from torchvision's."""
  if net.model_state:
    raise ValueError(
      f'the net has {", ".join(net.model_state)} besides its parameters, which '
      "torchvision's alexnet has not: use --to=stablehlo"
    )
  model = net.config.model
  theirs = presets.load('torchvision').model
  for change in compatible.changes(theirs.to_dict(), model):
    field = change.field
    if not field.endswith(_FREE_ENDS) and not field.startswith(_FREE_STARTS):
      raise ValueError(
        f'config.model.{field} = {change.new!r}, and {change.old!r} in '
        "torchvision's alexnet: use --to=safetensors or --to=onnx"
      )
  size = net.config.data.crop_size
  *maps, _ = alexnet.activation_shapes(model, crop_size=size)['conv5/pool']
  if tuple(maps) != _POOLED:
    raise ValueError(
      f'config.data.crop_size = {size} gives maps of {maps[0]} x {maps[1]} in '
      "front of fc6, and torchvision's alexnet has 6 x 6: use "
      '--to=safetensors or --to=onnx'
    )
