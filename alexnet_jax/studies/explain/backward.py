"""What a unit sees: its gradient by the image, with the rules of three papers.

'gradient'   the derivative itself (Simonyan, Vedaldi and Zisserman, "Deep
             inside convolutional networks", ICLR workshop 2014): what changes
             in the image would change the unit most.
'guided'     guided backpropagation (Springenberg et al., "Striving for
             simplicity", ICLR workshop 2015): a ReLU passes back what is
             positive, where it was active.
'deconvnet'  Zeiler and Fergus, "Visualizing and understanding convolutional
             networks", ECCV 2014: a ReLU passes back what is positive, wherever
             it was active or not; normalisation passes all; pooling passes to
             the place of the maximum (their switches), which the gradient of
             ops/pool.py does as well.

All three are `jax.vjp` of the module; the last two exchange the backward pass
of an op, never what it computes.
"""

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Int, Integer, Num, PyTree

from alexnet_jax.config import schema
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.models import alexnet
from alexnet_jax.runtime import compile

Activation = Float[Array, '*b']


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _passed_back(
  rule: Callable[[Activation, Activation], Activation],
  x: Activation,
  y: Activation,
) -> Activation:
  """Is y, an op's output of x; gives x the gradient rule(x, gradient of y)."""
  return y


_passed_back.defvjp(
  lambda rule, x, y: (y, x),
  lambda rule, x, g: (rule(x, g), jnp.zeros_like(g)),
)


def _guided(x: Activation, g: Activation) -> Activation:
  return jnp.where(x > 0, jax.nn.relu(g), 0)


def _rectified(x: Activation, g: Activation) -> Activation:
  return jax.nn.relu(g)


def _unchanged(x: Activation, g: Activation) -> Activation:
  return g


_RULES: dict[str, dict[str, Callable[..., Activation]]] = {
  'gradient': {},
  'guided': {'activation': _guided},
  'deconvnet': {
    'activation': _rectified,
    'lrn': _unchanged,
    'spatial_norm': _unchanged,
  },
}


class Seen(NamedTuple):
  """A unit of each image, and its gradient by what the net reads."""

  activations: Float32[Array, 'b ...']  # of the whole layer
  gradients: Float32[Array, 'b s s 3']


def of_units(
  net: net_lib.Net,
  *,
  x: Float[Array, 'b s s 3'],
  layer: str,
  units: Num[Any, 'b n'],
  rule: str = 'gradient',
) -> Seen:
  """Passes one unit of each image back to the image.

  Args:
    x: images as the net reads them, from net.preprocess.
    layer: of net.layers.
    units: for each image [row, column, channel] in a convolutional layer, else
      [unit].
    rule: 'gradient', 'guided' or 'deconvnet'.

  Raises ValueError if there is no such layer or rule, a unit is not in the
  layer, or a rule for ReLUs is given for a net of others.
  """
  shape = layer_shape(net, layer)
  check_rule(net, rule)
  units = jnp.asarray(units, jnp.int32)
  check_units(units, layer=layer, shape=shape)
  return Seen(*_program(fields(net), layer, rule)(net.variables, x, units))


def layer_shape(net: net_lib.Net, layer: str) -> tuple[int, ...]:
  """[H, W, C] or [units] of a layer; ValueError if there is none."""
  shapes = alexnet.activation_shapes(
    net.config.model, crop_size=net.config.data.crop_size
  )
  if layer not in shapes:
    raise ValueError(
      f'no layer {layer!r}: use {", ".join(shapes)} of this network'
    )
  return shapes[layer]


def check_rule(net: net_lib.Net, rule: str) -> None:
  """Raises ValueError if there is no such rule for the net."""
  if rule not in _RULES:
    raise ValueError(f'rule = {rule!r}: use {", ".join(_RULES)}')
  activation = net.config.model.activation
  if 'activation' in _RULES[rule] and activation != 'relu':
    raise ValueError(
      f'rule = {rule!r} is for ReLUs, and this network has {activation}: use '
      "'gradient'"
    )


def check_units(
  units: Integer[Any, 'b n'], *, layer: str, shape: tuple[int, ...]
) -> None:
  """Raises ValueError if a unit is not in a layer of that shape."""
  if units.shape[1] != len(shape):
    raise ValueError(
      f'a unit of {layer} is given by {len(shape)} numbers, not '
      f'{units.shape[1]}: the layer is {" x ".join(map(str, shape))}'
    )
  for unit in units.tolist():
    if not all(0 <= i < size for i, size in zip(unit, shape, strict=True)):
      raise ValueError(
        f'no unit {":".join(map(str, unit))} in {layer}: it is '
        f'{" x ".join(map(str, shape))}, counted from 0'
      )


def fields(net: net_lib.Net) -> str:
  """What a compiled program depends on, besides the arrays."""
  model = net.config.model.to_dict()
  return json.dumps({'model': model, 'dtype': net.config.dtype}, sort_keys=True)


def activations(
  fields: str, variables: PyTree, x: Float[Array, 'b s s 3']
) -> alexnet.Activations:
  """All activations of a net with these `fields`, by name."""
  config = schema.Config(schema.from_json(json.loads(fields)))
  model = alexnet.create(
    config.model, columns_here=config.model.columns, dtype=config.dtype
  )
  return alexnet.whole(lambda: dict(model.apply(variables, x)[1]))()


def stage(args: tuple, kwargs: dict[str, Any], method: str) -> str:
  """The name of what a call of a method of AlexNet computes; '' of others."""
  if method == '_op':
    return f'{kwargs["layer"]}/{args[0]}'
  return args[0] if method == '_layer' else ''


def _interceptor(rule: str) -> Callable[..., Any]:
  """Gives the ops of AlexNet the backward passes of a rule."""

  def intercept(
    call: Callable[..., Any],
    args: tuple,
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
  ) -> Any:
    back = _RULES[rule].get(args[0]) if context.method_name == '_op' else None
    if back is None:
      return call(*args, **kwargs)
    y = jax.lax.stop_gradient(call(*args, **kwargs))
    return _passed_back(back, args[1], y)

  return intercept


@functools.lru_cache(maxsize=32)
def _program(fields: str, layer: str, rule: str) -> Callable[..., Any]:
  """Compiles (variables, x, units) -> activations, gradients by x."""

  def run(
    variables: PyTree, x: Float[Array, 'b s s 3'], units: Int[Array, 'b n']
  ) -> tuple[Float[Array, 'b ...'], Float[Array, 'b s s 3']]:
    def of(x: Float[Array, 'b s s 3']) -> Float[Array, 'b ...']:
      with nn.intercept_methods(_interceptor(rule)):
        return activations(fields, variables, x)[layer]

    y, back = jax.vjp(of, x)
    places = (jnp.arange(len(y)), *units.T)
    (gradients,) = back(jnp.zeros_like(y).at[places].set(1))
    return y.astype(jnp.float32), gradients

  return compile.jit(run)
