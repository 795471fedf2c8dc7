"""AlexNet (§3.5) as one module for one or more columns.

The paper's net in the order of `stages`; H x W x C of both columns:

  >>> from alexnet_jax.configs import default
  >>> shapes = activation_shapes(default.model(), crop_size=224)
  >>> for name, shape in shapes.items():
  ...   print(f'{name:17} {" x ".join(map(str, shape))}')
  conv1             55 x 55 x 96
  conv1/activation  55 x 55 x 96
  conv1/lrn         55 x 55 x 96
  conv1/pool        27 x 27 x 96
  conv2             27 x 27 x 256
  conv2/activation  27 x 27 x 256
  conv2/lrn         27 x 27 x 256
  conv2/pool        13 x 13 x 256
  conv3             13 x 13 x 384
  conv3/activation  13 x 13 x 384
  conv4             13 x 13 x 384
  conv4/activation  13 x 13 x 384
  conv5             13 x 13 x 256
  conv5/activation  13 x 13 x 256
  conv5/pool        6 x 6 x 256
  fc6               4096
  fc6/activation    4096
  fc6/dropout       4096
  fc7               4096
  fc7/activation    4096
  fc7/dropout       4096
  fc8               1000

Each parameter is one array of the same shape on every mesh: kernels are HWIO or
[in, out]. It is sharded over the mesh axis `column` (`partition_specs`): inside
`shard_map` a device sees the *output* channels of its `columns_here` columns.
fc8 alone is sharded along its *input*: each device computes a share of every
logit, and the shares are summed. Columns communicate only in front of a layer
whose `inputs` are 'both_columns', and in fc8: see ops/columns.py.

Dropout is the paper's (§4.2): a mask of 0 and 1 in training and a factor of
1 - rate at test time. `dropout_scaling` = 'training' is the inverted kind of
`flax.linen.Dropout`, Caffe and PyTorch.

Letters in shapes: B images, H W height and width, C channels, K kernels, D
units; `C|C/2`: of both columns, or of one.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree
from ml_collections import config_dict

from alexnet_jax.ops import columns, conv, local, lrn, pallas, pool, products

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
  """The random numbers of one training step's dropout masks.

  Masks depend on the key, the layer, the column and the example, never on the
  mesh: a step drops the same units on any number of devices.
  """

  key: Key[Array, '']  # of the step
  examples: Int[Array, ' b']  # positions in the whole minibatch


def layer_names(config: ModelConfig) -> tuple[str, ...]:
  """Names of the layers in order: conv1 to conv5 (or conv6), fc6 to fc8."""
  return tuple(stage for stage in stages(config) if '/' not in stage)


def stages(config: ModelConfig) -> tuple[str, ...]:
  """Names of all activations in order: 'conv1', 'conv1/activation', ... 'fc8'.

  A layer in `skip_layers` keeps only its pooling, so that sizes still fit.
  """
  out = []
  for name, layer in config.layer.items():
    if name in _OPTIONAL and not config[_OPTIONAL[name]]:  # conv6, see §6
      continue
    skipped = name in config.skip_layers
    ops = [op for op in layer.ops if op == 'pool' or not skipped]
    out += [] if skipped else [name]
    out += [f'{name}/{op}' for op in ops]
  return tuple(out)


def in_one_kernel(config: ModelConfig) -> tuple[str, ...]:
  """Names of the layers whose ops a kernel of ops/pallas can compute."""
  return tuple(
    name
    for name in layer_names(config)
    if tuple(config.layer[name].ops) in pallas.ORDERS
    and config.activation == 'relu'
    and not config.layer[name].local  # its biases have places
  )


class Conv(nn.Module):
  """A convolutional layer: its kernels and biases (§3.5).

  A `local` layer has kernels and biases of its own at every position.
  Inputs and results have the dtype of x; kernels and biases are float32.
  Kernels are rounded to the dtype of x, unless a CPU multiplies bfloat16 as
  float32, see ops/products.py; those of a `local` layer always are.
  """

  config: config_dict.FrozenConfigDict  # config.model.layer.NAME
  kernels: int  # on this device
  groups: int  # columns on this device that each read only their own maps
  rounding: str = 'up'  # of the number of windows: config.model.rounding
  native: bool = False  # config.native_bfloat16, see ops/products.py
  winograd: bool = False  # config.winograd, see ops/winograd.py

  @nn.compact
  def __call__(
    self, x: Float[Array, 'b h w c'], *, block: Any = None
  ) -> Float[Array, 'b i j k']:
    """Convolves x; a block.Block applies the ops after it in one kernel."""
    c = self.config
    padding = (self._padding(x.shape[1]), self._padding(x.shape[2]))
    places = self._positions(x, padding) if c.local else ()  # (H', W') or ()
    kernel = self.param(
      'kernel',
      nn.initializers.normal(c.stddev, jnp.float32),
      # [size, size, C|C/2, K|K/2]
      (*places, c.size, c.size, x.shape[-1] // self.groups, self.kernels),
    )
    # Paper silent: the biases of locally connected layers (§3.3).
    # 2012: one for each kernel at each place (LocalUnsharedLayerParser of
    # layer.py).
    # Here: the same.
    bias = self.param(
      'bias',
      nn.initializers.constant(c.bias, jnp.float32),
      (*places, self.kernels),
    )
    forms = {'native': self.native, 'winograd': self.winograd}
    y = (local.local if c.local else conv.conv)(
      x,
      kernel,
      stride=c.stride,  # 4 in conv1, else 1
      padding=padding,
      groups=self.groups,  # 2: a device with both columns, as in conv2
      **({} if c.local else forms),
    )
    return block(y, bias=bias) if block else _add_bias(y, bias)

  def _padding(self, size: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size` pixels; (0, 3) in conv1."""
    c = self.config
    if self.rounding == 'down':
      return (c.padding, c.padding)  # pixels beyond the last window are unread
    return conv.ceil_padding(size, c.size, c.stride, padding=c.padding)

  def _positions(
    self, x: Float[Array, 'b h w c'], padding: conv.Padding
  ) -> tuple[int, ...]:
    """Numbers of windows along height and width."""
    c = self.config
    return tuple(
      1 + (size + sum(zeros) - c.size) // c.stride  # 1 + (227 - 11) // 4 = 55
      for size, zeros in zip(x.shape[1:3], padding, strict=True)
    )


class Dense(nn.Module):
  """A fully-connected layer: its weights and biases (§3.5).

  Inputs and results have the dtype of x; sums over columns are float32.
  """

  config: config_dict.FrozenConfigDict  # config.model.layer.NAME
  units: int  # output units on this device
  # fc8: whether each column computes its share of every unit from its own
  # inputs, and the shares are then summed over the columns.
  sum_columns: bool = False
  native: bool = False  # config.native_bfloat16, see ops/products.py

  @nn.compact
  def __call__(self, x: Float[Array, 'b groups d']) -> Float[Array, 'b units']:
    """Computes an equal share of the units from each group of x's inputs."""
    c = self.config
    kernel = self.param(
      'kernel',
      nn.initializers.normal(c.stddev, jnp.float32),
      (x.shape[-1], self.units),
    )  # [D|D/2, units]
    bias = self.param(
      'bias', nn.initializers.constant(c.bias, jnp.float32), (self.units,)
    )
    out = jnp.float32 if self.sum_columns else x.dtype  # logits stay float32
    parts = jnp.split(kernel, x.shape[1], axis=-1)
    y = jnp.concatenate(
      [
        products.matmul(x[:, group], part, out=out, native=self.native)
        for group, part in enumerate(parts)  # [B, D] [D, units/groups]
      ],
      axis=-1,
    )
    return _add_bias(columns.combine(y) if self.sum_columns else y, bias)


def _add_bias(
  y: Float[Array, 'b ... k'], bias: Float[Array, '... k']
) -> Float[Array, 'b ... k']:
  """Adds a bias in float32, so that its gradient is a float32 sum over y.

  A bfloat16 sum stops growing at 256 times what is added to it.
  """
  bias = bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)
  return (y.astype(jnp.float32) + bias).astype(y.dtype)


def _flatten(
  x: Float[Array, 'b ...'], *, groups: int
) -> Float[Array, 'b groups d']:
  """Flattens maps, by group: [B, 6, 6, 256] -> [B, groups, 9216 / groups]."""
  x = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
  return jnp.moveaxis(x, -2, 1).reshape(x.shape[0], groups, -1)  # [B, 2, 4608]


class AlexNet(nn.Module):
  """The network; call it inside `shard_map`, or through `whole`."""

  config: config_dict.FrozenConfigDict  # config.model of configs/default.py
  columns_here: int = 1  # columns that this device holds
  # Of activations and their gradients: float32 or bfloat16. Parameters, their
  # gradients and the logits are always float32.
  dtype: DTypeLike = jnp.float32
  kernels: str = 'xla'  # config.kernels
  native: bool = False  # config.native_bfloat16, see ops/products.py
  winograd: bool = False  # config.winograd, see ops/winograd.py

  @nn.compact
  def __call__(
    self,
    images: Float[Array, 'b ...'],
    *,
    dropout: Dropout | None = None,
    part: slice = slice(None),
  ) -> tuple[Float[Array, 'b ...'], Activations]:
    """Returns logits [B, classes] of images, and every activation by name.

    With `part`, some of `stages`: `images` are then the input of the first of
    these, and the output of the last comes in place of logits. Activations are
    the output of each layer ('conv1': before its activation) and of each op
    after it ('conv1/activation', 'conv1/pool'), of this device's columns.
    Images [B, S, S, 3] are RGB 0-255 minus the mean image; 224 x 224 in the
    paper.
    `dropout` is given in training; None: the factor of test time instead.
    """
    activations = {}  # features and health read them
    fused = {}  # outputs by name that one kernel has computed: 'conv1/pool'
    x = images.astype(self.dtype)  # [B, 224, 224, 3], or of `part`
    for stage in stages(self.config)[part]:
      name, _, op = stage.partition('/')  # 'conv1/pool' -> conv1, pool
      if op:
        with jax.named_scope(f'{name}_{op}'):  # its name in profiles and HLO
          x = self._op(op, x, dropout=dropout, layer=name)
      else:
        x = self._layer(name, x, fused)  # [B, H, W, C|C/2] or [B, D|D/2]
      activations[stage] = x = fused.get(stage, x)
    return x, activations  # [B, classes]

  def _layer(
    self, name: str, x: Float[Array, 'b ...'], fused: Activations
  ) -> Float[Array, 'b ...']:
    """Applies layer `name` to x, of this device's columns.

    Where one kernel computes all ops after it (config.kernels = 'pallas'),
    `fused` gets the output of the last; XLA drops the ops that nothing reads.
    """
    layer = self.config.layer[name]
    here, columns_ = self.columns_here, self.config.columns
    if layer.inputs == 'both_columns':
      with jax.named_scope(name):
        x = columns.gather(x)  # [..., C/2] -> [..., C]
    groups = 1 if layer.inputs in ('image', 'both_columns') else here
    if name.startswith('conv'):
      share = layer.kernels // columns_ * here  # K|K/2
      conv_ = Conv(
        layer,
        share,
        groups,
        rounding=self.config.rounding,
        native=self.native,
        winograd=self.winograd,
        name=name,
      )
      if self.kernels == 'pallas' and name in in_one_kernel(self.config):
        last = f'{name}/{layer.ops[-1]}'
        fused[last] = conv_(x, block=self._block(layer))
      return conv_(x)
    x = _flatten(x, groups=groups)  # [B, groups, D]; fc6: [B, 1, 9216]
    if layer.inputs == 'summed':
      x = x.reshape(x.shape[0], 1, -1)  # [B, 1, D]: columns one after another
      return Dense(layer, units=layer.units, sum_columns=True, name=name)(x)
    units = layer.units // columns_ * here
    return Dense(layer, units=units, native=self.native, name=name)(x)

  def _block(self, layer: config_dict.FrozenConfigDict) -> Any:
    """Returns the kernel that computes all ops after a layer."""
    from alexnet_jax.ops.pallas import block

    norm, window = self._norm(), self._window()
    relu = pallas.ORDERS[tuple(layer.ops)]
    return block.Block(relu=relu, **norm, **window)

  def _norm(self) -> dict[str, Any]:
    c = self.config.lrn
    return {
      'n': c.n,
      'k': c.k,
      'alpha': _alpha(c, window=c.n),  # 2012: alpha / n
      'beta': c.beta,
      'columns': 1 if c.across_columns else self.columns_here,
    }

  def _window(self) -> dict[str, Any]:
    whole = self.config.rounding == 'up'  # 55 -> 27 -> 13; 13 -> 6
    return {**self.config.pool, 'partial_windows': whole}

  def _op(
    self,
    op: str,
    x: Float[Array, 'b ...'],
    *,
    dropout: Dropout | None,
    layer: str,
  ) -> Float[Array, 'b ...']:
    """Applies one op of a layer's `ops` to its output."""
    match op:
      case 'activation':
        return ACTIVATIONS[self.config.activation](x)
      case 'lrn':
        return lrn.local_response_norm(x, **self._norm())
      case 'spatial_norm':
        c = self.config.spatial_norm
        alpha = _alpha(c, window=c.size**2)
        return lrn.spatial_response_norm(
          x, size=c.size, k=c.k, alpha=alpha, beta=c.beta
        )
      case 'pool':
        return pool.max_pool(x, **self._window())
      case 'dropout':
        kept = 1 - self.config.dropout_rate  # 0.5 in the paper, §4.2
        scale_now = self.config.dropout_scaling == 'training'
        if dropout is None:
          return x if scale_now else x * kept
        keep = self._keep(dropout, layer=layer, shape=x.shape[1:])  # as x
        return jnp.where(keep, x / kept if scale_now else x, 0)
      case _:
        raise ValueError(
          f'config.model.layer...ops holds {op!r}: use activation, lrn, '
          'spatial_norm, pool or dropout'
        )

  def _keep(
    self, dropout: Dropout, *, layer: str, shape: tuple[int, ...]
  ) -> Bool[Array, 'b ...']:
    """Draws which units of this device's columns stay, example by example."""
    *places, units = shape  # [] of a fully-connected layer, else [H, W]
    number = list(self.config.layer).index(layer)  # as if none were skipped
    key = jax.random.fold_in(dropout.key, number)

    def draw(
      column: Int[Array, ''], example: Int[Array, '']
    ) -> Bool[Array, '... d']:
      k = jax.random.fold_in(jax.random.fold_in(key, column), example)
      p = 1 - self.config.dropout_rate  # of keeping a unit
      return jax.random.bernoulli(k, p, (*places, units // self.columns_here))

    over_columns = jax.vmap(draw, in_axes=(0, None), out_axes=-2)
    keep = jax.vmap(over_columns, in_axes=(None, 0))(
      columns.indices(self.columns_here), dropout.examples
    )  # [B, ..., columns here, D of a column]
    return keep.reshape(-1, *shape)  # [B, D|D/2] or [B, H, W, C|C/2]


def _alpha(norm: config_dict.FrozenConfigDict, *, window: int) -> float:
  """The factor of the sum over a window; alpha may be that of its mean."""
  return norm.alpha / window if norm.alpha_of == 'mean' else norm.alpha


def create(
  config: ModelConfig,
  *,
  columns_here: int,
  dtype: DTypeLike = jnp.float32,
  kernels: str = 'xla',
  native: bool = False,
  winograd: bool = False,
) -> AlexNet:
  """Returns the module for a device that holds `columns_here` columns."""
  frozen = config_dict.FrozenConfigDict(config)
  forms = {'native': native, 'winograd': winograd}
  return AlexNet(frozen, columns_here, dtype, kernels, **forms)


def whole(function: Callable[..., Any]) -> Callable[..., Any]:
  """Wraps a function that calls the net, to run outside `shard_map`.

  The net must hold all its columns (`columns_here=config.columns`).
  """

  def call(*args: Any) -> Any:
    one = jax.vmap(
      lambda _: function(*args), axis_name=columns.AXIS, axis_size=1
    )
    return jax.tree.map(lambda a: a[0], one(jnp.zeros(1)))  # drops the axis

  return call


def init_variables(
  config: ModelConfig, key: Key[Array, ''], *, crop_size: int
) -> dict[str, PyTree]:
  """Initial values of all collections: {'params': ...} for the paper's net."""
  model = create(config, columns_here=config.columns)
  return _init_variables(key, model=model, crop_size=crop_size)


@functools.partial(jax.jit, static_argnames=('model', 'crop_size'))
def _init_variables(
  key: Key[Array, ''], *, model: AlexNet, crop_size: int
) -> dict[str, PyTree]:
  """As init_variables; JAX traces it once for each net, which takes long."""
  images = jnp.zeros((1, crop_size, crop_size, 3))  # shapes alone matter
  return whole(lambda k: dict(model.init(k, images)))(key)


def initialise(
  config: ModelConfig, key: Key[Array, ''], *, crop_size: int
) -> PyTree:
  """Initial parameters (§5): {'conv1': {'kernel', 'bias'}, ...}, float32."""
  return init_variables(config, key, crop_size=crop_size)['params']


def activation_shapes(
  config: ModelConfig, *, crop_size: int
) -> dict[str, tuple[int, ...]]:
  """Shape of every activation for one image, all columns together."""
  return dict(_shapes(config_dict.FrozenConfigDict(config), crop_size))


@functools.lru_cache(maxsize=32)  # tracing takes a twentieth of a second
def _shapes(config: ModelConfig, crop_size: int) -> dict[str, tuple[int, ...]]:
  model = create(config, columns_here=config.columns)
  activations = _activations.eval_shape(  # nothing is computed
    jax.random.key(0), model=model, crop_size=crop_size
  )
  return {name: activations[name].shape[1:] for name in stages(config)}


@functools.partial(jax.jit, static_argnames=('model', 'crop_size'))
def _activations(
  key: Key[Array, ''], *, model: AlexNet, crop_size: int
) -> dict[str, Float[Array, '1 ...']]:
  """Returns the activations of a black image; JAX traces it once for a net."""
  images = jnp.zeros((1, crop_size, crop_size, 3))
  return whole(lambda k: model.init_with_output(k, images)[0][1])(key)


def partition_specs(variables: PyTree) -> PyTree:
  """PartitionSpecs of parameters: split by output channel, fc8 by input."""

  def spec(path: tuple[Any, ...], leaf: Any) -> P:
    layer, kind = path[-2].key, path[-1].key
    if layer == 'fc8':
      return P(columns.AXIS) if kind == 'kernel' else P()  # [in, out] by in
    return P(*(None,) * (leaf.ndim - 1), columns.AXIS)  # HWIO: by O

  return jax.tree_util.tree_map_with_path(spec, variables)
