"""Steps on disk: which stay, what is found damaged, and what becomes of it."""

import contextlib
import gc
import json
import math
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import checksums, layout, restore, save
from alexnet_jax.configs import smoke
from tests.faults import injected


@pytest.fixture(scope='module')
def batches():
  """An iterator for the `data` of a step."""
  setup = setup_lib.set_up(smoke.get_config())
  return setup_lib.train_batches(setup, total_steps=9)


def _state(seed=0):
  rng = np.random.default_rng(seed)
  return {
    'params': {'w': jnp.asarray(rng.normal(size=(50, 40)).astype(np.float32))},
    'step': jnp.int32(seed),
  }


def _save(directory, steps, *, batches, keep_newest=2, errors=None):
  """A process each, as it were."""
  for step in steps:
    opened = save.CheckpointSaver(directory, keep_newest=keep_newest)
    state = _state(step)
    error = (errors or {}).get(step)
    meta = layout.Meta(
      config={},
      dataset='d',
      fingerprint='f',
      classes=[],
      versions=layout.versions(),
      digests=checksums.digest(state).arrays,
      top1_error=error,
      evaluation_due=False,
      pending=[{'loss': 0.1 + step}],
      skipped=0,
    )
    opened.save(
      step, state=state, iterator_state=batches.get_state(), meta=meta
    )
    opened.close()


def _read(step):
  meta = restore.read_meta(step)
  abstract = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding),
    _state(),
  )
  return restore.read_state(step, meta=meta, state=abstract)


@pytest.fixture
def directory(tmp_path, batches):
  """WORKDIR/checkpoints with steps 3 and 5."""
  _save(tmp_path / 'checkpoints', [3, 5], batches=batches)
  return tmp_path / 'checkpoints'


def test_the_newest_and_the_best_stay_and_steps_without_an_error_go(
  tmp_path, batches
):
  errors = {1: 0.9, 2: 0.3, 3: 0.5, 5: 0.6, 6: 0.4}  # 4 and 7 have none
  _save(tmp_path, range(1, 8), batches=batches, keep_newest=1, errors=errors)
  assert {d.name for d in tmp_path.iterdir()} == {'2', '7'}


def test_what_comes_back_is_what_was_saved(directory):
  newest, older = layout.steps(directory)
  assert (newest.name, older.name) == ('5', '3')
  np.testing.assert_array_equal(
    _read(newest)['params']['w'], _state(5)['params']['w']
  )
  meta = restore.read_meta(newest)
  assert meta['pending'] == [{'loss': 5.1}]
  assert set(json.loads((newest / 'files.json').read_text())) >= {
    'meta/metadata',
    'data/process_0-of-1.json',
    'state/_METADATA',
  }
  arrays = restore.read_arrays(newest, meta=meta)
  np.testing.assert_array_equal(arrays['params']['w'], _state(5)['params']['w'])


def test_a_digest_that_is_not_the_arrays_is_damage_though_files_are_sound(
  directory, batches
):
  """Between the device and the file: no sum of files can see that."""
  step = layout.steps(directory)[0]
  meta = restore.read_meta(step)
  meta['digests']['params/w'] = '0' * 16
  with pytest.raises(restore.DamagedError, match='params/w is not the one'):
    restore.read_arrays(step, meta=meta)


def test_any_flipped_bit_in_any_file_is_found(directory):
  step = layout.steps(directory)[0]
  rng = random.Random(0)
  files = sorted(p for p in step.glob('*/**/*') if p.is_file())
  files = [p for p in files if p.stat().st_size]
  assert len(files) > 10
  for path in files:
    whole = path.read_bytes()
    bit = rng.randrange(8 * len(whole))
    data = bytearray(whole)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    name = path.relative_to(step).as_posix()
    with pytest.raises(restore.DamagedError) as error:
      _read(step)
    assert f'its file {name} is not what was written' in str(error.value)
    path.write_bytes(whole)
  _read(step)


def _empty(step):
  shutil.rmtree(step)
  step.mkdir()


def _file(step):
  shutil.rmtree(step)
  step.write_text('no folder')


def _foreign(step):
  shutil.rmtree(step)
  (step / 'default').mkdir(parents=True)
  (step / 'default' / 'checkpoint').write_bytes(b'\x80\x04.')


def _without(name):
  def damage(step):
    path = step / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()

  return damage


def _write(name, text):
  return lambda step: (step / name).write_text(text)


def _cut(step):
  (largest,) = sorted(
    step.glob('state/**/d/*'), key=lambda p: p.stat().st_size
  )[-1:]
  largest.write_bytes(largest.read_bytes()[:100])


def _more(step):
  (step / 'state' / 'more').write_text('not ours')


DAMAGE = {
  'empty': (_empty, 'it is empty'),
  'a file': (_file, 'it is no folder'),
  'of another program': (_foreign, 'it has no state: no step of this program'),
  'no state': (_without('state'), 'it has no state'),
  'no meta': (_without('meta'), 'it has no meta'),
  'no place in the data': (_without('data'), 'it has no data'),
  'no sums': (_without('files.json'), 'its files.json cannot be read'),
  'sums that are no JSON': (_write('files.json', '{'), 'cannot be read'),
  'sums that are a list': (_write('files.json', '[]'), 'is no JSON object'),
  'meta of zeros': (_write('meta/metadata', '\0' * 99), 'is not what was'),
  'cut short': (_cut, 'is not what was written'),
  'half written': (_without('state/_METADATA'), '_METADATA is missing'),
  'with a file more': (_more, 'its file state/more is not what was written'),
}


@pytest.mark.parametrize('name', DAMAGE)
def test_a_damaged_step_is_named_and_the_one_before_it_used(directory, name):
  damage, reason = DAMAGE[name]
  newest, older = layout.steps(directory)
  damage(newest)
  state, damaged = restore.newest_sound(directory, read=_read)
  assert int(state['step']) == int(older.name)
  (error,) = damaged
  assert error.step == newest and reason in error.reason
  assert '\n' not in str(error) and 'another step' in str(error)


def test_a_meta_of_other_fields_is_damage(directory):
  step = layout.steps(directory)[0]
  (step / 'meta' / 'metadata').write_text('{"config": {}}')
  sums = checksums.file_sums(step)
  (step / 'files.json').write_text(json.dumps(sums))
  with pytest.raises(restore.DamagedError, match='its meta has no dataset'):
    restore.read_meta(step)


def test_damaged_steps_are_set_aside_and_none_is_overwritten(directory):
  for content in ('one', 'two', 'three'):
    step = directory / '9'
    step.mkdir()
    (step / content).touch()
    place = layout.quarantine(step)
    assert (place / content).exists() and not step.exists()
  aside = directory.parent / 'set_aside'
  assert {p.name for p in aside.iterdir()} == {'9', '9-1', '9-2'}


def test_what_a_killed_process_was_writing_is_removed(directory):
  half = directory / '7.orbax-checkpoint-tmp'
  (half / 'state').mkdir(parents=True)
  (directory / layout.DELETED / '2').mkdir(parents=True)  # and was removing
  assert layout.steps(directory)[0].name == '5'
  assert layout.clean_partial(directory) == [half]
  assert {p.name for p in directory.iterdir()} == {'3', '5'}


def _goes(step):
  """What a run does with an old step, in the middle of a reader's work."""
  step.parent.joinpath(layout.DELETED).mkdir(exist_ok=True)
  step.rename(step.parent / layout.DELETED / step.name)
  layout.remove_deleted(step.parent)
  return restore.read_meta(step)


def test_a_step_that_its_run_removes_is_no_damaged_one(directory, batches):
  def read(step):
    return _goes(step) if step.name == '5' else int(_read(step)['step'])

  kept = directory.parent / 'kept'
  shutil.copytree(directory, kept)
  assert restore.of_newest(str(directory.parent), read=read) == 3
  shutil.copytree(kept / '5', directory / '5')
  assert restore.newest_sound(directory, read=read) == (3, [])
  assert {p.name for p in directory.iterdir()} == {'3'}


def test_steps_that_go_faster_than_they_are_read_are_told_of(directory):
  def read(step):
    shutil.copytree(step, step.with_name(str(int(step.name) + 1)))
    return _goes(step)

  for look in (
    lambda: restore.of_newest(str(directory.parent), read=read),
    lambda: restore.newest_sound(directory, read=read),
  ):
    with pytest.raises(ValueError, match='removes checkpoints faster') as error:
      look()
    assert '\n' not in str(error.value)
  with pytest.raises(ValueError, match='does not exist'):  # STEP itself
    restore.of_newest(str(directory / '3'), read=_goes)


def test_a_step_that_made_way_comes_back_unless_it_was_written_again(directory):
  step = directory / '5'
  layout.hide_unevaluated(step)
  assert not step.exists()
  layout.clean_partial(directory)
  assert int(_read(step)['step']) == 5
  layout.hide_unevaluated(step)
  shutil.copytree(directory / '3', step)
  layout.clean_partial(directory)
  assert {p.name for p in directory.iterdir()} == {'3', '5'}
  assert int(restore.read_meta(step)['pending'][0]['loss']) == 3


def test_a_disk_with_no_room_is_told_of_before_anything_is_written(
  tmp_path, batches
):
  if not injected.can_mount():
    pytest.skip('making a small disk needs root on Linux')
  disk = tmp_path / 'disk'
  with injected.small_disk(disk, megabytes=1):
    _save(disk / 'c', [1], batches=batches)
    with contextlib.suppress(OSError), open(disk / 'filler', 'wb', 0) as file:
      while file.write(bytes(4096)):
        pass
    with pytest.raises(save.SaveError) as error:
      _save(disk / 'c', [2], batches=batches)
    assert '2 cannot be written: ' in str(error.value)
    assert 'MB are needed, 0.0 MB are free' in str(error.value)
    (disk / 'filler').unlink()
    layout.clean_partial(disk / 'c')
    _save(disk / 'c', [2], batches=batches)
    assert int(_read(disk / 'c' / '2')['step']) == 2


def test_a_disk_that_fills_up_while_saving_leaves_the_steps_before(
  tmp_path, batches, capfd
):
  if not injected.can_mount():
    pytest.skip('making a small disk needs root on Linux')
  disk = tmp_path / 'disk'
  with injected.small_disk(disk, megabytes=1):
    _save(disk / 'c', [1], batches=batches)
    size = 4096 * math.ceil(8008 / 4096) + 8 * 4096  # too little for folders
    with open(disk / 'filler', 'wb', 0) as file:
      while shutil.disk_usage(disk).free > size:
        file.write(bytes(4096))
    with pytest.raises(save.SaveError, match='2 cannot be written: '):
      _save(disk / 'c', [2], batches=batches)
    (disk / 'filler').unlink()
    assert [p.name for p in layout.steps(disk / 'c')] == ['1']
    assert int(_read(disk / 'c' / '1')['step']) == 1
  gc.collect()  # here, not in another test
  assert not capfd.readouterr().err  # of orbax's threads


def test_a_folder_that_was_removed_is_not_made_again(tmp_path, batches):
  opened = save.CheckpointSaver(tmp_path / 'c', keep_newest=1)
  (tmp_path / 'c').rmdir()
  with pytest.raises(save.SaveError, match='its folder was removed'):
    opened.save(
      1,
      state=_state(),
      iterator_state=batches.get_state(),
      meta={'top1_error': None},
    )
  opened.close()
  assert not (tmp_path / 'c').exists()


TOOL = 'alexnet_jax.tools.checkpoint'


def test_the_tool_lists_verifies_and_names_what_is_damaged(
  command, tmp_path, batches
):
  directory = tmp_path / 'checkpoints'
  _save(directory, [3, 5], batches=batches, errors={3: 0.25})
  plain = command(TOOL, f'--dir={tmp_path}')
  assert plain.returncode == 0 and plain.stdout.count('not checked') == 2
  sound = command(TOOL, f'--dir={tmp_path}', '--verify')
  assert sound.returncode == 0 and sound.stdout.count(' yes ') == 2
  assert '0.2500' in sound.stdout and 'data set: d' in sound.stdout
  _cut(directory / '5')
  done = command(TOOL, f'--dir={tmp_path}', '--json', '--verify')
  assert done.returncode == 1 and not done.stderr
  first, second = json.loads(done.stdout)
  assert (first['step'], first['sound'], first['top1_error']) == (3, True, 0.25)
  assert first['digest'] == checksums.digest(_state(3)).whole
  assert (second['step'], second['sound'], second['top1_error']) == (
    5,
    False,
    None,
  )
  assert 'is not what was written' in second['reason']
  nowhere = command(TOOL, f'--dir={tmp_path}/nowhere')
  assert nowhere.returncode == 1 and nowhere.stderr.count('\n') == 1
