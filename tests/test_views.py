"""Ten views together: as one after the other, wherever they share a layer."""

import functools
import operator

import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import setup as setup_lib
from alexnet_jax.config import presets
from alexnet_jax.data import augment
from alexnet_jax.evaluate import predict
from alexnet_jax.parallel import hlo
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build, preprocess, views
from tests import nets, saved

_IMAGES = 4


def _config(*, data=1, column=1, **fields):
  """Crops at 0, 8 and 16: conv1 moves by 4 pixels, and its pooling by 8."""
  config = nets.config(data=data, column=column, short=True)
  config.data.image_size, config.data.crop_size = 83, 67
  config.update_from_flattened_dict(fields)
  return config


def _programs(config):
  mesh = mesh_lib.create(data=config.mesh.data, column=config.mesh.column)
  plan = nets.durations.plan(config, train_images=12)
  return mesh, build.build(config, mesh=mesh, plan=plan)


def _inputs(config, mesh):
  rng = np.random.default_rng(3)
  size = config.data.image_size
  images = rng.integers(0, 256, (_IMAGES, size, size, 3), np.uint8)
  mean = rng.uniform(100, 150, (size, size, 3)).astype(np.float32)
  return mesh_lib.replicate(mean, mesh=mesh), mesh_lib.put_batch(
    images, mesh=mesh
  )


def _one_after_another(programs, variables, mean, images, config):
  sizes = {name: config.data[name] for name in ('image_size', 'crop_size')}
  each = [
    programs.predict(
      variables,
      mean,
      images,
      preprocess.DeviceView(np.array([v.y, v.x], np.int32), np.array(v.mirror)),
    )
    for v in augment.views(10, **sizes)
  ]
  return functools.reduce(operator.add, each) / len(each)


_CONV1, _POOL = 'model.layer.conv1', 'model.pool'
_UNPOOLED = {
  f'model.layer.{name}.ops': ('activation',) for name in ('conv2', 'conv5')
}
_BY_PIXELS = {
  f'{_CONV1}.ops': ('activation', 'lrn'),
  f'{_CONV1}.size': 5,
  f'{_CONV1}.stride': 1,
  'data.crop_size': 31,
}
_CASES = {
  'the paper': {},
  'rounded down': {'model.rounding': 'down'},
  'rounded down, pixels left over': {
    'model.rounding': 'down',
    'data.crop_size': 70,
    'data.image_size': 86,
  },
  'pooled before it is normalised': {
    f'{_CONV1}.ops': ('activation', 'pool', 'lrn')
  },
  'not pooled': {f'{_CONV1}.ops': ('activation', 'lrn')},
  'windows of 4 by 3': {
    f'{_POOL}.size': 4,
    f'{_POOL}.stride': 3,
    'data.crop_size': 71,
    'data.image_size': 71 + 24,
    **_UNPOOLED,
  },
  'windows side by side': {
    f'{_POOL}.size': 2,
    'data.crop_size': 71,
    'data.image_size': 71 + 16,
    **_UNPOOLED,
  },
  'kernels of 7 by 2': {f'{_CONV1}.size': 7, f'{_CONV1}.stride': 2},
  'by single pixels': {**_BY_PIXELS, 'data.image_size': 31 + 6},
  'one place': {'data.image_size': 67},
  "Winograd's algorithm": {'winograd': True},
  'colours divided': {'data.channel_stddevs': (50.0, 60.0, 70.0)},
}


@pytest.mark.parametrize('case', _CASES)
def test_they_are_those_one_after_another(case):
  config = _config(**_CASES[case])
  mesh, programs = _programs(config)
  variables = saved.decided(programs.init()).variables
  mean, images = _inputs(config, mesh)
  expected = _one_after_another(programs, variables, mean, images, config)
  assert programs.predict_ten is not None
  found = programs.predict_ten(variables, mean, images)
  np.testing.assert_allclose(found, expected, atol=2e-6)
  assert np.ptp(expected) > 0.05  # the net is not undecided


@pytest.mark.parametrize(('data', 'column'), [(1, 2), (2, 1), (2, 2)])
def test_they_are_the_same_on_more_devices(data, column):
  alone, split = _config(), _config(data=data, column=column)
  found = []
  for config in (alone, split):
    mesh, programs = _programs(config)
    variables = saved.decided(programs.init()).variables
    mean, images = _inputs(config, mesh)
    found.append(programs.predict_ten(variables, mean, images))
  np.testing.assert_allclose(*found, atol=2e-6)


def test_columns_communicate_as_for_one_view_ten_times():
  config = _config(column=2)
  mesh, programs = _programs(config)
  mean, images = _inputs(config, mesh)
  variables = programs.state.variables
  view = preprocess.DeviceView(np.zeros(2, np.int32), np.array(False))
  moved = [
    {
      (c.layer, c.kind, c.axis): c.bytes
      for c in hlo.collectives(lowered.compile().as_text(), mesh=mesh)
    }
    for lowered in (
      programs.predict.lower(variables, mean, images, view),
      programs.predict_ten.lower(variables, mean, images),
    )
  ]
  assert {key: 10 * sent for key, sent in moved[0].items()} == moved[1]
  assert moved[1]


@pytest.mark.parametrize(
  'fields',
  [
    {'data.image_size': 82},  # corners at 7 and 15
    {'data.image_size': 75},  # at 4: between two windows of the pooling
    # At 3: the middle of the mirror image is at 4.
    {**_BY_PIXELS, 'data.image_size': 31 + 7},
    {'data.mean_at': 'centre'},
    {
      f'{_CONV1}.padding': 2,
      'data.crop_size': 71,
      'data.image_size': 71 + 16,
    },
    {f'{_CONV1}.local': True},
    {f'{_CONV1}.ops': ('activation', 'spatial_norm', 'pool')},
    {f'{_CONV1}.ops': ('pool', 'activation', 'pool')},
    {'model.skip_layers': ('conv1',)},
    {f'{_POOL}.size': 2},  # its last windows hang over the end
    {'data.crop_size': 19, **_UNPOOLED},  # one window a view
  ],
)
def test_views_that_differ_share_nothing(fields):
  assert views.shared(_config(**fields)) is None


@pytest.mark.parametrize('name', ['default', 'imagenet'])
def test_the_paper_s_views_share_conv1(name):
  assert views.shared(presets.load(name)) == views.Shared(4, 8, 27)


def test_many_images_are_predicted_together(monkeypatch):
  config = _config()
  config.data.embedded_train_images = 12
  config.data.embedded_val_images = 5
  config.eval.batch_size = 4
  setup = setup_lib.set_up(config)
  asked = []

  def ten(*args):
    asked.append(args)
    return setup.programs.predict_ten(*args)

  watched = setup._replace(programs=setup.programs._replace(predict_ten=ten))
  variables = saved.decided(setup.programs.init()).variables
  found = []
  for fewest, views_, calls in ((1e12, 10, 0), (0, 10, 2), (0, 1, 0)):
    monkeypatch.setattr(predict, '_SHARED', fewest)
    asked.clear()
    found.append(predict.predict(watched, variables=variables, views=views_))
    assert len(asked) == calls
  one, other, centre = (each.probabilities for each in found)
  np.testing.assert_allclose(one, other, atol=2e-6)
  assert np.abs(one - centre).max() > 1e-3


def test_bfloat16_is_rounded_alike():
  config = _config()
  config.dtype = 'bfloat16'
  mesh, programs = _programs(config)
  variables = saved.decided(programs.init()).variables
  mean, images = _inputs(config, mesh)
  expected = _one_after_another(programs, variables, mean, images, config)
  found = programs.predict_ten(variables, mean, images)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, expected, atol=2e-3)
