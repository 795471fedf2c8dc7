"""config.dtype = 'bfloat16': arithmetic in it, all that is kept in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import config_dict

from alexnet_jax.configs import smoke
from alexnet_jax.models import alexnet
from alexnet_jax.steps import metrics
from tests import nets


@pytest.fixture(scope='module')
def runs():
  """Five steps in float32, and in bfloat16 on meshes, in both forms."""

  def run(data, column, native):
    config = nets.config(data=data, column=column)
    config.dtype, config.native_bfloat16 = 'bfloat16', native
    return nets.Trained(config, num_steps=5)

  forms = [(1, 1, False), (2, 2, True)]
  return nets.trained(data=1, column=1), [run(*form) for form in forms]


def test_state_stays_float32(runs):
  plain, found = runs
  for run in found:
    assert jax.tree.map(lambda a: (a.shape, a.dtype), run.states[-1]) == (
      jax.tree.map(lambda a: (a.shape, a.dtype), plain.states[-1])
    )


def test_losses_are_near_those_of_float32_and_not_the_same(runs):
  plain, found = runs
  for run in found:
    np.testing.assert_allclose(run.losses, plain.losses, rtol=1e-3)
    assert run.losses != plain.losses


def test_activations_are_bfloat16_and_logits_float32():
  config = nets.config().model
  shape = (1, nets.CROP, nets.CROP, 3)
  params = jax.eval_shape(
    lambda key: alexnet.initialise(config, key, crop_size=nets.CROP),
    jax.random.key(0),
  )
  model = alexnet.create(config, columns_here=2, dtype='bfloat16')
  call = alexnet.whole(lambda p, x: model.apply({'params': p}, x))
  images = jax.ShapeDtypeStruct(shape, jnp.float32)
  logits, activations = jax.eval_shape(call, params, images)
  assert logits.dtype == jnp.float32
  found = {name: a.dtype for name, a in activations.items() if name != 'fc8'}
  assert found == dict.fromkeys(found, jnp.bfloat16)


def _gradients(params, *, dtype):
  """Of the loss, without a mesh."""
  config, batch = nets.config(), nets.batch(0)
  images = jnp.asarray(batch['image'].astype(np.float32) - 120)
  labels = jnp.asarray(batch['label'])
  model = alexnet.create(config.model, columns_here=2, dtype=dtype)

  def loss(params):
    call = alexnet.whole(lambda p: model.apply({'params': p}, images)[0])
    return metrics.cross_entropy(call(params), labels).mean()

  return jax.device_get(jax.jit(jax.grad(loss))(params))


def test_gradients_are_off_by_little_more_than_rounded_parameters_make_them():
  """How much that is depends on the array; early layers are sensitive."""
  key = jax.random.key(0)
  params = jax.device_get(
    alexnet.initialise(nets.config().model, key, crop_size=nets.CROP)
  )
  rounded = jax.tree.map(
    lambda a: a.astype(jnp.bfloat16).astype(np.float32), params
  )
  exact = _gradients(params, dtype='float32')
  least = _gradients(rounded, dtype='float32')
  found = _gradients(params, dtype='bfloat16')

  def check(path, exact, least, found):
    assert found.dtype == np.float32
    off, unavoidable = (np.linalg.norm(a - exact) for a in (found, least))
    size = np.linalg.norm(exact)
    assert off < 4 * unavoidable + 0.005 * size, (path, off / size)

  jax.tree_util.tree_map_with_path(check, exact, least, found)


def test_gradient_of_biases_is_summed_in_float32():
  """8,192 ones: a sum in bfloat16 stops at 256 times what is added."""
  config = smoke.get_config().model.layer.conv3
  config.size, config.padding = 1, 0
  frozen = config_dict.FrozenConfigDict(config)
  module = alexnet.Conv(frozen, kernels=2, groups=1)
  x = jnp.ones((8, 32, 32, 1), jnp.bfloat16)
  params = module.init(jax.random.key(0), x)

  def total(params):
    y = module.apply(params, x)
    assert y.dtype == jnp.bfloat16
    return y.sum(dtype=jnp.float32)

  grads = jax.jit(jax.grad(total))(params)['params']
  np.testing.assert_array_equal(grads['bias'], [8192, 8192])
