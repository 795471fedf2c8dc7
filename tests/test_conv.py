"""ops/conv against loops over taps in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from alexnet_jax.ops import conv

# name -> (image shape, kernel shape, options). The layers' forms, made small:
# odd sizes, unequal padding, rows that no window reaches.
CASES = {
  'conv1': ((3, 24, 24, 3), (11, 11, 3, 4), {'stride': 4, 'ceil': True}),
  'conv2': (
    (2, 7, 6, 4),
    (5, 5, 2, 6),
    {'padding': ((2, 2), (2, 2)), 'groups': 2},
  ),
  'conv3': ((2, 5, 5, 4), (3, 3, 4, 6), {'padding': ((1, 1), (1, 1))}),
  'unequal': ((2, 9, 6, 3), (4, 3, 3, 2), {'padding': ((2, 0), (0, 1))}),
  'unreached': ((2, 10, 9, 2), (3, 2, 2, 3), {'stride': 3}),
  'kernel_below_stride': ((2, 9, 9, 2), (2, 2, 2, 3), {'stride': 3}),
  # Gradients of its maps are cropped: zeros reach beyond the kernels.
  'wide_padding': ((2, 5, 6, 2), (3, 2, 2, 3), {'padding': ((3, 4), (2, 3))}),
  # Winograd's algorithm: a stride of 4, several tiles of 5 rows; groups.
  'winograd1': (
    (3, 40, 24, 3),
    (11, 11, 3, 4),
    {'stride': 4, 'ceil': True, 'winograd': True},
  ),
  'winograd3': (
    (2, 12, 5, 4),
    (3, 3, 4, 6),
    {'padding': ((1, 1), (1, 1)), 'winograd': True},
  ),
}
CASES |= {
  f'{name}_winograd': (*shapes, options | {'winograd': True})
  for name, (*shapes, options) in CASES.items()
  if name in ('conv2', 'unequal', 'wide_padding')
}
each_case = pytest.mark.parametrize('name', CASES)


def case(name, dtype=jnp.float32):
  """The op with its options bound, images, kernels and an output gradient."""
  x_shape, kernel_shape, options = CASES[name]
  options = dict(options)
  if options.pop('ceil', False):
    pads = [conv.ceil_padding(s, 11, 4) for s in x_shape[1:3]]
    options['padding'] = tuple(pads)
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=x_shape), dtype)
  kernel = jnp.asarray(rng.normal(size=kernel_shape), dtype)
  op = functools.partial(conv.conv, **options)
  g = rng.normal(size=jax.eval_shape(op, x, kernel).shape)
  return op, x, kernel, jnp.asarray(g, dtype)


def reference(
  x, kernel, *, stride=1, padding=((0, 0), (0, 0)), groups=1, winograd=False
):
  x = np.pad(x, ((0, 0), *padding, (0, 0)))
  kh, kw, width, k = kernel.shape
  h, w = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
  y = np.zeros((len(x), h, w, k))
  for i, j, n in np.ndindex(kh, kw, k):
    first = n // (k // groups) * width
    seen = x[:, i:, j:][:, ::stride, ::stride, first : first + width]
    y[..., n] += seen[:, :h, :w] @ kernel[i, j, :, n]
  return y


@functools.partial(jax.jit, static_argnums=0)
def pull_back(op, x, kernel, g):
  y, back = jax.vjp(op, x, kernel)
  return y, back(g)


def float64(x):
  return np.asarray(x, np.float64)


@each_case
@pytest.mark.parametrize(
  ('dtype', 'tol'), [(jnp.float32, 1e-5), (jnp.bfloat16, 2**-7)]
)
def test_equals_the_sum_over_taps(name, dtype, tol):
  op, x, kernel, _ = case(name, dtype)
  y = jax.jit(op)(x, kernel)
  assert y.dtype == dtype
  expected = reference(float64(x), float64(kernel), **op.keywords)
  np.testing.assert_allclose(float64(y), expected, rtol=tol, atol=10 * tol)


@each_case
@pytest.mark.parametrize(
  ('dtype', 'tol'), [(jnp.float32, 1e-5), (jnp.bfloat16, 2**-7)]
)
def test_gradients_equal_the_sum_over_taps(name, dtype, tol):
  """Of a function linear in each argument: y(x, e) . g = dkernel . e."""
  op, x, kernel, g = case(name, dtype)
  _, gradients = pull_back(op, x, kernel, g)
  x, kernel, g = float64(x), float64(kernel), float64(g)
  rng = np.random.default_rng(1)
  for place, gradient in enumerate(gradients):
    assert gradient.dtype == dtype
    for _ in range(10):
      e = rng.normal(size=gradient.shape)
      arguments = (e, kernel) if place == 0 else (x, e)
      slope = (reference(*arguments, **op.keywords) * g).sum()
      error = abs((float64(gradient) * e).sum() - slope)
      assert error < 2 * tol * np.linalg.norm(float64(gradient))


@each_case
def test_check_grads(name):
  op, x, kernel, _ = case(name)
  check_grads(
    jax.jit(op), (x, kernel), 1, ['rev'], eps=0.1, atol=1e-2, rtol=1e-2
  )


@each_case
def test_every_backend_computes_the_same(name, monkeypatch):
  op, x, kernel, g = case(name)
  ours = jax.tree.leaves(pull_back(op, x, kernel, g))
  op, *_ = case(name)  # Anew, to be traced anew.
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  plain = jax.tree.leaves(pull_back(op, x, kernel, g))
  for one, other in zip(ours, plain, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['conv1', 'winograd1'])
def test_kernel_gradients_of_a_few_images_at_a_time_add_up(name, monkeypatch):
  """Five images, two at a time: 2 + 2 + 1."""
  op, x, kernel, _ = case(name)
  rng = np.random.default_rng(5)
  x = jnp.asarray(rng.normal(size=(5, *x.shape[1:])), jnp.float32)
  shape = jax.eval_shape(op, x, kernel).shape
  g = jnp.asarray(rng.normal(size=shape), jnp.float32)
  _, (_, whole) = pull_back(op, x, kernel, g)
  monkeypatch.setattr(conv, '_POSITIONS', 1)
  monkeypatch.setattr(conv, '_PARTS', 2)
  monkeypatch.setattr(conv, '_WINOGRAD_PARTS', 2)
  taken = []
  one = conv._gradient_of_few
  monkeypatch.setattr(
    conv,
    '_gradient_of_few',
    lambda x, *rest: taken.append(len(x)) or one(x, *rest),
  )
  op = functools.partial(conv.conv, **op.keywords)  # to be traced anew
  _, (_, parts) = pull_back(op, x, kernel, g)
  assert taken == [2, 2, 1]
  np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-4)


def test_a_number_worked_by_hand():
  x = jnp.arange(9.0).reshape(1, 3, 3, 1)  # 0 1 2 / 3 4 5 / 6 7 8
  kernel = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])[:, :, None, None]
  y = np.asarray(jax.jit(conv.conv)(x, kernel))[0, :, :, 0]
  # 1*0 + 2*1 + 3*3 + 4*4 = 27: unflipped
  np.testing.assert_array_equal(y, [[27, 37], [57, 67]])


@pytest.mark.parametrize('size', [224, 227])
def test_conv1_has_55_positions_and_reads_zeros_beyond_224(size):
  pads = (conv.ceil_padding(size, 11, 4),) * 2
  shapes = [
    np.ones(s, np.float32) for s in ((1, size, size, 3), (11, 11, 3, 1))
  ]
  op = functools.partial(conv.conv, stride=4, padding=pads)
  assert jax.eval_shape(op, *shapes).shape == (1, 55, 55, 1)
  seen = np.asarray(jax.jit(op)(*shapes))[0, :, :, 0]
  edge = 11 if size == 227 else 8
  assert seen[0, 0] == 11 * 11 * 3
  assert seen[54, 0] == edge * 11 * 3
  assert seen[54, 54] == edge * edge * 3


@pytest.mark.parametrize('size', range(11, 30))
@pytest.mark.parametrize('stride', [1, 2, 4])
def test_ceil_padding_is_the_sources_output_size(size, stride):
  before, after = conv.ceil_padding(size, 11, stride)
  assert before == 0 and 0 <= after < stride
  positions, rest = divmod(size + after - 11, stride)
  assert rest == 0
  assert positions + 1 == 1 + np.ceil((size - 11) / stride)


def test_groups_do_not_see_each_other():
  op, x, kernel, _ = case('conv2')
  loud = np.array(x)
  loud[..., 2:] = np.nan
  ours, expected = (np.asarray(jax.jit(op)(a, kernel)) for a in (loud, x))
  np.testing.assert_array_equal(ours[..., :3], expected[..., :3])


def test_conv1s_image_costs_no_gradient():
  op, x, kernel, _ = case('conv1')
  step = jax.jit(jax.grad(lambda kernel, x: op(x, kernel).sum()))
  text = step.lower(kernel, x).compile().as_text()
  assert 'lhs_dilate' not in text  # Mark of an input gradient of stride > 1.


@pytest.mark.parametrize('name', ['conv1', 'conv3', 'winograd3'])
def test_two_data_rows_and_two_columns_of_devices(name):
  """Images over data rows, kernels over columns; each sees its gradient's sum
  over the other axis."""
  op, x, kernel, g = case(name)
  x, g = (np.concatenate([a, a]) for a in (x, g))
  x[len(x) // 2 :] *= 2
  mesh = jax.make_mesh(
    (2, 2), ('data', 'column'), axis_types=(AxisType.Auto,) * 2
  )

  def loss(g, x, kernel):
    products = jnp.sum(op(x, kernel) * g)
    return lax.psum(products, ('data', 'column'))

  sharded = jax.shard_map(
    loss,
    mesh=mesh,
    in_specs=(
      P('data', None, None, 'column'),
      P('data'),
      P(None, None, None, 'column'),
    ),
    out_specs=P(),
  )
  together = jax.jit(jax.grad(sharded, (1, 2)))(g, x, kernel)
  _, alone = pull_back(op, x, kernel, g)
  for ours, expected in zip(together, alone, strict=True):
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['conv3', 'winograd3'])
def test_vmap_adds_a_batch_axis(name):
  op, x, kernel, g = case(name)
  xs, gs = np.stack([x, x]), np.stack([g, g])
  xs[1] *= 2
  mapped = jax.jit(jax.vmap(lambda x, g: pull_back(op, x, kernel, g)))(xs, gs)
  alone = pull_back(op, x, kernel, g)
  for one, other in zip(*map(jax.tree.leaves, (mapped, alone)), strict=True):
    first = np.asarray(one)[0]
    np.testing.assert_allclose(first, other, rtol=1e-4, atol=1e-4)
