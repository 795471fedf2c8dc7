"""The network as a table, its sizes beside the paper's (§3.5, Figure 2).

All sizes come from tracing the module itself, without computing.
"""

import math
from typing import NamedTuple

import jax

from alexnet_jax import paper
from alexnet_jax.models import alexnet

Shape = tuple[int, ...]


class LayerSummary(NamedTuple):
  """Sizes of one layer, both columns together."""

  name: str  # conv1 to fc8
  input: Shape  # if it reads all columns
  output: Shape  # [height, width, kernels] or [units] of the layer itself
  after: Shape  # after its ops: activation, normalisation, pooling
  parameters: int  # weights and biases
  multiply_adds: int  # of weights, for one image forward

  @property
  def neurons(self) -> int:
    return math.prod(self.output)  # 290,400 in conv1


def layers(
  config: alexnet.ModelConfig, *, crop_size: int
) -> list[LayerSummary]:
  """Summarises the layers of `config.model` for crops of that many pixels."""
  shapes = alexnet.activation_shapes(config, crop_size=crop_size)
  params = jax.eval_shape(  # shapes alone, in no memory
    lambda key: alexnet.initialise(config, key, crop_size=crop_size),
    jax.random.key(0),
  )
  found, before = [], (crop_size, crop_size, 3)  # the layers, the shape so far
  for stage, shape in shapes.items():
    if '/' in stage:
      found[-1] = found[-1]._replace(after=shape)  # an op of the last layer
    else:
      kernel = params[stage]['kernel']  # HWIO or [in, out]
      # Where each weight is used: 55 x 55 in conv1, 1 in fc6 and local layers.
      local = config.layer[stage].get('local')
      positions = 1 if local else math.prod(shape[:-1])
      found.append(
        LayerSummary(
          name=stage,
          input=before,  # of all columns
          output=shape,
          after=shape,
          parameters=sum(p.size for p in params[stage].values()),
          multiply_adds=kernel.size * positions,  # biases are left out
        )
      )
    before = shape
  return found


def table(config: alexnet.ModelConfig, *, crop_size: int) -> str:
  """The layers as text, one column's share beside the whole, and totals."""
  found = layers(config, crop_size=crop_size)
  lines = [
    _line(
      'layer', 'output', 'of a column', 'after', 'parameters', 'neurons',
      'Figure 2', 'multiply-adds', 'inputs', 'ops',
    )
  ]  # fmt: skip
  for row in found:
    layer = config.layer[row.name]
    columns = 1 if layer.inputs == 'summed' else config.columns
    share = (*row.output[:-1], row.output[-1] // columns)  # one column
    printed = paper.FIGURE_2_NEURONS.get(row.name)
    lines.append(
      _line(
        row.name,
        *(
          'x'.join(map(str, shape)) for shape in (row.output, share, row.after)
        ),
        f'{row.parameters:,}',
        f'{row.neurons:,}',
        f'{printed:,}' if printed else '-',
        f'{row.multiply_adds:,}',
        layer.inputs,
        ', '.join(layer.ops),
      )
    )
  lines.append('')
  for field in ('parameters', 'neurons', 'multiply_adds'):
    here = sum(getattr(row, field) for row in found)
    theirs = getattr(paper, field.upper())
    name = field.replace('_', '-')
    lines.append(f"{name:14} {here:>13,}   the paper's net {theirs:>13,}")
  return '\n'.join(lines)


def operations(
  config: alexnet.ModelConfig, *, crop_size: int
) -> dict[str, int]:
  """Floating-point operations on weights for one image: two a multiply-add.

  Training ('train') adds the gradient by weights and, but for the first layer,
  by inputs, to what a prediction ('eval') takes.
  """
  found = layers(config, crop_size=crop_size)
  forward = 2 * sum(row.multiply_adds for row in found)  # 1.45 GFLOP
  train = 3 * forward - 2 * found[0].multiply_adds
  return {'train': train, 'eval': forward}


def _line(name: str, *cells: str) -> str:
  widths = (12, 12, 12, 12, 9, 9, 14)  # characters
  *numbers, inputs, ops = cells
  padded = (
    f'{cell:>{width}}' for cell, width in zip(numbers, widths, strict=True)
  )
  return (f'{name:6}' + ' '.join(padded) + f'  {inputs:14}{ops}').rstrip()
