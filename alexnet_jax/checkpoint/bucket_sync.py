"""A workdir on a bucket: a folder of this machine that is copied there.

The run works in the folder, as any run in its workdir does, with renames, locks
and appended lines, of which a bucket has none. After each checkpoint, every
half minute, and at the end, what is new is copied to the bucket: lines before
the checkpoints that they belong to, the files of a step before its files.json,
which makes it whole. So what is on the bucket can be gone on from whenever the
copying breaks off.

A bucket has no locks. The run that began last owns the workdir, as owner.json
says; one that finds another's name there ends. Whoever begins where another
machine was takes over what is on the bucket; where it was the owner itself,
what it had not copied yet counts. Not in the paper.
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
from collections.abc import Iterator

from alexnet_jax.checkpoint import layout
from alexnet_jax.runtime import bucket as bucket_lib
from alexnet_jax.runtime import locks, signals

_SECONDS = 30  # between copies
_LOOK_SECONDS = 1  # between looks for a new checkpoint, which does not wait
_OWNER = 'owner.json'
_LINES = 'metrics.jsonl'
_READ = (_LINES, 'config.json')  # what a run goes on from, besides checkpoints
_CHECKPOINTS = f'{layout.FOLDER}/'


class TakenOverError(ValueError):
  """Another run has begun in the same workdir."""

  def __init__(self, url: str, owner: dict):
    super().__init__(
      f'{url} has been taken over by a run on {owner.get("host")} (process '
      f'{owner.get("process")}): this one ends; give another --workdir, or let '
      'that one go on'
    )


@contextlib.contextmanager
def kept(url: str, *, stop: signals.Stop) -> Iterator[pathlib.Path]:
  """A folder with what the workdir on a bucket holds; kept there, too.

  Args:
    url: of the workdir.
    stop: told if another run takes the workdir over.

  Raises:
    ValueError: in one line, if the bucket cannot be read or written, another
      run of this machine is in the folder, or another has taken over.
  """
  bucket = bucket_lib.Folder(url)
  place = bucket_lib.copies('runs') / bucket_lib.name_of_copy(url)
  with locks.locked(place, fix='give another --workdir'):
    folder = place / 'workdir'
    mirror = Mirror(bucket, folder=folder)
    mirror.take()
    print(f'{bucket.url} is worked on in {folder}', flush=True)
    with _copying(mirror, stop=stop):
      yield folder


@contextlib.contextmanager
def _copying(mirror: 'Mirror', *, stop: signals.Stop) -> Iterator[None]:
  """Copies now and then in a thread; at the end in this one."""
  ended = threading.Event()

  def copy() -> None:
    tried, failed = time.monotonic(), False
    while not ended.wait(_LOOK_SECONDS):
      if time.monotonic() - tried < _SECONDS and (
        failed or not mirror.has_new_step()
      ):
        continue
      tried, failed = time.monotonic(), False
      try:
        mirror.give()
      except TakenOverError:
        stop.asked = True  # what there is is saved; the last copying says why
        return
      except (ValueError, OSError) as error:
        failed = True
        print(f'warning: {error}; it is tried again', flush=True)

  thread = threading.Thread(target=copy, daemon=True)
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
      mirror.give()
    except (ValueError, OSError) as error:
      if not failed:
        raise
      # What failed before is to be told, not what comes of it here.
      print(f'warning: {error}', file=sys.stderr, flush=True)


@contextlib.contextmanager
def copied(url: str) -> Iterator[pathlib.Path]:
  """All of a workdir on a bucket, in a folder that is removed at the end.

  Raises:
    ValueError: if there is nothing, or it cannot be read.
  """
  bucket = bucket_lib.Folder(url)
  sizes = bucket.sizes()
  if not sizes:
    raise ValueError(f'{url} does not exist: give a WORKDIR with a run in it')
  place = bucket_lib.copies('reports')
  place.mkdir(parents=True, exist_ok=True)
  bucket_lib.refuse_small_disk(place, size=sum(sizes.values()), url=url)
  with tempfile.TemporaryDirectory(dir=place) as scratch:
    folder = pathlib.Path(scratch, pathlib.PurePosixPath(bucket.url).name)
    bucket.get_all(sizes, to=folder)
    yield folder


class Mirror:
  """One run's folder and its copy on a bucket."""

  def __init__(self, bucket: bucket_lib.Folder, *, folder: pathlib.Path):
    self._bucket = bucket
    self._folder = folder
    self._steps = folder / layout.FOLDER
    self._owner = {
      'token': uuid.uuid4().hex,
      'host': socket.gethostname(),
      'process': os.getpid(),
      'since': time.time(),
    }
    self._there: dict[str, bytes] = {}  # whole steps there: their files.json
    self._broken: set[str] = set()  # steps there that are not whole
    self._aside: set[str] = set()  # what lies in set_aside there
    self._given: dict[str, tuple[int, int]] = {}  # other files: time and size

  def take(self) -> None:
    """Makes the folder what the workdir is, and this run its owner."""
    sizes = self._bucket.sizes()
    self._look(sizes)
    ours = self._is_ours(_OWNER in sizes)
    if not ours:
      self._empty()
    self._fetch(sizes, ours=ours)
    text = json.dumps(self._owner, indent=1) + '\n'
    self._bucket.write(_OWNER, content=text.encode())
    (self._folder / _OWNER).write_text(text)

  def _look(self, sizes: dict[str, int]) -> None:
    for name in sizes:
      top, _, rest = name.partition('/')
      step = rest.split('/')[0]
      if top == layout.FOLDER and step.isdecimal():
        self._broken.add(step)
      if top == layout.SET_ASIDE:
        self._aside.add(step)
    for step in [*self._broken]:
      sums = f'{_CHECKPOINTS}{step}/{layout.SUMS}'
      if sums in sizes:
        self._broken.remove(step)
        self._there[step] = self._bucket.read(sums)

  def _is_ours(self, owned: bool) -> bool:
    """Whether the folder is that of the run which copied last."""
    try:
      own = (self._folder / _OWNER).read_bytes()
    except FileNotFoundError:
      return False
    return owned and self._bucket.read(_OWNER) == own

  def _empty(self) -> None:
    """Leaves nothing in the folder but steps that are on the bucket as well."""
    same = [step for step, sums in self._there.items() if self._has(step, sums)]
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
    """Copies what the folder lacks; where it is ours, nothing over it."""

    def lacks(step: str, sums: bytes) -> bool:
      own = self._steps / step
      kept = _is_whole(own) or layout.aside(own).exists()
      return not (ours and kept) and not self._has(step, sums)

    todo = [step for step, sums in self._there.items() if lacks(step, sums)]
    names = {
      step: [n for n in sizes if n.startswith(f'{_CHECKPOINTS}{step}/')]
      for step in todo
    }
    size = sum(sizes[name] for step in todo for name in names[step])
    bucket_lib.refuse_small_disk(self._folder, size=size, url=self._bucket.url)
    if size:
      print(f'{self._bucket.url}: {size / 1e6:,.0f} MB are copied', flush=True)
    for step in todo:
      layout.fetch_step(
        self._bucket,
        names[step],
        prefix=f'{_CHECKPOINTS}{step}/',
        to=self._steps / step,
      )
    for name in _READ:
      if name in sizes and not (self._folder / name).exists():
        (self._folder / name).write_bytes(self._bucket.read(name))

  def _here(self, step: str) -> bool:
    """Whether the folder has a step, or it has only made way for a moment."""
    path = self._steps / step
    return path.exists() or layout.aside(path).exists()

  def has_new_step(self) -> bool:
    """Whether a checkpoint is whole that is not on the bucket."""
    with contextlib.suppress(FileNotFoundError):  # it is no longer kept
      return any(
        self._there.get(step.name) != (step / layout.SUMS).read_bytes()
        for step in layout.steps(self._steps)
        if _is_whole(step)
      )
    return False

  def give(self) -> None:
    """Copies what is new to the bucket.

    Raises:
      TakenOverError: if it is another run's by now.
      RemoteError: if it cannot be written.
    """
    self._check_owner()
    # Before the lines are read: they then have all that belongs to these.
    steps = [p.name for p in layout.steps(self._steps) if _is_whole(p)]
    for path in self._files():
      self._give_file(path)
    self._give_aside()
    for step in steps:
      self._give_step(step)
    if steps:  # else the folder was removed
      self._remove_old()

  def _check_owner(self) -> None:
    try:
      owner = json.loads(self._bucket.read(_OWNER))
    except bucket_lib.MissingError:
      owner = {}
    if owner.get('token') != self._owner['token']:
      raise TakenOverError(self._bucket.url, owner)

  def _files(self) -> Iterator[pathlib.Path]:
    """All but checkpoints, and what is not whole yet or of this machine."""
    for top in sorted(self._folder.iterdir()):
      if top.name not in (layout.FOLDER, layout.SET_ASIDE, _OWNER):
        for path in (top, *sorted(top.rglob('*'))):
          if path.is_file() and not path.name.startswith('.'):
            yield path

  def _give_file(self, path: pathlib.Path) -> None:
    name = path.relative_to(self._folder).as_posix()
    with contextlib.suppress(FileNotFoundError):  # it was replaced just now
      found = path.stat()
      stamp = (found.st_mtime_ns, found.st_size)
      if self._given.get(name) == stamp:
        return
      if name == _LINES:  # whole lines alone
        content = path.read_bytes()
        end = content.rfind(b'\n') + 1
        self._bucket.write(name, content=content[:end])
      else:
        self._bucket.put(path, name=name)
      self._given[name] = stamp

  def _give_aside(self) -> None:
    """Moves damaged steps there, over none that is there."""
    place = self._folder / layout.SET_ASIDE
    for step in sorted(place.iterdir()) if place.is_dir() else []:
      name = layout.free_name(step.name, taken=self._aside)
      for path in sorted(p for p in step.rglob('*') if p.is_file()):
        inside = path.relative_to(step).as_posix()
        self._bucket.put(path, name=f'{layout.SET_ASIDE}/{name}/{inside}')
      self._aside.add(name)
      shutil.rmtree(step)

  def _give_step(self, step: str) -> None:
    """Copies a step; files.json is removed first, and comes last."""
    folder, prefix = self._steps / step, f'{_CHECKPOINTS}{step}/'
    try:
      sums = (folder / layout.SUMS).read_bytes()
      if self._there.get(step) == sums:
        return
      if self._there.pop(step, None):
        self._bucket.remove([prefix + layout.SUMS])
      self._broken.add(step)
      files = [p for p in folder.rglob('*') if p.is_file()]
      names = [p.relative_to(self._folder).as_posix() for p in files]
      names.remove(prefix + layout.SUMS)
      self._remove(set(self._bucket.sizes(prefix)) - set(names))
      self._bucket.put_all(self._folder, names=names)
    except FileNotFoundError:  # it is no longer kept
      return
    self._bucket.write(prefix + layout.SUMS, content=sums)
    self._broken.remove(step)
    self._there[step] = sums

  def _remove_old(self) -> None:
    """Removes steps that the run no longer keeps, and what broke off."""
    for step in sorted({*self._there, *self._broken}):
      if not self._here(step):
        self._remove(self._bucket.sizes(f'{_CHECKPOINTS}{step}/'))
        self._there.pop(step, None)
        self._broken.discard(step)

  def _remove(self, names: set[str] | dict[str, int]) -> None:
    """files.json first: without it, a step is none."""
    self._bucket.remove(
      sorted(names, key=lambda n: not n.endswith(layout.SUMS))
    )


def _is_whole(step: pathlib.Path) -> bool:
  return (step / layout.SUMS).is_file()
