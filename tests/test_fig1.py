"""Figure 1: its net, the search, the crossing, and continuing after a kill."""

import contextlib
import doctest
import io
import json
import re
import sys

import jax
import numpy as np
import pytest
import tqdm

pytest.importorskip('matplotlib')
import alexnet_jax
from alexnet_jax.config import validate
from alexnet_jax.configs import cifar10_fig1
from alexnet_jax.models import alexnet
from alexnet_jax.studies.fig1 import curves as curves_lib
from alexnet_jax.studies.fig1 import experiment
from alexnet_jax.studies.figures import fig1 as fig1_lib
from alexnet_jax.studies.figures import style
from alexnet_jax.train import log
from tests import commands

CONFIG = f'--config={commands.ROOT}/configs/cifar10_fig1.py'
TINY = {
  'data.source': 'embedded',
  'data.embedded_train_images': 50,  # epochs end inside minibatches
  'data.embedded_val_images': 10,
  'batch_size': 8,
  'log.every_steps': 3,
  **{f'model.layer.conv{i}.kernels': 4 for i in (1, 2, 3)},
}


def _tiny():
  config = cifar10_fig1.get_config()
  config.update_from_flattened_dict(TINY)
  return config


def test_a_line_clears_the_bar_of_the_run_below_it(tmp_path, capsys):
  made = experiment.Experiment(_tiny(), folder=tmp_path, most_epochs=1)
  with contextlib.redirect_stdout(io.StringIO()):  # as in a run
    with tqdm.tqdm(total=3, file=sys.stderr, ncols=40) as bar:
      bar.update(1)
      bar.refresh()
      capsys.readouterr()
      made._print('tanh: fine')
      out, err = capsys.readouterr()
  assert out == 'tanh: fine\n'
  assert re.match(r'\r {20,}\r', err), 'the bar stays where the line begins'


def test_doctests():
  tested = doctest.testmod(curves_lib)
  assert tested.attempted and not tested.failed


def test_the_net_has_four_layers_and_their_parameters():
  config = cifar10_fig1.get_config()
  validate.check(config)
  assert alexnet.layer_names(config.model) == ('conv1', 'conv2', 'conv3', 'fc8')
  params = jax.eval_shape(
    lambda key: alexnet.initialise(config.model, key, crop_size=32),
    jax.random.key(0),
  )
  # conv1 halves 32 to 16, pools to 8 and 4: 4 x 4 of 64 maps to 10 classes.
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == sum(
    (
      5 * 5 * 3 * 32 + 32,
      3 * 3 * 32 * 32 + 32,
      3 * 3 * 32 * 64 + 64,
      4 * 4 * 64 * 10 + 10,
    )
  )


def test_nothing_regularises():
  config = cifar10_fig1.get_config()
  assert config.optim.weight_decay == config.model.dropout_rate == 0
  assert not config.augment.random_crop and not config.augment.mirror
  assert config.augment.colour_stddev == 0 and not config.plateau.enabled
  ops = {stage.partition('/')[2] for stage in alexnet.stages(config.model)}
  assert ops == {'', 'activation', 'pool'}


def _line(step, error, *, split='train'):
  return {
    'split': split,
    'step': step,
    'epoch': step * 8 / 20,
    'top1_error': error,
  }


def test_an_epochs_error_is_the_mean_over_its_minibatches():
  lines = [
    _line(1, 0.9),
    _line(3, 0.6),  # 24 images of 20: the first epoch's end
    _line(3, 0.99, split='val'),
    _line(5, 0.2),  # 40 images
    _line(6, 0.1),  # of an epoch that is not whole
  ]
  assert curves_lib.epoch_errors(lines) == pytest.approx([0.7, 0.2])


@pytest.mark.parametrize(
  ('errors', 'epochs'),
  [
    ([0.6, 0.4, 0.3, 0.1], 3.25),
    ([0.6, 0.25], 2.0),
    ([0.2], 1.0),
    ([0.6, 0.26], None),
    ([], None),
  ],
)
def test_the_crossing_lies_between_the_ends_of_epochs(errors, epochs):
  assert curves_lib.crossing(errors) == epochs


def test_the_search_takes_the_fastest():
  slow, fast, dead = [0.8, 0.7, 0.6], [0.8, 0.5, 0.4], [0.9, 0.9, 0.9]
  early, diverged = [0.6, 0.2], [0.3]
  assert (
    curves_lib.fastest({1.0: slow, 2.0: fast, 3.0: dead, 4.0: diverged}) == 2
  )
  assert curves_lib.fastest({1.0: fast, 2.0: early}) == 2
  assert curves_lib.fastest({1.0: diverged, 2.0: [], 3.0: dead}) == 3


def _net(activation, *curves):
  searched = {0.1: [0.9], 0.2: [0.5], 0.3: []}
  return curves_lib.ActivationResult(
    activation, searched, 0.2, dict(enumerate(curves))
  )


def test_the_table_has_ratios_by_seed_and_the_papers():
  relu = _net('relu', [0.5, 0.25], [0.5, 0.5, 0.25])
  tanh = _net('tanh', [0.5] * 5 + [0.25], [0.5] * 11 + [0.25])
  assert curves_lib.ratios(tanh, first=relu) == {0: 3.0, 1: 4.0}
  told = curves_lib.describe([relu, tanh], most_epochs=20)
  assert '0.1: 90.0  0.2: 50.0  0.3: diverged  -> 0.2 by this error\n' in told
  assert 'mean 2.50 (2.00 to 3.00)' in told
  assert '3.60 (by seed: 3.00, 4.00); the paper: 6 times' in told


def test_a_net_that_did_not_reach_the_target_is_named():
  relu, tanh = _net('relu', [0.5, 0.25]), _net('tanh', [0.5, 0.5, 0.5, 0.3])
  told = curves_lib.describe([relu, tanh], most_epochs=4)
  assert 'tanh, seed 0: 25% was not reached: 30.0% after 4 epochs' in told
  assert 'more than 2.00 (by seed: open)' in told
  short = curves_lib.describe([_net('relu', [0.5])] * 2, most_epochs=1)
  assert '50.0% after 1 epoch\n' in short
  told = curves_lib.describe([tanh, relu], most_epochs=5)
  assert '30.0% after 4 epochs, then it diverged' in told
  assert 'unknown, as tanh seed 0 diverged' in told
  told = curves_lib.describe([tanh, relu], most_epochs=4)
  assert 'unknown, as tanh did not reach it' in told


def test_a_run_that_diverged_bounds_nothing():
  relu = _net('relu', [0.5, 0.25], [0.5, 0.25])
  tanh = _net('tanh', [0.5, 0.5, 0.5, 0.3], [0.5])
  told = curves_lib.describe([relu, tanh], most_epochs=4)
  assert 'relu: unknown, as tanh seed 1 diverged' in told
  assert 'more than' not in told


def test_the_table_says_by_what_a_rate_was_chosen():
  fast = _net('relu', [0.5, 0.25])._replace(searched={0.2: [0.5, 0.2]})
  told = curves_lib.describe([fast, _net('tanh', [0.5])], most_epochs=4)
  assert '-> 0.2 by epochs' in told and '-> 0.2 by this error' in told
  assert 'The search has\nseed 0, which is one' in told


def test_relu_is_solid_tanh_dashed_and_the_target_dotted():
  with style.theme(dark=True):
    made = fig1_lib.figure({'relu': [[0.5, 0.2], [0.7]], 'tanh': [[0.6, 0.5]]})
    assert b'ReLU' in style.svg(made)
  lines = made.axes[0].lines
  assert [line.get_linestyle() for line in lines] == [':', '-', '-', '-', '--']
  assert set(lines[0].get_ydata()) == {0.25}
  mean = lines[3]  # as far as both seeds go
  np.testing.assert_allclose(mean.get_ydata(), [0.6])
  with style.theme(dark=True):
    points = fig1_lib.figure({'relu': [[0.5]]}, of='x (9 images)').axes[0]
  assert points.lines[-1].get_marker() == 'o'  # a line of one epoch is none
  assert points.get_xlabel() == 'epoch of x (9 images)'
  with pytest.raises(ValueError, match='nothing to draw'):
    fig1_lib.figure({'relu': [[]]})


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A search among two rates and two seeds, not interrupted."""
  folder = tmp_path_factory.mktemp('whole')
  return folder, _experiment(folder).train_activation('tanh', **_ASKED)


_ASKED = {'rates': [0.001, 0.02], 'search_epochs': 1, 'seeds': [0, 1]}


def _experiment(folder):
  return experiment.Experiment(_tiny(), folder=folder, most_epochs=3)


def test_a_run_ends_at_the_target_or_after_most_epochs(whole):
  folder, net = whole
  assert set(net.searched) == {0.001, 0.02}
  assert [len(errors) for errors in net.searched.values()] == [1, 1]
  for seed, errors in net.curves.items():
    assert len(errors) == 3 or curves_lib.crossing(errors)
    run = folder / f'tanh/rate-{net.rate:g}/seed-{seed}'
    lines = log.read_metrics(run / 'metrics.jsonl')
    last = [r['step'] for r in lines if r['split'] == 'train'][-1]
    assert last == -(-len(errors) * 50 // 8)  # no step beyond
    assert not any(error <= 0.25 for error in errors[:-1])


def test_a_killed_experiment_continues_to_the_same_result(
  whole, tmp_path, monkeypatch
):
  told = []

  def kill(self, error, *, speed):
    told.append(error)
    if len(told) == 3:
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(experiment._Watch, '_print_epoch', kill)
    with pytest.raises(KeyboardInterrupt):
      _experiment(tmp_path).train_activation('tanh', **_ASKED)
  assert _experiment(tmp_path).train_activation('tanh', **_ASKED) == whole[1]


def test_another_config_is_refused(whole):
  folder, net = whole
  config = _tiny()
  config.batch_size = 10
  other = experiment.Experiment(config, folder=folder, most_epochs=3)
  with pytest.raises(ValueError, match='batch_size was 8, is 10: use'):
    other.training_errors('tanh', rate=net.rate, seed=0, epochs=3)


def test_a_longer_run_is_no_longer_than_asked(whole):
  folder, net = whole
  shorter = experiment.Experiment(_tiny(), folder=folder, most_epochs=2)
  again = shorter.train_activation('tanh', **_ASKED)
  assert again.curves == {s: c[:2] for s, c in net.curves.items()}
  assert again.searched == net.searched


@pytest.mark.parametrize(
  ('field', 'value'),
  [('optim.weight_decay', 0.1), ('augment.mirror', True)],
)
def test_a_net_that_is_regularised_is_refused(field, value):
  config = _tiny()
  experiment.check(config)
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=f'config.{field} = {value}, but'):
    experiment.check(config)


def test_the_command_writes_picture_and_numbers(command, tmp_path):
  args = (
    *(f'--config.{field}={value}' for field, value in TINY.items()),
    *('--rates=0.01', '--seeds=0', '--most_epochs=1', '--search_epochs=1'),
  )
  output = f'--output={tmp_path}'
  done = command('alexnet_jax.tools.fig1', CONFIG, *args, output)
  assert done.returncode == 0, done.stderr
  # No net learns in one epoch: a bound is all there can be.
  assert 'relu: unknown, as relu did not reach it' in done.stdout
  assert 'embedded (50 training images), digest ' in done.stdout
  found = json.loads((tmp_path / 'fig1.json').read_text())
  assert (found['data']['name'], found['data']['classes']) == ('embedded', 10)
  assert found['version'] == alexnet_jax.__version__
  assert set(found['nets']) == {'relu', 'tanh'}
  assert (tmp_path / 'fig1.png').read_bytes().startswith(b'\x89PNG')
  assert (tmp_path / 'fig1.svg').exists()
  other = '--config.data.embedded_train_images=60'
  done = command('alexnet_jax.tools.fig1', CONFIG, *args, other, output)
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert 'is of other data: embedded (50 training images)' in done.stderr


@pytest.mark.parametrize(
  ('flag', 'said'),
  [
    ('--activations=relu', 'use two or more of'),
    ('--activations=relu,step', '--activations=relu,step: use'),
    ('--seeds=0,0', '--seeds=0,0 has 0 twice: give it once'),
    ('--seeds=', '--seeds=: use one or more whole numbers'),
    ('--seeds=4294967296', '4294967296: use a whole number from 0 to'),
    ('--rates=0', '--rates=0: use numbers above 0'),
    ('--most_epochs=2', '--search_epochs=20 is more than --most_epochs=2'),
  ],
)
def test_wrong_flags_cost_a_line(command, tmp_path, flag, said):
  done = command(
    'alexnet_jax.tools.fig1', CONFIG, flag, f'--output={tmp_path}/x'
  )
  assert done.returncode == 1
  assert said in done.stderr and done.stderr.count('\n') == 1
  assert not (tmp_path / 'x').exists()


def test_missing_data_and_a_file_for_output_leave_nothing(command, tmp_path):
  output = tmp_path / 'x'
  done = command('alexnet_jax.tools.fig1', CONFIG, f'--output={output}')
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert 'config.data.dir' in done.stderr and not output.exists()
  output.write_text('kept')
  args = (f'--config.{field}={value}' for field, value in TINY.items())
  done = command('alexnet_jax.tools.fig1', CONFIG, *args, f'--output={output}')
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert f'{output} is a file: give another --output' in done.stderr
