"""Products on a CPU: of bfloat16 against float32 ones of the same values."""

import functools

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


def _parameters(*shape):
  """Normal float32 numbers."""
  return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def _matrices(*, native, inputs=300, units=40):
  def multiply(x, kernel):
    return products.matmul(x, kernel, out=jnp.bfloat16, native=native)

  x, kernel = _draw(5, inputs), _parameters(inputs, units)
  return multiply, jnp.matmul, x, kernel


def _maps(**form):
  """A convolution of 13 rows, of the form, and the plain one of float32."""
  options = {'padding': ((1, 1), (1, 1))}

  def plain(x, kernel):
    order = ('NHWC', 'HWIO', 'NHWC')
    return lax.conv_general_dilated(
      x, kernel, (1, 1), **options, dimension_numbers=order
    )

  x, kernel = _draw(2, 13, 8, 4), _parameters(3, 3, 4, conv._KERNELS)
  return functools.partial(conv.conv, **options, **form), plain, x, kernel


@pytest.mark.parametrize(
  ('rounded', 'case'),
  [
    (True, functools.partial(_matrices, native=True)),
    (True, functools.partial(_maps, native=True)),
    (True, functools.partial(_maps, native=True, winograd=True)),
    (False, functools.partial(_matrices, native=False)),
    (False, functools.partial(_matrices, native=False, inputs=2048, units=520)),
    (False, _maps),
    (False, functools.partial(_maps, winograd=True)),
  ],
)
def test_kernels_are_rounded_only_where_bfloat16_is_native(rounded, case):
  """Gradients of kernels are rounded by none, others to bfloat16."""
  function, plain, x, kernel = case()
  g = _draw(*jax.eval_shape(function, x, kernel).shape)
  found = _with_gradients(function, x, kernel, g)
  if rounded:
    kernel = kernel.astype(jnp.bfloat16).astype(jnp.float32)
  exact = _with_gradients(plain, x.astype(jnp.float32), kernel, g)
  for one, expected in zip(found[:2], exact[:2], strict=True):  # y, dx
    assert one.dtype == jnp.bfloat16
    assert (one == expected.astype(jnp.bfloat16)).mean() > 0.99
  assert found[2].dtype == jnp.float32
  scale = np.abs(exact[2]).max()
  np.testing.assert_allclose(found[2] / scale, exact[2] / scale, atol=1e-5)


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
  x, kernel, g = _draw(5, 300), _parameters(300, 40), _parameters(5, 40)

  def multiply(x, kernel):
    return products.matmul(x, kernel, out=jnp.float32, native=True)

  y, dx, _ = _with_gradients(multiply, x, kernel, g)
  assert y.dtype == jnp.float32
  exact = np.asarray(g) @ np.asarray(kernel).T
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
