"""The faults; each function gives a line on what it saw, or fails."""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

from tests import damage
from tests.faults import runs


class Place:
  """A folder for runs, and what an undisturbed one leaves.

  Runs are forked from `server`, a fork_server.Server, if there is one.
  """

  def __init__(self, folder, *, seed, server=None):
    self.folder = pathlib.Path(folder)
    self.server = server
    self.cache = None if server else self.folder / 'cache'
    self.random = random.Random(seed)
    started = time.monotonic()
    code, _, err = runs.finish(self.start(self.folder / 'whole'))
    self.seconds = time.monotonic() - started
    assert code == 0, err
    self.expected = runs.result(self.folder / 'whole')

  def start(self, workdir, *args):
    """Starts the command, or goes on with it."""
    if self.server is None:
      return self.start_anew(workdir, *args)
    output = self.folder / 'output'
    return runs.Forked(self.server, workdir, *args, output=output)

  def start_anew(self, workdir, *args):
    """The same with a Python of its own, which takes a while to listen."""
    return runs.start(workdir, *args, cache=self.cache)

  def workdir(self, name):
    """An empty one."""
    workdir = self.folder / name
    shutil.rmtree(workdir, ignore_errors=True)
    return workdir

  def check(self, workdir):
    """Finishes a run, and compares it with the undisturbed one."""
    code, _, err = runs.finish(self.start(workdir))
    assert code == 0, err
    found = runs.result(workdir)
    assert found.lines == self.expected.lines
    assert found.digests == self.expected.digests

  def wait(self, workdir, process):
    """Until a random moment of a run: of its start, or of its steps."""
    if self.random.random() < 0.3:
      moment = self.random.uniform(0.5, self.seconds)
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=moment)
      return
    there = runs.steps_written(workdir)
    step = min(there + self.random.randint(1, 4), 18)
    runs.wait_for_step(workdir, process, step)
    time.sleep(self.random.uniform(0, 0.3))


def kills(place, *, times):
  """SIGKILLs at random moments, restarting each time."""

  def kill(process, workdir):
    if process.poll() is None:
      process.kill()
      process.communicate()
      return runs.steps_written(workdir)
    code, _, err = runs.finish(process)  # it was done before its moment came
    assert code == 0, err
    return None

  reached, number = _disturb(place, kill, times=times)
  return f'{times} SIGKILLs over {number} runs, at steps {reached}: the same'


def terms(place, *, times):
  """SIGTERMs: each saves and exits with 75."""
  return signals(place, signal.SIGTERM, times=times)


def interrupts(place, *, times):
  """The same with SIGINTs, which is what Ctrl-C sends."""
  return signals(place, signal.SIGINT, times=times)


def signals(place, *numbers, times):
  """So many signals, of each of these numbers in turn."""
  took = []

  def stop(process, _):
    number = numbers[len(took) % len(numbers)]
    runs.wait_until_it_listens(process)
    running, sent = process.poll() is None, time.monotonic()
    process.send_signal(number)
    code, _, err = runs.finish(process)
    if running and code == 75:
      took.append(time.monotonic() - sent)
      assert took[-1] < 10 and 'Traceback' not in err, err
      return took[-1]
    assert code == 0, (code, err)  # it came in the last moment
    return None

  _, count = _disturb(place, stop, times=times, start=place.start_anew)
  names = ' and '.join(number.name for number in numbers)
  return (
    f'{times} of {names} over {count} runs: each exit 75, the slowest '
    f'in {max(took):.1f} s; the same'
  )


def _disturb(place, disturb, *, times, start=None):
  """Disturbs runs until it has come off so often; what it gave, and runs."""
  start = start or place.start
  seen, run = [], 0
  workdir = place.workdir(f'{disturb.__name__}-0')
  while len(seen) < times:
    process = start(workdir)
    place.wait(workdir, process)
    found = disturb(process, workdir)
    if found is not None:
      seen.append(found)
      continue
    place.check(workdir)  # this one has ended: another run
    run += 1
    workdir = place.workdir(f'{disturb.__name__}-{run}')
  place.check(workdir)
  return seen, run + 1


def flips(place, *, times):
  """A bit of the newest checkpoint's arrays at a time."""
  seen = []
  for number in range(times):
    workdir = place.workdir(f'flips-{number}')
    shutil.copytree(place.folder / 'whole', workdir)
    newest = max(workdir.glob('checkpoints/*'), key=lambda p: int(p.name))
    seen.append(_flip(newest / 'state', place.random))
    code, out, err = runs.finish(place.start(workdir))
    assert code == 0, err
    assert f'warning: {newest} is damaged' in out, (seen[-1], out)
    assert (workdir / 'set_aside' / newest.name).is_dir()
    found = runs.result(workdir)
    assert found == place.expected, seen[-1]
    shutil.rmtree(workdir)
  return (
    f'{times} of {times} flipped bits found, the run went on: {seen[:3]} ...'
  )


def _flip(folder, moments):
  """Flips one bit, each file as likely as its size says; where."""
  files = sorted(p for p in folder.rglob('*') if p.is_file())
  sizes = [p.stat().st_size for p in files]
  (path,) = moments.choices(files, weights=sizes)
  data = bytearray(path.read_bytes())
  bit = moments.randrange(8 * len(data))
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)
  return f'{path.relative_to(folder)} bit {bit}'


@contextlib.contextmanager
def small_disk(folder, *, megabytes=12):
  """A disk of its own, mounted at a folder."""
  folder.mkdir(parents=True)
  mount = ['mount', '-t', 'tmpfs', '-o', f'size={megabytes}m', 'none']
  subprocess.run([*mount, str(folder)], check=True)
  try:
    yield
  finally:
    subprocess.run(['umount', '-l', str(folder)], check=True)


def can_mount():
  """Whether disks can be made here."""
  return os.geteuid() == 0 and shutil.which('mount') is not None


def disks(place, *, times, faults=None):
  """Disks that fill up, become read-only, or go, in the middle of a run."""
  if not can_mount():
    return 'not run: mounting needs root on Linux'
  said = []
  for number in range(times):
    for fault in faults or (fill, protect, take_away):
      disk = place.workdir(f'disk-{number}{fault.__name__}')
      mounted = fault is not protect  # which tmpfs knows nothing of
      with small_disk(disk) if mounted else contextlib.nullcontext():
        workdir = disk / 'run'
        process = place.start(workdir)
        runs.wait_for_step(workdir, process, place.random.randint(2, 12))
        with fault(disk):
          code, _, err = runs.finish(process)
        assert code == 1, (fault.__name__, code, err)
        assert err.startswith('error: ') and err.count('\n') == 1, err
        said.append(err.strip().replace(str(place.folder), ''))
        place.check(workdir)
  return '\n  '.join(['after each the same result; errors:', *said])


@contextlib.contextmanager
def fill(disk):
  filler = disk / 'filler'
  with open(filler, 'wb', buffering=0) as file, contextlib.suppress(OSError):
    while file.write(bytes(4096)):
      pass
  yield
  filler.unlink()


@contextlib.contextmanager
def protect(disk):
  # Not by mounting it anew: files are open. Root is refused this way, too.
  folder = str(disk / 'run' / 'checkpoints')
  subprocess.run(['chattr', '+i', folder], check=True)
  try:
    yield
  finally:
    subprocess.run(['chattr', '-i', folder], check=True)


@contextlib.contextmanager
def take_away(disk):
  (disk / 'run').rename(disk / 'elsewhere')
  yield
  shutil.rmtree(disk / 'run', ignore_errors=True)
  (disk / 'elsewhere').rename(disk / 'run')


def lost_data(place, *, times):
  """The folder of the data set is emptied in the middle of a run, and back."""
  folder = place.folder / 'data'
  damage.prepare(folder)
  flags = (
    '--config.data.source=prepared',
    f'--config.data.dir={folder}',
    '--config.model.num_classes=10',
  )
  whole = place.workdir('data-whole')
  code, _, err = runs.finish(place.start(whole, *flags))
  assert code == 0, err
  for number in range(times):
    workdir = place.workdir(f'data-{number}')
    process = place.start(workdir, *flags)
    runs.wait_for_step(workdir, process, place.random.randint(2, 9))
    kept = {p: p.read_bytes() for p in folder.iterdir()}
    for path in kept:
      os.truncate(path, 0)
    code, _, err = runs.finish(process)
    assert code == 1 and err.count('\n') == 1, (code, err)
    assert err.startswith('error: ') and 'Prepare the data again' in err, err
    for path, data in kept.items():
      path.write_bytes(data)
    code, _, err = runs.finish(place.start(workdir, *flags))
    assert code == 0, err
    assert runs.result(workdir) == runs.result(whole)
  return f'{times} times an error in one line; with the data back, the same'
