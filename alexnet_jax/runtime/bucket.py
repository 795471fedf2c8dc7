"""Folders on buckets: gs://, s3://, az://, hf:// and what else fsspec knows.

A bucket keeps whole objects: nothing is appended, renamed or locked there. So
nothing is worked on in place; what is on a bucket is copied to a folder of this
machine and back, object by object. etils.epath asks fsspec, too, but gives
neither the sizes of a listing nor whole objects. Not in the paper.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures

import fsspec

from alexnet_jax.runtime import cache, paths

CACHE = 'ALEXNET_JAX_CACHE'  # environment variable: where copies lie
_AT_ONCE = 8  # objects on their way
_PACKAGES = {  # of fsspec's known schemes, those of the usual buckets
  'gs': 'gcsfs',
  'gcs': 'gcsfs',
  's3': 's3fs',
  's3a': 's3fs',
  'az': 'adlfs',
  'abfs': 'adlfs',
  'hf': 'huggingface_hub',
}


class RemoteError(ValueError):
  """A bucket does not do what it is asked to; in one line."""


class MissingError(RemoteError):
  """There is no such bucket, or no such object in it."""


def copies(kind: str) -> pathlib.Path:
  """The folder of this machine for copies of a kind; it need not exist.

  It is in $ALEXNET_JAX_CACHE, or $XDG_CACHE_HOME/alexnet_jax, or
  ~/.cache/alexnet_jax.

  Raises:
    ValueError: if there is no home folder either.
  """
  named = os.environ.get(CACHE)
  folder = pathlib.Path(named) if named else cache.folder()
  if folder is None or not folder.is_absolute():
    raise ValueError(
      f'{named or "~"} is no place for copies of what lies on buckets: let '
      f'{CACHE} name a folder, from / on'
    )
  return folder / kind


def name_of_copy(url: str) -> str:
  """A file name for an address: readable, and no other address has it.

  >>> name_of_copy('gs://bucket/runs/a')
  'gs_bucket_runs_a-41d4fef7ab3f'
  """
  url = url.rstrip('/')
  readable = re.sub(r'[^A-Za-z0-9.-]+', '_', url)[-80:]
  return f'{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}'


def refuse_small_disk(folder: pathlib.Path, *, size: int, url: str) -> None:
  """Raises ValueError where `size` bytes more do not fit."""
  place = next(p for p in (folder, *folder.parents) if p.exists())
  free = shutil.disk_usage(place).free
  if size > free:
    raise ValueError(
      f'{url}: {size / 1e9:,.1f} GB more are needed for the copy in {folder}, '
      f'{free / 1e9:,.1f} GB are free: make room, or let {CACHE} name a folder '
      'on a larger disk'
    )


class Folder:
  """A folder on a bucket: the objects whose names begin with its address."""

  def __init__(self, url: str):
    """Connects; nothing need be there.

    Raises:
      RemoteError: if the package for that scheme is not installed, or it cannot
        log in.
    """
    self.url = url.rstrip('/')
    scheme = url.split('://')[0]
    with self._told('', 'reached'):
      try:
        self._fs, root = fsspec.core.url_to_fs(self.url)
      except ImportError as error:
        package = _PACKAGES.get(scheme)
        fix = f'pip install {package}' if package else str(error)
        raise RemoteError(
          f'{url}: the package for {scheme}:// is not installed: {fix}'
        ) from error
      except ValueError as error:
        known = ', '.join(f'{name}://' for name in _PACKAGES)
        raise RemoteError(
          f'{url} cannot be reached: {error}; use {known}, or a folder'
        ) from error
    self._root = str(root)

  def sizes(self, under: str = '') -> dict[str, int]:
    """Bytes of each object, by its name from this folder on.

    Raises:
      RemoteError: if they cannot be listed, or a name leads out of a folder.
    """
    top = self._at(under)
    with self._told(under, 'listed'):
      self._fs.invalidate_cache()  # others write here, too
      found = self._fs.find(top, detail=True)
      if not found:  # also if it may not be listed: this then says so
        with contextlib.suppress(FileNotFoundError):
          self._fs.ls(top)
    sizes = {}
    for path, info in found.items():
      name = path.removeprefix(f'{self._root}/')
      if name == path or path.endswith('/'):  # stands for a folder
        continue
      if not all(map(paths.is_plain_name, name.split('/'))):
        raise RemoteError(
          f'{self.url} has {name!r}, which is no name of a file: remove it'
        )
      sizes[name] = int(info.get('size') or 0)
    return sizes

  def read(self, name: str) -> bytes:
    """An object's content.

    Raises:
      MissingError: if it is not there.
      RemoteError: if it cannot be read.
    """
    with self._told(name, 'read'):
      self._fs.invalidate_cache()
      return self._fs.cat_file(self._at(name))

  def write(self, name: str, *, content: bytes) -> None:
    """Makes or replaces an object."""
    with self._told(name, 'written'):
      self._fs.pipe_file(self._at(name), content)

  def get(self, name: str, *, to: pathlib.Path) -> None:
    """Copies an object to a file, which must not exist; its folder is made.

    Raises:
      RemoteError: if it cannot be read.
      OSError: if this machine's disk fails.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    to.touch()  # that it can be written is no matter of the bucket
    with self._told(name, 'read', ours=to):
      self._fs.get_file(self._at(name), str(to))

  def put(self, path: pathlib.Path, *, name: str) -> None:
    """Copies a file to an object.

    Raises:
      FileNotFoundError: if there is no such file any more.
      RemoteError: if the object cannot be written.
    """
    with self._told(name, 'written', ours=path):
      self._fs.put_file(str(path), self._at(name))

  def remove(self, names: Iterable[str]) -> None:
    """Removes objects, one after another; those not there are no error."""
    for name in names:
      with self._told(name, 'removed'), contextlib.suppress(FileNotFoundError):
        self._fs.rm_file(self._at(name))

  def get_all(self, names: Iterable[str], *, to: pathlib.Path) -> None:
    """Copies objects to a folder, under their names."""
    at_once(lambda name: self.get(name, to=to / name), names)

  def put_all(self, folder: pathlib.Path, *, names: Iterable[str]) -> None:
    """Copies files of a folder to objects of their names."""
    at_once(lambda name: self.put(folder / name, name=name), names)

  def _at(self, name: str) -> str:
    return f'{self._root}/{name}' if name else self._root

  @contextlib.contextmanager
  def _told(
    self, name: str, done: str, *, ours: pathlib.Path | None = None
  ) -> Iterator[None]:
    """Makes a line of what goes wrong, but for what is of this machine."""
    url = f'{self.url}/{name}' if name else self.url
    try:
      yield
    except RemoteError:
      raise
    except FileNotFoundError as error:
      if ours is not None and not ours.exists():
        raise
      raise MissingError(
        f'{url} does not exist, or its bucket does not ({_line(error)}): make '
        'it, or give another'
      ) from error
    except PermissionError as error:
      raise RemoteError(
        f'{url} cannot be {done}: no permission ({_line(error)}): log in as '
        'one who has it, or give another'
      ) from error
    except Exception as error:  # each library has its own
      if isinstance(error, OSError) and error.filename == str(ours):
        raise
      raise RemoteError(f'{url} cannot be {done}: {_line(error)}') from error


def at_once(action: Callable[[str], None], names: Iterable[str]) -> None:
  """Does something with several names at a time; the first error is raised."""
  with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
    done = [pool.submit(action, name) for name in names]
    try:
      for one in futures.as_completed(done):
        one.result()
    finally:
      pool.shutdown(cancel_futures=True)


def _line(error: Exception) -> str:
  first = next(iter(str(error).splitlines()), '')
  return f'{type(error).__name__}: {first}' if first else type(error).__name__
