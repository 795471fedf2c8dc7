"""The worker of bench/ops.py: each operation of the network by itself.

  python -m alexnet_jax.bench.jax_ops '{"config": {...}, "dtype": "float32"}'

Workloads are named 'conv1 forward' or 'conv1/lrn backward'; with ' naive' the
shortest JAX form of the same, with XLA's gradient. 'update' is the rule of §5.
All columns are on one device. Dropout and ReLU are missing: they cost next to
nothing, or are fused with their neighbours.
"""

import functools
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from ml_collections import config_dict

from alexnet_jax.bench import jax_step, workers
from alexnet_jax.config import schema
from alexnet_jax.models import alexnet
from alexnet_jax.ops import lrn, pool
from alexnet_jax.optim import sgd
from alexnet_jax.runtime import compile

Shape = tuple[int, ...]


class Op(NamedTuple):
  """An operation and its arguments.

  Attributes:
    function: takes activations, then parameters.
    shapes: of its arguments: activations in the measured dtype, then
      parameters, which are always float32.
    naive: the shortest JAX form of the same function; None: there is no other.
    flop: of the forward pass on weights, for the whole batch.
    differentiate: indices of the arguments whose gradients training needs.
  """

  function: Callable[..., Array]
  shapes: tuple[Shape, ...]
  naive: Callable[..., Array] | None
  flop: int
  differentiate: tuple[int, ...]


def main() -> None:
  """Answers until stdin closes."""
  options = json.loads(sys.argv[1])
  config = config_dict.ConfigDict(schema.from_json(options['config']))
  config.mesh.data = config.mesh.column = 1
  jax_step.set_up(config)
  dtype = options['dtype']
  ops = dict(operations(config))
  workloads = dict(_workloads(ops, dtype=dtype))
  workloads['update'] = functools.partial(update, config)
  info = jax_step.machine() | {'ops': list(workloads)}
  workloads |= {
    'product': functools.partial(jax_step.product, dtype),
    'copy': functools.partial(copy, dtype),
  }
  workers.serve(workloads, info=info, peak_memory=jax_step.peak_memory_bytes)


def operations(
  config: config_dict.ConfigDict,
) -> Iterator[tuple[str, Op]]:
  """Operations of the network in order: (stage, operation)."""
  model, images = config.model, config.batch_size
  crop = config.data.crop_size
  shapes, params = _shapes(config)
  before = (images, crop, crop, 3)
  for stage in alexnet.stages(model):
    name, _, op = stage.partition('/')
    make = _OPS.get(op or ('conv' if name.startswith('conv') else 'dense'))
    if make:
      of_layer = params.get(name, {})
      yield stage, make(model, name, before, of_layer, shapes[stage])
    before = (images, *shapes[stage])


def _shapes(config: config_dict.ConfigDict) -> tuple[dict[str, Shape], Any]:
  """Shapes of an image's activations by stage, of parameters by layer."""
  model = alexnet.create(config.model, columns_here=config.model.columns)
  crop = config.data.crop_size
  (_, found), variables = jax.eval_shape(
    alexnet.whole(
      lambda key: model.init_with_output(key, jnp.zeros((1, crop, crop, 3)))
    ),
    jax.random.key(0),
  )
  shapes = {stage: array.shape[1:] for stage, array in found.items()}
  return shapes, jax.tree.map(lambda array: array.shape, variables['params'])


def _conv(model: Any, name: str, x: Shape, params: Any, y: Shape) -> Op:
  layer = model.layer[name]
  groups = model.columns if layer.inputs == 'own_column' else 1
  module = alexnet.Conv(
    config_dict.FrozenConfigDict(layer), kernels=layer.kernels, groups=groups
  )
  ends = [module._padding(size) for size in x[1:3]]

  def naive(x: Array, kernel: Array, bias: Array) -> Array:
    y = lax.conv_general_dilated(
      x,
      kernel.astype(x.dtype),
      window_strides=(layer.stride, layer.stride),
      padding=ends,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=groups,
    )
    return y + bias.astype(x.dtype)[None, None, None]

  return Op(
    function=_with_params(module),
    shapes=(x, params['kernel'], params['bias']),
    naive=naive,
    flop=2 * x[0] * math.prod(params['kernel']) * math.prod(y[:2]),
    differentiate=(1, 2) if layer.inputs == 'image' else (0, 1, 2),
  )


def _dense(model: Any, name: str, x: Shape, params: Any, y: Shape) -> Op:
  del y
  layer, inputs = model.layer[name], params['kernel'][0]
  module = alexnet.Dense(config_dict.FrozenConfigDict(layer), units=layer.units)
  return Op(
    function=_with_params(module),
    shapes=(
      (x[0], math.prod(x[1:]) // inputs, inputs),
      params['kernel'],
      params['bias'],
    ),
    naive=None,
    flop=2 * x[0] * math.prod(params['kernel']),
    differentiate=(0, 1, 2),
  )


def _with_params(module: nn.Module) -> Callable[..., Array]:
  def function(x: Array, kernel: Array, bias: Array) -> Any:
    return module.apply({'params': {'kernel': kernel, 'bias': bias}}, x)

  return function


def _lrn(model: Any, name: str, x: Shape, params: Any, y: Shape) -> Op:
  del name, params, y
  c, columns = model.lrn, model.columns
  alpha = c.alpha / c.n if c.alpha_of == 'mean' else c.alpha

  def naive(x: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
    parts = jnp.stack(jnp.split(x, columns, axis=-1))
    squares = jnp.square(parts)
    window = (1, 1, 1, 1, c.n)
    zero = np.zeros((), x.dtype)  # not traced: XLA must see that it is zero
    total = lax.reduce_window(squares, zero, lax.add, window, (1,) * 5, 'SAME')
    parts = parts / (c.k + alpha * total) ** c.beta
    return jnp.concatenate(list(parts), axis=-1)

  own = functools.partial(
    lrn.local_response_norm,
    n=c.n,
    k=c.k,
    alpha=alpha,
    beta=c.beta,
    columns=columns,
  )
  return Op(own, (x,), naive, flop=0, differentiate=(0,))


def _pool(model: Any, name: str, x: Shape, params: Any, y: Shape) -> Op:
  del name, params
  size, stride = model.pool.size, model.pool.stride
  after = [
    (length - 1) * stride + size - there
    for length, there in zip(y[:2], x[1:3], strict=True)
  ]

  def naive(x: Float[Array, 'b h w c']) -> Float[Array, 'b i j c']:
    padding: Any = [(0, rows) for rows in after]
    return nn.max_pool(x, (size, size), (stride, stride), padding)

  own = functools.partial(pool.max_pool, size=size, stride=stride)
  return Op(own, (x,), naive, flop=0, differentiate=(0,))


_OPS = {'conv': _conv, 'dense': _dense, 'lrn': _lrn, 'pool': _pool}


def _workloads(
  ops: dict[str, Op], *, dtype: str
) -> Iterator[tuple[str, Callable[[], workers.Workload]]]:
  """Forward and backward of each operation, then of its naive form."""
  for (stage, op), make in itertools.product(ops.items(), (forward, backward)):
    yield f'{stage} {make.__name__}', functools.partial(make, op, dtype=dtype)
    if op.naive:
      naive = op._replace(function=op.naive)
      name = f'{stage} {make.__name__} naive'
      yield name, functools.partial(make, naive, dtype=dtype)


def forward(op: Op, *, dtype: str) -> workers.Workload:
  """The forward pass of an operation."""
  arguments = _arguments(op, dtype)
  function = compile.jit(op.function)
  out = function(*arguments)
  facts = {'flop': op.flop, 'bytes': _bytes(arguments, out)}
  return workers.Workload(
    lambda: function(*arguments), jax.block_until_ready, facts
  )


def backward(op: Op, *, dtype: str) -> workers.Workload:
  """The gradients of an operation, from its saved residuals."""
  arguments = _arguments(op, dtype)
  chosen = op.differentiate

  def pull_back(*arguments: Array) -> tuple[Array, Any]:
    def function(*some: Array) -> Array:
      full = list(arguments)
      for place, array in zip(chosen, some, strict=True):
        full[place] = array
      return op.function(*full)

    return jax.vjp(function, *(arguments[place] for place in chosen))

  y, pull = compile.jit(pull_back)(*arguments)
  g = _draw(y.shape, y.dtype)
  gradients = compile.jit(lambda pull, g: pull(g))
  out = gradients(pull, g)
  kinds = sum(arguments[place].ndim > 1 for place in chosen)
  facts = {'flop': kinds * op.flop, 'bytes': _bytes(arguments, g, out)}
  return workers.Workload(
    lambda: gradients(pull, g), jax.block_until_ready, facts
  )


def update(config: config_dict.ConfigDict) -> workers.Workload:
  """One update of all parameters and velocities (§5)."""
  rule = sgd.from_config(config.optim)
  _, shapes = _shapes(config)
  params = jax.tree.map(
    jnp.ones, shapes, is_leaf=lambda node: isinstance(node, tuple)
  )
  gradients = jax.tree.map(jnp.ones_like, params)
  state = [(params, rule.init(params))]

  @functools.partial(compile.jit, donate_argnums=1)
  def apply(gradients: Any, state: Any) -> Any:
    params, velocities = state
    updates, velocities = rule.update(
      gradients, velocities, params, rates=config.optim.learning_rate
    )
    return optax.apply_updates(params, updates), velocities

  def start() -> Any:
    state[0] = apply(gradients, state[0])
    return jax.tree.leaves(state[0])[0][..., :1]  # state is donated next

  return workers.Workload(
    start, jax.block_until_ready, {'flop': 0, 'bytes': 5 * _bytes(params)}
  )


def copy(dtype: str) -> workers.Workload:
  """Adds 1 to 256 MB in place: the peak rate of the memory."""
  slabs = (256 << 20) // (1024 * 1024 * jnp.dtype(dtype).itemsize)
  state = [jnp.ones((slabs, 1024, 1024), dtype)]
  facts = {'flop': 0, 'bytes': 2 * _bytes(state)}
  add = compile.jit(lambda x: x + 1, donate_argnums=0)

  def start() -> Array:
    state[0] = add(state[0])
    return state[0][0, 0]  # state is donated next

  return workers.Workload(start, jax.block_until_ready, facts)


def _arguments(op: Op, dtype: str) -> list[Array]:
  x, *parameters = op.shapes
  return [_draw(x, dtype)] + [_draw(s, 'float32') for s in parameters]


def _draw(shape: Shape, dtype: DTypeLike) -> Array:
  seed = math.prod(shape)
  return jax.random.normal(jax.random.key(seed), shape).astype(dtype)


def _bytes(*trees: Any) -> int:
  """Bytes of all arrays: the least to be read and written."""
  return sum(array.nbytes for array in jax.tree.leaves(trees))


if __name__ == '__main__':
  main()
