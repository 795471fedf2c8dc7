"""The network as a table, its sizes beside the paper's (§3.5, Figure 2).

Everything is read off the module itself, by tracing it without computing.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alexnet_jax import paper
from alexnet_jax.models import alexnet

Shape = tuple[int, ...]


class Row(NamedTuple):
  """One layer, both columns together.

  Attributes:
    name: conv1 to fc8.
    input: what it sees if it sees all columns.
    output: [height, width, kernels] or [units] of the layer itself.
    after: what the next layer gets, after activation, normalisation, pooling.
    parameters: weights and biases.
    multiply_adds: of weights, for one image forward.
  """

  name: str
  input: Shape
  output: Shape
  after: Shape
  parameters: int
  multiply_adds: int

  @property
  def neurons(self) -> int:
    return math.prod(self.output)


def rows(config: alexnet.ModelConfig, *, crop_size: int) -> list[Row]:
  """The layers of `config.model` for crops of that size."""
  model = alexnet.create(config, columns_here=config.columns)
  images = jnp.zeros((1, crop_size, crop_size, 3))
  shapes = jax.eval_shape(
    alexnet.whole(lambda key: model.init_with_output(key, images)),
    jax.random.key(0),
  )
  (_, activations), variables = shapes
  return [
    _row(
      config,
      name,
      crop=images.shape[1:],
      activations=activations,
      params=variables['params'][name],
    )
    for name in alexnet.layer_names(config)
  ]


def _row(
  config: alexnet.ModelConfig,
  name: str,
  *,
  crop: Shape,
  activations: dict[str, jax.ShapeDtypeStruct],
  params: dict[str, jax.ShapeDtypeStruct],
) -> Row:
  output = activations[name].shape[1:]
  stages = alexnet.stages(config)
  here = stages.index(name)
  later = [i for i, s in enumerate(stages) if i > here and '/' not in s]
  last = later[0] - 1 if later else len(stages) - 1
  # Where each weight is used: 55 x 55 in conv1, 1 in fc6, 1 in local layers.
  places = 1 if config.layer[name].get('local') else math.prod(output[:-1])
  return Row(
    name=name,
    input=activations[stages[here - 1]].shape[1:] if here else crop,
    output=output,
    after=activations[stages[last]].shape[1:],
    parameters=sum(p.size for p in params.values()),
    multiply_adds=params['kernel'].size * places,
  )


def table(config: alexnet.ModelConfig, *, crop_size: int) -> str:
  """The rows as text, one column's share beside the whole, and totals."""
  layers = rows(config, crop_size=crop_size)
  lines = [
    _line(
      'layer', 'output', 'of a column', 'after', 'parameters', 'neurons',
      'Figure 2', 'multiply-adds', 'sees', 'then',
    )
  ]  # fmt: skip
  for row in layers:
    columns = 1 if config.layer[row.name].sees == 'parts' else config.columns
    share = (*row.output[:-1], row.output[-1] // columns)
    lines.append(
      _line(
        row.name,
        _times(row.output),
        _times(share),
        _times(row.after),
        f'{row.parameters:,}',
        f'{row.neurons:,}',
        f'{paper.FIGURE_2_NEURONS[row.name]:,}'
        if row.name in paper.FIGURE_2_NEURONS
        else '-',
        f'{row.multiply_adds:,}',
        config.layer[row.name].sees,
        ', '.join(config.layer[row.name].then),
      )
    )
  totals = [
    ('parameters', sum(r.parameters for r in layers), paper.PARAMETERS),
    ('neurons', sum(r.neurons for r in layers), paper.NEURONS),
    (
      'multiply-adds',
      sum(r.multiply_adds for r in layers),
      paper.MULTIPLY_ADDS,
    ),
  ]
  lines += [''] + [
    f"{name:14} {here:>13,}   the paper's net {theirs:>13,}"
    for name, here, theirs in totals
  ]
  return '\n'.join(lines)


def operations(
  config: alexnet.ModelConfig, *, crop_size: int
) -> dict[str, int]:
  """Floating-point operations on weights for an image: two a multiply-add.

  Training ('train') adds the gradient by weights and, but for the first layer,
  by inputs, to what a prediction ('eval') takes.
  """
  layers = rows(config, crop_size=crop_size)
  forward = 2 * sum(row.multiply_adds for row in layers)
  return {
    'train': 3 * forward - 2 * layers[0].multiply_adds,
    'eval': forward,
  }


def _line(name: str, *cells: str) -> str:
  widths = (12, 12, 12, 12, 9, 9, 14)
  *numbers, sees, then = cells
  padded = (
    f'{cell:>{width}}' for cell, width in zip(numbers, widths, strict=True)
  )
  return (f'{name:6}' + ' '.join(padded) + f'  {sees:6}{then}').rstrip()


def _times(shape: Shape) -> str:
  return 'x'.join(map(str, shape))
