"""Preparing that is killed, stopped, or meets files that cannot be used."""

import io
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import records
from alexnet_jax.data.prepare import run, shards, sources
from tests import official

_REAL = pathlib.Path(os.environ.get('ALEXNET_JAX_TEST_DATA', '/nowhere'))
_MINI = _REAL / 'ilsvrc2012-mini'


def _start(source, output, *args):
  return subprocess.Popen(
    [
      *(sys.executable, '-m', 'alexnet_jax.tools.prepare', '--workers=2'),
      *(f'--source={source}', f'--output={output}', '--image_size=64', *args),
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """A tar of 4000 pictures of four classes, which take seconds to prepare."""
  pictures = [_jpeg(seed=seed) for seed in range(20)]
  files = {}
  for i in range(4000):
    files[f'train/class{i % 4}/{i}.jpg'] = pictures[i % 20]
  for i in range(200):
    files[f'val/class{i % 4}/{i}.jpg'] = pictures[i % 20]
  path = tmp_path_factory.mktemp('source') / 'pictures.tar'
  path.write_bytes(official.tar(files))
  return path


def _jpeg(mode='RGB', *, seed=5):
  rng = np.random.default_rng(seed)
  array = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
  stream = io.BytesIO()
  Image.fromarray(array).convert(mode).save(stream, 'JPEG')
  return stream.getvalue()


def _digest(folder):
  return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture(scope='module')
def whole(source, tmp_path_factory):
  """An undisturbed run of prepare, to compare with."""
  output = tmp_path_factory.mktemp('whole') / 'out'
  done = _start(source, output)
  _, errors = done.communicate(timeout=120)
  assert done.returncode == 0, errors
  return output


def test_five_kills_at_random_moments_change_no_byte(source, whole, tmp_path):
  moments = random.Random(0)
  output, partial = tmp_path / 'out', tmp_path / 'out.partial'
  kept = []
  for _ in range(5):
    process = _start(source, output)
    while not (partial / 'plan').exists() and process.poll() is None:
      time.sleep(0.01)
    try:
      process.wait(timeout=moments.uniform(0, 1))
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGKILL)
    # Ends once the workers, which hold the pipes too, find their parent gone.
    process.communicate(timeout=30)
    kept.append(len(list(partial.glob('*.done.npz'))))
    if output.exists():  # a fast machine finished before the kill
      break
  assert len(kept) > 2 and kept[:-1] == sorted(kept[:-1])  # none is lost
  if not output.exists():
    done = _start(source, output)
    _, errors = done.communicate(timeout=120)
    assert done.returncode == 0, errors
  assert _digest(output) == _digest(whole)
  assert not partial.exists()


@pytest.mark.parametrize(
  ('number', 'seconds'),
  [
    (signal.SIGTERM, 0.8),
    (signal.SIGINT, 0.8),
    (signal.SIGINT, 0.2),  # while the workers start
  ],
)
def test_a_signal_ends_it_and_its_workers(source, tmp_path, number, seconds):
  process = _start(source, tmp_path / 'out')
  while not (tmp_path / 'out.partial' / 'plan').exists():
    time.sleep(0.01)
  time.sleep(seconds)
  process.send_signal(number)
  _, errors = process.communicate(timeout=30)
  assert process.returncode == 130
  assert errors.splitlines()[-1] == 'error: interrupted'
  assert not (tmp_path / 'out').exists()


def _png16():
  stream = io.BytesIO()
  grey = np.full((90, 120), 0x8000, np.uint16)
  Image.fromarray(grey).save(stream, 'PNG')
  return stream.getvalue()


ODD = {  # file: its bytes, and the expected reason or pixel
  'n01440764_truncated.JPEG': (_jpeg()[:2000], 'truncated'),
  'n01440764_cmyk.JPEG': (_jpeg('CMYK'), None),
  'n01440764_empty.JPEG': (b'', 'the file is empty'),
  'n01440764_text.JPEG': (b'see you\n', 'no image of a known format'),
  'n01440764_16bit.PNG': (_png16(), (128, 128, 128)),
  '../../n01440764_escape.JPEG': (_jpeg(), 'leads out of the archive'),
}


def _append(path, name, data):
  with tarfile.open(path, 'a') as archive:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def odd(tmp_path):
  """The real downloads in miniature, with odd files added to one synset."""
  if not _MINI.is_dir():
    pytest.skip('ALEXNET_JAX_TEST_DATA has no ilsvrc2012-mini')
  shutil.copytree(_MINI, tmp_path / 'odd')
  inner = official.tar({name: data for name, (data, _) in ODD.items()})
  _append(tmp_path / 'odd/ILSVRC2012_img_train.tar', 'n01440764.tar', inner)
  return tmp_path / 'odd'


def _run(source, output, **options):
  layout = sources.find_layout(str(source))
  work = run.plan(layout, options=shards.Options(image_size=64))
  return run.prepare(work, output=output, workers=1, **options)


def test_odd_files_are_converted_or_listed_as_skipped(odd, tmp_path):
  metadata = _run(odd, tmp_path / 'out')
  reasons = {s.file: s.reason for s in metadata.skipped}
  assert reasons.keys() == {n for n, (_, r) in ODD.items() if type(r) is str}
  for name, reason in reasons.items():
    assert ODD[name][1] in reason, name
  assert metadata.splits['train'].num_images == 120 + 2
  assert metadata.splits['val'].num_images == 57
  data = records.load(str(tmp_path / 'out'), image_size=64)
  train = {e.name: e for e in data.train.take(range(122))}
  label = [c.id for c in data.classes].index('n01440764')
  for name in ('n01440764_cmyk.JPEG', 'n01440764_16bit.PNG'):
    assert train[name].label == label
  np.testing.assert_array_equal(train['n01440764_16bit.PNG'].image, 128)
  assert train['n01440764_cmyk.JPEG'].image.std() > 10
  assert {p.name for p in tmp_path.iterdir()} == {'odd', 'out'}


def test_too_many_unusable_files_end_the_run_and_keep_its_shards(odd, tmp_path):
  with pytest.raises(ValueError, match='more than --max_skipped=3') as error:
    _run(odd, tmp_path / 'out', max_skipped=3)
  assert '\n' not in str(error.value)
  partial = tmp_path / 'out.partial'
  notes = {p.name: p.stat().st_mtime_ns for p in partial.glob('*.done.npz')}
  assert notes
  for _ in range(2):  # the limit also holds for later runs
    with pytest.raises(ValueError, match='more than --max_skipped=3'):
      _run(odd, tmp_path / 'out', max_skipped=3)
  metadata = _run(odd, tmp_path / 'out', max_skipped=4)
  assert len(metadata.skipped) == 4


def test_stats_only_writes_the_same_bytes_as_preparing(
  command, whole, tmp_path
):
  output = shutil.copytree(whole, tmp_path / 'out')
  before = _digest(output)
  for name in ('mean_image.npy', 'rgb_pca.npz'):
    (output / name).write_bytes(b'lost')
  args = ('--stats_only', f'--output={output}', '--workers=2')
  done = command('alexnet_jax.tools.prepare', *args)
  assert done.returncode == 0, done.stderr
  assert 'of 4000 images; standard deviations' in done.stdout
  after = _digest(output)
  assert json.loads(after['metadata.json']) == json.loads(
    before['metadata.json']
  )
  assert after == before


def test_a_run_killed_while_finishing_is_finished_by_the_next(
  source, tmp_path, monkeypatch
):
  work = run.plan(
    sources.find_layout(str(source)), options=shards.Options(image_size=16)
  )
  few = work._replace(shards=work.shards[:1] + work.shards[-1:])
  run.prepare(few, output=tmp_path / 'whole', workers=1)
  unlink, rename = pathlib.Path.unlink, pathlib.Path.rename
  for number, last in enumerate(['train-0*.done.npz', 'out*.partial', 'plan']):
    output = tmp_path / f'out{number}'

    def die_at(act, last=last):
      def acts(path, *args, **kwargs):
        if path.match(last):
          raise KeyboardInterrupt
        return act(path, *args, **kwargs)

      return acts

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
      patch.setattr(pathlib.Path, 'unlink', die_at(unlink))
      patch.setattr(pathlib.Path, 'rename', die_at(rename))
      run.prepare(few, output=output, workers=1)
    run.prepare(few, output=output, workers=1)
    assert _digest(output) == _digest(tmp_path / 'whole')
    with pytest.raises(ValueError, match='exists and is complete'):
      run.prepare(few, output=output, workers=1)


def test_a_full_disk_is_an_error_of_one_line(source, tmp_path):
  limit = 'ulimit -f 300; exec "$@"'  # blocks of 1024 bytes
  args = [sys.executable, '-m', 'alexnet_jax.tools.prepare', '--workers=1']
  args += [f'--source={source}', f'--output={tmp_path / "out"}']
  done = subprocess.run(
    ['bash', '-c', limit, 'bash', *args, '--image_size=64'],
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1].startswith('error: [Errno 27] File too')
  assert not (tmp_path / 'out').exists()
