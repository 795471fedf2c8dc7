"""ops/winograd against correlations in float64, and in a net's training."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax.ops import conv, winograd
from tests import nets, test_conv


@pytest.mark.parametrize('r', [2, 3, 4, 5, 6, 7])
def test_the_matrices_correlate_rows(r):
  rng = np.random.default_rng(r)
  for m in range(2, 10 - r):
    x, k = rng.normal(size=m + r - 1), rng.normal(size=r)
    a, b, g = map(np.asarray, winograd.matrices(m, r))
    y = a @ ((b @ x) * (g @ k))
    np.testing.assert_allclose(y, np.correlate(x, k, 'valid'), atol=1e-13)


def test_it_takes_fewer_products_or_none():
  for r in range(1, 12):
    for height in range(1, 60):
      m = winograd.rows_together(height, r)
      tiles = -(-height // m) if m else 0
      assert tiles * (m + r - 1) < height * r
      assert m == 0 or m + r - 1 <= 8  # more points round worse
  assert winograd.rows_together(9, 8) == winograd.rows_together(9, 1) == 0


def test_each_product_is_of_one_row_of_a_kernel():
  """Conv3 has 13 rows, 3 tiles of 5: 7 products of 3 rows each."""
  x, kernel = jnp.ones((2, 13, 9, 4)), jnp.ones((3, 3, 4, 8))

  def shapes(function):
    text = jax.jit(function).lower(x, kernel).as_text()
    found = re.findall(r'stablehlo.convolution\(.*-> tensor<(.*?)xf32>', text)
    return found

  op = functools.partial(conv.conv, padding=((1, 1), (1, 1)))
  fewer = functools.partial(op, winograd=True)
  assert shapes(op) == ['2x13x9x8']
  assert shapes(fewer) == ['2x3x9x8'] * 7
  slope = jax.grad(lambda x, k: fewer(x, k).sum(), argnums=1)
  assert shapes(slope) == ['4x1x3x8'] * 7


@pytest.mark.parametrize('name', ['conv2', 'conv3'])
def test_errors_at_the_size_of_the_paper(name):
  """Relative to the largest value, of outputs and both gradients."""
  size, channels, kernels, r = {
    'conv2': (27, 48, 128, 5),
    'conv3': (13, 256, 384, 3),
  }[name]
  rng = np.random.default_rng(0)
  x = np.maximum(rng.normal(size=(2, size, size, channels)), 0)
  kernel = rng.normal(size=(r, r, channels, kernels)) * 0.01
  g = rng.normal(size=(2, size, size, kernels))
  padding = ((r // 2, r // 2),) * 2
  op = functools.partial(conv.conv, padding=padding, winograd=True)
  arguments = [jnp.asarray(a, jnp.float32) for a in (x, kernel, g)]
  found = jax.tree.leaves(test_conv.pull_back(op, *arguments))
  x, kernel, g = (np.asarray(a, np.float64) for a in arguments)
  wide = np.pad(x, ((0, 0), *padding, (0, 0)))
  wide_g = np.pad(g, ((0, 0), *padding, (0, 0)))
  y, dx, dkernel = 0, 0, np.empty_like(kernel)
  for i, j in np.ndindex(r, r):
    seen = wide[:, i : i + size, j : j + size]
    y = y + seen @ kernel[i, j]
    dx = dx + (
      wide_g[:, r - 1 - i :, r - 1 - j :][:, :size, :size] @ kernel[i, j].T
    )
    dkernel[i, j] = np.tensordot(seen, g, axes=((0, 1, 2), (0, 1, 2)))
  for ours, exact in zip(found, (y, dx, dkernel), strict=True):
    assert np.abs(ours - exact).max() < 1e-5 * np.abs(exact).max()


def test_it_is_for_cpus(monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  op, x, kernel, _ = test_conv.case('conv2_winograd')
  text = jax.jit(op).lower(x, kernel).as_text()
  assert text.count('stablehlo.convolution') == 1


@pytest.mark.parametrize('column', [1, 2])
def test_training_is_the_same_but_for_rounding(column):
  shape = {'data': 1, 'column': column, 'short': column == 1}
  config = nets.config(**shape)
  config.winograd = True
  run = nets.Trained(config, num_steps=5)
  plain = nets.trained(**shape)
  np.testing.assert_allclose(run.losses, plain.losses, rtol=1e-4)
  ours, theirs = (jax.tree.leaves(r.states[-1].params) for r in (run, plain))
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
  same = [np.array_equal(*pair) for pair in zip(ours, theirs, strict=True)]
  assert not all(same)


@pytest.mark.parametrize('r', [1, 3, 9])
def test_bfloat16_is_multiplied_as_such_where_it_does_not_fit(r):
  """With kernels of one row, or of nine; `native` and `winograd` are on."""
  x = jnp.ones((1, 16, 12, 2), jnp.bfloat16)
  kernel = jnp.ones((r, r, 2, conv._KERNELS), jnp.bfloat16)
  op = functools.partial(conv.conv, native=True, winograd=True)
  text = jax.jit(op).lower(x, kernel).as_text()
  names = 'stablehlo.convolution', 'stablehlo.dot_general'
  products = 7 if winograd.rows_together(17 - r, r) else 0
  assert (products > 0) == (r == 3)
  found = [text.count(name) for name in names]
  assert found == ([products, 0] if products else [0, r])


def test_other_dtypes_are_convolved_plainly():
  with jax.enable_x64(True):
    x, kernel = jnp.ones((1, 13, 9, 2)), jnp.ones((3, 3, 2, 4))
    assert x.dtype == jnp.float64
    op = functools.partial(conv.conv, winograd=True)
    text = jax.jit(op).lower(x, kernel).as_text()
  assert text.count('stablehlo.convolution') == 1


def test_bfloat16_is_multiplied_as_float32_and_rounded_once():
  op, x, kernel, _ = test_conv.case('winograd3', jnp.bfloat16)
  y = jax.jit(op)(x, kernel)
  wide = (a.astype(jnp.float32) for a in (x, kernel))
  exact = lax.conv_general_dilated(
    *wide, (1, 1), op.keywords['padding'], dimension_numbers=conv.ORDER
  )
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-4
  )
