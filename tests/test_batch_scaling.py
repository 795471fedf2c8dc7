"""Rates and trust ratios for other minibatches, by hand and on every mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from alexnet_jax.config import durations
from alexnet_jax.configs import imagenet, source2012_256, source2012_automatic
from alexnet_jax.ops import columns
from alexnet_jax.optim import plateau, sgd
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build, train
from alexnet_jax.steps import state as state_lib
from alexnet_jax.studies import communication
from tests import nets

IMAGES = 1_281_167


def _rates(config, *, epochs, scale=1.0):
  """(learning_rate of the metrics, rates) after so many epochs."""
  plan = durations.plan(config, train_images=IMAGES)
  layers = ('conv1', 'fc6')
  state = state_lib.TrainState(
    step=jnp.int32(epochs * IMAGES / config.batch_size),
    params=dict.fromkeys(layers),
    opt_state=(),
    plateau=plateau.init()._replace(scale=jnp.float32(scale)),
  )
  rate, rates = train._learning_rates(config, plan=plan, state=state)
  return float(rate), jax.tree.map(float, rates)


# (epochs, kernels, biases) of run 170 in minibatches of 256: twice .01 to
# .00004 in quarters of 95 epochs, twice .02 and .002 in halves.
DOUBLED = [
  (0, 0.02, 0.04),
  (24, 2 * 0.0015874, 0.04),
  (48, 2 * 0.00025198, 0.004),
  (94, 0.00008, 0.004),
]


@pytest.mark.parametrize(('epochs', 'kernel', 'bias'), DOUBLED)
def test_both_rates_are_doubled_for_256_images(epochs, kernel, bias):
  config = source2012_256.get_config()
  by_hand = source2012_automatic.get_config()
  by_hand.batch_size, by_hand.optim.learning_rate = 256, 0.02
  rate, rates = found = _rates(config, epochs=epochs)
  assert found == _rates(by_hand, epochs=epochs)
  assert rate == pytest.approx(kernel, rel=1e-4)
  assert rates['fc6'] == pytest.approx({'kernel': kernel, 'bias': bias}, 1e-4)


def test_without_warm_up_the_program_is_that_of_the_other_rate():
  """To the letter: twice the rate for twice the images, as a field or not."""
  texts = []
  for rate, rule in ((0.01, 'linear'), (0.02, ''), (0.01, '')):
    config = nets.config(short=True)
    config.optim.learning_rate = rate
    config.batch_scaling.rule = rule
    config.batch_scaling.base_batch_size = nets.BATCH // 2
    run = nets.Trained(config, num_steps=0)
    batch = {name: jnp.asarray(array) for name, array in nets.batch().items()}
    lowered = run.programs.train.lower(run.programs.state, run.mean, batch)
    texts.append(lowered.as_text())
  assert texts[0] == texts[1] != texts[2]


def _warmed(*, images, epochs):
  config = imagenet.get_config()
  config.batch_size = images
  config.batch_scaling.rule = 'linear'
  config.batch_scaling.warmup_epochs = epochs
  return config


@pytest.mark.parametrize(
  ('epochs', 'rate'),
  [(0, 0.01), (1, 0.072), (2.5, 0.165), (5, 0.32), (6, 0.32)],
)
def test_warm_up_rises_evenly_from_the_unscaled_rate(epochs, rate):
  """4,096 images are 32 times 128: from 0.01 to 0.32, 0.062 an epoch."""
  found, rates = _rates(_warmed(images=4096, epochs=5.0), epochs=epochs)
  # A whole step is up to 1 / 313 of an epoch late.
  assert found == pytest.approx(rate, rel=1e-2)
  assert rates['conv1'] == {'kernel': found, 'bias': found}


def test_plateaus_tables_and_the_warm_up_multiply():
  config = _warmed(images=512, epochs=4.0)
  config.schedule.kernel = ((0.0, 1.0), (1.0, 0.5))
  config.schedule.bias = ((0.0, 2.0),)
  config.schedule.layer.conv1.kernel = ((0.0, 0.0),)
  rate, rates = _rates(config, epochs=2, scale=0.1)
  # Half of the way from 1 to 4 is 2.5, and 0.01 x 2.5 x 0.1 = 0.0025.
  assert rate == pytest.approx(0.00125, rel=1e-3)
  assert rates == {
    'conv1': {'kernel': 0.0, 'bias': pytest.approx(0.005, rel=1e-3)},
    'fc6': {'kernel': rate, 'bias': pytest.approx(0.005, rel=1e-3)},
  }


def test_metrics_show_the_rate_of_each_step_of_a_warm_up():
  """Of 12 images 8 at a time: two epochs are three steps, from 1 to 4."""
  config = nets.config(short=True)
  config.grad_accumulation_steps = 2  # the whole minibatch counts
  config.batch_scaling.rule = 'linear'
  config.batch_scaling.base_batch_size = 2
  config.batch_scaling.warmup_epochs = 2.0
  run = nets.Trained(config, num_steps=5)
  rates = [float(m['learning_rate']) for m in run.metrics]
  np.testing.assert_allclose(rates, [0.01, 0.02, 0.03, 0.04, 0.04], rtol=1e-6)
  # What moved: fc8's biases begin at 0, do not decay, and have no velocity.
  plain = nets.trained(data=1, column=1, parts=1, short=True)
  first, theirs = (r.states[0].params['fc8']['bias'] for r in (run, plain))
  np.testing.assert_allclose(first, theirs, rtol=1e-4, atol=1e-7)


def _lars_config(*, data, column):
  """Returns a config with LARS, at a rate that moves kernels by thousandths."""
  config = nets.config(data=data, column=column, short=True)
  config.batch_scaling.lars = True
  config.batch_scaling.trust_coefficient = 0.05
  return config


@functools.cache
def _lars(*, data, column, parts):
  """Three steps of LARS."""
  config = _lars_config(data=data, column=column)
  config.grad_accumulation_steps = parts
  return nets.Trained(config, num_steps=3)


def _velocities(state):
  (found,) = [s.trace for s in state.opt_state if hasattr(s, 'trace')]
  return found


MESHES = [(1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 2, 2)]


@pytest.mark.parametrize('mesh', MESHES)
def test_first_step_of_lars_is_the_plain_one_times_the_ratio_of_norms(mesh):
  """The plain rule's first velocity is -0.01 u, and u is all that LARS asks."""
  data, column, parts = mesh
  run = _lars(data=data, column=column, parts=parts)
  plain = _velocities(nets.trained(data=1, column=1, short=True).states[0])
  for layer, ours in _velocities(run.states[0]).items():
    v = np.asarray(plain[layer]['kernel'], np.float64)
    w = np.asarray(run.first.params[layer]['kernel'], np.float64)
    ratio = 0.05 * np.linalg.norm(w) / np.linalg.norm(v / 0.01)
    largest = np.abs(ratio * v).max()
    np.testing.assert_allclose(
      ours['kernel'], ratio * v, rtol=0, atol=1e-5 * largest
    )
    biases = plain[layer]['bias']
    np.testing.assert_allclose(ours['bias'], biases, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('mesh', MESHES[1:])
def test_steps_of_lars_do_not_depend_on_the_mesh(mesh):
  data, column, parts = mesh
  run = _lars(data=data, column=column, parts=parts)
  one = _lars(data=1, column=1, parts=1)
  np.testing.assert_allclose(run.losses, one.losses, rtol=1e-5)
  for ours, theirs in zip(
    jax.tree.leaves(run.states[-1].params),
    jax.tree.leaves(one.states[-1].params),
    strict=True,
  ):
    np.testing.assert_allclose(
      ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max()
    )


def _two_columns(function, *, specs):
  mesh = mesh_lib.create(data=1, column=2)
  return jax.jit(
    jax.shard_map(function, mesh=mesh, in_specs=specs[0], out_specs=specs[1])
  )


def test_norms_sum_what_is_split_and_not_what_all_columns_have():
  tree = {'split': jnp.array([3.0, 4.0]), 'whole': jnp.array([6.0, 8.0])}
  specs = {'split': P('column'), 'whole': P()}

  def norms(tree):
    return columns.norms(tree, specs=specs)

  found = _two_columns(norms, specs=((specs,), P()))(tree)
  assert {name: float(x) for name, x in found.items()} == {
    'split': 5.0,
    'whole': 10.0,
  }
  assert float(columns.norms(tree)['split']) == 5.0  # with no mesh at all


# What is infinite has a ratio of 0: the first column then stays by itself.
@pytest.mark.parametrize(
  ('bad', 'sound'), [(np.nan, [False, False]), (np.inf, [True, False])]
)
def test_a_gradient_that_is_no_number_in_one_column_moves_neither(bad, sound):
  """It is part of the norm that both have."""
  config = nets.config(column=2, short=True)
  config.batch_scaling.lars = True
  rule = sgd.from_config(
    config.optim, scaling=config.batch_scaling, norms=build._norms
  )
  specs = {'fc6': {'kernel': P(None, 'column'), 'bias': P('column')}}

  def step(params, grads):
    updates, _ = rule.update(grads, rule.init(params), params, rates=0.1)
    check = train._check_finite(
      config, loss=jnp.float32(1), grads=grads, updates=updates
    )
    after = jax.tree.map(jnp.add, params, updates)
    return check.choose(after, params, specs=specs), check.layers

  params = {'fc6': {'kernel': jnp.ones((2, 4)), 'bias': jnp.ones(4)}}
  grads = jax.tree.map(jnp.ones_like, params)
  run = _two_columns(step, specs=((specs, specs), (specs, P('column'))))
  moved, finite = run(params, grads)
  assert (np.asarray(moved['fc6']['kernel']) != 1).all() and finite.all()
  grads['fc6']['kernel'] = grads['fc6']['kernel'].at[0, 3].set(bad)
  kept, finite = run(params, grads)
  np.testing.assert_array_equal(kept['fc6']['kernel'], 1)
  assert finite.tolist() == sound


@pytest.mark.parametrize(
  ('data', 'column', 'skips', 'shapes'),
  [
    (2, 1, 0, None),
    (1, 2, 0, {'f32[8]'}),  # of four layers, |w| and |u| squared
    (2, 2, 1, {'f32[8]', 's32[]'}),
  ],
)
def test_lars_adds_one_sum_of_norms_and_nothing_else(
  data, column, skips, shapes
):
  config = _lars_config(data=data, column=column)
  config.guard.max_skipped_steps = skips
  report = communication.report(config)
  assert not report.problems
  added = [m for m in report.train if (m.layer, m.axis) == ('', 'column')]
  if shapes is None:
    assert not added
    return
  (sums,) = added
  assert set(sums.shapes) == shapes and sums.count == len(shapes)
  # Of a sum of two each sends its own: 32 bytes, and 4 if they agree.
  sent = (32 + 4 * skips) * 2 * data
  assert sums.bytes_per_image == sent / nets.BATCH
  config.batch_scaling.lars = False
  without = communication.expected(config)
  others = {m.key for m in report.expected_train} - {m.key for m in without}
  assert others == (set() if skips else {sums.key})
