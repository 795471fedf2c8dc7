"""Runs of several processes: the same numbers as of one, and all end alike.

Five kills of one of four processes: python -m tests.test_multiprocess
"""

import contextlib
import pathlib
import random
import shutil
import signal
import socket
import sys
import tempfile
import time

import jax
import numpy as np
import pytest

from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.data import augment, stats
from alexnet_jax.evaluate import predictions
from alexnet_jax.runtime import bucket as bucket_lib
from tests import buckets, damage, fork_server, two_hosts
from tests.faults import runs

pytestmark = pytest.mark.multiprocess

TWO = (
  '--config=configs/smoke.py',
  runs.SHORT,
  '--config.total_steps=14',
  '--config.log.every_steps=1',
  '--config.eval.final_views=1',
)
FOUR = (*TWO, '--config.mesh.data=2')
LIMIT = 30  # seconds in which the rest ends when a process has died


@pytest.fixture(scope='module')
def alone(server, tmp_path_factory):
  """Workdirs of one process, with two devices and with four."""
  made = {}
  for name, flags in (('two', TWO), ('four', FOUR)):
    folder = tmp_path_factory.mktemp(name)
    made[name] = folder / 'run'
    _run(server, 1, *flags, folder=folder)
  return made


def _run(server, number, *flags, folder, codes=(0,), **kwargs):
  """Runs processes with FOLDER/run for a workdir; how they ended."""
  workdir = f'--workdir={folder / "run"}'
  done = server.run(number, *flags, workdir, folder=folder, **kwargs)
  assert {d.returncode for d in done} == set(codes), done
  return done


def _start(server, number, *flags, folder, **kwargs):
  workdir = f'--workdir={folder / "run"}'
  return server.start(number, *flags, workdir, folder=folder, **kwargs)


def _same(workdir, other):
  """The same lines and arrays, losses to 1e-5 and arrays to rounding."""
  pairs = zip(runs.lines(workdir), runs.lines(other), strict=True)
  for a, b in pairs:
    assert a.pop('split') == b.pop('split')
    assert a == pytest.approx(b, rel=1e-5)
  ours, theirs = _arrays(workdir), _arrays(other)
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9)


def _arrays(workdir):
  step = layout.find(str(workdir))
  return restore.read_arrays(step, meta=restore.read_meta(step))


def test_two_processes_train_as_one(server, alone, tmp_path):
  """Each holds a column: both read the same images. One gets a signal.

  And one does not see the workdir: it asks the other.
  """
  own = {1: [f'--workdir={tmp_path / "nothing"}']}
  job = _start(server, 2, *TWO, folder=tmp_path, own=own)
  job.wait_for_step(tmp_path / 'run', 8)
  job.kill(1, signal.SIGTERM)
  first, second = job.finish()
  assert (first.returncode, second.returncode) == (75, 75)
  assert 'stopped, and saved' in first.stdout
  assert 'stopping after this step' in second.stderr
  report = '--config.report.at_end=True'
  first, second = _run(server, 2, *TWO, report, folder=tmp_path, own=own)
  _same(tmp_path / 'run', alone['two'])
  assert not (tmp_path / 'nothing').exists()
  assert (tmp_path / 'run' / 'report' / 'index.html').exists()
  assert 'step 14' in first.stdout and not second.stdout
  assert len(list((tmp_path / 'run').glob('events.out.*'))) == 2  # one a start


def test_a_signal_before_the_first_step_stops_all(server, alone, tmp_path):
  job = _start(server, 2, *TWO, folder=tmp_path)
  job.wait_for_word(process=0)
  job.kill(1, signal.SIGTERM)
  first, second = job.finish()
  assert (first.returncode, second.returncode) == (75, 75)
  assert 'stopped before the first step' in first.stdout
  assert second.stderr == 'stopping soon; Ctrl-C stops without saving\n'
  assert not layout.steps(tmp_path / 'run' / layout.FOLDER)


def test_four_processes_go_on_as_one_and_as_two(server, alone, tmp_path):
  """Two rows of two columns: each process reads its row's images."""
  for number, steps in ((4, 6), (1, 12), (2, 14)):
    total = f'--config.total_steps={steps}'
    _run(server, number, *FOUR, total, folder=tmp_path)
  _same(tmp_path / 'run', alone['four'])


def test_the_rest_ends_when_one_is_killed(server, alone, tmp_path):
  """And when one cannot write; what is there is gone on with."""
  _killed(server, 1, folder=tmp_path)
  job = _start(server, 2, *TWO, folder=tmp_path)
  job.wait_for_step(tmp_path / 'run', 9)
  (tmp_path / 'run' / 'metrics.jsonl').rename(tmp_path / 'away')
  first, second = job.finish()
  assert (first.returncode, second.returncode) == (1, 1)
  assert 'it was removed during the run' in _errors(first)[0]
  assert _errors(second)[0].startswith('error: process 0: ')
  (tmp_path / 'away').rename(tmp_path / 'run' / 'metrics.jsonl')
  _run(server, 1, *TWO, folder=tmp_path)
  _same(tmp_path / 'run', alone['two'])


def test_a_step_that_cannot_be_written_ends_all(server, alone, tmp_path):
  """While it is written in the background, which process 0 alone sees."""
  often = '--config.checkpoint.every_minutes=0.001'
  job = _start(server, 2, *TWO, often, folder=tmp_path)
  job.wait_for_step(tmp_path / 'run', 8)
  (tmp_path / 'run' / layout.FOLDER).rename(tmp_path / 'away')
  first, second = job.finish()
  assert (first.returncode, second.returncode) == (1, 1)
  assert 'its folder was removed' in _errors(first)[0]
  assert _errors(second)[0].startswith('error: process 0: ')
  # Orbax may have made the folder again, in the moment before it failed.
  shutil.rmtree(tmp_path / 'run' / layout.FOLDER, ignore_errors=True)
  (tmp_path / 'away').rename(tmp_path / 'run' / layout.FOLDER)
  _run(server, 2, *TWO, folder=tmp_path)
  _same(tmp_path / 'run', alone['two'])


def test_the_rest_ends_when_the_coordinator_is_killed(server, tmp_path):
  _killed(server, 0, folder=tmp_path)


def _killed(server, process, *, folder):
  """Kills one of two in the middle, and looks how the other ends."""
  job = _start(server, 2, *TWO, folder=folder)
  job.wait_for_step(folder / 'run', 8)
  job.kill(process, signal.SIGKILL)
  killed = time.monotonic()
  done = job.finish()
  assert time.monotonic() - killed < LIMIT
  assert done[process].returncode == -signal.SIGKILL
  rest = done[1 - process]
  assert rest.returncode == 1
  (line,) = _errors(rest)
  assert 'has ended or cannot be reached' in line


def _errors(done):
  return [x for x in done.stderr.splitlines() if x.startswith('error: ')]


def test_a_loss_that_is_no_number_ends_all_with_3(server, tmp_path):
  rate = '--config.optim.learning_rate=1e9'
  done = _run(server, 2, *TWO, rate, folder=tmp_path, codes=(3,))
  for one in done:
    assert 'step' in _errors(one)[0]
  assert not layout.steps(tmp_path / 'run' / layout.FOLDER)


def test_what_differs_is_named(server, tmp_path):
  other = {1: ['--config.optim.momentum=0.8']}
  done = _run(server, 2, *TWO, folder=tmp_path, codes=(1,), own=other)
  for one in done:
    (line,) = _errors(one)
    assert 'process 1 has config.optim.momentum = 0.8' in line
    assert 'process 0 has config.optim.momentum = 0.9' in line
  assert not (tmp_path / 'run').exists()


def test_another_mesh_in_one_process_is_named(server, tmp_path):
  other = {1: ['--config.mesh.data=2']}
  done = _run(server, 2, *TWO, folder=tmp_path, codes=(1,), own=other)
  for one in done:
    (line,) = _errors(one)
    assert 'process 1 has 2 devices, process 0 has 1' in line
    assert 'same --config.mesh' in line
  assert not (tmp_path / 'run').exists()


class OnBucket:
  """Runs of two processes whose workdir is on a bucket."""

  URL = 'fake://b/runs/a'

  def __init__(self, server, folder, *, bucket):
    self._server = server
    self._folder = folder
    self.bucket = bucket
    self.there = bucket / 'runs' / 'a'
    name = bucket_lib.copy_name(self.URL)
    self.here = bucket_lib.cache_folder('runs') / name / 'workdir'

  def start(self, *flags, url=URL):
    """A job; nothing is left of earlier ones but what is on the bucket."""
    cache = self._folder / 'cache'
    shutil.rmtree(cache, ignore_errors=True)
    return self._server.start(
      2,
      *(*TWO, f'--workdir={url}', *flags),
      folder=self._folder,
      FAKE_BUCKETS=str(self.bucket.parent),
      ALEXNET_JAX_CACHE=str(cache),
    )


@pytest.fixture
def on_bucket(server, tmp_path, monkeypatch):
  bucket = buckets.make(monkeypatch, tmp_path)
  return OnBucket(server, tmp_path, bucket=bucket)


def test_a_bucket_has_what_was_saved_at_a_signal(on_bucket, alone):
  job = on_bucket.start()
  job.wait_for_step(on_bucket.here, 8)
  job.kill(1, signal.SIGTERM)
  assert [one.returncode for one in job.finish()] == [75, 75]
  done = on_bucket.start().finish()
  assert [one.returncode for one in done] == [0, 0], done
  _same(on_bucket.there, alone['two'])


def test_a_bucket_has_what_was_saved_when_one_is_killed(on_bucket):
  job = on_bucket.start('--config.checkpoint.every_minutes=0.001')
  job.wait_for_step(on_bucket.here, 8)
  job.kill(1, signal.SIGKILL)
  first, _ = job.finish()
  assert first.returncode == 1
  assert 'has ended or cannot be reached' in _errors(first)[0]
  newest = layout.steps(on_bucket.here / layout.FOLDER)[0]
  assert (newest / layout.SUMS).is_file()
  assert layout.steps(on_bucket.there / layout.FOLDER)[0].name == newest.name


def test_a_bucket_that_refuses_the_last_copy_ends_all(on_bucket):
  job = on_bucket.start()
  job.wait_for_step(on_bucket.here, 8)
  (on_bucket.bucket / '.denied').touch()
  job.kill(0, signal.SIGTERM)
  _fail_alike(job.finish(), 'no permission')


def test_a_bucket_that_is_missing_ends_all(on_bucket):
  job = on_bucket.start(url='fake://missing/a')
  _fail_alike(
    job.finish(), 'fake://missing/a/owner.json or its bucket does not exist'
  )


def _fail_alike(done, said):
  """All with 1, and with what process 0 says."""
  assert [one.returncode for one in done] == [1] * len(done), done
  (first,), *rest = map(_errors, done)
  assert said in first
  for errors in rest:
    assert errors == [first.replace('error: ', 'error: process 0: ')]


def test_a_disk_of_process_0_that_fails_ends_all(server, alone, tmp_path):
  """That says nothing of the checkpoint, so no older one is looked for."""
  shutil.copytree(alone['two'], tmp_path / 'run')
  sums = layout.find(str(tmp_path / 'run')) / layout.SUMS
  sums.unlink()
  sums.mkdir()
  done = _run(server, 2, *TWO, folder=tmp_path, codes=(1,))
  _fail_alike(done, 'Is a directory')


def test_what_process_0_alone_looks_at_is_told_to_all(server, alone, tmp_path):
  done = _run(server, 2, *TWO, '--profile=30:40', folder=tmp_path, codes=(1,))
  _fail_alike(done, '--profile=30:40: the run has 14 steps')
  done = server.run(
    2,
    *('--config=configs/smoke.py', '--mode=eval'),
    f'--restore={alone["two"]},{alone["two"]}',
    f'--save_predictions={tmp_path / "one.npz"}',
    folder=tmp_path,
  )
  _fail_alike(done, 'one.npz is one file for 2 checkpoints')


def test_what_one_cannot_read_ends_all(server, tmp_path):
  other = {1: ['--config.data.source=prepared', '--config.data.dir=/nowhere']}
  first, second = _run(server, 2, *TWO, folder=tmp_path, codes=(1,), own=other)
  assert '/nowhere' in _errors(second)[0]
  assert _errors(first)[0].startswith('error: process 1: ')


def test_an_image_that_one_cannot_read_ends_all(server, tmp_path):
  """Of the second minibatch, in the half that process 1 reads."""
  damage.prepare(tmp_path / 'data')
  draws = augment.draw_epoch(
    augment.Augment(),
    border=damage.SIZE - 67,
    num_images=damage.IMAGES['train'],
    pca=stats.pca(np.eye(3)),
    seed=0,
    epoch=0,
  )
  whole = [damage.record(n) for n in range(10)] * 4
  encoded = whole[: damage.IMAGES['train']]
  encoded[draws.permutation[16 + 8 + 6]] = b'short'
  damage.split('train', encoded)(tmp_path)
  damage.sign(tmp_path / 'data')
  done = _run(
    server,
    2,
    *FOUR,  # a row of the mesh each
    '--config.data.source=prepared',
    f'--config.data.dir={tmp_path / "data"}',
    '--config.data.max_bad_records=0',
    folder=tmp_path,
    codes=(1,),
  )
  first, second = (_errors(one) for one in done)
  assert '1 images are damaged' in second[0]
  assert first[0] == second[0].replace('error: ', 'error: process 1: ')


def test_evaluation_counts_every_image_once(server, alone, tmp_path):
  flags = ('--config=configs/smoke.py', '--mode=eval')
  restore_ = f'--restore={alone["two"]}'
  (one,) = server.run(1, *flags, restore_, folder=tmp_path / 'one')
  data = '--config.mesh.data=2'  # 50 images over two rows, in batches of 32
  save = f'--save_predictions={tmp_path / "four.npz"}'
  done = server.run(4, *flags, data, restore_, save, folder=tmp_path / 'four')
  assert [d.returncode for d in (one, *done)] == [0] * 5, done
  assert '(45 of 50)' in one.stdout
  told = [x for x in done[0].stdout.splitlines() if 'saved as' not in x]
  assert told == one.stdout.splitlines()
  assert len(predictions.load(tmp_path / 'four.npz').names) == 50


def test_hosts_whose_link_is_cut(server, alone, tmp_path):
  """In network namespaces; where such are not allowed, it is skipped."""
  reason = two_hosts.unable()
  if reason:
    pytest.skip(reason)
  flags = (*TWO, '--heartbeat=4')
  ends, again = two_hosts.cut_and_mend(server, tmp_path, flags=flags, step=8)
  for code, seconds, line in ends:
    assert code == 1 and seconds < LIMIT
    assert 'has ended or cannot be reached' in line
  assert [code for code, _ in again] == [0, 0], again
  _same(tmp_path / 'run', alone['two'])


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    (['--process_id=1'], '--coordinator, --num_processes: missing'),
    (['--distributed'], 'no scheduler that JAX knows'),
    (
      ['--coordinator=nowhere', '--num_processes=2', '--process_id=0'],
      '--coordinator=nowhere: use HOST:PORT',
    ),
    (
      ['--coordinator=a:1', '--num_processes=2', '--process_id=2'],
      '--process_id=2: use 0 to --num_processes - 1 = 1',
    ),
    (
      [
        '--coordinator=127.0.0.1:1',
        '--num_processes=2',
        '--process_id=1',
        '--coordinator_timeout=1',
      ],
      'the 2 processes did not come together at 127.0.0.1:1 within 1 s',
    ),
  ],
)
def test_processes_that_cannot_join(command, tmp_path, flags, said):
  begun = time.monotonic()
  done = command(
    fork_server.MODULE, *TWO, *flags, f'--workdir={tmp_path / "run"}', limit=60
  )
  assert time.monotonic() - begun < LIMIT
  assert done.returncode == 1
  (line,) = done.stderr.splitlines()
  assert said in line
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_that_waits_for_the_others(
  server, tmp_path, number
):
  port = fork_server.free_port()
  alone = (
    f'--coordinator=127.0.0.1:{port}',
    *('--num_processes=2', '--process_id=0', '--coordinator_timeout=60'),
  )
  job = _start(server, 1, *TWO, *alone, folder=tmp_path)
  _wait_for_port(port)
  begun = time.monotonic()
  job.kill(0, number)
  (done,) = job.finish()
  assert time.monotonic() - begun < 5
  said = 'stopped before the first step: run the command again\n'
  assert (done.returncode, done.stderr) == (75, said)


def _wait_for_port(port):
  """Until a process listens there, or a minute has passed."""
  end = time.monotonic() + 60
  while time.monotonic() < end:
    with contextlib.suppress(ConnectionRefusedError):
      return socket.create_connection(('127.0.0.1', port)).close()
    time.sleep(0.05)


def test_processes_that_cannot_share_the_devices(server, tmp_path):
  three = '--config.mesh.data=1'
  done = _run(server, 3, *TWO, three, folder=tmp_path, codes=(1,))
  for one in done:
    assert '2 devices, which 3 processes cannot share' in _errors(one)[0]


def _kill_one_of_four(server, *, folder, moments):
  """Kills a process at each moment, goes on, and compares the ends."""
  flags = (*FOUR, '--config.checkpoint.every_minutes=0.001')
  for name, processes in (('alone', 1), ('whole', 4)):
    (folder / name).mkdir(parents=True)
    _run(server, processes, *flags, folder=folder / name)
  whole = runs.digests(folder / 'whole' / 'run')
  for number, (process, step, seconds) in enumerate(moments):
    place = folder / str(number)
    job = _start(server, 4, *flags, folder=place)
    if step:
      job.wait_for_step(place / 'run', step)
    time.sleep(seconds)
    job.kill(process, signal.SIGKILL)
    killed = time.monotonic()
    codes = [done.returncode for done in job.finish()]
    took = time.monotonic() - killed
    assert took < LIMIT and codes[process] == -signal.SIGKILL, codes
    _run(server, 4, *flags, folder=place)
    assert runs.digests(place / 'run') == whole
    _same(place / 'run', folder / 'alone' / 'run')
    print(
      f'process {process} {seconds:.2f} s after step {step}: codes {codes}, '
      f'the rest ended after {took:.1f} s; the same in the end',
      flush=True,
    )


if __name__ == '__main__':
  draw = random.Random(int(sys.argv[1]) if sys.argv[1:] else 0)
  drawn = [
    (draw.randrange(4), draw.randrange(19), draw.random()) for _ in range(5)
  ]
  with (
    tempfile.TemporaryDirectory() as scratch,
    fork_server.Server() as started,
  ):
    _kill_one_of_four(started, folder=pathlib.Path(scratch), moments=drawn)
