"""torchvision's alexnet from its state dict as .safetensors.

Facts: torchvision/models/alexnet.py of pytorch/vision, the layers and their
names; AlexNet_Weights of the same file, the mean of the images.
"""

from typing import Any

from alexnet_jax.config import presets
from alexnet_jax.interop import arrays, chain, tensors

# Places of the layers with parameters in nn.Sequential, by our names.
NAMES = {
  'conv1': 'features.0',
  'conv2': 'features.3',
  'conv3': 'features.6',
  'conv4': 'features.8',
  'conv5': 'features.10',
  'fc6': 'classifier.1',
  'fc7': 'classifier.4',
  'fc8': 'classifier.6',
}
KINDS = {'kernel': 'weight', 'bias': 'bias'}
MEAN = tuple(255 * share for share in (0.485, 0.456, 0.406))  # R, G and B


def is_one(file: Any) -> bool:
  """Whether an open file has the names of torchvision's alexnet."""
  return {f'{name}.weight' for name in NAMES.values()} <= {*file.keys()}


def read(file: Any) -> chain.Fitted:
  """Reads an open file; raises ValueError if its arrays are of other sizes."""
  config = presets.load('torchvision')
  theirs = {
    f'{name}/{ours}': f'{place}.{kind}'
    for name, place in NAMES.items()
    for ours, kind in KINDS.items()
  }
  _, head = tensors.shapes(file)[theirs['fc8/kernel']]
  units = head[0] if len(head) == 2 else 0
  config.model.num_classes = config.model.layer.fc8.units = max(units, 1)
  shapes = {
    theirs[name]: channels_first(spec.shape, name=name)
    for name, spec in arrays.expected(config).items()
  }
  found = tensors.read(file, shapes)
  return chain.Fitted(
    "torchvision's alexnet",
    config,
    {name: found[place] for name, place in theirs.items()},
  )


def channels_first(shape: tuple[int, ...], *, name: str) -> tuple[int, ...]:
  """The shape that PyTorch has for one of ours: OIHW, or [out, in]."""
  if len(shape) == 4:
    height, width, inputs, outputs = shape
    return (outputs, inputs, height, width)
  return shape[::-1]
