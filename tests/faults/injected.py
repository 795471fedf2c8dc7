"""The faults; each function gives a line on what it saw, or fails."""

import collections
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

from alexnet_jax.checkpoint import layout
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
      return runs.start(workdir, *args, cache=self.cache)
    output = self.folder / 'output'
    return runs.Forked(self.server, workdir, *args, output=output)

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
    """Until a random moment of a run: of its start, steps or deletions."""
    draw = self.random.random()
    if draw < 1 / 3:
      runs.wait_for_deletion(workdir, process)
      time.sleep(self.random.uniform(0, 0.02))
      return
    if draw < 0.5:
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

  _, count = _disturb(place, stop, times=times)
  names = ' and '.join(number.name for number in numbers)
  return (
    f'{times} of {names} over {count} runs: each exit 75, the slowest '
    f'in {max(took):.1f} s; the same'
  )


def _disturb(place, disturb, *, times):
  """Disturbs runs until it has come off so often; what it gave, and runs."""
  seen, run = [], 0
  workdir = place.workdir(f'{disturb.__name__}-0')
  while len(seen) < times:
    process = place.start(workdir)
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


# Written after the sums: a change there is seen if it matters.
_WITHOUT_SUM = ('_CHECKPOINT_METADATA', 'commit_success.txt')
_MORE = '--config.total_steps=20'  # two steps beyond runs.CONFIG


def damages(place, *, times):
  """A file of the newest checkpoint or of the one before it at a time.

  A bit is flipped, or the file cut, emptied or removed. With the older one
  damaged, the run is two steps longer, or nothing would read it.
  """
  whole = place.folder / 'whole'
  longer = place.workdir('longer')
  shutil.copytree(whole, longer)
  code, _, err = runs.finish(place.start(longer, _MORE))
  assert code == 0, err
  seen = collections.Counter()
  for number in range(times):
    workdir = place.workdir('damaged')
    shutil.copytree(whole, workdir)
    older = number % 2
    step = layout.steps(workdir / layout.FOLDER)[older]
    files = sorted(p for p in step.rglob('*') if p.is_file())
    # In turn: the drawn names of tensorstore's files are in one folder.
    path = files[(number // 2 * 7) % len(files)]
    what = _WAYS[number // 2 % len(_WAYS)](path, place.random)
    where = f'{what} of {path.relative_to(workdir)}'
    more = (_MORE,) if older else ()
    code, out, err = runs.finish(place.start(workdir, *more))
    assert code == 0, (where, err)
    if path.relative_to(step).as_posix() not in _WITHOUT_SUM:
      assert f'warning: {step} is damaged' in out, (where, out)
      assert (workdir / layout.SET_ASIDE / step.name).is_dir(), where
    expected = runs.result(longer) if older else place.expected
    assert runs.result(workdir) == expected, where
    seen[('older' if older else 'newest', what)] += 1
  kinds = ', '.join(f'{n} {b} ({a})' for (a, b), n in sorted(seen.items()))
  return f'{times} of {times} damages: the same numbers: {kinds}'


def _flip(path, moments):
  data = bytearray(path.read_bytes())
  bit = moments.randrange(8 * len(data))
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)
  return 'flips'


def _cut(path, _):
  os.truncate(path, path.stat().st_size // 2)
  return 'cuts'


def _empty(path, _):
  os.truncate(path, 0)
  return 'emptied'


def _remove(path, _):
  path.unlink()
  return 'removed'


_WAYS = (_flip, _cut, _empty, _remove)


@contextlib.contextmanager
def small_disk(folder, *, megabytes=12, inodes=0):
  """A disk of its own, mounted at a folder; 0: as many inodes as usual."""
  folder.mkdir(parents=True)
  options = f'size={megabytes}m' + (f',nr_inodes={inodes}' if inodes else '')
  mount = ['mount', '-t', 'tmpfs', '-o', options, 'none']
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


def few_inodes(place, *, times=1, numbers=range(8, 41, 4)):
  """Disks with room, but for so many files and folders in all."""
  if not can_mount():
    return 'not run: mounting needs root on Linux'
  for number in [*numbers] * times:
    disk = place.workdir(f'inodes-{number}')
    with small_disk(disk, inodes=number):
      process = place.start(disk / 'run')
      began = time.monotonic()
      code, _, err = runs.finish(process)
    assert code == 1 and err.count('\n') == 1, (number, code, err)
    assert 'No space left' in err, (number, err)
    # Less than orbax waits for a folder that it cannot make.
    assert time.monotonic() - began < place.seconds + 20, number
  return f'{len(numbers)} disks: each exit 1 with one line, within seconds'


def lost_data(place, *, times):
  """The folder of the data set is emptied in the middle of a run, and back."""
  folder, flags = _prepared(place)
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


def damaged_data(place, *, times):
  """A file of the data set at a time, before a run goes on.

  It ends in one line that names the file, and leaves the workdir as it was; or
  it warns of the damaged images that it read; or it read none of them.
  """
  folder, flags = _prepared(place)
  begun, longer = place.workdir('data-begun'), place.workdir('data-longer')
  code, _, err = runs.finish(place.start(begun, *flags))
  assert code == 0, err
  shutil.copytree(begun, longer)
  code, _, err = runs.finish(place.start(longer, *flags, _MORE))
  assert code == 0, err
  files = sorted(folder.iterdir())
  seen = collections.Counter()
  for number in range(times):
    workdir = place.workdir('data-damaged')
    shutil.copytree(begun, workdir)
    path = files[number % len(files)]
    data = path.read_bytes()
    what = _WAYS[number // len(files) % len(_WAYS)](path, place.random)
    where = f'{what} of {path.name}'
    code, out, err = runs.finish(place.start(workdir, *flags, _MORE))
    path.write_bytes(data)
    if code:
      assert code == 1 and err.count('\n') == 1, (where, code, err)
      assert path.name in err, (where, err)
      assert runs.result(workdir) == runs.result(begun), where
      seen['refused'] += 1
    elif runs.result(workdir) == runs.result(longer):
      seen['not read'] += 1
    else:
      assert 'warning: ' in out and path.name in out, (where, out)
      seen['told'] += 1
  counts = ', '.join(f'{count} {how}' for how, count in seen.items())
  return f'{times} of {times} damages of data: {counts}'


def _prepared(place):
  """A prepared data set, and the flags to train on it."""
  folder = place.folder / 'data'
  if not folder.is_dir():
    damage.prepare(folder)
  return folder, (
    '--config.data.source=prepared',
    f'--config.data.dir={folder}',
    '--config.model.num_classes=10',
  )
