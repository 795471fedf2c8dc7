"""The CIFAR-10 nets of §3.3: sizes by hand, and two steps of each."""

import math

import jax
import numpy as np
import pytest

from alexnet_jax.config import durations, validate
from alexnet_jax.configs import cifar10_lrn, default
from alexnet_jax.data import pipeline
from alexnet_jax.models import alexnet, summary
from alexnet_jax.optim import schedule
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build
from alexnet_jax.train import warm_start

NORMALISED = {
  'conv1': 5 * 5 * 3 * 64 + 64,
  'conv2': 5 * 5 * 64 * 64 + 64,
  'conv3': 6 * 6 * (3 * 3 * 64 * 64 + 64),  # kernels and biases at 36 places
  'conv4': 6 * 6 * (3 * 3 * 64 * 32 + 32),
  'fc8': 6 * 6 * 32 * 10 + 10,
}
PLAIN = NORMALISED | {
  'conv3': 6 * 6 * (3 * 3 * 64 * 32 + 32),
  'conv4': 6 * 6 * (3 * 3 * 32 * 32 + 32),
}
PARAMETERS = {'11pct': NORMALISED, '13pct': PLAIN}
each_net = pytest.mark.parametrize('net', PARAMETERS)


@each_net
def test_parameters_by_hand(net):
  model = cifar10_lrn.get_config(net).model
  rows = summary.layers(model, crop_size=24)
  assert {row.name: row.parameters for row in rows} == PARAMETERS[net]
  total = {'11pct': 2_112_970, '13pct': 1_116_490}[net]
  assert sum(row.parameters for row in rows) == total


def test_each_weight_of_a_local_layer_is_used_once_an_image():
  model = cifar10_lrn.get_config().model
  used = {r.name: r.multiply_adds for r in summary.layers(model, crop_size=24)}
  assert used['conv1'] == 24 * 24 * 5 * 5 * 3 * 64
  assert used['conv3'] == 6 * 6 * 3 * 3 * 64 * 64
  assert used['conv4'] == 6 * 6 * 3 * 3 * 64 * 32


def test_order_of_what_follows_each_layer():
  normalised = alexnet.stages(cifar10_lrn.get_config('11pct').model)
  assert ' '.join(normalised) == (
    'conv1 conv1/activation conv1/pool conv1/lrn '
    'conv2 conv2/activation conv2/lrn conv2/pool '
    'conv3 conv3/activation conv4 conv4/activation fc8'
  )
  plain = alexnet.stages(cifar10_lrn.get_config('13pct').model)
  assert plain == tuple(s for s in normalised if not s.endswith('lrn'))


@pytest.mark.parametrize('net', cifar10_lrn.NETS)
def test_decay_by_layer_and_nine_views(net):
  config = cifar10_lrn.get_config(net)
  validate.check(config)
  decay = {
    name: config.optim.weight_decay * config.optim.decay[name]
    for name in alexnet.layer_names(config.model)
  }
  last = 0.01 if net.startswith('11pct') else 0.004
  assert decay == pytest.approx(
    {'conv1': 0, 'conv2': 0, 'conv3': 0.004, 'conv4': 0.004, 'fc8': last}
  )
  assert config.eval.final_views == 9


@each_net
def test_the_schedule_by_hand(net):
  first = cifar10_lrn.get_config(net)
  assert (first.num_epochs, first.init_from) == (350, '')
  assert first.schedule.kernel[-1][1] == 1.0 and not first.plateau.enabled
  second = cifar10_lrn.get_config(f'{net}-five')
  assert (second.init_layers, second.init_from) == ('all', warm_start.REQUIRED)
  plan = durations.plan(second, train_images=50_000)
  epochs = plan.steps_in('epochs')
  assert plan.total_steps == math.ceil(170 * epochs)
  for epoch, kernel in (
    (0, 1e-3), (149, 1e-3), (150, 1e-4), (159, 1e-4), (160, 1e-5), (169, 1e-5)
  ):  # fmt: skip
    rates = schedule.factors(
      second.schedule,
      layers=['conv3'],
      step=jax.numpy.int32(np.ceil(epoch * epochs)),
      steps_per_unit=epochs,
    )['conv3']
    found = [1e-3 * float(rates[kind]) for kind in ('kernel', 'bias')]
    np.testing.assert_allclose(found, (kernel, 2e-3), rtol=1e-6)


def test_another_net_is_refused():
  with pytest.raises(ValueError, match="'12pct': use one of 11pct, 13pct"):
    cifar10_lrn.get_config('12pct')


def _batch(config):
  rng = np.random.default_rng(0)
  n, crop = config.batch_size, config.data.crop_size
  return pipeline.blank_batch(n, crop_size=crop) | {
    'image': rng.integers(0, 256, (n, crop, crop, 3), dtype=np.uint8),
    'offset': rng.integers(0, 9, (n, 2)).astype(np.int32),
    'mirror': rng.random(n) < 0.5,
    'label': rng.integers(0, 10, n).astype(np.int32),
  }


@each_net
def test_two_steps_on_two_rows_of_devices_are_finite_and_move(net):
  config = cifar10_lrn.get_config(net)
  config.mesh.data, config.batch_size = 2, 4
  mesh = mesh_lib.create(data=2, column=1)
  plan = durations.plan(config, train_images=8)
  programs = build.build(config, mesh=mesh, plan=plan)
  state = programs.init()
  first = jax.device_get(state.params)
  mean = mesh_lib.replicate(np.full((32, 32, 3), 120, np.float32), mesh=mesh)
  placed = mesh_lib.put_batch(_batch(config), mesh=mesh)
  for _ in range(2):
    state, means = programs.train(state, mean, placed)
    assert np.isfinite(means['loss']) and np.all(means['finite'])
  moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), first, state.params)
  assert all(jax.tree.leaves(moved))


def _forward(model, images, *, seed=0):
  params = alexnet.initialise(model, jax.random.key(seed), crop_size=24)
  net = alexnet.create(model, columns_here=2)
  run = alexnet.whole(lambda p, x: net.apply({'params': p}, x))
  return jax.jit(run)(params, images), params


def test_columns_of_a_local_layer_see_their_own_maps():
  """Two columns on one device; column 2 of conv3 is fed by that of conv2."""
  model = cifar10_lrn.get_config().model
  model.columns = 2
  model.layer.conv1.stddev = 0.01
  images = np.random.default_rng(0).normal(size=(2, 24, 24, 3))
  images = images.astype(np.float32) * 50
  (_, out), params = _forward(model, images)
  assert params['conv3']['kernel'].shape == (6, 6, 3, 3, 32, 64)
  assert params['conv3']['bias'].shape == (6, 6, 64)
  seen = np.asarray(out['conv2/pool'])
  y = np.asarray(out['conv3'])[:, 2, 3]
  kernel = np.asarray(params['conv3']['kernel'])[2, 3]
  expected = np.concatenate(
    [
      np.einsum(
        'bijc,ijck->bk',
        seen[:, 1:4, 2:5, 32 * column :][..., :32],
        kernel[..., 32 * column :][..., :32],
      )
      for column in (0, 1)
    ],
    axis=-1,
  )
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_other_presets_have_no_local_layers_and_one_decay():
  config = default.get_config()
  assert not any(layer.get('local') for layer in config.model.layer.values())
  assert set(config.optim.decay.values()) == {1.0}
