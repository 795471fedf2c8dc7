"""A lock that keeps a folder to one process at a time."""

import contextlib
import errno
import fcntl
import os
import pathlib
from collections.abc import Iterator


def check_free(folder: pathlib.Path, *, fix: str) -> None:
  """Raises ValueError if a process has locked the folder; changes nothing."""
  try:
    number = os.open(folder / '.lock', os.O_RDONLY | os.O_NOFOLLOW)
  except OSError:  # `locked` says what is wrong
    return
  with os.fdopen(number) as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(_in_use(folder, fix=fix)) from error


def _in_use(folder: pathlib.Path, *, fix: str) -> str:
  return f'{folder} is in use by another run: wait for it, or {fix}'


@contextlib.contextmanager
def locked(
  folder: pathlib.Path, *, fix: str, waits: bool = False
) -> Iterator[None]:
  """Makes a folder and locks it; the lock ends with the process at the latest.

  If another process has locked it, `waits` for it, or else raises ValueError
  with what to do: `fix`. A file in place of the folder is a ValueError, too.
  """
  if folder.exists() and not folder.is_dir():
    raise ValueError(f'{folder} is a file: {fix}')
  folder.mkdir(parents=True, exist_ok=True)
  try:  # not through a link, which could lead anywhere
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    number = os.open(folder / '.lock', flags, 0o666)
  except OSError as error:
    if error.errno == errno.ELOOP:
      raise ValueError(f'{folder}/.lock is a link: remove it') from error
    raise
  with os.fdopen(number, 'r+') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel frees it
    except BlockingIOError as error:
      if not waits:
        raise ValueError(_in_use(folder, fix=fix)) from error
      print(f'{folder} is in use by another run: waiting for it', flush=True)
      fcntl.flock(lock, fcntl.LOCK_EX)
    yield
