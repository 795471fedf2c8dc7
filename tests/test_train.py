"""The loop: what it writes, exact resume, and what it refuses."""

import json
import math

import jax
import numpy as np
import pytest

from alexnet_jax import setup, train
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.configs import smoke
from alexnet_jax.evaluate import predict
from alexnet_jax.steps.state import TrainState
from tests import nets
from tests.faults import runs


def _config(**fields):
  """Two epochs of four steps; evaluation of 10 images."""
  config = smoke.get_config()
  config.mesh.column = 1
  config.batch_size = 8
  config.data.embedded_train_images = 30  # epochs end inside minibatches
  config.data.embedded_val_images = 10
  config.total_steps = 8
  config.model.skip_layers = nets.SKIPPED
  config.update_from_flattened_dict(fields)
  return config


def _arrays(workdir):
  """The newest checkpoint's arrays, by their place in the tree."""
  step = layout.find(str(workdir))
  meta = restore.read_meta(step)
  state = restore.read_arrays(step, meta=meta)
  return {jax.tree_util.keystr(k): np.asarray(v)
          for k, v in jax.tree_util.tree_leaves_with_path(state)}  # fmt: skip


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run that nobody disturbed."""
  workdir = tmp_path_factory.mktemp('whole')
  train.train(_config(), workdir=workdir)
  return workdir


def test_metrics_have_the_keys_of_the_contract(whole):
  text = (whole / 'metrics.jsonl').read_text()
  records = [json.loads(line) for line in text.splitlines()]
  always = {
    'step',
    'epoch',
    'split',
    'loss',
    'top1_error',
    'top5_error',
    'time',
  }
  for r in records:
    extra = (
      {'learning_rate', 'images_per_second', 'input_wait_fraction'}
      if r['split'] == 'train'
      else {'views', 'num_images'}
    )
    assert set(r) == always | extra
  steps = [r['step'] for r in records if r['split'] == 'train']
  assert steps == list(range(1, 9))
  val = [(r['step'], r['views']) for r in records if r['split'] == 'val']
  assert val == [(4, 1), (8, 1), (8, 10)]  # images 32 and 64 of 30 an epoch
  assert records[-1]['num_images'] == 10
  assert records[-1]['epoch'] == pytest.approx(64 / 30)


def test_a_checkpoint_at_each_epoch_and_the_config_beside_it(whole):
  steps = sorted(int(d.name) for d in (whole / 'checkpoints').iterdir())
  assert steps == [4, 8]
  config = json.loads((whole / 'config.json').read_text())
  assert config['model']['layer']['conv1']['kernels'] == 12
  assert list(whole.glob('events.out.tfevents.*'))


def test_a_run_stopped_after_an_epoch_gives_the_same_numbers(whole, tmp_path):
  train.train(_config(total_steps=4), workdir=tmp_path)
  train.train(_config(), workdir=tmp_path)
  ours, theirs = runs.lines(tmp_path), runs.lines(whole)
  # The first command took its own end for the run's, with ten views.
  ours = [r for r in ours if (r['step'], r.get('views')) != (4, 10)]
  assert ours == theirs
  arrays = _arrays(tmp_path)
  for name, expected in _arrays(whole).items():
    np.testing.assert_array_equal(arrays[name], expected, err_msg=name)


def test_a_finished_run_says_so_and_trains_no_more(whole, capsys):
  before = {p: p.stat().st_mtime_ns for p in whole.rglob('*')}
  train.train(_config(), workdir=whole)
  assert 'done already: step 8,' in capsys.readouterr().out
  assert {p: p.stat().st_mtime_ns for p in whole.rglob('*')} == before


def test_means_over_several_steps_survive_a_stop(tmp_path):
  fields = {'log.every_steps': 3}
  train.train(_config(**fields), workdir=tmp_path / 'whole')
  train.train(_config(total_steps=4, **fields), workdir=tmp_path / 'parts')
  train.train(_config(**fields), workdir=tmp_path / 'parts')
  parts = [r for r in runs.lines(tmp_path / 'parts') if r['split'] == 'train']
  whole = [r for r in runs.lines(tmp_path / 'whole') if r['split'] == 'train']
  assert parts == whole
  assert [r['step'] for r in whole] == [1, 3, 4, 6, 8]


def test_one_final_view_is_not_evaluated_twice(tmp_path):
  train.train(_config(**{'eval.final_views': 1}), workdir=tmp_path)
  val = [r['step'] for r in runs.lines(tmp_path) if r['split'] == 'val']
  assert val == [4, 8]


def test_a_run_stopped_before_its_last_evaluation_makes_it_up(whole, tmp_path):
  train.train(_config(), workdir=tmp_path)
  path = tmp_path / 'metrics.jsonl'
  lines = path.read_text().splitlines(keepends=True)
  path.write_text(''.join(lines[:-1]))
  train.train(_config(), workdir=tmp_path)
  assert runs.lines(tmp_path) == runs.lines(whole)


@pytest.mark.parametrize(
  ('fields', 'named'),
  [
    ({'model.layer.conv3.kernels': 50}, 'conv3.kernels was 48, is 50'),
    (
      {'data.embedded_train_images': 31},
      'other data (data.embedded_train_images was 30, is 31)',
    ),
    ({'seed': 5}, 'config.seed was 0, is 5'),
    ({'batch_size': 10}, 'config.batch_size was 8, is 10'),
  ],
)
def test_refuses_a_workdir_of_another_run(whole, fields, named):
  before = {p: p.stat().st_mtime_ns for p in whole.rglob('*')}
  with pytest.raises(ValueError) as error:
    train.train(_config(**fields), workdir=whole)
  text = str(error.value)
  assert named in text and 'another' in text and '\n' not in text
  assert {p: p.stat().st_mtime_ns for p in whole.rglob('*')} == before


def test_more_classes_than_units_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r'--config\.model\.num_classes=10'):
    train.train(_config(**{'model.num_classes': 4}), workdir=tmp_path / 'w')
  assert not (tmp_path / 'w').exists()


def test_the_plateau_after_the_last_drop_ends_training(tmp_path):
  """With a rate of zero nothing improves: 1 epoch, then 2 plateaus of 1."""
  fields = {
    'optim.learning_rate': 0.0,
    'plateau.patience_epochs': 1,
    'plateau.num_drops': 1,
    'total_steps': 40,
  }
  train.train(_config(**fields), workdir=tmp_path)
  last = runs.lines(tmp_path)[-1]
  assert last['views'] == 10 and 2 < last['epoch'] < 3.5
  assert last['step'] == 12  # images 32, 64 and 96 end the first three epochs


def test_evaluation_counts_every_image_once_on_any_mesh(whole):
  path = layout.find(str(whole))
  meta = restore.read_meta(path)
  found = []
  for data, column, batch in ((1, 1, 4), (2, 1, 4), (2, 2, 32)):
    config = _config(**{'eval.batch_size': batch})
    config.mesh.data, config.mesh.column = data, column
    made = setup.set_up(config)
    # The digests are those of one device: they do not depend on the mesh.
    tree = made.programs.state.to_tree()
    state = TrainState(**restore.read_state(path, meta=meta, state=tree))
    found.append(
      predict.predict(made, variables=state.variables, views=10).errors
    )
  for errors in found:
    assert errors.num_images == 10
    assert errors[1:] == found[0][1:]
    assert math.isclose(errors.loss, found[0].loss, rel_tol=1e-5)


@pytest.mark.parametrize(
  ('batch_size', 'data', 'column', 'said'),
  [
    (8, 1, 1, '3 of 4 are idle (--config.mesh.data=4 uses more)'),
    (6, 1, 1, '3 of 4 are idle (--config.mesh.data=3 uses more)'),
    (8, 1, 2, '2 of 4 are idle (--config.mesh.data=2 uses more)'),
    (7, 1, 2, '2 of 4 are idle'),
    (8, 2, 2, ''),
  ],
)
def test_devices_that_the_mesh_leaves_idle_are_told_of(
  batch_size, data, column, said, tmp_path
):
  config = _config(
    **{'batch_size': batch_size, 'mesh.data': data, 'mesh.column': column}
  )
  text = setup.describe(setup.set_up(config), workdir=tmp_path, step=0)
  first = text.splitlines()[0]
  assert first.endswith(f'; {said}' if said else ')')
