"""A lock that keeps a folder to one process at a time."""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator


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
  with open(folder / '.lock', 'w') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel frees it
    except BlockingIOError as error:
      if not waits:
        raise ValueError(
          f'{folder} is in use by another run: wait for it, or {fix}'
        ) from error
      print(f'{folder} is in use by another run: waiting for it', flush=True)
      fcntl.flock(lock, fcntl.LOCK_EX)
    yield
