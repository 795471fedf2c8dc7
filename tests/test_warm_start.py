"""Beginning with layers of another run (§6)."""

import jax
import numpy as np
import pytest

from alexnet_jax import setup as setup_lib
from alexnet_jax import train
from alexnet_jax.evaluate import load
from alexnet_jax.train import warm_start
from tests import nets, saved


@pytest.fixture(scope='module')
def step(tmp_path_factory):
  """A checkpoint of a network for five of the ten classes."""
  return saved.checkpoint(tmp_path_factory.mktemp('a'), _config(seed=3))


def _config(*, column=2, **fields):
  config = nets.config(column=column, short=True)
  config.data.embedded_classes = (0, 1, 2, 3, 4)
  config.model.num_classes = 5
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


def _begin(step, **fields):
  config = _config(**{'init_from': str(step)} | fields)
  setup = setup_lib.set_up(config)
  return setup, jax.device_get(warm_start.initial_state(setup))


def _theirs():
  setup = setup_lib.set_up(_config(seed=3))
  return jax.device_get(saved.decided(setup.programs.init(), seed=3))


@pytest.mark.parametrize(
  ('layers', 'fresh'),
  [('conv', {'fc7', 'fc8'}), ('all_but_fc8', {'fc8'}), ('all', set())],
)
def test_layers_asked_for_are_theirs_and_others_are_fresh(
  step, layers, fresh, capsys
):
  setup, begun = _begin(step, init_layers=layers)
  own, theirs = jax.device_get(setup.programs.init()), _theirs()
  for name, layer in begun.params.items():
    source = own if name in fresh else theirs
    for kind, array in layer.items():
      np.testing.assert_array_equal(array, source.params[name][kind])
  assert all(not v.any() for v in jax.tree.leaves(begun.opt_state))
  assert begun.step == 0
  said = capsys.readouterr().out
  assert all(name in said.split(';')[1] for name in fresh)


def test_a_head_for_other_classes_on_another_mesh(step):
  fields = {'model.num_classes': 10, 'data.embedded_classes': (5, 6)}
  _, begun = _begin(step, column=1, **fields)
  assert begun.params['fc8']['kernel'].shape == (64, 10)
  np.testing.assert_array_equal(
    begun.params['fc7']['kernel'], _theirs().params['fc7']['kernel']
  )


def test_evaluated_on_data_of_more_classes_it_says_which_it_knows(step):
  every = nets.config(short=True)
  # Not "use 10 units", which it could not be given.
  with pytest.raises(ValueError, match=r'knows the 5 classes .* not the 10 of'):
    load.network(step, config=every)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'init_from': 'nowhere'}, 'nowhere does not exist'),
    (
      {'init_from': warm_start.REQUIRED},
      'config.init_from is missing, and this config continues another run',
    ),
    (
      {'model.layer.fc7.units': 32},
      'fc7/bias of .* is 64, here 32: use --config.init_layers=conv, or',
    ),
    (
      {'init_layers': 'all', 'model.num_classes': 10},
      'fc8/bias of .* is 5, here 10: use --config.init_layers=all_but_fc8, or',
    ),
    (
      {'model.layer.conv3.kernels': 16},
      'conv3/bias of .* is 48, here 16: make this network of the same sizes$',
    ),
  ],
)
def test_what_does_not_fit_is_refused_in_a_line(step, fields, message, capsys):
  with pytest.raises(ValueError, match=message) as error:
    _begin(step, **fields)
  assert '\n' not in str(error.value)
  assert 'afresh' not in capsys.readouterr().out


def test_a_run_that_began_so_goes_on_without_it(step, tmp_path, capsys):
  config = _config(init_from=str(step))
  config.total_steps = 2
  train.train(config, workdir=tmp_path)
  config.total_steps, config.init_from = 3, 'gone'
  train.train(config, workdir=tmp_path)
  said = capsys.readouterr().out
  assert said.count(' afresh') == 1
  assert f'config.init_from was {step} up to step 2, is gone' in said
