"""Products on a CPU: of bfloat16 against float32 ones of the same values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax.ops import conv, products

_ROUNDED = 2**-7  # relative; a bfloat16 has 8 bits


def _draw(*shape):
  """Normal bfloat16 numbers."""
  rng = np.random.default_rng(sum(shape))
  return jnp.asarray(rng.normal(size=shape), jnp.bfloat16)


def _close(found, expected):
  assert found.dtype == jnp.bfloat16
  scale = np.abs(expected).max()
  found = np.asarray(found, np.float32)
  np.testing.assert_allclose(found / scale, expected / scale, atol=_ROUNDED)


def _with_gradients(function, x, kernel, g):
  @jax.jit
  def run(x, kernel, g):
    y, back = jax.vjp(function, x, kernel)
    return y, *back(g.astype(y.dtype))

  return run(x, kernel, g)


@pytest.mark.parametrize(
  ('size', 'stride', 'groups', 'padding'),
  [
    (3, 1, 1, ((1, 1), (1, 1))),
    (5, 1, 2, ((2, 2), (2, 2))),
    (3, 1, 1, ((0, 2), (1, 0))),
    (11, 4, 1, ((0, 3), (0, 3))),
  ],
)
def test_a_convolution_and_its_gradients(size, stride, groups, padding):
  narrow = conv._KERNELS * groups  # the fewest that products are used for
  x = _draw(3, 16, 12, narrow if stride == 1 else 3)
  kernel = _draw(size, size, x.shape[-1] // groups, narrow)

  def expected(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      padding,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=groups,
    )

  def native(x, kernel):
    options = {'stride': stride, 'padding': padding, 'groups': groups}
    return conv.conv(x, kernel, **options, native=True)

  exact = [a.astype(jnp.float32) for a in (x, kernel)]
  g = _draw(*jax.eval_shape(expected, *exact).shape)
  wanted = _with_gradients(expected, *exact, g)
  jax.tree.map(_close, _with_gradients(native, x, kernel, g), wanted)


@pytest.mark.parametrize('native', [False, True])
def test_a_matrix_product_and_its_gradients(native):
  x, kernel, g = _draw(5, 300), _draw(300, 40), _draw(5, 40)

  def multiply(x, kernel):
    return products.matmul(x, kernel, out=jnp.bfloat16, native=native)

  exact = [a.astype(jnp.float32) for a in (x, kernel)]
  wanted = _with_gradients(jnp.matmul, *exact, g)
  jax.tree.map(_close, _with_gradients(multiply, x, kernel, g), wanted)


@pytest.mark.parametrize('inputs', [2048, 2049])  # in blocks, and not
@pytest.mark.parametrize('images', [1, 5])
def test_a_large_product_of_float32_and_its_gradients(inputs, images):
  rng = np.random.default_rng(inputs)
  shapes = (images, inputs), (inputs, 520), (images, 520)
  x, kernel, g = (rng.normal(size=shape) for shape in shapes)
  assert kernel.size >= products._LARGE

  def multiply(x, kernel):
    return products.matmul(x, kernel, out=jnp.float32)

  arrays = (jnp.asarray(a, jnp.float32) for a in (x, kernel, g))
  found = _with_gradients(multiply, *arrays)
  for one, exact in zip(
    found, (x @ kernel, g @ kernel.T, x.T @ g), strict=True
  ):
    assert one.dtype == jnp.float32
    np.testing.assert_allclose(one, exact, atol=1e-3)  # of numbers to 150


def test_gradients_of_float32_logits_are_not_rounded():
  x, kernel = _draw(5, 300), _draw(300, 40)
  g = jnp.asarray(np.random.default_rng(0).normal(size=(5, 40)), jnp.float32)

  def multiply(x, kernel):
    return products.matmul(x, kernel, out=jnp.float32, native=True)

  y, dx, _ = _with_gradients(multiply, x, kernel, g)
  assert y.dtype == jnp.float32
  exact = np.asarray(g) @ np.asarray(kernel, np.float32).T
  same = dx == jnp.asarray(exact).astype(jnp.bfloat16)
  assert same.mean() > 0.99  # of a g that was rounded: less than half


def test_products_are_of_bfloat16_with_float32_results():
  x, kernel = _draw(2, 8, 8, 4), _draw(3, 3, 4, conv._KERNELS)
  program = jax.jit(lambda x, k: conv.conv(x, k, native=True))
  text = program.lower(x, kernel).as_text()
  assert 'convolution' not in text
  (kinds,) = {
    line.rsplit(' : ', 1)[1].count('bf16')
    for line in text.splitlines()
    if 'dot_general' in line
  }
  assert kinds == 2  # of three: the result is float32


def test_float32_is_not_changed():
  x = _draw(2, 8, 8, 4).astype(jnp.float32)
  kernel = _draw(3, 3, 4, conv._KERNELS).astype(jnp.float32)
  native = conv.conv(x, kernel, native=True)
  np.testing.assert_array_equal(native, conv.conv(x, kernel))
