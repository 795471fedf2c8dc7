"""Going on: after any step, on another mesh, with other fields, past damage."""

import json
import shutil

import numpy as np
import pytest

from alexnet_jax import train
from alexnet_jax.checkpoint import checksums, layout, restore
from alexnet_jax.runtime import signals
from tests import test_train
from tests.faults import runs


class _StopAfter(signals.Stop):
  """Asked to stop when it has been looked at so often without being asked."""

  def __init__(self, looks):
    self._looks = looks
    super().__init__()

  @property
  def asked(self):
    self._looks -= 1
    return self._looks < 0

  @asked.setter
  def asked(self, value):
    assert not value


def _config(**fields):
  fields = {'log.every_steps': 3, 'plateau.patience_epochs': 1} | fields
  return test_train._config(**fields)


def _run(workdir, config, *, looks=None):
  stop = None if looks is None else _StopAfter(looks)
  train.train(config, workdir=workdir, stop=stop)


def _digest(workdir):
  step = layout.find(str(workdir))
  meta = restore.read_meta(step)
  return step.name, checksums.combine(meta['digests'])


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Two epochs of four steps that nothing disturbed, lines of three steps."""
  workdir = tmp_path_factory.mktemp('whole')
  _run(workdir, _config())
  return workdir


def test_stopped_again_and_again_it_gives_the_same_numbers(
  whole, tmp_path, capsys
):
  """Each start takes one step, or gets as far as one look in an evaluation."""
  places = []
  for looks in [1, 2, 1, 0, 2, 3, 1, 9]:
    try:
      _run(tmp_path, _config(), looks=looks)
    except signals.Stopped:
      step = layout.find(str(tmp_path))
      due = restore.read_meta(step)['evaluation_due']
      places.append((int(step.name), due))
      last = capsys.readouterr().out.splitlines()[-1]
      assert last.startswith('stopped, and saved: run the same command again')
  assert places == [
    (1, False),
    (3, False),
    (4, True),  # before its evaluation, and once more
    (4, True),
    (5, False),
    (8, True),
    (8, False),  # before the evaluation with ten views
  ]
  assert runs.lines(tmp_path) == runs.lines(whole)
  assert _digest(tmp_path) == _digest(whole)


def test_on_other_meshes_the_losses_are_the_same_to_rounding(whole, tmp_path):
  for (data, column), limit in (
    ((2, 2), 2),  # fewer devices on both axes, and then more
    ((1, 1), 2),
    ((2, 2), 99),
  ):
    config = _config()
    config.mesh.data, config.mesh.column = data, column
    try:
      _run(tmp_path, config, looks=limit)
    except signals.Stopped:
      pass
  ours, theirs = runs.lines(tmp_path), runs.lines(whole)
  assert [(r['step'], r['split']) for r in ours] == [
    (r['step'], r['split']) for r in theirs
  ]
  for a, b in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(a['loss'], b['loss'], rtol=1e-5)
  history = json.loads((tmp_path / 'config.json').read_text())['history']
  assert [c['field'] for c in history[0]['changes']] == [
    'mesh.column',
    'mesh.data',
  ]


def test_a_change_is_told_and_kept_in_the_history(tmp_path, capsys):
  _run(tmp_path, _config(total_steps=4))
  assert json.loads((tmp_path / 'config.json').read_text())['history'] == []
  capsys.readouterr()
  table = ((0.0, 1.0), (1.5, 0.1))
  changed = _config(**{'optim.learning_rate': 0.001, 'schedule.kernel': table})
  _run(tmp_path, changed)
  out = capsys.readouterr().out
  assert 'config.optim.learning_rate was 0.0025 up to step 4, is 0.001' in out
  _run(tmp_path, changed)  # done already
  content = json.loads((tmp_path / 'config.json').read_text())
  (entry,) = content['history']
  assert entry['step'] == 4 and entry['time'] > 1.7e9
  assert {c['field']: (c['was'], c['is']) for c in entry['changes']} == {
    'optim.learning_rate': (0.0025, 0.001),
    'schedule.kernel': ([[0.0, 1.0]], [[0.0, 1.0], [1.5, 0.1]]),
    'total_steps': (4, 8),
  }
  assert content['optim']['learning_rate'] == 0.001
  rates = [
    r['learning_rate'] for r in runs.lines(tmp_path) if r['split'] == 'train'
  ]
  np.testing.assert_allclose(rates, [0.0025] * 3 + [0.001, 0.0001], rtol=1e-6)


def test_a_lost_config_json_is_that_of_the_checkpoint(whole, tmp_path, capsys):
  shutil.copytree(whole, tmp_path / 'w')
  (tmp_path / 'w' / 'config.json').write_text('{"half')
  _run(tmp_path / 'w', _config(total_steps=9))
  assert (
    'config.total_steps was 8 up to step 8, is 9' in capsys.readouterr().out
  )


def test_past_a_damaged_step_it_is_the_same(whole, tmp_path, capsys):
  workdir = tmp_path / 'w'
  shutil.copytree(whole, workdir)
  (array,) = sorted(
    (workdir / 'checkpoints' / '8').glob('state/**/d/*'),
    key=lambda p: p.stat().st_size,
  )[-1:]
  array.write_bytes(array.read_bytes()[:-7])
  (workdir / 'checkpoints' / '11').mkdir()
  _run(workdir, _config())
  out = capsys.readouterr().out
  for step in (8, 11):
    assert f'checkpoints/{step} is damaged: ' in out
    assert (workdir / 'set_aside' / str(step)).is_dir()
  assert 'resumes from step 4' in out
  assert runs.lines(workdir) == runs.lines(whole)
  assert _digest(workdir) == _digest(whole)


def test_with_no_sound_step_it_begins_again(whole, tmp_path, capsys):
  workdir = tmp_path / 'w'
  shutil.copytree(whole, workdir)
  for step in layout.steps(workdir / 'checkpoints'):
    shutil.rmtree(step / 'state')
  _run(workdir, _config())
  assert 'resumes from step 0' in capsys.readouterr().out
  assert runs.lines(workdir) == runs.lines(whole)
  assert _digest(workdir) == _digest(whole)


def test_a_step_under_another_number_is_damage(whole, tmp_path, capsys):
  workdir = tmp_path / 'w'
  shutil.copytree(whole, workdir)
  (workdir / 'checkpoints' / '8').rename(workdir / 'checkpoints' / '6')
  _run(workdir, _config())
  assert 'its arrays are of step 8' in capsys.readouterr().out
  assert _digest(workdir) == _digest(whole)


def test_checkpoints_come_by_the_clock_and_by_epochs(tmp_path):
  _run(
    tmp_path,
    _config(**{'checkpoint.every_minutes': 1e-9, 'checkpoint.keep_newest': 99}),
  )
  steps = [int(s.name) for s in layout.steps(tmp_path / 'checkpoints')]
  assert steps == [8, 7, 6, 5, 4, 3, 2, 1]
  _run(
    tmp_path / 'rare',
    _config(**{'checkpoint.every_minutes': 0.0, 'checkpoint.every_epochs': 2}),
  )
  steps = [int(s.name) for s in layout.steps(tmp_path / 'rare' / 'checkpoints')]
  assert steps == [8]


def test_evaluation_refuses_a_damaged_step(whole, tmp_path):
  shutil.copytree(whole / 'checkpoints' / '8', tmp_path / '8')
  (tmp_path / '8' / 'data' / 'process_0-of-1.json').unlink()
  with pytest.raises(
    restore.DamagedError, match=r'process_0-of-1\.json is miss'
  ):
    restore.read_meta(layout.find(str(tmp_path / '8')))
