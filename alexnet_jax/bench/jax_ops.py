"""The worker of bench/ops.py: each operation of the network by itself.

  python -m alexnet_jax.bench.jax_ops '{"config": {...}, "dtype": "float32"}'

Workloads are named 'conv1 forward' or 'conv1/lrn backward'; with ' naive' the
shortest JAX form of the same, with XLA's gradient. 'update' is the rule of §5.
All columns are on one device. Dropout and ReLU are missing: they cost next to
nothing, or are fused with their neighbours.
"""

import functools
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

from alexnet_jax.bench import jax_step
from alexnet_jax.bench.baselines import serve
from alexnet_jax.config import schema
from alexnet_jax.models import alexnet
from alexnet_jax.ops import lrn, pool
from alexnet_jax.optim import sgd
from alexnet_jax.runtime import compile

Shape = tuple[int, ...]


class Op(NamedTuple):
  """An operation and its arguments: activations, then parameters."""

  function: Callable[..., Array]
  shapes: tuple[Shape, ...]  # activations in the measured dtype, others float32
  naive: Callable[..., Array] | None  # the shortest JAX form of it, if another
  flop: int = 0  # of the forward pass on weights, for the whole batch
  first: int = 0  # index of the first argument whose gradient training needs


def main() -> None:
  """Answers until stdin closes."""
  options = json.loads(sys.argv[1])
  config = config_dict.ConfigDict(schema.from_json(options['config']))
  config.mesh.data = config.mesh.column = 1
  jax_step.set_up(config)
  dtype = options['dtype']
  workloads = dict(_workloads(config, dtype=dtype))
  info = jax_step.machine() | {'ops': list(workloads)}
  workloads |= {
    'product': functools.partial(jax_step.product, dtype),
    'copy': functools.partial(copy, dtype),
  }
  jax_step.answer(workloads, info=info)


def operations(config: config_dict.ConfigDict) -> Iterator[tuple[str, Op]]:
  """Operations of the network in order: (stage, operation)."""
  model, images = config.model, config.batch_size
  crop = config.data.crop_size
  shapes = alexnet.activation_shapes(model, crop_size=crop)
  params = jax.tree.map(lambda array: array.shape, _parameters(config))
  before = (images, crop, crop, 3)
  for stage in alexnet.stages(model):
    name, _, op = stage.partition('/')
    make = _OPS.get(op or ('conv' if name.startswith('conv') else 'dense'))
    if make:
      of_layer = params.get(name, {})
      yield stage, make(model, name, before, of_layer, shapes[stage])
    before = (images, *shapes[stage])


def _parameters(config: config_dict.ConfigDict) -> Any:
  """Shapes of the parameters, by layer and kind; nothing is computed."""
  crop = config.data.crop_size
  make = functools.partial(alexnet.initialise, config.model, crop_size=crop)
  return jax.eval_shape(make, jax.random.key(0))


def _conv(model: Any, name: str, x: Shape, params: Any, y: Shape) -> Op:
  layer = model.layer[name]
  groups = model.columns if layer.inputs == 'own_column' else 1
  module = alexnet.Conv(
    config_dict.FrozenConfigDict(layer), kernels=layer.kernels, groups=groups
  )
  naive = nn.Conv(
    layer.kernels,
    (layer.size, layer.size),
    strides=layer.stride,
    padding=[module._padding(size) for size in x[1:3]],
    feature_group_count=groups,
  )
  return Op(
    function=_with_params(module),
    shapes=(x, params['kernel'], params['bias']),
    naive=lambda x, *rest: _with_params(naive.copy(dtype=x.dtype))(x, *rest),
    flop=2 * x[0] * math.prod(params['kernel']) * math.prod(y[:2]),
    first=1 if layer.inputs == 'image' else 0,
  )


def _dense(model: Any, name: str, x: Shape, params: Any, y: Shape) -> Op:
  del y
  layer, inputs = model.layer[name], params['kernel'][0]
  module = alexnet.Dense(config_dict.FrozenConfigDict(layer), units=layer.units)
  x = (x[0], math.prod(x[1:]) // inputs, inputs)
  return Op(
    function=_with_params(module),
    shapes=(x, params['kernel'], params['bias']),
    naive=None,
    flop=2 * x[0] * math.prod(params['kernel']),
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

  of_config = {'n': c.n, 'k': c.k, 'alpha': alpha, 'beta': c.beta}
  own = functools.partial(lrn.local_response_norm, **of_config, columns=columns)
  return Op(own, (x,), naive)


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
  return Op(own, (x,), naive)


_OPS = {'conv': _conv, 'dense': _dense, 'lrn': _lrn, 'pool': _pool}


def _workloads(
  config: config_dict.ConfigDict, *, dtype: str
) -> Iterator[tuple[str, Callable[[], serve.Workload]]]:
  """Both directions of each operation and of its naive form; the update."""
  ops = dict(operations(config))
  for stage, op in ops.items():
    for make in (forward, backward):
      name = f'{stage} {make.__name__}'
      yield name, functools.partial(make, op, dtype=dtype)
      if op.naive:
        naive = op._replace(function=op.naive)
        yield f'{name} naive', functools.partial(make, naive, dtype=dtype)
  yield 'update', functools.partial(update, config)


def forward(op: Op, *, dtype: str) -> serve.Workload:
  """The forward pass of an operation."""
  arguments = _arguments(op, dtype)
  call = functools.partial(compile.jit(op.function), *arguments)
  facts = {'flop': op.flop, 'bytes': _bytes(arguments, call())}
  return serve.Workload(call, facts)


def backward(op: Op, *, dtype: str) -> serve.Workload:
  """The gradients of an operation, from its saved residuals."""
  arguments = _arguments(op, dtype)

  def pull_back(*arguments: Array) -> tuple[Array, Any]:
    fixed, chosen = arguments[: op.first], arguments[op.first :]
    return jax.vjp(functools.partial(op.function, *fixed), *chosen)

  y, pull = compile.jit(pull_back)(*arguments)
  g = _draw(y.shape, y.dtype)
  gradients = compile.jit(lambda pull, g: pull(g))
  call = functools.partial(gradients, pull, g)
  kinds = sum(each.ndim > 1 for each in arguments[op.first :])
  facts = {'flop': kinds * op.flop, 'bytes': _bytes(arguments, g, call())}
  return serve.Workload(call, facts)


def update(config: config_dict.ConfigDict) -> serve.Workload:
  """One update of all parameters and velocities (§5)."""
  rule = sgd.from_config(config.optim)
  params = jax.tree.map(jnp.ones_like, _parameters(config))
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

  return serve.Workload(start, {'flop': 0, 'bytes': 5 * _bytes(params)})


def copy(dtype: str) -> serve.Workload:
  """Adds 1 to 256 MB in place: the peak rate of the memory."""
  slabs = (256 << 20) // (1024 * 1024 * jnp.dtype(dtype).itemsize)
  state = [jnp.ones((slabs, 1024, 1024), dtype)]
  facts = {'flop': 0, 'bytes': 2 * _bytes(state)}
  add = compile.jit(lambda x: x + 1, donate_argnums=0)

  def start() -> Array:
    state[0] = add(state[0])
    return state[0][0, 0]  # state is donated next

  return serve.Workload(start, facts)


def _arguments(op: Op, dtype: str) -> list[Array]:
  x, *parameters = op.shapes
  return [_draw(x, dtype)] + [_draw(s, 'float32') for s in parameters]


def _draw(shape: Shape, dtype: DTypeLike) -> Array:
  rng = np.random.default_rng(math.prod(shape))  # JAX would compile each shape
  return jnp.asarray(rng.standard_normal(shape, np.float32), dtype)


def _bytes(*trees: Any) -> int:
  """Bytes of all arrays: the least to be read and written."""
  return sum(array.nbytes for array in jax.tree.leaves(trees))


if __name__ == '__main__':
  main()
