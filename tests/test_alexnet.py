"""The module: initial values and dropout (§4.2, §5)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.models import alexnet
from tests import nets
from tests.golden import facts


@pytest.fixture(scope='module')
def config():
  return nets.config()


@pytest.fixture(scope='module')
def params():
  return jax.device_get(nets.trained(data=1, column=1).first.params)


def _call(config, params, images, *, dropout=None):
  model = alexnet.create(config.model, columns_here=2)
  run = alexnet.whole(
    lambda p, x: model.apply({'params': p}, x, dropout=dropout)
  )
  return jax.jit(run)(params, images)


def _dropout(step=0, examples=None):
  return alexnet.Dropout(
    key=jax.random.fold_in(jax.random.key(3), step),
    examples=jnp.arange(4) if examples is None else jnp.array(examples),
  )


IMAGES = 40 * np.random.default_rng(0).normal(size=(4, 67, 67, 3))


def test_initial_values_of_the_full_network():
  params = facts.initial('default')
  ones = {'conv2', 'conv4', 'conv5', 'fc6', 'fc7'}
  for name, layer in params.items():
    spread, n = float(layer['kernel'].std()), layer['kernel'].size
    assert abs(spread / 0.01 - 1) < 4 / np.sqrt(2 * n), name
    assert abs(float(layer['kernel'].mean())) < 4 * 0.01 / np.sqrt(n), name
    assert (np.asarray(layer['bias']) == (name in ones)).all(), name


def test_dropout_in_training_is_a_mask_of_zeros_and_ones(config, params):
  _, kept = _call(config, params, jnp.float32(IMAGES), dropout=_dropout())
  for name in ('fc6', 'fc7'):
    before = np.asarray(kept[f'{name}/activation'])
    after = np.asarray(kept[f'{name}/dropout'])
    mask = after != 0
    np.testing.assert_array_equal(after[mask], before[mask])  # no factor 2
    share = mask[before > 0].mean()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt((before > 0).sum())


def test_dropout_at_test_time_is_a_factor_of_one_half(config, params):
  _, out = _call(config, params, jnp.float32(IMAGES))
  np.testing.assert_array_equal(
    out['fc6/dropout'], 0.5 * np.asarray(out['fc6/activation'])
  )


def test_masks_differ_by_step_layer_column_and_example(config, params):
  def mask(name, **kw):
    drop = _dropout(**kw)
    ones = jax.tree.map(jnp.ones_like, params)  # every unit is on
    _, out = _call(config, ones, jnp.float32(abs(IMAGES)), dropout=drop)
    return np.asarray(out[f'{name}/dropout']) > 0

  first = mask('fc6')
  assert (first != mask('fc7')).any()
  assert (first != mask('fc6', step=1)).any()
  left, right = np.split(first, 2, axis=1)
  assert (left != right).any()
  assert (first[0] != first[1]).any()
  moved = mask('fc6', examples=[2, 3, 0, 1])
  np.testing.assert_array_equal(moved[[2, 3]], first[[0, 1]])


@pytest.mark.parametrize(
  ('name', 'function'),
  [('tanh', np.tanh), ('logistic', lambda x: 1 / (1 + np.exp(-x)))],
)
def test_another_activation_takes_the_place_of_relu(
  config, params, name, function
):
  other = config.copy_and_resolve_references()
  other.model.activation = name
  _, out = _call(other, params, jnp.float32(IMAGES))
  np.testing.assert_allclose(
    out['conv3/activation'], function(np.asarray(out['conv3'])), atol=1e-6
  )


def test_an_unknown_operation_is_named(config, params):
  wrong = config.copy_and_resolve_references()
  wrong.model.layer.conv1.ops = ('activation', 'poool')
  with pytest.raises(ValueError, match=r"'poool'.*use activation, lrn"):
    _call(wrong, params, jnp.float32(IMAGES))
