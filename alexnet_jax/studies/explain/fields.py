"""Receptive fields: which pixels a unit of a layer can see."""

from typing import NamedTuple

from alexnet_jax.models import alexnet
from alexnet_jax.ops import conv


class Field(NamedTuple):
  """Pixels of the net's input along one axis, first to end - 1."""

  first: int
  end: int


def field(
  config: alexnet.ModelConfig, *, crop_size: int, layer: str, place: int
) -> Field:
  """The pixels along an axis that unit `place` of a layer depends on.

  Every layer of the net treats rows and columns alike. A unit of a
  fully-connected layer sees all. What lies beyond the image is left out.

  >>> from alexnet_jax.configs import default
  >>> [
  ...   field(default.model(), crop_size=224, layer=layer, place=6)
  ...   for layer in ('conv1', 'conv1/pool', 'conv2', 'conv5')
  ... ]
  [Field(first=24, end=35), Field(first=48, end=67), Field(first=32, end=83), \
Field(first=32, end=195)]
  """
  shapes = alexnet.activation_shapes(config, crop_size=crop_size)
  names = [*shapes]
  if len(shapes[layer]) == 1:
    return Field(0, crop_size)
  sizes = [crop_size, *(shape[0] for shape in shapes.values())]
  first, last = place, place
  for number in reversed(range(names.index(layer) + 1)):
    size, stride, before = _window(config, names[number], sizes[number])
    first = max(first * stride - before, 0)
    last = min(last * stride - before + size - 1, sizes[number] - 1)
  return Field(first, last + 1)


def _window(
  config: alexnet.ModelConfig, stage: str, length: int
) -> tuple[int, int, int]:
  """Size, stride and zeros before the first window of a stage."""
  name, _, op = stage.partition('/')
  if not op:
    layer = config.layer[name]
    before, _ = conv.ceil_padding(
      length, layer.size, layer.stride, padding=layer.padding
    )
    return layer.size, layer.stride, before
  if op == 'pool':
    return config.pool.size, config.pool.stride, 0
  if op == 'spatial_norm':
    return config.spatial_norm.size, 1, config.spatial_norm.size // 2
  return 1, 1, 0
