"""The steps of pre-training (§6), by hand and on a narrow net."""

import jax
import numpy as np
import pytest

from alexnet_jax.config import durations, validate
from alexnet_jax.configs import chain2012
from alexnet_jax.models import alexnet
from alexnet_jax.optim import schedule
from alexnet_jax.train import warm_start
from tests import nets


def _parameters(config):
  shapes = jax.eval_shape(
    lambda key: alexnet.initialise(config.model, key, crop_size=224),
    jax.random.key(0),
  )
  return {
    name: sum(leaf.size for leaf in jax.tree.leaves(layer))
    for name, layer in shapes.items()
  }


def test_parameters_by_hand():
  sizes = {
    step: _parameters(chain2012.get_config(step))
    for step in ('2009', '2011', '2012')
  }
  for step in sizes.values():
    assert step['conv6'] == 3 * 3 * 256 * 256 + 256
    assert step['fc6'] == 6 * 6 * 256 * 4096 + 4096
  assert sizes['2009']['fc8'] == 4096 * 10_184 + 10_184
  assert sizes['2011']['fc7_bottleneck'] == 4096 * 2048 + 2048
  assert sizes['2011']['fc8'] == 2048 * 21_843 + 21_843
  assert sizes['2012']['fc8'] == 4096 * 1000 + 1000
  assert 'fc7_bottleneck' not in sizes['2009'] | sizes['2012']


def _rates(step, *, epoch):
  config = chain2012.get_config(step)
  validate.check(config)
  plan = durations.plan(config, train_images=1_280_000)  # 10,000 steps
  rates = schedule.factors(
    config.schedule,
    layers=list(config.schedule.layer),
    step=jax.numpy.int32(round(epoch * 10_000)),
    steps_per_unit=plan.steps_in('epochs'),
  )
  return {
    f'{layer}/{kind}': config.optim.learning_rate * float(rate)
    for layer, kinds in rates.items()
    for kind, rate in kinds.items()
  }


@pytest.mark.parametrize(
  ('epoch', 'expected'),  # conv1, conv2, fc8
  [
    (0, (1e-4, 1e-3, 1e-2)),
    (4, (1e-5, 1e-3, 1e-2)),  # "epoch 5: set conv1 epsw to 0.00001"
    (6, (0, 1e-3, 1e-2)),
    (8, (0, 1e-3, 1e-3)),
    (21, (0, 1e-4, 1e-4)),
    (41, (0, 1e-5, 1e-5)),
  ],
)
def test_the_rates_of_the_last_step_are_those_of_the_notes(epoch, expected):
  rates = _rates('2012', epoch=epoch)
  found = [rates[f'{layer}/kernel'] for layer in ('conv1', 'conv2', 'fc8')]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_biases_of_the_last_step():
  for epoch, conv1 in ((0, 0.02), (6, 0), (41, 0)):
    rates = _rates('2012', epoch=epoch)
    names = ('conv1', 'conv2', 'conv6', 'fc8')
    found = [rates[f'{layer}/bias'] for layer in names]
    np.testing.assert_allclose(found, (conv1, 0.02, 0.022, 0.02), rtol=1e-6)


@pytest.mark.parametrize(
  ('step', 'epoch', 'expected'),  # conv1, conv5, conv6, fc6, fc8
  [
    ('2009', 0, (1e-3, 1e-3, 1e-2, 1e-2, 1e-2)),
    ('2009', 1.17, (1e-3, 1e-3, 1e-3, 1e-3, 1e-3)),
    ('2011', 0, (1e-3, 1e-3, 1e-3, 1e-2, 1e-2)),
    ('2011', 5, (1e-3, 1e-3, 1e-3, 1e-3, 1e-3)),
  ],
)
def test_the_rates_of_pre_training_are_those_of_the_notes(
  step, epoch, expected
):
  rates, names = _rates(step, epoch=epoch), ('conv1', 'conv5', 'conv6')
  found = [rates[f'{name}/kernel'] for name in (*names, 'fc6', 'fc8')]
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  biases = [rates[f'{name}/bias'] for name in (*names, 'fc6', 'fc8')]
  np.testing.assert_allclose(biases, (0.02, 0.02, 0.002, 0.02, 0.02), rtol=1e-6)


@pytest.mark.parametrize(
  ('step', 'layers'),
  [('2009', 'conv'), ('2011', 'conv'), ('2012', 'all_but_fc8')],
)
def test_each_step_takes_layers_of_one_that_must_be_given(step, layers):
  config = chain2012.get_config(step)
  validate.check(config)
  assert config.init_layers == layers
  assert config.init_from == warm_start.REQUIRED


def test_another_step_is_refused():
  with pytest.raises(ValueError, match="'2010': use 2009, 2011, 2012"):
    chain2012.get_config('2010')


@pytest.mark.parametrize('column', [1, 2])
def test_a_bottleneck_is_linear_and_sees_both_columns(column):
  config = nets.config(column=column, short=True)
  config.model.bottleneck = True
  config.model.layer.fc7_bottleneck.units = 16
  trained = nets.Trained(config, num_steps=2)
  assert np.isfinite(trained.losses).all()
  stages = alexnet.stages(config.model)
  assert stages[stages.index('fc7_bottleneck') + 1] == 'fc8'
  assert trained.first.params['fc7_bottleneck']['kernel'].shape == (64, 16)
