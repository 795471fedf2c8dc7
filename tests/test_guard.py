"""Steps that give no numbers: nothing is updated, the layer is named."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import setup as setup_lib
from alexnet_jax import train
from alexnet_jax.checkpoint import checksums
from alexnet_jax.ops import pool
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build
from alexnet_jax.steps import train as train_lib
from alexnet_jax.studies import communication
from alexnet_jax.train import guard, health
from tests import nets, test_train
from tests.faults import runs


def _state(run):
  """A copy, which a step may use up."""
  return jax.device_put(
    jax.device_get(run.state), jax.tree.map(lambda a: a.sharding, run.state)
  )


def _step(run, batch):
  mesh = jax.tree.leaves(run.state)[0].sharding.mesh
  placed = mesh_lib.put_batch(batch, mesh=mesh)
  return run.programs.train(_state(run), run.mean, placed)


def _bad_batch():
  batch = nets.batch(3)
  batch['colour'][5, 1] = np.nan
  return batch


def _unchanged(before, after):
  for name in ('params', 'opt_state'):
    pairs = zip(
      jax.tree.leaves(getattr(before, name)),
      jax.tree.leaves(getattr(after, name)),
      strict=True,
    )
    for old, new in pairs:
      np.testing.assert_array_equal(old, new)


def _close(ours, theirs):
  """To 1e-6 of the array's largest value."""
  limit = 1e-6 * np.abs(theirs).max()
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=limit)


@pytest.mark.parametrize(('data', 'column'), [(1, 1), (2, 2)])
def test_a_loss_that_is_no_number_updates_nothing(data, column):
  run = nets.trained(data=data, column=column, short=True)
  after, means = _step(run, _bad_batch())
  assert math.isnan(float(means['loss']))
  _unchanged(run.state, after)
  assert int(after.step) == int(run.state.step) + 1


@pytest.mark.parametrize(('data', 'column'), [(1, 1), (1, 2)])
def test_a_gradient_that_is_no_number_does_not_reach_its_column(
  data, column, monkeypatch
):
  """Of the second column's conv5 alone: the loss is a number."""
  fine = pool.max_pool

  @jax.custom_vjp
  def poisoned(x):
    return x

  def backward(_, gradient):
    return (jnp.where(jnp.arange(gradient.shape[-1]) == 1, jnp.nan, gradient),)

  poisoned.defvjp(lambda x: (x, None), backward)

  def once(x, *args, **kwargs):
    out = fine(x, *args, **kwargs)
    return poisoned(out) if out.shape[1] == 1 else out  # after conv5 alone

  monkeypatch.setattr(pool, 'max_pool', once)
  monkeypatch.setattr(build, 'build', build.build.anew)
  config = nets.config(data=data, column=column)
  run = nets.Trained(config, num_steps=0)
  after, means = _step(run, nets.batch())
  assert math.isfinite(float(means['loss']))
  finite = np.asarray(means['finite'])
  assert finite.shape == (column, 8)
  layers = sorted(run.state.params)
  assert not finite[:, layers.index('conv5')].any()
  assert finite[:, layers.index('fc6')].all()
  for layer in ('conv1', 'conv5'):
    np.testing.assert_array_equal(
      after.params[layer]['kernel'], run.state.params[layer]['kernel']
    )


def test_columns_agree_only_where_the_config_asks():
  config = nets.config(column=2, short=True)
  axes = {(m.layer, m.axis) for m in communication.report(config).train}
  assert ('', 'column') not in axes
  config.guard.max_skipped_steps = 3
  report = communication.report(config)
  (agreed,) = [m for m in report.train if (m.layer, m.axis) == ('', 'column')]
  assert agreed.shapes == ('s32[]',) and not report.problems


@pytest.mark.parametrize(('data', 'column'), [(1, 1), (2, 2)])
def test_agreed_or_not_a_sound_step_is_the_same(data, column):
  plain = nets.trained(data=data, column=column, short=True)
  config = nets.config(data=data, column=column, short=True)
  config.guard.max_skipped_steps = 1
  agreed = nets.Trained(config, num_steps=5)
  # The two programs may be compiled to sums that are rounded in other places.
  np.testing.assert_allclose(agreed.losses, plain.losses, rtol=1e-6)
  jax.tree.map(_close, agreed.state, plain.state)
  after, _ = _step(agreed, _bad_batch())
  _unchanged(agreed.state, after)


def _train(workdir, monkeypatch, *, bad, **fields):
  """A run; minibatches with these numbers, from 1, are shifted by infinity."""
  fine = setup_lib.train_batches

  def batches(setup, *, total_steps, all_hosts=False):
    found = fine(setup, total_steps=total_steps)
    number = itertools.count(1)

    class Bad(type(found)):
      def __next__(self):
        batch = super().__next__()
        if next(number) in bad:
          batch['colour'] = np.full_like(batch['colour'], np.inf)
        return batch

    found.__class__ = Bad
    return found

  monkeypatch.setattr(setup_lib, 'train_batches', batches)
  train.train(test_train._config(**fields), workdir=workdir)


def test_a_bad_minibatch_ends_the_run_with_its_step_and_keeps_checkpoints(
  tmp_path, monkeypatch
):
  with pytest.raises(train.DivergedError) as error:
    _train(tmp_path, monkeypatch, bad=[6])
  text = str(error.value)
  assert text.startswith(
    'step 6: the loss is nan, and the activations of conv1 '
  )
  for advice in ('learning_rate', 'source2012', 'max_skipped_steps=5'):
    assert advice in text
  assert [d.name for d in (tmp_path / 'checkpoints').iterdir()] == ['4']
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert max(json.loads(line)['step'] for line in lines) == 5


def test_a_few_bad_minibatches_are_left_out_if_so_asked(
  tmp_path, monkeypatch, capsys
):
  _train(tmp_path, monkeypatch, bad=[2, 6], **{'guard.max_skipped_steps': 2})
  out = capsys.readouterr().out
  assert 'warning: step 2: the loss is nan' in out
  assert 'step 6' in out and '2 of at most 2' in out
  lines = runs.lines(tmp_path)
  build = [r['step'] for r in lines if r['split'] == 'train']
  assert build == [1, 3, 4, 5, 7, 8]


def test_one_more_than_allowed_ends_the_run(tmp_path, monkeypatch):
  with pytest.raises(train.DivergedError, match='step 7: the loss is nan'):
    _train(
      tmp_path, monkeypatch, bad=[2, 6, 7], **{'guard.max_skipped_steps': 2}
    )


def test_a_rate_that_explodes_names_the_layer_and_saves_nothing(tmp_path):
  with pytest.raises(train.DivergedError) as error:
    train.train(
      test_train._config(
        **{'optim.learning_rate': 1e9, 'model.skip_layers': ()}
      ),
      workdir=tmp_path,
    )
  assert 'step 2' in str(error.value) and 'fc8 are the first' in str(
    error.value
  )
  assert not list((tmp_path / 'checkpoints').iterdir())


def test_arrays_that_are_not_finite_are_not_saved():
  state = {
    'params': {'w': jnp.ones(2)},
    'opt_state': [jnp.array([0, jnp.inf])],
    'plateau': {'best_value': jnp.array(jnp.inf)},  # before any evaluation
  }
  digests = checksums.digest(state)
  with pytest.raises(
    train.DivergedError, match='step 9: the array opt_state/0'
  ) as error:
    guard.check_state_finite(digests, step=9)
  assert 'was not applied' not in str(error.value)  # it was
  del state['opt_state']
  guard.check_state_finite(checksums.digest(state), step=9)


def test_waiting_for_images_is_told_once_it_lasts():
  watch = health.InputWatch(most=0.2)
  said = [watch.see(w) for w in (0.9, 0.1, 0.3, 0.3, 0.3, 0.5)]
  assert [bool(s) for s in said] == [False] * 4 + [True, False]
  assert 'waits for images 30%' in said[4] and 'read_threads' in said[4]


def test_a_loss_at_chance_is_not_told_again_after_a_restart():
  def watch():
    return health.LossWatch(classes=10, steps=4, tolerance=0.01)

  one, lines = watch(), [{'split': 'train', 'step': 2 * n, 'loss': 2.31}
                         for n in range(1, 4)]  # fmt: skip
  said = [one.see(r['loss'], steps=2) for r in lines]
  assert [bool(s) for s in said] == [False, True, False]
  other = watch()
  other.replay([*lines, {'split': 'val', 'step': 6, 'loss': 9.0}])
  assert not other.see(2.31, steps=2)


@pytest.mark.parametrize('shape', [(300, 7), (512, 512), (3, 3, 256, 128)])
@pytest.mark.parametrize(
  ('value', 'finite'),
  [
    (0.0, True),
    (-3.4e38, True),
    (1e-44, True),
    (np.nan, False),
    (np.inf, False),
    (-np.inf, False),
  ],
)
def test_one_number_that_is_not_finite_is_found(shape, value, finite):
  x = np.full(shape, 3.4e38, np.float32)  # their sum would not be finite
  found = jax.jit(train_lib._all_finite)
  for place in (0, x.size // 2 + 1, x.size - 1):
    one = x.copy()
    one.flat[place] = value
    assert bool(found(one)) == finite
