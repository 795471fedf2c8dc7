"""ops/lrn against the equation of §3.3 in float64, a number at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from alexnet_jax.ops import lrn

# A large alpha, so that the sum weighs as much as k.
CHANNELS = {'n': 5, 'k': 2.0, 'alpha': 0.3, 'beta': 0.75}
POSITIONS = {'size': 5, 'k': 1.0, 'alpha': 0.3, 'beta': 0.75}


def channel_reference(a, *, n, k, alpha, beta, columns=1):
  width = a.shape[-1] // columns
  b = np.empty_like(a)
  for i in range(a.shape[-1]):
    start = i // width * width
    near = slice(max(start, i - n // 2), min(start + width, i + n // 2 + 1))
    b[..., i] = a[..., i] / (k + alpha * (a[..., near] ** 2).sum(-1)) ** beta
  return b


def position_reference(a, *, size, k, alpha, beta):
  b, r = np.empty_like(a), size // 2
  for i, j in np.ndindex(a.shape[1:3]):
    seen = a[:, max(0, i - r) : i + r + 1, max(0, j - r) : j + r + 1]
    d = k + alpha * (seen**2).sum((1, 2))
    b[:, i, j] = a[:, i, j] / d**beta
  return b


# name -> (op, its reference): every test below holds for each of them.
NORMS = {
  'channels': (
    functools.partial(lrn.local_response_norm, **CHANNELS),
    functools.partial(channel_reference, **CHANNELS),
  ),
  'two_columns': (
    functools.partial(lrn.local_response_norm, columns=2, **CHANNELS),
    functools.partial(channel_reference, columns=2, **CHANNELS),
  ),
  'other_beta': (
    functools.partial(lrn.local_response_norm, **CHANNELS | {'beta': 0.4}),
    functools.partial(channel_reference, **CHANNELS | {'beta': 0.4}),
  ),
  'wide_window': (  # Wider than the 8 channels.
    functools.partial(lrn.local_response_norm, **CHANNELS | {'n': 19}),
    functools.partial(channel_reference, **CHANNELS | {'n': 19}),
  ),
  'positions': (
    functools.partial(lrn.spatial_response_norm, **POSITIONS),
    functools.partial(position_reference, **POSITIONS),
  ),
}
each_norm = pytest.mark.parametrize('name', NORMS)


def activities(seed=0, shape=(2, 7, 6, 8)):
  return 2 * np.random.default_rng(seed).normal(size=shape)


@functools.partial(jax.jit, static_argnums=0)
def pull_back(op, a, g):
  return jax.vjp(op, a)[1](g)[0]


def as_float32(x):
  return jnp.asarray(x, jnp.float32)


@each_norm
@pytest.mark.parametrize(
  ('dtype', 'rtol'), [(jnp.float32, 1e-5), (jnp.bfloat16, 2**-7)]
)
def test_equals_the_equation(name, dtype, rtol):
  op, reference = NORMS[name]
  a = jnp.asarray(activities(), dtype)
  b = jax.jit(op)(a)
  assert b.dtype == dtype
  expected = reference(np.asarray(a, np.float64))
  np.testing.assert_allclose(np.asarray(b, np.float64), expected, rtol=rtol)


@each_norm
@pytest.mark.parametrize(
  ('dtype', 'atol'), [(jnp.float32, 1e-5), (jnp.bfloat16, 2**-7)]
)
@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
def test_gradient_equals_finite_differences(
  name, dtype, atol, backend, monkeypatch
):
  op, reference = NORMS[name]
  op = functools.partial(op)  # to be traced anew
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  a = jnp.asarray(activities(), dtype)
  g = jnp.asarray(activities(1) / 2, dtype)
  da = pull_back(op, a, g)
  assert da.dtype == dtype
  program = str(jax.make_jaxpr(lambda: pull_back(op, a, g))())
  assert ('optimization_barrier' in program) == (backend == 'gpu')
  a, g = np.asarray(a, np.float64), np.asarray(g, np.float64)
  for seed in range(5):
    step = 1e-5 * activities(seed)
    slope = (g * (reference(a + step) - reference(a - step))).sum() / 2e-5
    along = (np.asarray(da, np.float64) * step).sum() / 1e-5
    assert abs(along - slope) < atol * np.abs(g).sum() / 4


@each_norm
def test_check_grads(name):
  a = as_float32(activities(shape=(1, 3, 4, 8)))
  check_grads(jax.jit(NORMS[name][0]), (a,), 1, ['rev'], atol=2e-2, rtol=2e-2)


def test_a_number_worked_by_hand():
  # 3 / (2 + 0.5 (1 + 4 + 9 + 16 + 25))^0.75 in the middle of 1 2 3 4 5:
  # 29.5^0.75 = 12.658.
  a = as_float32([1, 2, 3, 4, 5]).reshape(1, 1, 1, 5)
  values = {'n': 5, 'k': 2.0, 'alpha': 0.5, 'beta': 0.75}
  b = jax.jit(functools.partial(lrn.local_response_norm, **values))(a)
  np.testing.assert_allclose(np.asarray(b)[0, 0, 0, 2], 3 / 12.658, rtol=1e-4)


def test_windows_are_clipped_at_the_first_and_last_channels():
  ones = jnp.ones((1, 1, 1, 8))
  values = {'n': 5, 'k': 0.0, 'alpha': 1.0, 'beta': 1.0}
  b = jax.jit(functools.partial(lrn.local_response_norm, **values))(ones)
  seen = np.round(1 / np.asarray(b[0, 0, 0]))
  np.testing.assert_array_equal(seen, [3, 4, 5, 5, 5, 5, 4, 3])


_two_columns = jax.jit(functools.partial(lrn.local_response_norm, columns=2))


@pytest.mark.parametrize('bad', [1e6, np.nan, np.inf])
def test_nothing_crosses_from_one_column_into_the_other(bad):
  a = activities(shape=(1, 2, 2, 96)).astype(np.float32)
  for own, other in [(slice(48), slice(48, 96)), (slice(48, 96), slice(48))]:
    loud, g = a.copy(), np.zeros_like(a)
    loud[..., other], g[..., own] = bad, 1
    alone = jax.jit(lrn.local_response_norm)(a[..., own])
    together = np.asarray(_two_columns(loud))
    np.testing.assert_array_equal(together[..., own], alone)
    da = np.asarray(pull_back(_two_columns, a, g))
    np.testing.assert_array_equal(da[..., other], 0)


def test_channel_47_and_48_are_neighbours_in_one_column_only():
  a = activities(shape=(1, 1, 1, 96)).astype(np.float32)
  louder = a.copy()
  louder[..., 48] = 1e4
  for columns, moved in [(1, True), (2, False)]:
    op = jax.jit(functools.partial(lrn.local_response_norm, columns=columns))
    quiet, loud = (np.asarray(op(x))[0, 0, 0, 47] for x in (a, louder))
    assert bool(quiet != loud) is moved


@each_norm
def test_two_data_rows_and_two_columns_of_devices(name):
  op = functools.partial(NORMS[name][0])
  if name == 'two_columns':
    op = functools.partial(lrn.local_response_norm, **CHANNELS)
  mesh = jax.make_mesh(
    (2, 2), ('data', 'column'), axis_types=(AxisType.Auto,) * 2
  )
  spec = P('data', None, None, 'column')
  sharded = jax.shard_map(op, mesh=mesh, in_specs=spec, out_specs=spec)
  a, g = (activities(seed).astype(np.float32) for seed in (0, 1))
  halves = np.split(a, 2, -1), np.split(g, 2, -1)
  together = pull_back(sharded, a, g)
  apart = [pull_back(op, a, g) for a, g in zip(*halves, strict=True)]
  np.testing.assert_allclose(together, np.concatenate(apart, -1), atol=1e-6)


@each_norm
def test_vmap_adds_a_batch_axis(name):
  op, reference = NORMS[name]
  a = activities(shape=(3, 2, 5, 5, 8))
  b = jax.jit(jax.vmap(op))(as_float32(a))
  expected = np.stack([reference(x) for x in a])
  np.testing.assert_allclose(b, expected, rtol=1e-5)


def test_refuses_what_has_no_meaning():
  a = jnp.ones((1, 4, 4, 6))
  with pytest.raises(ValueError, match='4 is not odd'):
    lrn.local_response_norm(a, n=4)
  with pytest.raises(ValueError, match='2 is not odd'):
    lrn.spatial_response_norm(a, size=2, alpha=1.0)
  with pytest.raises(ValueError, match='6 channels'):
    lrn.local_response_norm(a, columns=4)
