"""Folders on buckets: gs://, s3://, az://, hf:// and others of fsspec.

Objects on a bucket are written whole: they cannot be appended to, renamed or
locked. So files are never changed in place but copied to a local folder and
back. etils.epath is no help: it lists no sizes and reads no whole objects.
"""

import contextlib
import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures

import fsspec

from alexnet_jax.runtime import paths

CACHE = 'ALEXNET_JAX_CACHE'  # environment variable: folder for local copies
_NUM_PARALLEL = 8  # transfers at a time
_PACKAGES = {  # scheme -> package that fsspec needs for it
  **dict.fromkeys(('gs', 'gcs'), 'gcsfs'),
  **dict.fromkeys(('s3', 's3a'), 's3fs'),
  **dict.fromkeys(('az', 'abfs'), 'adlfs'),
  'hf': 'huggingface_hub',
}


class RemoteError(ValueError):
  """An operation on a bucket failed; the message is one line."""


class MissingError(RemoteError):
  """The bucket or the object does not exist."""


def cache_folder(kind: str) -> pathlib.Path:
  """The local folder for copies of one kind; it may not exist yet.

  It is below $ALEXNET_JAX_CACHE, $XDG_CACHE_HOME/alexnet_jax or
  ~/.cache/alexnet_jax, whichever is known first. Raises ValueError if none is
  known, or the path is relative.
  """
  named = os.environ.get(CACHE)
  folder = pathlib.Path(named) if named else paths.cache_folder()
  if folder is None or not folder.is_absolute():
    raise ValueError(
      f'{named or "~"} is no absolute path for copies of buckets: set {CACHE} '
      'to a folder that begins with /'
    )
  return folder / kind


def copy_name(url: str) -> str:
  """A readable folder name for an address, unique by its hash.

  >>> copy_name('gs://bucket/runs/a')
  'gs_bucket_runs_a-41d4fef7ab3f'
  """
  url = url.rstrip('/')
  readable = re.sub(r'[^A-Za-z0-9.-]+', '_', url)[-80:]  # fits NAME_MAX
  return f'{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}'


def check_disk_space(folder: pathlib.Path, *, size: int, url: str) -> None:
  """Raises ValueError unless `size` more bytes fit on the disk of `folder`."""
  free = paths.free_bytes(folder)
  if size > free:
    raise ValueError(
      f'{url}: the copy in {folder} needs {paths.size_text(size)} more, but '
      f'only {paths.size_text(free)} are free: make room, or set {CACHE} to a '
      'folder on a larger disk'
    )


class Folder:
  """A folder on a bucket: all objects whose names begin with its address.

  Each method raises RemoteError if the bucket fails.
  """

  def __init__(self, url: str):
    """Connects to the bucket; the folder may be empty.

    Raises RemoteError if the package for the scheme is not installed, or the
    login fails.
    """
    self.url = url.rstrip('/')
    scheme = url.split('://')[0]
    with self._one_line_errors('', 'reached'):
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
    """Sizes in bytes of all objects below `under`, by name in this folder.

    Raises RemoteError if the listing fails or a name leads out of the folder.
    """
    top = self._at(under)
    with self._one_line_errors(under, 'listed'):
      self._fs.invalidate_cache()  # other machines write here, too
      found = self._fs.find(top, detail=True)
      if not found:  # find() hides a missing permission, ls() raises it
        with contextlib.suppress(FileNotFoundError):
          self._fs.ls(top)
    sizes = {}
    for path, info in found.items():
      name = path.removeprefix(f'{self._root}/')
      if name == path or path.endswith('/'):  # placeholder of a folder
        continue
      if not all(map(paths.is_plain_name, name.split('/'))):
        raise RemoteError(
          f'{self.url} has an object {name!r}, which is no valid file name: '
          'remove it'
        )
      sizes[name] = int(info.get('size') or 0)  # bytes; unknown counts as 0
    return sizes

  def read(self, name: str) -> bytes:
    """Reads an object; raises MissingError if there is none."""
    with self._one_line_errors(name, 'read'):
      self._fs.invalidate_cache()  # owner.json must be read afresh
      return self._fs.cat_file(self._at(name))

  def write(self, name: str, *, content: bytes) -> None:
    """Creates or replaces an object."""
    with self._one_line_errors(name, 'written'):
      self._fs.pipe_file(self._at(name), content)

  def get(self, name: str, *, to: pathlib.Path) -> None:
    """Downloads an object to a new file; creates the file's folder.

    Raises RemoteError if the object cannot be read, OSError if the file cannot
    be written.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    to.touch()  # a full local disk is no error of the bucket
    with self._one_line_errors(name, 'read', local=to):
      self._fs.get_file(self._at(name), str(to))

  def put(self, path: pathlib.Path, *, name: str) -> None:
    """Uploads a file; raises FileNotFoundError if there is none."""
    with self._one_line_errors(name, 'written', local=path):
      self._fs.put_file(str(path), self._at(name))

  def remove(self, names: Iterable[str]) -> None:
    """Removes objects one by one; missing ones are ignored."""
    for name in names:
      with (
        self._one_line_errors(name, 'removed'),
        contextlib.suppress(FileNotFoundError),
      ):
        self._fs.rm_file(self._at(name))

  def get_all(self, names: Iterable[str], *, to: pathlib.Path) -> None:
    """Downloads objects to a folder, under their names."""
    run_parallel(lambda name: self.get(name, to=to / name), names)

  def put_all(self, folder: pathlib.Path, *, names: Iterable[str]) -> None:
    """Uploads files of a folder to objects of the same names."""
    run_parallel(lambda name: self.put(folder / name, name=name), names)

  def _at(self, name: str) -> str:
    return f'{self._root}/{name}' if name else self._root

  @contextlib.contextmanager
  def _one_line_errors(
    self, name: str, done: str, *, local: pathlib.Path | None = None
  ) -> Iterator[None]:
    """Turns errors into a RemoteError of one line, except for local files.

    `name` is the object, '' for the folder; `done` what failed, such as 'read';
    `local` a file that takes part, whose own errors pass unchanged.
    """
    url = f'{self.url}/{name}' if name else self.url
    try:
      yield
    except RemoteError:
      raise
    except FileNotFoundError as error:  # of the bucket, or of `local`
      if local is not None and not local.exists():
        raise
      raise MissingError(
        f'{url} or its bucket does not exist ({_first_line(error)}): create '
        'it, or give another address'
      ) from error
    except PermissionError as error:
      raise RemoteError(
        f'{url} cannot be {done}: no permission ({_first_line(error)}): log in '
        'to an account that has it, or give another address'
      ) from error
    except Exception as error:  # each library raises its own types
      if isinstance(error, OSError) and error.filename == str(local):
        raise
      raise RemoteError(
        f'{url} cannot be {done}: {_first_line(error)}'
      ) from error


def run_parallel(action: Callable[[str], None], names: Iterable[str]) -> None:
  """Calls `action` with each name, in threads; raises the first error."""
  with futures.ThreadPoolExecutor(_NUM_PARALLEL) as pool:
    calls = [pool.submit(action, name) for name in names]
    try:
      for call in futures.as_completed(calls):
        call.result()
    finally:
      pool.shutdown(cancel_futures=True)  # after an error, start no more


def _first_line(error: Exception) -> str:
  first = next(iter(str(error).splitlines()), '')  # some errors are pages
  return f'{type(error).__name__}: {first}' if first else type(error).__name__
