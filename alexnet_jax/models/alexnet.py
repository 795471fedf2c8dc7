"""AlexNet (§3.5) as one module for one or two columns.

The parameters are whole, unsplit arrays on every mesh: kernels HWIO or
[in, out]. Under `shard_map` a device holds `columns_here` of the columns and
with them that share of each layer's *output* channels, except in fc8, whose
*input* is split and whose logits are summed. Columns meet only where a layer
sees 'both' and in fc8; see ops/columns.py.

What a reader may get wrong: dropout here is the paper's (§4.2), a mask of 0
and 1 in training and a factor 1 - rate at test time, not the inverted kind of
`flax.linen.Dropout`.

Letters in shapes: B images, H W height and width, C channels, D units;
`whole|one column` where they differ.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree
from ml_collections import config_dict

from alexnet_jax.ops import columns, conv, local, lrn, pool

ModelConfig = config_dict.ConfigDict | config_dict.FrozenConfigDict
Activations = dict[str, Float[Array, 'b ...']]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  'relu': jax.nn.relu,
  'tanh': jnp.tanh,
  'logistic': jax.nn.sigmoid,
}


# Layers that are there only if a field of config.model says so.
_OPTIONAL = {'conv6': 'conv6', 'fc7_bottleneck': 'bottleneck'}


class Dropout(NamedTuple):
  """What the masks of one training step are drawn from.

  Masks depend on the key, the layer, the column and the example, never on the
  mesh, so that a step drops the same units however many devices take it.
  """

  key: Key[Array, '']  # of the step
  examples: Int[Array, ' b']  # positions in the whole minibatch


def layer_names(config: ModelConfig) -> tuple[str, ...]:
  """Names of the layers in order: conv1 to conv5 (or conv6), fc6 to fc8."""
  return tuple(stage for stage in stages(config) if '/' not in stage)


def stages(config: ModelConfig) -> tuple[str, ...]:
  """All that an image goes through: 'conv1', 'conv1/activation', ... 'fc8'.

  Of a layer in `leave_out` only the pooling stays, so that sizes still meet.
  """
  out = []
  for name, layer in config.layer.items():
    if name in _OPTIONAL and not config[_OPTIONAL[name]]:
      continue
    left_out = name in config.leave_out
    ops = [op for op in layer.then if op == 'pool' or not left_out]
    out += [] if left_out else [name]
    out += [f'{name}/{op}' for op in ops]
  return tuple(out)


class Conv(nn.Module):
  """The kernels of one convolutional layer and their biases (§3.5).

  A `local` one has kernels and biases of its own at every place.
  Arithmetic is in the dtype of x; kernels and biases are kept as float32.
  """

  config: config_dict.FrozenConfigDict  # of the layer
  kernels: int  # on this device
  groups: int  # columns on this device that each see only their own maps

  @nn.compact
  def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b i j k']:
    c = self.config
    padding = (self._padding(x.shape[1]), self._padding(x.shape[2]))
    places = self._places(x, padding) if c.local else ()
    kernel = self.param(
      'kernel',
      nn.initializers.normal(c.stddev),
      (*places, c.size, c.size, x.shape[-1] // self.groups, self.kernels),
    )
    # Paper silent: the biases of locally connected layers (§3.3).
    # 2012: one for each kernel at each place (LocalUnsharedLayerParser of
    # layer.py).
    # Here: the same.
    bias = self.param(
      'bias', nn.initializers.constant(c.bias), (*places, self.kernels)
    )
    y = (local.local if c.local else conv.conv)(
      x,
      kernel.astype(x.dtype),
      stride=c.stride,
      padding=padding,
      groups=self.groups,
    )
    return _add_bias(y, bias)

  def _padding(self, size: int) -> tuple[int, int]:
    """Zeros before and after, along an axis of that many pixels."""
    c = self.config
    return conv.ceil_padding(size, c.size, c.stride, padding=c.padding)

  def _places(
    self, x: Float[Array, 'b h w c'], padding: conv.Padding
  ) -> tuple[int, ...]:
    """Windows down and across."""
    c = self.config
    return tuple(
      1 + (size + sum(zeros) - c.size) // c.stride
      for size, zeros in zip(x.shape[1:3], padding, strict=True)
    )


class Dense(nn.Module):
  """The weights of one fully-connected layer and its biases (§3.5).

  Arithmetic is in the dtype of x; what columns add up is float32.
  """

  config: config_dict.FrozenConfigDict  # of the layer
  units: int  # on this device
  sum_columns: bool = False  # fc8: each column adds what its own units say

  @nn.compact
  def __call__(self, x: Float[Array, 'b groups d']) -> Float[Array, 'b units']:
    """Units of x's groups of inputs, an equal share of the units for each."""
    c = self.config
    kernel = self.param(
      'kernel', nn.initializers.normal(c.stddev), (x.shape[-1], self.units)
    )
    bias = self.param('bias', nn.initializers.constant(c.bias), (self.units,))
    out = jnp.float32 if self.sum_columns else x.dtype
    parts = jnp.split(kernel.astype(x.dtype), x.shape[1], axis=-1)
    y = jnp.concatenate(
      [
        jnp.matmul(x[:, group], part, preferred_element_type=out)
        for group, part in enumerate(parts)
      ],
      axis=-1,
    )
    return _add_bias(columns.combine(y) if self.sum_columns else y, bias)


def _add_bias(
  y: Float[Array, 'b ... k'], bias: Float[Array, '... k']
) -> Float[Array, 'b ... k']:
  """y + bias, in float32, and so the sum over y that is the bias's gradient.

  In bfloat16 that sum stops growing at 256 times what is added to it.
  """
  bias = bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)
  return (y.astype(jnp.float32) + bias).astype(y.dtype)


def _flatten(
  x: Float[Array, 'b ...'], *, groups: int
) -> Float[Array, 'b groups d']:
  """[B, 6, 6, 256] -> [B, 1, 9216], or each column's maps apart."""
  x = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
  return jnp.moveaxis(x, -2, 1).reshape(x.shape[0], groups, -1)


class AlexNet(nn.Module):
  """The network. Call it inside `shard_map`, or see `initialise` and `whole`.

  Attributes:
    config: `config.model` of configs/default.py.
    columns_here: columns that this device holds.
    dtype: of activations and their gradients: float32 or bfloat16. Parameters
      and their gradients are float32 always, and so are the logits.
  """

  config: config_dict.FrozenConfigDict
  columns_here: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, images: Float[Array, 'b s s 3'], *, dropout: Dropout | None = None
  ) -> tuple[Float[Array, 'b classes'], Activations]:
    """Class scores of images, and every activation by name.

    Args:
      images: RGB 0-255 less the mean image; 224 x 224 in the paper.
      dropout: given while training; without it, the factor of test time.

    Returns:
      Logits, and a dict with the output of each layer ('conv1': before its
      activation) and of what follows it ('conv1/activation', 'conv1/pool').
    """
    activations = {}
    x = images.astype(self.dtype)
    for stage in stages(self.config):
      name, _, op = stage.partition('/')
      if op:
        with jax.named_scope(f'{name}_{op}'):
          x = self._then(op, x, dropout=dropout, layer=name)
      else:
        x = self._layer(name, x)
      activations[stage] = x
    return x, activations

  def _layer(
    self, name: str, x: Float[Array, 'b ...']
  ) -> Float[Array, 'b ...']:
    layer = self.config.layer[name]
    here, columns_ = self.columns_here, self.config.columns
    if layer.sees == 'both':
      with jax.named_scope(name):
        x = columns.gather(x)
    groups = 1 if layer.sees in ('image', 'both') else here
    if name.startswith('conv'):
      share = layer.kernels // columns_ * here
      return Conv(layer, kernels=share, groups=groups, name=name)(x)
    x = _flatten(x, groups=groups)
    if layer.sees == 'parts':
      x = x.reshape(x.shape[0], 1, -1)  # one column's inputs after another's
      return Dense(layer, units=layer.units, sum_columns=True, name=name)(x)
    return Dense(layer, units=layer.units // columns_ * here, name=name)(x)

  def _then(
    self,
    op: str,
    x: Float[Array, 'b ...'],
    *,
    dropout: Dropout | None,
    layer: str,
  ) -> Float[Array, 'b ...']:
    match op:
      case 'activation':
        return ACTIVATIONS[self.config.activation](x)
      case 'lrn':
        c, here = self.config.lrn, self.columns_here
        alpha = _alpha(c, window=c.n)
        return lrn.local_response_norm(
          x, n=c.n, k=c.k, alpha=alpha, beta=c.beta, columns=here
        )
      case 'spatial_norm':
        c = self.config.spatial_norm
        alpha = _alpha(c, window=c.size**2)
        return lrn.spatial_response_norm(
          x, size=c.size, k=c.k, alpha=alpha, beta=c.beta
        )
      case 'pool':
        return pool.max_pool(x, **self.config.pool)
      case 'dropout':
        if dropout is None:
          return x * (1 - self.config.dropout_rate)
        keep = self._keep(dropout, layer=layer, units=x.shape[-1])
        return jnp.where(keep, x, 0)
      case _:
        raise ValueError(
          f'config.model.layer...then holds {op!r}: use activation, lrn, '
          'spatial_norm, pool or dropout'
        )

  def _keep(
    self, dropout: Dropout, *, layer: str, units: int
  ) -> Bool[Array, 'b units']:
    """Which units of this device's columns stay, drawn example by example."""
    number = list(self.config.layer).index(layer)
    key = jax.random.fold_in(dropout.key, number)

    def draw(
      column: Int[Array, ''], example: Int[Array, '']
    ) -> Bool[Array, 'd']:
      k = jax.random.fold_in(jax.random.fold_in(key, column), example)
      p = 1 - self.config.dropout_rate
      return jax.random.bernoulli(k, p, (units // self.columns_here,))

    over_columns = jax.vmap(draw, in_axes=(0, None))
    keep = jax.vmap(over_columns, in_axes=(None, 0))(
      columns.indices(self.columns_here), dropout.examples
    )  # [B, columns here, D of a column]
    return keep.reshape(keep.shape[0], units)


def _alpha(norm: config_dict.FrozenConfigDict, *, window: int) -> float:
  """What multiplies the sum over a window, from the alpha of sum or mean."""
  return norm.alpha / window if norm.alpha_of == 'mean' else norm.alpha


def create(
  config: ModelConfig, *, columns_here: int, dtype: DTypeLike = jnp.float32
) -> AlexNet:
  """The module for a device that holds `columns_here` of the columns."""
  return AlexNet(config_dict.FrozenConfigDict(config), columns_here, dtype)


def whole(function: Callable[..., Any]) -> Callable[..., Any]:
  """Lets a function call the net with all columns here, outside `shard_map`."""

  def call(*args: Any) -> Any:
    one = jax.vmap(
      lambda _: function(*args), axis_name=columns.AXIS, axis_size=1
    )
    return jax.tree.map(lambda a: a[0], one(jnp.zeros(1)))

  return call


def initialise(
  config: ModelConfig, key: Key[Array, ''], *, crop_size: int
) -> PyTree:
  """Initial values (§5) as the config has them: {'conv1': {'kernel', ...}}."""
  model = create(config, columns_here=config.columns)
  images = jnp.zeros((1, crop_size, crop_size, 3))
  return whole(lambda k: model.init(k, images)['params'])(key)


def partition_specs(params: PyTree) -> PyTree:
  """How parameters lie on the mesh: split by output, fc8 by input."""

  def spec(path: tuple[Any, ...], leaf: Any) -> P:
    layer, kind = path[-2].key, path[-1].key
    if layer == 'fc8':
      return P(columns.AXIS) if kind == 'kernel' else P()
    return P(*(None,) * (leaf.ndim - 1), columns.AXIS)

  return jax.tree_util.tree_map_with_path(spec, params)
