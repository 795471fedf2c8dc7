"""Runs, checkpoints and data on the fake buckets of tests/buckets.py."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

from alexnet_jax import train
from alexnet_jax.checkpoint import bucket_sync, layout, restore
from alexnet_jax.config import validate
from alexnet_jax.data import download, sources
from alexnet_jax.data.prepare import run as run_lib
from alexnet_jax.data.prepare import shards
from alexnet_jax.data.prepare import sources as sources_lib
from alexnet_jax.runtime import bucket as bucket_lib
from alexnet_jax.runtime import paths, signals
from tests import buckets, nets, saved
from tests.faults import runs

RUN = 'fake://b/runs/a'
DATA = 'fake://b/data/gratings'


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  return buckets.make(monkeypatch, tmp_path)


@pytest.fixture
def there(bucket):
  """The workdir on the bucket."""
  return bucket / 'runs' / 'a'


def _config(steps=8):
  """Two epochs of four steps; evaluation of 10 images."""
  config = nets.config(short=True)
  config.data.embedded_train_images = 30
  config.data.embedded_val_images = 10
  config.total_steps = steps
  return config


def _train(*, steps=8, at_epoch=lambda: None):
  """Trains on the bucket; `at_epoch` may ask the run to stop."""
  stop, seen = signals.Stop(), []

  def stop_when(lines):
    seen.append(len(lines))
    if seen[-1] > seen[0]:  # the first call is before any step
      stop.asked = stop.asked or bool(at_epoch())
    return False

  with bucket_sync.synced_workdir(RUN, stop=stop) as workdir:
    train.train(_config(steps), workdir=workdir, stop=stop, stop_when=stop_when)


def _steps(workdir):
  """Names of the complete steps, newest first."""
  steps = layout.steps(workdir / layout.FOLDER)
  return [path.name for path in steps if (path / layout.SUMS).is_file()]


def _digests(workdir, step):
  return restore.read_meta(workdir / layout.FOLDER / step)['digests']


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The same run in a local folder."""
  workdir = tmp_path_factory.mktemp('whole')
  train.train(_config(), workdir=workdir)
  return workdir


@pytest.fixture
def begun(there, whole):
  """The workdir on the bucket, with a copy of that run."""
  shutil.copytree(whole, there)
  return there


def _back_to_step_4(workdir):
  shutil.rmtree(workdir / layout.FOLDER / '8')


def test_a_run_continued_on_another_machine_gives_the_same_numbers(
  there, whole, tmp_path
):
  with pytest.raises(signals.Stopped):
    _train(at_epoch=lambda: True)
  assert _steps(there) == ['4']  # its evaluation is due
  assert runs.lines(there)[-1]['step'] == 4
  shutil.rmtree(tmp_path / 'cache')
  _train()
  assert runs.lines(there) == runs.lines(whole)
  assert _steps(there) == ['8', '4']
  for step in ('4', '8'):
    assert _digests(there, step) == _digests(whole, step)
  names = {path.name for path in there.iterdir()}
  assert {'config.json', 'health.json', 'predictions.npz'} < names
  assert any(name.startswith('events.out.tfevents.') for name in names)
  assert not any(name.startswith('.') for name in names)


def test_the_next_command_uploads_what_the_last_could_not(
  begun, bucket, whole, capsys
):
  _back_to_step_4(begun)

  def deny():
    (bucket / '.denied').touch()

  with pytest.raises(bucket_lib.RemoteError, match=r'no permission .*403'):
    _train(at_epoch=deny)
  assert _steps(begun) == ['4']
  (bucket / '.denied').unlink()
  capsys.readouterr()
  _train()
  assert 'done already' in capsys.readouterr().out
  assert _steps(begun) == ['8', '4']
  assert runs.lines(begun) == runs.lines(whole)


def test_local_files_are_dropped_after_another_machine_took_over(
  begun, bucket, monkeypatch, tmp_path, capsys
):
  _back_to_step_4(begun)
  with pytest.raises(bucket_lib.RemoteError):
    _train(at_epoch=(bucket / '.denied').touch)
  (bucket / '.denied').unlink()
  with monkeypatch.context() as elsewhere:
    elsewhere.setenv(bucket_lib.CACHE, str(tmp_path / 'elsewhere'))
    with bucket_sync.synced_workdir(RUN, stop=signals.Stop()):
      pass
  capsys.readouterr()
  _train()
  assert 'resuming from step 4' in capsys.readouterr().out


def test_a_run_that_is_taken_over_stops_writing(begun, monkeypatch):
  _back_to_step_4(begun)
  monkeypatch.setattr(bucket_sync, '_SECONDS', 0.05)
  monkeypatch.setattr(bucket_sync, '_LOOK_SECONDS', 0.05)
  stop = signals.Stop()
  with pytest.raises(
    bucket_sync.TakenOverError, match=r'a run on H \(process 7\)'
  ):
    with bucket_sync.synced_workdir(RUN, stop=stop) as workdir:
      other = {'token': 'other', 'host': 'H', 'process': 7}
      (begun / 'owner.json').write_text(json.dumps(other))
      limit = time.monotonic() + 20
      while not stop.asked and time.monotonic() < limit:
        time.sleep(0.01)
      assert stop.asked
      (workdir / 'metrics.jsonl').write_text('')
  assert (begun / 'metrics.jsonl').read_text()


def test_a_second_run_on_the_same_machine_is_refused(begun):
  with bucket_sync.synced_workdir(RUN, stop=signals.Stop()):
    with pytest.raises(ValueError, match='in use by another run'):
      with bucket_sync.synced_workdir(RUN, stop=signals.Stop()):
        pass


@pytest.mark.parametrize('how', ['damaged', 'broken off'])
def test_an_unusable_step_is_trained_again(begun, whole, how):
  """A damaged step is set aside; a partly uploaded one is removed."""
  step = begun / layout.FOLDER / '8'
  if how == 'damaged':
    file = max((p for p in step.rglob('*') if p.is_file()), key=_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
  else:
    (step / layout.SUMS).unlink()
    (step / 'odd').write_text('left over')
  _train()
  assert _digests(begun, '8') == _digests(whole, '8')
  assert runs.lines(begun) == runs.lines(whole)
  assert not (step / 'odd').exists()
  aside = begun / layout.SET_ASIDE / '8'
  assert aside.is_dir() == (how == 'damaged')
  if how == 'damaged':
    assert (aside / file.relative_to(step)).read_bytes() == content


def _size(path):
  return path.stat().st_size


def test_old_and_partial_steps_are_removed_from_the_bucket(there):
  saved.checkpoint(there, _config())  # step 7
  (there / layout.FOLDER / '3').mkdir()
  (there / layout.FOLDER / '3' / 'half').write_text('')
  with bucket_sync.synced_workdir(RUN, stop=signals.Stop()) as workdir:
    old = workdir / layout.FOLDER / '7'
    shutil.copytree(old, old.with_name('8'))
    shutil.rmtree(old)
  files = [p for p in (there / layout.FOLDER).rglob('*') if p.is_file()]
  assert {p.relative_to(there / layout.FOLDER).parts[0] for p in files} == {'8'}


def test_a_lost_local_folder_removes_nothing_from_the_bucket(begun):
  with bucket_sync.synced_workdir(RUN, stop=signals.Stop()) as workdir:
    shutil.rmtree(workdir / layout.FOLDER)
  assert _steps(begun) == ['8', '4']


@pytest.mark.parametrize('of', ['', '/', '/checkpoints', '/checkpoints/7'])
def test_a_checkpoint_is_found_on_a_bucket(there, of, monkeypatch):
  saved.checkpoint(there, _config())
  (there / layout.FOLDER / '9').mkdir()  # incomplete
  (there / layout.FOLDER / '9' / 'x').write_text('')
  step = layout.find(RUN + of)
  assert step.name == '7' and restore.read_meta(step)['dataset']
  with monkeypatch.context() as patch:  # the second time it is a local copy
    patch.setattr(buckets.FakeBuckets, 'get_file', None)
    assert layout.find(RUN + of) == step


def test_a_checkpoint_that_has_changed_is_copied_again(there):
  saved.checkpoint(there, _config())
  before = restore.read_meta(layout.find(RUN))
  shutil.rmtree(there)
  config = _config()
  config.seed = 1
  saved.checkpoint(there, config)
  after = restore.read_meta(layout.find(RUN))
  assert after['digests'] != before['digests'] and after['config']['seed'] == 1


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A prepared data set of 24 and 8 images, and its source."""
  folder = tmp_path_factory.mktemp('prepared')
  rng = np.random.default_rng(0)
  for split, count in (('train', 12), ('val', 4)):
    for label in ('a', 'b'):
      place = folder / 'source' / split / label
      place.mkdir(parents=True)
      for i in range(count):
        pixels = rng.integers(0, 256, (90, 80, 3), np.uint8)
        Image.fromarray(pixels).save(place / f'{i}.png')
  plan = run_lib.plan(
    sources_lib.find_layout(str(folder / 'source')),
    options=shards.Options(image_size=nets.IMAGE),
  )
  run_lib.prepare(plan, output=folder / 'data', workers=1)
  return folder


@pytest.fixture
def data(bucket, prepared):
  """The prepared data set on the bucket."""
  folder = bucket / 'data' / 'gratings'
  shutil.copytree(prepared / 'data', folder)
  return folder


def _load(directory=DATA, *, source='prepared'):
  data = nets.config().data
  data.source, data.dir = source, str(directory)
  return sources.load(data, seed=0)


def test_data_on_a_bucket_are_copied_once(data, prepared, capsys):
  first = _load()
  assert ': copying ' in capsys.readouterr().out
  for shard in data.glob('*.array_record'):
    shard.unlink()
  again, local = _load(), _load(prepared / 'data')
  assert not capsys.readouterr().out
  assert first.fingerprint == again.fingerprint == local.fingerprint
  for index in range(24):
    ours, theirs = again.train[index], local.train[index]
    np.testing.assert_array_equal(ours.image, theirs.image)
    assert ours[1:] == theirs[1:]


def test_training_from_a_bucket_equals_training_from_a_folder(
  data, prepared, tmp_path
):
  config = _config(steps=2)
  config.data.source = 'prepared'
  found = []
  for directory in (DATA, str(prepared / 'data')):
    config.data.dir = directory
    validate.check(config)
    workdir = tmp_path / str(len(found))
    train.train(config, workdir=workdir)
    found.append(runs.lines(workdir))
  assert found[0] == found[1]


def test_an_interrupted_copy_continues(data, monkeypatch):
  val = next(data.glob('val-*.array_record'))
  content = val.read_bytes()
  val.write_bytes(content[:-1])
  with pytest.raises(ValueError, match=r'val-.* differs from its checksum'):
    _load()
  val.write_bytes(content)
  fetch, names = buckets.FakeBuckets.get_file, []

  def get_file(self, path, to, **kwargs):
    names.append(path)
    fetch(self, path, to, **kwargs)

  with monkeypatch.context() as patch:
    patch.setattr(buckets.FakeBuckets, 'get_file', get_file)
    assert len(_load().val) == 8
  assert any(val.name in name for name in names)
  assert not any('train' in name for name in names)


def test_data_that_were_prepared_again_are_copied_again(data):
  before = download.local_copy(DATA)
  path = data / 'metadata.json'
  content = json.loads(path.read_text())
  content['classes'].reverse()
  path.write_text(json.dumps(content))
  assert download.local_copy(DATA) != before
  assert [c.id for c in _load().classes] == [
    c['id'] for c in content['classes']
  ]


def test_a_small_disk_is_refused_before_copying(data, monkeypatch):
  usage = shutil.disk_usage('/')._replace(free=10)
  with monkeypatch.context() as patch:
    patch.setattr(shutil, 'disk_usage', lambda place: usage)
    with pytest.raises(ValueError, match=r'are free: make room'):
      _load()
  assert not list(bucket_lib.cache_folder('data').rglob('*.array_record'))


def test_incomplete_data_are_refused(data):
  next(data.glob('train-*.array_record')).unlink()
  with pytest.raises(ValueError, match='is incomplete: train-'):
    _load()
  (data / 'metadata.json').unlink()
  with pytest.raises(ValueError, match='no prepared data set at fake://b/data'):
    _load()


@pytest.mark.parametrize(
  ('url', 'said'),
  [
    ('gs://b/a', 'package for gs:// is not installed: pip install gcsfs'),
    ('s3://b/a', 'package for s3:// is not installed: pip install s3fs'),
    ('odd://b/a', 'Protocol not known: odd; use gs://, .*, or a folder'),
    ('fake://none/a', 'does not exist'),
    ('fake://denied/a', r'no permission \(PermissionError: 403 Forbidden\)'),
  ],
)
def test_an_unusable_bucket_is_an_error_of_one_line(bucket, url, said):
  (bucket.parent / 'denied').mkdir()
  (bucket.parent / 'denied' / '.denied').touch()
  for use in (
    lambda: bucket_sync.synced_workdir(url, stop=signals.Stop()).__enter__(),
    lambda: layout.find(url),
    lambda: _load(url),
  ):
    with pytest.raises(ValueError, match=said) as error:
      use()
    assert url in str(error.value) and '\n' not in str(error.value)


def test_an_object_with_an_invalid_file_name_is_refused(there):
  (there / 'checkpoints' / '7').mkdir(parents=True)
  (there / 'checkpoints' / '7' / '..\\x').touch()
  with pytest.raises(ValueError, match='which is no valid file name'):
    layout.find(RUN)


def test_other_paths_must_be_local():
  with pytest.raises(ValueError, match=r'operations\.md lists what'):
    paths.expand('gs://bucket/a')
  with pytest.raises(
    ValueError, match='TFDS data sets are read from a local folder'
  ):
    _load('gs://bucket/a', source='tfds')


@pytest.mark.slow
def test_the_commands_work_on_a_bucket(
  bucket, prepared, tmp_path, command, server
):
  """Prepares, trains, stops by SIGTERM, continues, evaluates, reports."""
  env = {name: os.environ[name] for name in ('FAKE_BUCKETS', bucket_lib.CACHE)}

  def run(tool, *args):
    done = command(f'alexnet_jax.{tool}', *args, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout

  size = f'--image_size={nets.IMAGE}'
  source = f'--source={prepared / "source"}'
  run('tools.prepare', source, f'--output={DATA}', size)
  assert not list(bucket_lib.cache_folder('prepared').iterdir())
  flags = (
    '--config=configs/smoke.py',
    runs.SHORT,
    '--config.mesh.column=1',
    '--config.data.source=prepared',
    f'--config.data.dir={DATA}',
  )
  trains = (
    *flags,
    '--config.total_steps=12',
    '--config.report.at_end=True',
    f'--workdir={RUN}',
  )
  job = server.start(1, *trains, folder=tmp_path / 'log', **env)
  job.wait_for_step(
    bucket_lib.cache_folder('runs') / bucket_lib.copy_name(RUN) / 'workdir', 2
  )
  job.kill(0, signal.SIGTERM)
  (stopped,) = job.finish()
  assert stopped.returncode == 75, stopped.stderr
  there = bucket / 'runs' / 'a'
  (step,) = _steps(there)[:1]
  shutil.rmtree(tmp_path / 'cache')
  assert f'resuming from step {step}' in run('main', *trains)
  assert (there / 'report' / 'index.html').is_file()
  last = runs.lines(there)[-1]
  out = run('main', *flags, '--mode=eval', f'--restore={RUN}')
  assert f'top-1 error {100 * last["top1_error"]:.2f} %' in out
  out = run('tools.checkpoint', f'--dir={RUN}', '--verify')
  assert ' yes ' in out and ' NO ' not in out
  (there / 'report' / 'index.html').unlink()
  out = run('tools.report', f'--workdir={RUN}', f'--data_dir={DATA}')
  assert out.strip() == f'{RUN}/report/index.html'
  # Not in the report of main, whose fresh process has no fake buckets.
  page = (there / 'report' / 'index.html').read_text()
  assert 'Not prepared here' not in page
