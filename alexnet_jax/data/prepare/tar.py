"""Reads files inside tar archives in place, without extracting them.

No name in an archive can therefore write outside the output folder. A file
whose name tries to, or that is no regular file, is listed as rejected.
"""

import io
import pathlib
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

_BLOCK = 512  # bytes; tar headers and contents are multiples of it
_MAX_NAME_LENGTH = 4096


class Member(NamedTuple):
  """A file inside another: `size` bytes of `path` from byte `offset` on."""

  path: str
  offset: int
  size: int
  name: str

  def read(self) -> bytes:
    """Reads the file's content."""
    with open(self.path, 'rb') as file:
      file.seek(self.offset)
      return file.read(self.size)


class Rejected(NamedTuple):
  """A member that is left out, and the reason."""

  name: str
  reason: str


def members(path: pathlib.Path) -> Iterator[Member | Rejected]:
  """Lists the files of an uncompressed tar.

  Raises:
    ValueError: if it is damaged, cut short or compressed.
  """
  size = path.stat().st_size
  with open(path, 'rb') as file:
    yield from _scan(file, path=path, end=size)


def nested(path: pathlib.Path) -> Iterator[tuple[str, Member | Rejected]]:
  """Lists the files of a tar of tars: (stem of the inner tar, member).

  Raises:
    ValueError: if one of them is damaged, cut short or compressed.
  """
  with open(path, 'rb') as outer, open(path, 'rb') as inner:
    for tar in _scan(outer, path=path, end=path.stat().st_size):
      if isinstance(tar, Rejected):
        yield tar.name, tar
        continue
      inner.seek(tar.offset)  # offsets still count from the outer tar's start
      end = tar.offset + tar.size
      for member in _scan(inner, path=path, end=end, within=tar.name):
        yield pathlib.PurePath(tar.name).stem, member


def extract(archive: tarfile.TarFile, *, ending: str) -> bytes:
  """Reads the first member whose name has this ending.

  Raises:
    KeyError: if there is none.
  """
  for info in archive:
    file = archive.extractfile(info) if info.name.endswith(ending) else None
    if file is not None:
      return file.read()
  raise KeyError(f'it has no {ending}')


def _scan(
  file: io.BufferedReader, *, path: pathlib.Path, end: int, within: str = ''
) -> Iterator[Member | Rejected]:
  """Lists the tar that starts at the file's position and ends before `end`."""
  where = f'{path}: {within} in it' if within else str(path)
  try:
    with tarfile.open(fileobj=file, mode='r:') as archive:
      for info in archive:
        if info.size < 0:  # tarfile would seek back and loop for ever
          raise ValueError(f'{where} is damaged: download it again')
        if info.isdir():
          continue
        name = printable(info.name)
        if _points_outside(name):
          yield Rejected(name, 'its path leads out of the archive')
        elif len(name) > _MAX_NAME_LENGTH:
          yield Rejected(name[:80] + '...', 'its name is too long')
        elif not info.isfile():
          yield Rejected(name, 'no regular file but a link or a device')
        elif info.offset_data + info.size > end:
          raise ValueError(f'{where} is cut short: download it again')
        else:
          yield Member(str(path), info.offset_data, info.size, name)
      if not _has_end(file, archive.offset, end=end):
        raise ValueError(
          f'{where} is damaged or cut short at byte {archive.offset:,}: '
          'download it again'
        )
  except tarfile.TarError as error:
    raise ValueError(
      f'{where} is not a whole, uncompressed tar archive ({error}): download '
      'it again, or decompress it first'
    ) from error


def _has_end(file: io.BufferedReader, offset: int, *, end: int) -> bool:
  """Whether a tar ends at `offset`, with a block of zeros.

  Python's tarfile also stops at a header that it cannot read, without an error.
  """
  file.seek(offset)
  return offset + _BLOCK <= end and file.read(_BLOCK) == bytes(_BLOCK)


def printable(name: str) -> str:
  r"""Escapes whatever is not UTF-8, or not printable on a terminal.

  >>> printable('n\udcff/\x1b[2J.jpg')
  'n\\xff/\\x1b[2J.jpg'
  """
  data = name.encode('utf-8', 'surrogateescape')
  text = data.decode('utf-8', 'backslashreplace')
  return ''.join(
    c if c.isprintable() else c.encode('unicode_escape').decode() for c in text
  )


def _points_outside(name: str) -> bool:
  """Whether a member's path leads out of the folder it is unpacked into."""
  path = pathlib.PurePosixPath(name)
  return path.is_absolute() or '..' in path.parts
