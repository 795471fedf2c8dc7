"""Copies what allows no random access to tars in the cache folder.

A compressed tar can only be read from its start, and parquet only by groups of
rows, but training images are shuffled. So each is copied once, which takes as
much space on the disk as the images. A run that goes on after an interruption
uses the same copies, and `remove` ends them after preparing.
"""

import bz2
import contextlib
import fcntl
import functools
import gzip
import hashlib
import lzma
import os
import pathlib
import zlib
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from alexnet_jax.runtime import bucket, locks, paths

_OPEN: dict[bytes, Any] = {  # by the first bytes of a file
  b'\x1f\x8b': gzip.open,
  b'BZh': bz2.open,
  b'\xfd7zXZ\0': lzma.open,
}
_CHUNK = 2**24  # bytes
_SPARE = 2**28  # bytes that stay free on the disk
_BOMB = (100, 2**30)  # refused: so many times the size, and so many bytes
_told: set[str] = set()
_users: list[int] = []  # the lock of this process on the folder


def tar_of(path: pathlib.Path, *, start: bytes) -> pathlib.Path:
  """The tar that a file is, or that it holds compressed.

  `start` holds its first bytes, which tell gzip, bzip2 and xz. Raises
  ValueError if it is damaged, no room is left for the tar, or it has more than
  1 GB and 100 times the size of the file.
  """
  opens = [each for magic, each in _OPEN.items() if start.startswith(magic)]
  if not opens:
    return path
  return once(
    path,
    write=functools.partial(_decompress, path, opens=opens[0]),
    why='is compressed, which allows no random access: decompressing it',
  )


def once(
  path: pathlib.Path, *, write: Callable[[BinaryIO], object], why: str
) -> pathlib.Path:
  """A tar that `write` makes of a file, unless an earlier call has made it.

  `why` tells a user what is being done. The file is told by its path, size and
  time. Raises ValueError if no room is left.
  """
  status = path.stat()
  identity = repr((str(path.resolve()), status.st_size, status.st_mtime_ns))
  digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
  with locks.locked(_folder(), fix='', waits=True):
    _use()
    whole = _folder() / f'{digest}-{path.name.split(".")[0][:80]}.tar'
    if not whole.is_file():
      _tell(f'{why} to {_folder()}', first=path)
      with paths.replacing(whole) as file:
        write(file)
  return whole


def _tell(what: str, *, first: pathlib.Path) -> None:
  """Prints what is done, for the first of many files alone."""
  if what not in _told:
    print(f'{first} {what}', flush=True)
  _told.add(what)


def remove(members: Iterable[Any]) -> None:
  """Removes the tars of these members, unless another run may read them."""
  folder = str(_folder()) if _users else ''
  found = {m.path for m in members if hasattr(m, 'path')} if folder else set()
  with contextlib.suppress(BlockingIOError):
    for lock in _users:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for path in found:
      if os.path.dirname(path) == folder:
        pathlib.Path(path).unlink(missing_ok=True)
  for lock in _users:
    os.close(lock)
  _users.clear()


def _folder() -> pathlib.Path:
  return bucket.cache_folder('unpacked')


def _use() -> None:
  """Tells other runs that this one reads files of the folder."""
  if not _users:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    _users.append(os.open(_folder() / '.users', flags, 0o666))
    fcntl.flock(_users[0], fcntl.LOCK_SH)


def check_room(number: int) -> None:
  """Raises ValueError unless so many bytes still fit into the folder."""
  if paths.free_bytes(_folder()) < number + _SPARE:
    raise ValueError(
      f'{_folder()} has no room for a tar of the images: set {bucket.CACHE} to '
      'a folder on a larger disk'
    )


def _decompress(path: pathlib.Path, file: BinaryIO, *, opens: Any) -> None:
  """Decompresses into `file` while there is room."""
  times, least = _BOMB
  bomb = max(times * path.stat().st_size, least)
  with opens(path, 'rb') as source:
    while chunk := _read(source, path=path):
      if file.tell() > bomb:
        raise ValueError(
          f'{path} decompresses to more than {times} times its size: unpack it '
          'yourself if you trust it'
        )
      check_room(len(chunk))
      file.write(chunk)


def _read(source: Any, *, path: pathlib.Path) -> bytes:
  try:
    return source.read(_CHUNK)
  except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
    if isinstance(error, OSError) and error.errno is not None:
      raise  # the disk's; those of the decoders have no number
    raise ValueError(
      f'{path} is damaged or cut short ({error}): download it again'
    ) from error
