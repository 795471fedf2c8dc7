"""ops/pool against windows taken one at a time, and against XLA's pooling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from alexnet_jax.ops import pool


def reference(x, *, size, stride):
  h, w = (1 - (size - n) // stride for n in x.shape[1:3])
  y = np.empty((x.shape[0], h, w, x.shape[3]), x.dtype)
  for i, j in np.ndindex(h, w):
    top, left = i * stride, j * stride
    y[:, i, j] = x[:, top : top + size, left : left + size].max((1, 2))
  return y


def xla_pool(x, *, size, stride):
  """XLA's own, for inputs that the windows fill exactly."""
  window, strides = (1, size, size, 1), (1, stride, stride, 1)
  return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, 'VALID')


pooled = jax.jit(pool.max_pool, static_argnames=('size', 'stride'))
each_window = pytest.mark.parametrize(
  ('size', 'stride'), [(3, 2), (2, 2), (5, 2)]
)


@functools.partial(jax.jit, static_argnums=0)
def pull_back(op, x, g):
  return jax.vjp(op, x)[1](g)[0]


def as_float32(x):
  return np.asarray(x, np.float32)


def image(seed=0, shape=(2, 9, 11, 3)):
  """All values different, and exact in bfloat16 up to 256 of them."""
  x = np.random.default_rng(seed).permutation(np.prod(shape))
  return x.reshape(shape).astype(np.float32)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@each_window
@pytest.mark.parametrize('h', [6, 7])
def test_equals_the_windows(dtype, size, stride, h):
  x = jnp.asarray(image(shape=(2, h, h + 1, 3)), dtype)
  op = functools.partial(pool.max_pool, size=size, stride=stride)

  @jax.jit
  def both(x):
    in_training, _ = jax.vjp(op, x)  # another form: see ops/pool.py
    return op(x), in_training

  y, in_training = both(x)
  assert y.dtype == dtype
  expected = reference(as_float32(x), size=size, stride=stride)
  np.testing.assert_array_equal(as_float32(y), expected)
  np.testing.assert_array_equal(in_training, y)


@pytest.mark.parametrize(
  ('length', 'expected'), [(55, 27), (27, 13), (13, 6), (14, 7), (3, 1), (4, 2)]
)
def test_sizes_of_the_paper_and_rounding_up(length, expected):
  shape = jax.eval_shape(pool.max_pool, jnp.ones((1, length, length, 1))).shape
  assert shape == (1, expected, expected, 1)


def test_sizes_are_rounded_down_on_demand():
  """Rows and columns that no whole window holds do not count at all."""
  x = image(shape=(2, 10, 13, 3))  # windows of 3 hold 9 and 13
  op = functools.partial(pool.max_pool, size=3, stride=2, partial_windows=False)
  y = jax.jit(op)(x)
  expected = reference(x[:, :9], size=3, stride=2)
  np.testing.assert_array_equal(y, expected)
  assert y.shape == (2, 4, 6, 3) != pooled(x, size=3, stride=2).shape
  dx = pull_back(op, x, jnp.ones_like(y))
  assert not dx[:, 9].any() and dx.sum() == y.size


def test_a_number_worked_by_hand():
  x = jnp.asarray([[1, 5, 2, 0], [3, 4, 9, 1], [7, 0, 6, 8], [2, 1, 0, 3.0]])
  y = pooled(x[None, :, :, None])[0, :, :, 0]
  np.testing.assert_array_equal(y, [[9, 9], [7, 8]])


def test_a_window_over_the_edge_sees_no_zeros():
  y = pooled(jnp.full((1, 4, 4, 1), -7.0))
  np.testing.assert_array_equal(y, -7)


@each_window
@pytest.mark.parametrize(
  ('dtype', 'levels'),
  [(jnp.float32, 1000), (jnp.float32, 2), (jnp.bfloat16, 3)],
)
def test_gradient_is_xlas_ties_and_all(dtype, size, stride, levels):
  x = image(shape=(2, 9, 11, 3)) % levels
  if stride == 2 and size == 2:
    x = x[:, :8, :10]
  x = jnp.asarray(x, dtype)
  window = {'size': size, 'stride': stride}
  ops = [functools.partial(op, **window) for op in (pool.max_pool, xla_pool)]
  shape = jax.eval_shape(ops[0], x).shape
  g = jnp.asarray(image(1, shape) % 8, dtype)  # Small: sums are exact.
  dx, xla_dx = jax.jit(lambda x, g: [pull_back(op, x, g) for op in ops])(x, g)
  assert dx.dtype == dtype
  np.testing.assert_array_equal(dx, xla_dx)


@each_window
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('levels', [200, 3])
@pytest.mark.parametrize('h', [8, 9])  # windows hang over the edge, or fit
def test_a_gpus_form_is_the_same(dtype, size, stride, levels, h, monkeypatch):
  x = image(shape=(2, h, h + 2, 3)) % levels
  x[0, 4, 4, 0] = np.nan
  x = jnp.asarray(x, dtype)
  window = {'size': size, 'stride': stride}
  shape = jax.eval_shape(functools.partial(pool.max_pool, **window), x).shape
  g = jnp.asarray(image(1, shape) % 8, dtype)  # small: sums are exact

  def traced():
    @jax.jit
    def both(x, g):
      y, back = jax.vjp(functools.partial(pool.max_pool, **window), x)
      return y, back(g)[0]

    return both.trace(x, g)

  ours = traced()
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  theirs = traced()
  assert ['u8[' in str(t.jaxpr) for t in (ours, theirs)] == [False, True]
  results = [t.lower().compile()(x, g) for t in (ours, theirs)]
  for one, other in zip(*results, strict=True):
    assert one.dtype == other.dtype == dtype
    np.testing.assert_array_equal(as_float32(one), as_float32(other))


def test_gradient_over_the_edge_goes_where_the_maximum_is():
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)  # Maxima: 10 11 14 15.
  dx = pull_back(pool.max_pool, x, jnp.ones((1, 2, 2, 1)))
  expected = np.isin(np.arange(16), [10, 11, 14, 15])
  np.testing.assert_array_equal(dx.ravel(), expected)


def test_check_grads():
  x = jnp.asarray(image(shape=(1, 8, 7, 2)))
  check_grads(pooled, (x,), 1, ['rev'], eps=0.25)


def test_two_data_rows_and_two_columns_of_devices():
  mesh = jax.make_mesh(
    (2, 2), ('data', 'column'), axis_types=(AxisType.Auto,) * 2
  )
  spec = P('data', None, None, 'column')
  sharded = jax.shard_map(
    pool.max_pool, mesh=mesh, in_specs=spec, out_specs=spec
  )
  x = jnp.asarray(image(shape=(4, 7, 7, 4)))
  y = pooled(x)
  np.testing.assert_array_equal(jax.jit(sharded)(x), y)
  together, alone = pull_back(sharded, x, y), pull_back(pool.max_pool, x, y)
  np.testing.assert_array_equal(together, alone)


def test_vmap_adds_a_batch_axis():
  x = jnp.asarray(image(shape=(3, 2, 7, 7, 2)))
  y = jax.jit(jax.vmap(pool.max_pool))(x)
  expected = np.stack([reference(np.asarray(a), size=3, stride=2) for a in x])
  np.testing.assert_array_equal(y, expected)


def test_refuses_what_has_no_meaning():
  with pytest.raises(ValueError, match='stride 3 > size 2'):
    pool.max_pool(jnp.ones((1, 5, 5, 1)), size=2, stride=3)
  with pytest.raises(ValueError, match='cannot pool 2'):
    pool.max_pool(jnp.ones((1, 2, 5, 1)))
