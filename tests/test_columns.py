"""One network on four meshes, or in parts: the same losses and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.config import validate
from alexnet_jax.models import alexnet
from alexnet_jax.steps import metrics, preprocess
from tests import nets

# Rows and columns of devices, and parts of a minibatch one after the other.
MESHES = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (2, 2, 1), (1, 1, 4), (2, 2, 2)]


@pytest.fixture(scope='module')
def runs():
  """Five steps with dropout and augmentation on each mesh."""
  return {
    (d, c, parts): nets.trained(data=d, column=c, parts=parts)
    for d, c, parts in MESHES
  }


@pytest.fixture(scope='module')
def plain():
  """Loss and gradient of the first step, with neither a mesh nor a rule."""
  config, batch = nets.config(), nets.batch(0)
  params = nets.trained(data=1, column=1).first.params
  key = jax.random.split(jax.random.key(config.seed))[1]
  dropout = alexnet.Dropout(
    key=jax.random.fold_in(key, 0), examples=jnp.arange(nets.BATCH)
  )
  of_batch = jax.jit(functools.partial(preprocess.of_batch, config))
  images = of_batch(mean_image=nets.mean_image(), batch=batch)
  model = alexnet.create(config.model, columns_here=2)

  def loss(params):
    call = alexnet.whole(
      lambda p: model.apply({'params': p}, images, dropout=dropout)[0]
    )
    labels = jnp.asarray(batch['label'])
    return metrics.cross_entropy(call(params), labels).mean()

  return jax.device_get(jax.jit(jax.value_and_grad(loss))(params))


@pytest.mark.parametrize('mesh', MESHES[1:])
def test_losses_do_not_depend_on_the_mesh(runs, mesh):
  np.testing.assert_allclose(runs[mesh].losses, runs[1, 1, 1].losses, rtol=1e-5)
  assert len(set(runs[mesh].losses)) == 5


@pytest.mark.parametrize('mesh', MESHES[1:])
def test_initial_values_do_not_depend_on_the_mesh(runs, mesh):
  jax.tree.map(
    np.testing.assert_array_equal, runs[mesh].first, runs[1, 1, 1].first
  )


@pytest.mark.parametrize('mesh', MESHES[1:])
def test_parameters_after_five_steps_agree(runs, mesh):
  ours, theirs = runs[mesh].state.params, runs[1, 1, 1].state.params
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, theirs
  )


@pytest.mark.parametrize('mesh', MESHES)
def test_first_step_moves_by_the_gradient_of_the_plain_loss(runs, plain, mesh):
  run, (loss, grads) = runs[mesh], plain
  np.testing.assert_allclose(run.losses[0], loss, rtol=1e-5)

  def check(path, after, before, grad):
    decay = 5e-4 if path[-1].key == 'kernel' else 0.0
    step = -0.01 * (decay * before + grad)
    np.testing.assert_allclose(
      after - before, step, rtol=1e-3, atol=2e-7, err_msg=str(path)
    )

  jax.tree_util.tree_map_with_path(
    check, run.states[0].params, run.first.params, grads
  )


def test_columns_share_nothing_before_conv3():
  """A change in column 0 of conv1 reaches no map of column 1 up to conv2."""
  config = nets.config()
  params = nets.trained(data=1, column=1).first.params
  model = alexnet.create(config.model, columns_here=2)
  images = jax.random.normal(jax.random.key(1), (2, 67, 67, 3)) * 50

  def activations(params):
    call = alexnet.whole(lambda p: model.apply({'params': p}, images)[1])
    return jax.device_get(jax.jit(call)(params))

  before = activations(params)
  kernel = params['conv1']['kernel'].copy()
  kernel[..., : kernel.shape[-1] // 2] *= 3
  after = activations(params | {'conv1': params['conv1'] | {'kernel': kernel}})
  for name in ('conv1', 'conv1/lrn', 'conv1/pool', 'conv2', 'conv2/pool'):
    k = before[name].shape[-1] // 2
    np.testing.assert_array_equal(before[name][..., k:], after[name][..., k:])
    assert np.abs(before[name][..., :k] - after[name][..., :k]).max() > 0
  k = before['conv3'].shape[-1] // 2
  assert np.abs(before['conv3'][..., k:] - after['conv3'][..., k:]).max() > 0


def test_three_columns_on_three_devices_are_those_on_one():
  """Any number of columns that divides the widths makes a net."""
  losses = {}
  for devices in (1, 3):
    config = nets.config(column=devices)
    config.model.columns = 3
    config.model.skip_layers = ('conv4', 'conv5', 'fc6')  # as conv2 and fc7
    for layer in config.model.layer.values():
      name = 'kernels' if 'kernels' in layer else 'units'
      if layer.inputs != 'summed':  # fc8 has a unit for each class
        layer[name] = 12
    validate.check(config)
    losses[devices] = nets.Trained(config, num_steps=3).losses
  np.testing.assert_allclose(losses[3], losses[1], rtol=1e-5)
  assert len(set(losses[1])) == 3
