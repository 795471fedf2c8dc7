"""Kills a run at its file operations, one after another, or makes them fail.

What a run does to files below its workdir is numbered by preload.c, which comes
between it and the C library: opening for writing, write, fsync, rename, link,
unlink, mkdir, rmdir and ftruncate, of Python, orbax and tensorstore alike. A
process is killed at number N, a write half done; or the operation fails, and in
half of the cases each that follows. The same command then has to end with what
an undisturbed run leaves: lines, digests, steps, report.
"""

import collections
import errno
import mmap
import os
import pathlib
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent import futures
from typing import NamedTuple

from alexnet_jax.checkpoint import inspect, layout
from tests import fork_server
from tests.faults import runs

# Two epochs of two steps: two checkpoints, of which one is deleted.
SHORT = (
  '--config.data.embedded_train_images=32',
  '--config.data.embedded_val_images=16',
  '--config.total_steps=4',
  '--config.checkpoint.every_minutes=0',
  '--config.checkpoint.keep_newest=1',
)
REPORT = 'alexnet_jax.tools.report'
_SHARES = 2  # runs at a time
_SECONDS = 40  # more than any of these runs may take
# An operation fails with what it may fail with on a real disk.
ERRORS = {
  'open': (errno.ENOSPC, errno.EMFILE, errno.EIO),
  'mkdir': (errno.ENOSPC, errno.EIO),
  'write': (errno.ENOSPC, errno.EIO),
  'rename': (errno.ENOSPC, errno.EIO),
  'link': (errno.ENOSPC, errno.EIO),
}
_FAILS = (errno.EIO,)  # all others
_SOURCE = pathlib.Path(__file__).parent / 'preload.c'
_HEAD = 6 * 8  # bytes of preload.c's struct control before the folder
_PATH_MAX = 4096
_HIDDEN = '.orbax-checkpoint-tmp'


class Operation(NamedTuple):
  """A file operation of a run."""

  number: int  # from 1 on
  pid: int
  name: str  # 'write'
  path: str  # below the workdir: '/metrics.jsonl'


class Point(NamedTuple):
  """Where a run is disturbed, and how.

  Threads may take turns otherwise than in the run that was only watched: an
  operation's number counts those of the same folder alone.
  """

  phase: str
  place: str  # see preload.c
  at: int  # the operation's number there
  error: int = 0  # errno; 0: SIGKILL
  stays: bool = False  # whether later operations fail, too


def why_not() -> str:
  """Why operations cannot be numbered here; '' if they can."""
  if shutil.which('gcc') is None:
    return 'there is no gcc to build tests/faults/preload.c'
  return '' if pathlib.Path('/proc/self/fd').is_dir() else 'there is no /proc'


class Watched:
  """A fork server whose runs' operations are numbered, and disturbed."""

  def __init__(self, folder: pathlib.Path, **env: str):
    folder.mkdir(parents=True, exist_ok=True)
    self.folder = folder
    library = folder / 'preload.so'
    subprocess.run(
      [*('gcc', '-shared', '-fPIC', '-O1', '-o'), str(library), str(_SOURCE)],
      check=True,
    )
    self._path = folder / 'control'
    self._path.write_bytes(bytes(_HEAD + 2 * _PATH_MAX))
    with open(self._path, 'r+b') as file:
      self._control = mmap.mmap(file.fileno(), 0)
    self._log = pathlib.Path(f'{self._path}.log')
    self.server = fork_server.Server(
      LD_PRELOAD=str(library), FAULTS_CONTROL=str(self._path), **env
    )

  def start(self, workdir, *args, point=None, module=None):
    """Starts a command, disturbed at a point or only watched."""
    self._log.write_text('')
    self._control[:] = bytes(len(self._control))
    if point:
      self._set(0, struct.pack('5q', 0, 0, *point[2:]))
      self._set(_HEAD + _PATH_MAX, point.place.encode())
    self._set(_HEAD, os.fsencode(workdir))
    output = self.folder / 'output'
    given = args if module else (*SHORT, *args)
    return runs.Forked(
      self.server,
      workdir,
      *given,
      output=output,
      module=module,
      limit=_SECONDS,
    )

  def _set(self, offset: int, content: bytes) -> None:
    self._control[offset : offset + len(content)] = content

  def acted_at(self) -> Operation | None:
    """The operation that was disturbed; None: the run ended before."""
    (number,) = struct.unpack_from('q', self._control, 5 * 8)
    return next((o for o in self.operations() if o.number == number), None)

  def operations(self) -> list[Operation]:
    """Those of the run that was started last."""
    found = []
    for line in self._log.read_text(errors='replace').splitlines():
      number, pid, name, path = line.split(' ', 3)
      found.append(Operation(int(number), int(pid), name, path))
    return sorted(found)


def phase(operation: Operation, *, done: bool) -> str:
  """What a run was about; `done`: its last checkpoint is complete."""
  path = operation.path
  step = path.removeprefix(f'/{layout.FOLDER}/').split('/')[0]
  if path.startswith(f'/{layout.FOLDER}/'):
    whole = step.isdecimal() or step == layout.DELETED
    return 'delete' if whole else 'save'
  if path.startswith('/report'):
    return 'report'
  if 'predictions' in path:
    return 'evaluate'
  if done:
    return 'end'
  return 'log' if path.startswith(('/metrics', '/events')) else 'start'


def _place(operation: Operation) -> str:
  """The place by which an operation is counted, see preload.c."""
  path = operation.path
  found = re.match(rf'/{layout.FOLDER}/(\w+{_HIDDEN}|{layout.DELETED})', path)
  if found:
    return found[0]
  return '/events' if path.startswith('/events') else f'{path}$'


def points(operations: list[Operation]) -> dict[str, list[Point]]:
  """All places of a run by phase, each as a SIGKILL."""
  saves = [o.number for o in operations if phase(o, done=False) == 'save']
  last = max(saves, default=len(operations))
  seen = collections.Counter()
  found = collections.defaultdict(list)
  for operation in operations:
    place = _place(operation)
    seen[place] += 1
    name = phase(operation, done=operation.number > last)
    found[name].append(Point(name, place, seen[place]))
  return dict(found)


def _renamed(by_phase: dict[str, list[Point]], name: str):
  """All of them as one phase."""
  merged = [p._replace(phase=name) for ps in by_phase.values() for p in ps]
  return {name: merged}


def spread(places: list[Point], number: int) -> list[Point]:
  """So many, evenly; all if there are fewer."""
  number = min(number, len(places))
  return [places[i * len(places) // number] for i in range(number)]


def choose(by_phase: dict[str, list[Point]], *, number: int) -> list[Point]:
  """So many places, as many in each phase as there are."""
  chosen = []
  ordered = sorted(by_phase.values(), key=len)
  for i, places in enumerate(ordered):
    share = (number - len(chosen)) // (len(ordered) - i)
    chosen += spread(places, share)
  return chosen


def as_failures(
  places: list[Point], operations: list[Operation]
) -> list[Point]:
  """The same places with errors; in half of the cases the disk stays so."""
  names = {}
  seen = collections.Counter()
  for operation in operations:
    place = _place(operation)
    seen[place] += 1
    names[place, seen[place]] = operation.name
  failures = []
  for i, point in enumerate(places):
    errors = ERRORS.get(names[point.place, point.at], _FAILS)
    error = errors[i // 2 % len(errors)]
    failures.append(point._replace(error=error, stays=bool(i % 2)))
  return failures


class Outcome(NamedTuple):
  """What came of a disturbance."""

  point: Point
  operation: Operation | None  # None: the run ended before it
  wrong: str  # '' if nothing was
  end: str  # exit code, and the line on stderr
  seconds: float  # of the disturbed run


class Place:
  """A folder for runs, and what an undisturbed one leaves."""

  def __init__(self, watched: Watched):
    self.watched = watched
    self.whole = watched.folder / 'whole'
    code, _, err = runs.finish(watched.start(self.whole))
    assert code == 0, err
    self.operations = watched.operations()
    self.expected = runs.result(self.whole)

  def disturb(self, point: Point) -> Outcome:
    """Disturbs a new run at a point, and runs the command again."""
    workdir = self.watched.folder / 'run'
    shutil.rmtree(workdir, ignore_errors=True)
    return self.go_on(workdir, point)

  def go_on(self, workdir: pathlib.Path, point: Point) -> Outcome:
    """The same with a run that there is."""
    begun = time.monotonic()
    code, out, err = runs.finish(self.watched.start(workdir, point=point))
    seconds = time.monotonic() - begun
    found = self.watched.acted_at()
    if found is None:
      wrong = f'ended with {code} before' if code else ''
      return Outcome(point, None, wrong, str(code), seconds)
    wrong = _wrong_end(point, code, out, err, seconds)
    if not wrong:
      wrong = self._wrong_after(workdir)
    ended = err.strip().splitlines()[-1] if err.strip() else ''
    return Outcome(point, found, wrong, f'{code} {ended}', seconds)

  def _wrong_after(self, workdir: pathlib.Path) -> str:
    """Runs the command again; what is wrong then, '' if nothing."""
    code, out, err = runs.finish(self.watched.start(workdir))
    if code or err.strip():
      return f'again: {code}: {err.strip()[-300:]}'
    if 'damaged' in out:
      return f'again: {out.strip()[-600:]}'
    return self.differs(workdir)

  def differs(self, workdir: pathlib.Path) -> str:
    """What a finished run has that an undisturbed one has not."""
    found = runs.result(workdir)
    if found.lines != self.expected.lines:
      return f'lines: {found.lines}'
    if found.digests != self.expected.digests:
      return f'digests: {found.digests}'
    names, expected = _names(workdir), _names(self.whole)
    # An older step stays if the process is killed before it is removed.
    odd = {n for n in names - expected if not n.split('/')[-1].isdecimal()}
    if odd or not expected <= names:
      return f'files: {sorted(names ^ expected)}'
    reports = inspect.report(str(workdir), verify=True)
    return ' '.join(r.reason for r in reports if r.reason)

  def disturb_in_turn(self, chosen: list[Point]) -> list[Outcome]:
    """Disturbs one run at a point after another, and checks it once."""
    workdir, outcomes = self.watched.folder / 'run', []
    shutil.rmtree(workdir, ignore_errors=True)
    for point in chosen:
      begun = time.monotonic()
      code, out, err = runs.finish(self.watched.start(workdir, point=point))
      seconds = time.monotonic() - begun
      wrong = _wrong_end(point, code, out, err, seconds)
      found = self.watched.acted_at()
      outcomes.append(Outcome(point, found, wrong, f'{code} {err}', seconds))
    end = outcomes[-1]
    wrong = end.wrong or self._wrong_after(workdir)
    return [*outcomes[:-1], end._replace(wrong=wrong)]

  # Other beginnings than an empty folder.

  def half_cleaned(self) -> pathlib.Path:
    """A workdir in which a killed run has left something of each kind."""
    workdir = self.watched.folder / 'left'
    if not workdir.exists():
      point = Point('save', f'/{layout.FOLDER}/4{_HIDDEN}', 150)
      code, _, err = runs.finish(self.watched.start(workdir, point=point))
      assert code == -9, err
      steps = workdir / layout.FOLDER
      shutil.copytree(steps / '2', steps / layout.DELETED / '1')
      shutil.copytree(steps / '2', steps / '2.unevaluated')
      assert len(layout.leftovers(steps)) == 3
    return workdir

  def clean(self, point: Point) -> Outcome:
    """Disturbs a run at a point of its cleaning up."""
    return self.go_on(self._copy(self.half_cleaned()), point)

  def cleaning(self) -> list[Point]:
    """The places of a run that cleans up."""
    workdir = self._copy(self.half_cleaned())
    code, _, err = runs.finish(self.watched.start(workdir))
    assert code == 0, err
    begun = f'/{layout.FOLDER}/'
    own = [o for o in self.watched.operations() if o.path.startswith(begun)]
    writes = [o.number for o in own if o.name == 'write']
    self.cleaned = [o for o in own if o.number < min(writes)]
    (places,) = _renamed(points(self.cleaned), 'clean').values()
    return places

  def report(self, point: Point) -> Outcome:
    """Disturbs tools.report at a point, in a finished run, and repeats it."""
    workdir, start = self._copy(self.whole), self.watched.start
    begun = time.monotonic()
    code, out, err = runs.finish(start(workdir, point=point, module=REPORT))
    seconds, found = time.monotonic() - begun, self.watched.acted_at()
    wrong = _wrong_end(point, code, out, err, seconds)
    if not wrong:
      code_again, _, err_again = runs.finish(start(workdir, module=REPORT))
      wrong = err_again if code_again else self.differs(workdir)
      names = {p.name for p in (workdir / 'report').iterdir()}
      if names != self.pages:
        wrong = wrong or f'files: {sorted(names ^ self.pages)}'
    return Outcome(point, found, wrong, f'{code} {err.strip()}', seconds)

  def reporting(self) -> list[Point]:
    """The places of tools.report."""
    workdir = self._copy(self.whole)
    code, _, err = runs.finish(self.watched.start(workdir, module=REPORT))
    assert code == 0, err
    self.reported = self.watched.operations()
    self.pages = {p.name for p in (workdir / 'report').iterdir()}
    return points(self.reported)['report']

  def _copy(self, workdir: pathlib.Path) -> pathlib.Path:
    copy = self.watched.folder / 'run'
    shutil.rmtree(copy, ignore_errors=True)
    return shutil.copytree(workdir, copy)


def _wrong_end(point, code, out, err, seconds) -> str:
  """What is wrong with the end of the disturbed run; '' if nothing is."""
  if point.error == 0:
    return '' if code == -9 else f'not killed: {code} {err}'
  if code not in (0, 1) or 'Traceback' in out + err:
    return f'{code} after {seconds:.0f} s: {err.strip()[-600:]}'
  lines = [line for line in err.splitlines() if line.strip()]
  lines = [line for line in lines if not line.startswith('writing the report')]
  if code and (len(lines) != 1 or not lines[0].startswith('error: ')):
    return f'{code}: {err.strip()[-600:]}'
  return f'0: {err}' if not code and lines else ''


def _names(workdir) -> set[str]:
  """All files and steps, but for names that are drawn."""
  tops = {p.name for p in workdir.iterdir() if 'tfevents' not in p.name}
  tops.discard('report')
  steps = {p.name for p in (workdir / layout.FOLDER).iterdir()}
  return tops | {f'{layout.FOLDER}/{name}' for name in steps}


def run_share(
  folder: pathlib.Path, *, kills: int, failures: int, share: int, of: int, **env
) -> Iterator[Outcome]:
  """Disturbs runs at places that are spread over all that a run does.

  An eighth of the places each are of a run that cleans up after another, and of
  tools.report. Several callers divide the work: each takes its share, 0 to
  `of` - 1. `env` are environment variables of the runs.
  """
  watched = Watched(folder, **env)
  with watched.server:
    place = Place(watched)
    whole = points(place.operations)
    clean, report = place.cleaning(), place.reporting()
    for fail, number in ((False, kills), (True, failures)):
      part = number // 8
      for chosen, operations, disturb in (
        (
          choose(whole, number=number - 2 * part),
          place.operations,
          place.disturb,
        ),
        (spread(clean, part), place.cleaned, place.clean),
        (spread(report, part), place.reported, place.report),
      ):
        if fail:
          chosen = as_failures(chosen, operations)
        for point in chosen[share::of]:
          yield disturb(point)


def run_all(
  folder: pathlib.Path, *, kills: int, failures: int
) -> list[Outcome]:
  """Disturbs so many runs, two at a time."""
  env = {
    'JAX_COMPILATION_CACHE_DIR': str(folder / 'cache'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }

  def run(share: int) -> list[Outcome]:
    own = folder / f'share-{share}'
    given = run_share(
      own, kills=kills, failures=failures, share=share, of=_SHARES, **env
    )
    return [_tell(outcome) for outcome in given]

  with futures.ThreadPoolExecutor(_SHARES) as pool:
    return [o for part in pool.map(run, range(_SHARES)) for o in part]


def _tell(outcome: Outcome) -> Outcome:
  if outcome.wrong:
    print(f'WRONG: {outcome}', flush=True)
  return outcome


def table(outcomes: list[Outcome]) -> str:
  """Phases and operations, what was done there, how often, how it ended."""
  rows = collections.Counter()
  for o in outcomes:
    error = errno.errorcode[o.point.error] if o.point.error else 'SIGKILL'
    name = o.operation.name if o.operation else 'ended before'
    rows[o.point.phase, name, error, o.end.split(' ')[0]] += 1
  lines = [f'{"phase":9} {"operation":12} {"fault":8} {"exit":>4} {"times":>5}']
  lines += [
    f'{phase_:9} {name:12} {error:8} {end:>4} {times:>5}'
    for (phase_, name, error, end), times in sorted(rows.items())
  ]
  wrong = [o for o in outcomes if o.wrong]
  lines += [f'WRONG: {o}' for o in wrong]
  kills = sum(o.point.error == 0 and bool(o.operation) for o in outcomes)
  failures = sum(o.point.error != 0 and bool(o.operation) for o in outcomes)
  lines.append(f'{kills} kills, {failures} failures: {len(wrong)} wrong')
  return '\n'.join(lines)
