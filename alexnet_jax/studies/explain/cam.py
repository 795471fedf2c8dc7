"""Grad-CAM: where a layer's maps speak for a class.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via
gradient-based localization", ICCV 2017, equations 1 and 2: each map A_k of a
convolutional layer is weighted by the mean of the gradient of the class's score
over its places, and what is negative in the sum is left out,

  a_k = mean_ij  d score / d A_k[i,j]        L = ReLU(sum_k a_k A_k)

The score is the class's unit of fc8, before the softmax.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Int, Integer, PyTree

from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.runtime import compile
from alexnet_jax.studies.explain import backward


def grad_cam(
  net: net_lib.Net,
  *,
  x: Float[Array, 'b s s 3'],
  labels: Integer[Any, 'b'],
  layer: str = '',
) -> Float32[Array, 'b h w']:
  """How much each place of a layer speaks for a class, 0 or more.

  Args:
    x: images as the net reads them, from net.preprocess.
    labels: the class of each image, a unit of fc8.
    layer: a convolutional one of net.layers; '': the last, after its
      activation, which is 'conv5/activation' in the paper's net.

  Raises ValueError if there is no such layer or class.
  """
  layer = layer or last_maps(net)
  if len(backward.layer_shape(net, layer)) != 3:
    raise ValueError(f'layer {layer!r} has no maps: use one of conv1 to conv5')
  labels = jnp.asarray(labels, jnp.int32)
  shape = backward.layer_shape(net, 'fc8')
  backward.check_units(labels[:, None], layer='fc8', shape=shape)
  program = _program(backward.fields(net), layer)
  return program(net.variables, x, labels)


def last_maps(net: net_lib.Net) -> str:
  """The last convolutional layer after its activation: 'conv5/activation'."""
  maps = [
    name
    for name in net.layers
    if name.startswith('conv') and not name.endswith('/pool')
  ]
  return maps[-1]


@functools.lru_cache(maxsize=32)
def _program(fields: str, layer: str) -> Callable[..., Any]:
  """Compiles (variables, x, labels) -> maps."""

  def run(
    variables: PyTree, x: Float[Array, 'b s s 3'], labels: Int[Array, 'b']
  ) -> Float[Array, 'b h w']:
    def scores(
      added: Float[Array, 'b h w c'] | None,
    ) -> tuple[Float[Array, ''], Float[Array, 'b h w c']]:
      with nn.intercept_methods(functools.partial(_add, layer, added)):
        found = backward.activations(fields, variables, x)
      own = jnp.take_along_axis(found['fc8'], labels[:, None], axis=1)
      return own.sum(), found[layer].astype(jnp.float32)

    maps = jax.eval_shape(lambda: scores(None)[1])
    nothing = jnp.zeros(maps.shape, maps.dtype)
    gradients, found = jax.grad(scores, has_aux=True)(nothing)
    weights = gradients.mean(axis=(1, 2), keepdims=True)  # a_k, [B, 1, 1, C]
    return jax.nn.relu((weights * found).sum(axis=-1))

  return compile.jit(run)


def _add(
  layer: str,
  added: Float[Array, 'b h w c'] | None,
  call: Callable[..., Any],
  args: tuple,
  kwargs: dict[str, Any],
  context: nn.module.InterceptorContext,
) -> Any:
  """Adds to a layer's output, so that there is a gradient by it."""
  y = call(*args, **kwargs)
  here = backward.stage(args, kwargs, context.method_name) == layer
  return y + added.astype(y.dtype) if here and added is not None else y
