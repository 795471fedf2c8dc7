"""What is measured: steps, views, and the operations with their naive forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.bench import jax_ops, jax_step
from alexnet_jax.configs import default
from alexnet_jax.models import summary
from tests import nets


def test_arithmetic_is_that_of_figure_2():
  """Weights times positions of conv1 to fc8; no gradient by the image."""
  forward = (
    (55 * 55) * 96 * (11 * 11 * 3)
    + (27 * 27) * 256 * (5 * 5 * 48)
    + (13 * 13) * 384 * (3 * 3 * 256)
    + (13 * 13) * 384 * (3 * 3 * 192)
    + (13 * 13) * 256 * (3 * 3 * 192)
    + (6 * 6 * 256) * 4096 + 4096 * 4096 + 4096 * 1000
  )  # fmt: skip
  assert summary.operations(default.get_config().model, crop_size=224) == {
    'eval': 2 * forward,
    'train': 6 * forward - 2 * (55 * 55) * 96 * (11 * 11 * 3),
  }


def test_each_step_starts_from_the_last_ones_state():
  work = jax_step.training(nets.config(data=2, column=2, short=True))
  losses = [float(work.start()['loss']) for _ in range(3)]
  assert np.isfinite(losses).all() and len(set(losses)) == 3
  assert work.facts['images'] == nets.BATCH
  assert work.facts['compile_seconds'] > 0


def test_ten_views_give_probabilities():
  config = nets.config(short=True)
  config.eval.batch_size = 3
  work = jax_step.ten_views(config)
  probabilities = work.start()
  assert probabilities.shape == (3, 10) and work.facts['images'] == 3
  np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


OPS = dict(jax_ops.operations(nets.config()))


def test_every_operation_of_the_net_is_there():
  layers = ['conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'fc6', 'fc7', 'fc8']
  assert [name for name in OPS if '/' not in name] == layers
  assert [name for name in OPS if '/' in name] == [
    'conv1/lrn', 'conv1/pool', 'conv2/lrn', 'conv2/pool', 'conv5/pool',
  ]  # fmt: skip
  total = sum(op.flop for op in OPS.values())
  model = nets.config().model
  forward = summary.operations(model, crop_size=nets.CROP)['eval']
  assert total == nets.BATCH * forward


def _uneven():
  """The operations where windows of conv1 and of pooling hang over."""
  config = nets.config()
  config.data.crop_size = 70
  return dict(jax_ops.operations(config))


UNEVEN = _uneven()


@pytest.mark.parametrize('name', [n for n, op in UNEVEN.items() if op.naive])
def test_naive_forms_are_the_same_function(name):
  op = UNEVEN[name]
  shapes = [(2, *op.shapes[0][1:]), *op.shapes[1:]]
  keys = jax.random.split(jax.random.key(0), len(shapes))
  arguments = [
    jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)
  ]

  def loss(function, *arguments):
    y = function(*arguments)
    return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum()

  places = tuple(range(1, 1 + len(arguments)))
  values = [
    jax.jit(jax.value_and_grad(loss, argnums=places), static_argnums=0)(
      function, *arguments
    )
    for function in (op.function, op.naive)
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
    *values,
  )


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_workloads_of_operations(dtype):
  """Bytes and arithmetic of conv2: 16 kernels a column, 5 x 5, on 6 maps.

  Parameters are float32, and so are their gradients.
  """
  size = jnp.dtype(dtype).itemsize
  op = OPS['conv2']
  x, kernel, y = nets.BATCH * 7 * 7 * 12, 25 * 6 * 32, nets.BATCH * 7 * 7 * 32
  there = jax_ops.forward(op, dtype=dtype)
  assert there.facts == {
    'flop': 2 * nets.BATCH * 7 * 7 * kernel,
    'bytes': size * (x + y) + 4 * (kernel + 32),
  }
  back = jax_ops.backward(op, dtype=dtype)
  assert back.facts == {
    'flop': 2 * there.facts['flop'],
    'bytes': size * (2 * x + y) + 2 * 4 * (kernel + 32),
  }
  assert [g.shape for g in back.start()] == list(op.shapes)
  images = jax_ops.backward(OPS['conv1'], dtype=dtype)
  assert [g.shape for g in images.start()] == list(OPS['conv1'].shapes[1:])


def test_the_update_is_timed_on_all_parameters():
  work = jax_ops.update(nets.config())
  assert work.facts == {'flop': 0, 'bytes': 5 * 4 * 47_354}
  for _ in range(2):
    jax.block_until_ready(work.start())
