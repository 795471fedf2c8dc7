"""What a config's steps cost on a GPU, read from programs compiled for it.

Bytes, kernels, memory and a bound of the time, of one device; seconds need the
device itself. `parallel/traffic.py` says which bytes are meant.
"""

import collections
import math
from typing import Any, NamedTuple

from ml_collections import config_dict

from alexnet_jax import paper
from alexnet_jax.models import summary
from alexnet_jax.parallel import target, traffic
from alexnet_jax.studies import communication

_LARGE = 1_000_000  # bytes of a copy worth a line
_LINE = '{:9} {:9} {:>12} {:>8} {:>6}'


class Part(NamedTuple):
  """The kernels of one layer in one direction."""

  layer: str  # 'conv1', or 'input'; '' what belongs to no layer
  direction: str  # 'forward' or 'backward'; '' outside the layers
  bytes_per_image: float  # through the device's memory
  kernels: int  # library calls too
  cudnn: int  # calls of cuDNN among them


class Cost(NamedTuple):
  """What one program costs one device."""

  images: int  # of the minibatch on this device
  parts: list[Part]  # in the order of the layers
  copies: list[traffic.Kernel]  # that compute nothing, over 1 MB
  argument_bytes: int  # parameters, momenta, a minibatch
  scratch_bytes: int
  memory_seconds: float  # bytes at the bandwidth of the device's memory
  product_seconds: float  # convolutions and products at its peak rate

  @property
  def bytes_per_image(self) -> float:
    return sum(part.bytes_per_image for part in self.parts)

  @property
  def bound_seconds(self) -> float:
    """No step is faster if nothing stays in the cache between kernels."""
    return max(self.memory_seconds, self.product_seconds)


def costs(
  steps: communication.Steps, *, config: config_dict.ConfigDict, name: str
) -> dict[str, Cost]:
  """Returns the cost of 'train' and 'eval' for a device of target.DEVICES."""
  device = target.DEVICES[name]
  operations = summary.operations(config.model, crop_size=config.data.crop_size)
  rows = config.mesh.data
  devices = rows * config.mesh.column
  found = {}
  for step, images in (
    ('train', config.batch_size),
    ('eval', config.eval.batch_size),
  ):
    program = getattr(steps, step)
    kernels = traffic.kernels(program.as_text())
    memory = program.memory_analysis()
    products = operations[step] * images / devices
    found[step] = Cost(
      images=images // rows,
      parts=_parts(kernels, images=images // rows),
      copies=[k for k in kernels if k.kind == 'copy' and k.bytes > 2 * _LARGE],
      argument_bytes=memory.argument_size_in_bytes,
      scratch_bytes=memory.temp_size_in_bytes,
      memory_seconds=sum(k.bytes for k in kernels) / device.bandwidth,
      product_seconds=products / device.products[config.dtype],
    )
  return found


def _parts(kernels: list[traffic.Kernel], *, images: int) -> list[Part]:
  groups = collections.defaultdict(list)
  for kernel in kernels:
    groups[kernel.layer, kernel.direction].append(kernel)
  return [
    Part(
      *key,
      bytes_per_image=sum(k.bytes for k in group) / images,
      kernels=len(group),
      cudnn=sum(k.kind == 'cudnn' for k in group),
    )
    for key, group in sorted(groups.items(), key=lambda item: _order(item[0]))
  ]


def _order(key: tuple[str, str]) -> tuple[int, bool, str]:
  """The input, layers forward, layers backward, all else."""
  layer, direction = key
  stages = ('forward', 'backward', '')
  return (stages.index(direction), layer != 'input', layer)


def as_json(found: dict[str, Cost]) -> dict[str, Any]:
  """The costs as --json prints them."""
  return {
    step: cost._asdict()
    | {
      'bytes_per_image': cost.bytes_per_image,
      'bound_seconds': cost.bound_seconds,
      'parts': [part._asdict() for part in cost.parts],
      'copies': [copy._asdict() for copy in cost.copies],
    }
    for step, cost in found.items()
  }


def describe(found: dict[str, Cost], *, name: str) -> str:
  """A table for each step."""
  device = target.DEVICES[name]
  lines = [f'compiled for {device.description}; of one device:']
  for step, cost in found.items():
    lines += [
      '',
      f'{step}, {cost.images} images',
      _LINE.format('layer', 'direction', 'MB an image', 'kernels', 'cuDNN'),
    ]
    lines += [_row(part) for part in cost.parts]
    total = Part('total', '', cost.bytes_per_image, *_counts(cost.parts))
    lines += [_row(total), '', *_remarks(cost, name=name)]
  return '\n'.join(lines)


def _row(part: Part) -> str:
  return _LINE.format(
    part.layer or 'other', part.direction, f'{part.bytes_per_image / 1e6:.3f}',
    part.kernels, part.cudnn,
  )  # fmt: skip


def _counts(parts: list[Part]) -> tuple[int, int]:
  return sum(p.kernels for p in parts), sum(p.cudnn for p in parts)


def _remarks(cost: Cost, *, name: str) -> list[str]:
  device = target.DEVICES[name]
  whole = cost.argument_bytes + cost.scratch_bytes
  ours = 'memory' if cost.memory_seconds > cost.product_seconds else 'products'
  return [
    f'memory: arguments {cost.argument_bytes / 1e6:,.0f} MB, scratch '
    f'{cost.scratch_bytes / 1e6:,.0f} MB, together '
    f'{whole / paper.GPU_MEMORY:.0%} of the {paper.GPU_MEMORY / 2**30:g} GB of '
    'a GTX 580',
    f'bound of the time, not a speed: {1e3 * cost.bound_seconds:.3g} ms, by '
    f'{ours} (bytes at {device.bandwidth / 1e12:.3g} TB/s take '
    f'{1e3 * cost.memory_seconds:.3g} ms, products at peak '
    f'{1e3 * cost.product_seconds:.3g} ms)',
    f'copies and transposes of more than 1 MB: {len(cost.copies)}',
    *(
      f'  {math.ceil(copy.bytes / 1e6):,} MB {copy.shapes[0]} in '
      f'{copy.path.rpartition("AlexNet._layer/")[2] or copy.name}'
      for copy in cost.copies
    ),
  ]
