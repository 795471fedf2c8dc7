"""A workdir on a bucket, through a local folder that is synced with it.

The run works in the local folder with renames, locks and appended lines, none
of which a bucket has. After each checkpoint, every half minute, and at the end,
new files are copied to the bucket: log lines before the checkpoints that they
belong to, and the files of a step before its files.json, which makes the step
complete. So a run can be resumed from the bucket whenever the copying stops.

A bucket has no locks. The run that started last owns the workdir and writes its
name to owner.json; a run that finds another name there ends. A run that starts
on another machine takes over what is on the bucket; on the machine of the last
owner, local files that were not copied yet count too.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence

from alexnet_jax.checkpoint import layout
from alexnet_jax.runtime import bucket as bucket_lib
from alexnet_jax.runtime import locks, signals

_SECONDS = 30  # between copies
_LOOK_SECONDS = 1  # between looks for a new checkpoint, which does not wait
_OWNER = 'owner.json'
_LINES = 'metrics.jsonl'
_READ = (_LINES, 'config.json')  # what resuming reads, besides checkpoints
_CHECKPOINTS = f'{layout.FOLDER}/'


class TakenOverError(ValueError):
  """Another run has started in the same workdir."""

  def __init__(self, url: str, owner: dict):
    super().__init__(
      f'{url} has been taken over by a run on {owner.get("host")} (process '
      f'{owner.get("process")}): this one ends; give another --workdir, or let '
      'that one run'
    )


@contextlib.contextmanager
def synced_workdir(url: str, *, stop: signals.Stop) -> Iterator[pathlib.Path]:
  """Yields a local folder with the contents of a workdir on a bucket.

  Until the end, new files are copied back to the bucket. Raises ValueError, in
  one line, if the bucket cannot be read or written, another run of this machine
  is in the folder, or another has taken over, which also sets `stop`.
  """
  bucket = bucket_lib.Folder(url)
  place = bucket_lib.cache_folder('runs') / bucket_lib.copy_name(url)
  with locks.locked(place, fix='give another --workdir'):
    folder = place / 'workdir'
    mirror = Mirror(bucket, folder=folder)
    mirror.pull()
    print(f'{bucket.url} is worked on in {folder}', flush=True)
    with _copying(mirror, stop=stop):
      yield folder


@contextlib.contextmanager
def _copying(mirror: 'Mirror', *, stop: signals.Stop) -> Iterator[None]:
  """Copies to the bucket in a thread, and once more at the end."""
  ended = threading.Event()

  def copy() -> None:
    tried, failed = time.monotonic(), False  # after an error: not before 30 s
    while not ended.wait(_LOOK_SECONDS):
      if time.monotonic() - tried < _SECONDS and (
        failed or not mirror.has_new_step()
      ):
        continue
      tried, failed = time.monotonic(), False
      try:
        mirror.push()
      except TakenOverError:
        stop.asked = True  # the run saves and stops; the last push says why
        return
      except (ValueError, OSError) as error:
        failed = True
        print(f'warning: {error}; trying again', flush=True)

  thread = threading.Thread(target=copy, daemon=True)  # must not delay an exit
  thread.start()
  failed = False
  try:
    yield
  except Exception:
    failed = True
    raise
  finally:
    ended.set()
    thread.join()
    try:
      mirror.push()
    except (ValueError, OSError) as error:
      if not failed:
        raise
      # The first error is the cause; this one may follow from it.
      print(f'warning: {error}', file=sys.stderr, flush=True)


@contextlib.contextmanager
def downloaded(url: str) -> Iterator[pathlib.Path]:
  """Yields a temporary folder with all of a workdir on a bucket.

  Raises ValueError if there is nothing, or it cannot be read.
  """
  bucket = bucket_lib.Folder(url)
  sizes = bucket.sizes()
  if not sizes:
    raise ValueError(f'{url} does not exist: give a WORKDIR with a run in it')
  place = bucket_lib.cache_folder('reports')
  place.mkdir(parents=True, exist_ok=True)
  bucket_lib.check_disk_space(place, size=sum(sizes.values()), url=url)
  with tempfile.TemporaryDirectory(dir=place) as scratch:
    folder = pathlib.Path(scratch, pathlib.PurePosixPath(bucket.url).name)
    bucket.get_all(sizes, to=folder)
    yield folder


def download_step(url: str) -> pathlib.Path:
  """Downloads the newest complete step of a run on a bucket, or a step itself.

  Raises ValueError if there is none.
  """
  source = bucket_lib.Folder(url)
  sizes = source.sizes()
  whole = [  # names of complete steps, with a /
    name.removesuffix(layout.SUMS) for name in sizes if ends_a_step(name)
  ]
  own = pathlib.PurePosixPath(source.url).name  # of STEP itself, if it is one
  found = ([''] if own.isdecimal() and layout.SUMS in sizes else []) or sorted(
    whole, key=lambda name: int(pathlib.PurePosixPath(name).name)
  )
  if not found:
    raise ValueError(
      f'{url} is no checkpoint, or does not exist: give a WORKDIR on a bucket '
      f'with finished epochs, or one of its {layout.FOLDER}/STEP'
    )
  prefix = found[-1]
  step = pathlib.PurePosixPath(prefix).name or own
  run = source.url.removesuffix(f'/{step}').removesuffix(f'/{layout.FOLDER}')
  runs = bucket_lib.cache_folder('checkpoints')
  place = runs / bucket_lib.copy_name(run) / layout.FOLDER
  names = [name for name in sizes if name.startswith(prefix)]
  with locks.locked(place, fix='', waits=True):
    return fetch_step(source, names, prefix=prefix, to=place / step)


def ends_a_step(name: str) -> bool:
  """Whether an object is the files.json that makes a step complete.

  >>> ends_a_step('checkpoints/8/files.json'), ends_a_step('8/files.json')
  (True, True)
  """
  *above, step, file = ('', *name.split('/'))
  in_place = above in (['', layout.FOLDER], [''])
  return in_place and file == layout.SUMS and step.isdecimal()


def fetch_step(
  source: bucket_lib.Folder,
  names: Sequence[str],
  *,
  prefix: str,
  to: pathlib.Path,
) -> pathlib.Path:
  """Copies a step from a bucket, unless it is here already, and returns `to`.

  `names` are the step's objects in `source`; local paths lack their `prefix`.
  restore.py checks that its files are what was written.
  """
  sums = source.read(prefix + layout.SUMS)  # it came last: the step is complete
  if (to / layout.SUMS).is_file() and (to / layout.SUMS).read_bytes() == sums:
    return to
  scratch = to.with_name(f'{to.name}{layout.BEING_WRITTEN}')
  for old in (scratch, to):
    shutil.rmtree(old, ignore_errors=True)
  bucket_lib.run_parallel(
    lambda name: source.get(name, to=scratch / name.removeprefix(prefix)), names
  )
  return scratch.rename(to)  # complete or not there at all


class Mirror:
  """A run's local folder and its copy on a bucket."""

  def __init__(self, bucket: bucket_lib.Folder, *, folder: pathlib.Path):
    self._bucket = bucket
    self._folder = folder
    self._steps = folder / layout.FOLDER
    self._owner = {
      'token': uuid.uuid4().hex,  # tells runs of one host apart
      'host': socket.gethostname(),
      'process': os.getpid(),
      'since': time.time(),
    }
    # On the bucket: files.json of complete steps, incomplete steps, names in
    # set_aside, and (mtime, size) of other files.
    self._complete: dict[str, bytes] = {}
    self._incomplete: set[str] = set()
    self._quarantined: set[str] = set()
    self._pushed: dict[str, tuple[int, int]] = {}

  def pull(self) -> None:
    """Makes the folder equal to the bucket, and this run the owner."""
    sizes = self._bucket.sizes()
    self._list_steps(sizes)  # what is complete, what is not
    ours = self._is_ours(_OWNER in sizes)
    if not ours:
      self._empty()
    self._fetch(sizes, ours=ours)
    text = json.dumps(self._owner, indent=1) + '\n'
    self._bucket.write(_OWNER, content=text.encode())
    (self._folder / _OWNER).write_text(text)

  def _list_steps(self, sizes: dict[str, int]) -> None:
    for name in sizes:
      top, _, rest = name.partition('/')
      step = rest.split('/')[0]
      if top == layout.FOLDER and step.isdecimal():
        self._incomplete.add(step)
      if top == layout.SET_ASIDE:
        self._quarantined.add(step)
    for step in [*self._incomplete]:  # those with a files.json are complete
      sums = f'{_CHECKPOINTS}{step}/{layout.SUMS}'
      if sums in sizes:
        self._incomplete.remove(step)
        self._complete[step] = self._bucket.read(sums)

  def _is_ours(self, owned: bool) -> bool:
    """Whether this folder is the one that was copied there last."""
    try:
      own = (self._folder / _OWNER).read_bytes()
    except FileNotFoundError:
      return False
    return owned and self._bucket.read(_OWNER) == own

  def _empty(self) -> None:
    """Removes all but the steps that are on the bucket as well."""
    same = [s for s, sums in self._complete.items() if self._has(s, sums)]
    self._steps.mkdir(parents=True, exist_ok=True)
    for path in [*self._folder.iterdir(), *self._steps.iterdir()]:
      if path == self._steps or (
        path.parent == self._steps and path.name in same
      ):
        continue
      shutil.rmtree(path) if path.is_dir() else path.unlink()

  def _has(self, step: str, sums: bytes) -> bool:
    path = self._steps / step / layout.SUMS
    return path.is_file() and path.read_bytes() == sums

  def _fetch(self, sizes: dict[str, int], *, ours: bool) -> None:
    """Copies what the folder lacks; never over files of our own."""

    def lacks(step: str, sums: bytes) -> bool:
      own = self._steps / step
      complete = _is_complete(own) or layout.hidden_path(own).exists()
      return not (ours and complete) and not self._has(step, sums)

    todo = [step for step, sums in self._complete.items() if lacks(step, sums)]
    names = {
      step: [n for n in sizes if n.startswith(f'{_CHECKPOINTS}{step}/')]
      for step in todo
    }
    size = sum(sizes[name] for step in todo for name in names[step])
    bucket_lib.check_disk_space(self._folder, size=size, url=self._bucket.url)
    if size:
      print(f'{self._bucket.url}: {size / 1e6:,.0f} MB are copied', flush=True)
    for step in todo:
      fetch_step(
        self._bucket,
        names[step],
        prefix=f'{_CHECKPOINTS}{step}/',
        to=self._steps / step,
      )
    for name in _READ:
      if name in sizes and not (self._folder / name).exists():
        (self._folder / name).write_bytes(self._bucket.read(name))

  def has_new_step(self) -> bool:
    """Whether a complete checkpoint is not on the bucket yet."""
    with contextlib.suppress(FileNotFoundError):  # it is no longer kept
      return any(
        self._complete.get(step.name) != (step / layout.SUMS).read_bytes()
        for step in layout.steps(self._steps)
        if _is_complete(step)
      )
    return False

  def push(self) -> None:
    """Copies new files to the bucket.

    Raises TakenOverError if it is another run's by now, and RemoteError if it
    cannot be written.
    """
    self._check_owner()
    # Listed before the log is read, which then covers all of these steps.
    steps = [p.name for p in layout.steps(self._steps) if _is_complete(p)]
    for path in self._files():
      self._push_file(path)
    self._push_aside()
    for step in steps:
      self._push_step(step)
    if steps:  # else the folder was removed
      self._remove_old()  # after the copies: one step is always there

  def _check_owner(self) -> None:
    try:
      owner = json.loads(self._bucket.read(_OWNER))
    except bucket_lib.MissingError:
      owner = {}
    if owner.get('token') != self._owner['token']:
      raise TakenOverError(self._bucket.url, owner)

  def _files(self) -> Iterator[pathlib.Path]:
    """All files but checkpoints, scratch files and owner.json."""
    for top in sorted(self._folder.iterdir()):
      if top.name not in (layout.FOLDER, layout.SET_ASIDE, _OWNER):
        for path in (top, *sorted(top.rglob('*'))):
          if path.is_file() and not path.name.startswith('.'):
            yield path

  def _push_file(self, path: pathlib.Path) -> None:
    name = path.relative_to(self._folder).as_posix()
    with contextlib.suppress(FileNotFoundError):  # it was replaced just now
      found = path.stat()
      stamp = (found.st_mtime_ns, found.st_size)  # unchanged: no copy
      if self._pushed.get(name) == stamp:
        return
      if name == _LINES:  # whole lines alone
        content = path.read_bytes()
        end = content.rfind(b'\n') + 1  # a line may be half written
        self._bucket.write(name, content=content[:end])
      else:
        self._bucket.put(path, name=name)
      self._pushed[name] = stamp

  def _push_aside(self) -> None:
    """Moves quarantined steps to the bucket, under names that are free."""
    place = self._folder / layout.SET_ASIDE
    for step in sorted(place.iterdir()) if place.is_dir() else []:
      name = layout.free_name(step.name, taken=self._quarantined)
      for path in sorted(p for p in step.rglob('*') if p.is_file()):
        inside = path.relative_to(step).as_posix()
        self._bucket.put(path, name=f'{layout.SET_ASIDE}/{name}/{inside}')
      self._quarantined.add(name)
      shutil.rmtree(step)  # it is on the bucket now

  def _push_step(self, step: str) -> None:
    """Copies a step; files.json is removed first, and comes last."""
    folder, prefix = self._steps / step, f'{_CHECKPOINTS}{step}/'
    try:
      sums = (folder / layout.SUMS).read_bytes()
      if self._complete.get(step) == sums:
        return
      if self._complete.pop(step, None):  # written again, with its evaluation
        self._bucket.remove([prefix + layout.SUMS])
      self._incomplete.add(step)
      files = [p for p in folder.rglob('*') if p.is_file()]
      names = [p.relative_to(self._folder).as_posix() for p in files]
      names.remove(prefix + layout.SUMS)
      self._remove(set(self._bucket.sizes(prefix)) - set(names))
      self._bucket.put_all(self._folder, names=names)
    except FileNotFoundError:  # it is no longer kept
      return
    self._bucket.write(prefix + layout.SUMS, content=sums)
    self._incomplete.remove(step)
    self._complete[step] = sums

  def _remove_old(self) -> None:
    """Removes steps that the run no longer keeps, and incomplete ones."""
    for step in sorted({*self._complete, *self._incomplete}):
      path = self._steps / step
      if not (path.exists() or layout.hidden_path(path).exists()):
        self._remove(self._bucket.sizes(f'{_CHECKPOINTS}{step}/'))
        self._complete.pop(step, None)
        self._incomplete.discard(step)

  def _remove(self, names: set[str] | dict[str, int]) -> None:
    """Removes objects, files.json first: a step without it is incomplete."""
    self._bucket.remove(
      sorted(names, key=lambda n: not n.endswith(layout.SUMS))
    )


def _is_complete(step: pathlib.Path) -> bool:
  return (step / layout.SUMS).is_file()
