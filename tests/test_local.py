"""ops/local against loops over places in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.ops import conv, local

# name -> (image shape, kernel shape, options)
CASES = {
  'local3': ((2, 4, 5, 3), (4, 5, 3, 3, 3, 4), {'padding': ((1, 1), (1, 1))}),
  'stride': ((2, 7, 6, 2), (3, 2, 3, 4, 2, 3), {'stride': 2}),
  'unequal': ((1, 3, 3, 2), (4, 3, 2, 2, 2, 2), {'padding': ((2, 0), (0, 1))}),
  'groups': ((2, 3, 3, 4), (2, 2, 2, 2, 2, 6), {'groups': 2}),
}
each_case = pytest.mark.parametrize('name', CASES)
each_dtype = pytest.mark.parametrize(
  ('dtype', 'tol'), [(jnp.float32, 1e-5), (jnp.bfloat16, 2**-7)]
)


def case(name, dtype=jnp.float32):
  """The op with its options bound, images, kernels and an output gradient."""
  x_shape, kernel_shape, options = CASES[name]
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=x_shape), dtype)
  kernel = jnp.asarray(rng.normal(size=kernel_shape), dtype)
  g = rng.normal(size=(len(x), *kernel_shape[:2], kernel_shape[-1]))
  op = functools.partial(local.local, **options)
  return op, x, kernel, jnp.asarray(g, dtype)


def reference(x, kernel, g, *, stride=1, padding=((0, 0), (0, 0)), groups=1):
  """y, and the gradients of (y g).sum() by x and by the kernels."""
  padded = np.pad(x, ((0, 0), *padding, (0, 0)))
  h, w, kh, kw, width, k = kernel.shape
  y, dx, dkernel = (np.zeros(s) for s in (g.shape, padded.shape, kernel.shape))
  for b, row, column, n in np.ndindex(len(x), h, w, k):
    first = n // (k // groups) * width
    window = (
      b,
      slice(row * stride, row * stride + kh),
      slice(column * stride, column * stride + kw),
      slice(first, first + width),
    )
    own = kernel[row, column, ..., n]
    y[b, row, column, n] = (padded[window] * own).sum()
    dx[window] += g[b, row, column, n] * own
    dkernel[row, column, ..., n] += g[b, row, column, n] * padded[window]
  (top, _), (left, _) = padding
  return y, dx[:, top:, left:][:, : x.shape[1], : x.shape[2]], dkernel


def float64(x):
  return np.asarray(x, np.float64)


@each_case
@each_dtype
def test_values_and_gradients_are_those_of_a_loop(name, dtype, tol):
  op, x, kernel, g = case(name, dtype)
  y, pull = jax.vjp(jax.jit(op), x, kernel)
  expected = reference(*map(float64, (x, kernel, g)), **op.keywords)
  for ours, theirs in zip((y, *pull(g)), expected, strict=True):
    assert ours.dtype == dtype
    np.testing.assert_allclose(
      float64(ours), theirs, rtol=tol, atol=tol * np.abs(theirs).max()
    )


def test_equal_kernels_at_every_place_are_a_convolution():
  op, x, kernel, _ = case('local3')
  one = kernel[0, 0]
  same = jnp.broadcast_to(one, kernel.shape)
  np.testing.assert_allclose(
    op(x, same), conv.conv(x, one, **op.keywords), rtol=1e-5, atol=1e-5
  )
