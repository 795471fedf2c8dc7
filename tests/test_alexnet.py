"""The module: initial values and dropout (§4.2, §5)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.models import alexnet
from tests import nets


@pytest.fixture(scope='module')
def config():
  return nets.config()


@pytest.fixture(scope='module')
def params():
  return jax.device_get(nets.trained(data=1, column=1).first.params)


def _call(config, params, images, *, dropout=None):
  model = alexnet.create(config.model, columns_here=2)
  run = alexnet.whole(
    lambda p, x, dropout: model.apply({'params': p}, x, dropout=dropout)
  )
  return jax.jit(run)(params, images, dropout)


def _dropout(step=0, examples=None):
  return alexnet.Dropout(
    key=jax.random.fold_in(jax.random.key(3), step),
    examples=jnp.arange(4) if examples is None else jnp.array(examples),
  )


IMAGES = 40 * np.random.default_rng(0).normal(size=(4, 67, 67, 3))


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


def test_dropout_may_be_scaled_in_training(config, params):
  config = config.copy_and_resolve_references()
  config.model.update(dropout_scaling='training', dropout_rate=0.25)
  _, kept = _call(config, params, jnp.float32(IMAGES), dropout=_dropout())
  before, after = kept['fc6/activation'], np.asarray(kept['fc6/dropout'])
  mask = after != 0
  np.testing.assert_allclose(after[mask], before[mask] / 0.75, rtol=1e-6)
  assert mask[np.asarray(before) > 0].mean() == pytest.approx(0.75, abs=0.1)
  _, out = _call(config, params, jnp.float32(IMAGES))  # at test time
  np.testing.assert_array_equal(out['fc6/dropout'], out['fc6/activation'])


def test_maps_are_dropped_alike_on_one_device_and_on_two(config):
  """As in front of fc6 in PyTorch: place by place, column by column."""

  def keep(here):
    model = alexnet.create(config.model, columns_here=here)
    each = jax.vmap(
      lambda _: model._keep(_dropout(), layer='conv5', shape=(3, 2, 8 * here)),
      axis_name='column',
      axis_size=2 // here,
    )
    found = jax.jit(each)(np.zeros(2 // here))
    return np.concatenate(found, axis=-1)  # [B, H, W, C]

  mask = keep(2)
  np.testing.assert_array_equal(mask, keep(1))
  assert mask.shape == (4, 3, 2, 16)
  halves = mask[..., :8], mask[..., 8:]
  assert (halves[0] != halves[1]).any() and 0.4 < mask.mean() < 0.6
  assert any((mask[:, 0] != mask[:, i]).any() for i in (1, 2))


def test_normalisation_across_the_columns(config, params):
  """Channels at the edge of a column see those of the other one."""
  config = config.copy_and_resolve_references()
  _, within = _call(config, params, jnp.float32(IMAGES))
  config.model.lrn.across_columns = True
  _, across = _call(config, params, jnp.float32(IMAGES))
  x = np.asarray(across['conv1/activation'], np.float64)
  c, channels = config.model.lrn, x.shape[-1]
  expected = np.empty_like(x)
  for i in range(channels):
    window = x[..., max(0, i - c.n // 2) : i + c.n // 2 + 1]
    total = np.square(window).sum(axis=-1)
    expected[..., i] = x[..., i] / (c.k + c.alpha * total) ** c.beta
  np.testing.assert_allclose(across['conv1/lrn'], expected, rtol=1e-5)
  differ = (np.asarray(across['conv1/lrn']) != within['conv1/lrn']).any(
    (0, 1, 2)
  )
  edge = range(channels // 2 - c.n // 2, channels // 2 + c.n // 2)
  assert set(np.flatnonzero(differ)) <= set(edge) and differ.any()


@pytest.mark.parametrize(
  ('crop', 'rounding', 'sizes'),
  [
    (70, 'up', (16, 8, 4, 2)),
    (70, 'down', (15, 7, 3, 1)),
    (71, 'down', (16, 7, 3, 1)),  # 71 = 11 + 15 x 4: pooling alone is rounded
    (224, 'up', (55, 27, 13, 6)),
  ],
)
def test_sizes_follow_the_rounding(config, crop, rounding, sizes):
  config = config.copy_and_resolve_references()
  config.model.rounding = rounding
  shapes = alexnet.activation_shapes(config.model, crop_size=crop)
  names = ('conv1', 'conv1/pool', 'conv2/pool', 'conv5/pool')
  assert tuple(shapes[name][0] for name in names) == sizes


def test_masks_differ_by_step_layer_column_and_example(config, params):
  def mask(name, **kw):
    drop = _dropout(**kw)
    ones = jax.tree.map(np.ones_like, params)  # every unit is on
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
