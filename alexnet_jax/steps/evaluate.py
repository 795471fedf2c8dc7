"""Test-time outputs of the network on one device's shard (§4.1, §6.1).

`build` wraps each of these in `jit(shard_map(..., check_vma=True))`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, PyTree, UInt8
from ml_collections import config_dict

from alexnet_jax.models import alexnet
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import metrics, preprocess


class Moments(NamedTuple):
  """Moments of one activation over the images of each device along `data`.

  All are [devices along data, ...], unit by unit. Squares are of differences
  from the mean: float32 would lose a small spread around a bias of 1.
  """

  mean: Any
  squares: Any  # sum of squared differences from the mean
  positive: Any  # number of images on which the unit is above zero


PROBABILITIES = 'probabilities'


def output_step(
  config: config_dict.ConfigDict, *, model: alexnet.AlexNet, output: str
) -> Callable[..., Float[Array, 'b d']]:
  """Returns (variables, mean image, images, view) -> one output of the net.

  `model` is the module for this device's columns; `output` 'probabilities', or
  an activation such as 'fc7/activation', which is returned as float32 [B, D].
  """

  def step(
    variables: PyTree,
    mean_image: Float[Array, 't t 3'],  # 256 x 256
    images: UInt8[Array, 'b t t 3'],  # whole images, 256 x 256
    view: preprocess.DeviceView,
  ) -> Float[Array, 'b d']:
    crops = preprocess.of_view(
      config, mean_image=mean_image, images=images, view=view
    )  # [B, S, S, 3]
    logits, activations = model.apply(variables, crops)  # no dropout
    if output == PROBABILITIES:
      return jax.nn.softmax(logits)  # [B, classes], sums to 1
    activation = dict(activations)[output]
    return activation.astype(jnp.float32).reshape(len(images), -1)  # [B, D]

  return step


def last_hidden(config: alexnet.ModelConfig) -> str:
  """Name of the activation in front of fc8: 'fc7/activation' in the paper."""
  names = [s for s in alexnet.stages(config) if s != 'fc8']  # §6.1: 4096 units
  return [s for s in names if not s.endswith('/dropout')][-1]


def probe_step(
  config: config_dict.ConfigDict, *, model: alexnet.AlexNet
) -> Callable[..., dict[str, Moments]]:
  """Returns (variables, mean image, batch) -> moments of every activation."""

  def probe(
    variables: PyTree, mean_image: Array, batch: dict[str, Array]
  ) -> dict[str, Moments]:
    images = preprocess.of_batch(config, mean_image=mean_image, batch=batch)
    _, activations = model.apply(variables, images)
    return {name: _moments(x) for name, x in dict(activations).items()}

  return probe


def _moments(x: Float[Array, 'b ...']) -> Moments:
  x = x.astype(jnp.float32)  # bfloat16 has too few bits for a variance
  mean = x.mean(axis=0, keepdims=True)  # [1, ...]
  return Moments(
    mean=mean,
    squares=jnp.square(x - mean).sum(axis=0, keepdims=True),  # [1, ...]
    positive=(x > 0).sum(axis=0, keepdims=True),  # [1, ...], int32
  )


def moment_specs(config: config_dict.ConfigDict) -> dict[str, P]:
  """PartitionSpecs of moments: [data, ..., channels], but [data, ...] of fc8.

  The first axis has one entry for each device along `data`.
  """

  def spec(stage: str) -> P:
    if stage.startswith('fc8'):
      return P(mesh_lib.DATA)  # logits: whole on each column
    between = (None,) * (2 if stage.startswith('conv') else 0)  # height, width
    return P(mesh_lib.DATA, *between, mesh_lib.COLUMN)

  return {stage: spec(stage) for stage in alexnet.stages(config.model)}


def score(
  probabilities: Float[Array, 'b classes'], labels: Int[Array, ' b']
) -> tuple[Float[Array, ' b'], Int[Array, ' b']]:
  """Returns loss and rank of the right class for each image."""
  own = jnp.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]  # [B]
  smallest = jnp.finfo(own.dtype).tiny  # a probability may round to zero
  return -jnp.log(jnp.maximum(own, smallest)), metrics.ranks(
    probabilities, labels
  )
