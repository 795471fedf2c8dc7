"""Checks and expands paths and file names that come from outside."""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import BinaryIO

_URL = re.compile(r'[a-z][a-z0-9+.-]+://')


def is_remote(path: str) -> bool:
  """Whether a path is the address of a bucket rather than a local path.

  >>> [is_remote(path) for path in ('gs://bucket/runs/a', 'runs/a', '/gs/a')]
  [True, False, False]
  """
  return bool(_URL.match(path))


def expand(path: str) -> pathlib.Path:
  """Expands ~ and ~NAME; ValueError if no such user, or a bucket's address."""
  if is_remote(path):
    raise ValueError(
      f'{path} is on a bucket: give a local path; docs/operations.md '
      'lists what may be on a bucket'
    )
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:
    raise ValueError(
      f'{path}: {path.split("/")[0]} has no home folder; give the whole path'
    ) from error


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
  """Opens a file that takes the place of `path` when it is complete.

  A reader, or a power cut, finds the old file or the new one. The scratch file
  beside it is always a new one: a link of its name, which could lead anywhere,
  is removed and not followed. After an error the old file is unchanged.
  """
  scratch = path.with_name(f'.{path.name}.tmp')  # on the same disk, to rename
  scratch.unlink(missing_ok=True)  # of a killed process
  flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
  try:
    with os.fdopen(os.open(scratch, flags, 0o666), 'wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())  # before the rename: else an empty file
    scratch.replace(path)
  except OSError as error:
    if error.filename is None:  # a write, or fsync
      error.filename = str(path)
    raise
  finally:
    scratch.unlink(missing_ok=True)


def check_name(path: str, *, name: str) -> None:
  """Raises ValueError for a path that is not UTF-8, as libraries do later."""
  try:
    path.encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f'{name}={path!r} is not UTF-8: rename it, or give another'
    ) from error


def cache_folder() -> pathlib.Path | None:
  """$XDG_CACHE_HOME/alexnet_jax or ~/.cache/alexnet_jax; it need not exist.

  None where no home folder is known.
  """
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  found = pathlib.Path(home) / 'alexnet_jax'
  return found if found.is_absolute() else None  # '~' stays if unknown


def free_bytes(folder: pathlib.Path) -> int:
  """Free bytes on the disk of a folder, which may not exist yet."""
  place = next(p for p in (folder, *folder.parents) if p.exists())
  return shutil.disk_usage(place).free


def size_text(size: float | int) -> str:
  """A number of bytes with two digits or more, for messages.

  >>> size_text(1_234), size_text(2.5e6), size_text(262e9)
  ('1.2 kB', '2.5 MB', '262.0 GB')
  """
  for unit, factor in (('GB', 1e9), ('MB', 1e6), ('kB', 1e3)):
    if size >= factor:
      return f'{size / factor:,.1f} {unit}'
  return f'{size:.0f} bytes'


def is_plain_name(name: object) -> bool:
  """Whether a file's name is printable and stays inside its folder.

  >>> [is_plain_name(name) for name in ('a.npy', '../a', '/a', '..', 'a\\\\b')]
  [True, False, False, False, False]
  """
  if not isinstance(name, str) or name in ('', '.', '..'):
    return False
  return name.isprintable() and not {'/', '\\'} & set(name)  # and on Windows
