"""Reads files inside tar archives in place, without extracting them.

No name in an archive can therefore write outside the output folder. A file
whose name tries to, or that is no regular file, is skipped.
"""

import io
import pathlib
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from alexnet_jax.data import metadata

_BLOCK = 512  # bytes; tar headers and contents are multiples of it
_CHUNK = 2**20  # bytes; a multiple of a block
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


def members(
  path: pathlib.Path, *, skipped: list[metadata.Skipped]
) -> Iterator[Member]:
  """Lists the files of an uncompressed tar; adds those left out to `skipped`.

  Tars may follow one another (`cat a.tar b.tar`). Of several copies of a name
  (`tar -r`) the last counts. Raises ValueError if it is damaged, cut short or
  compressed.
  """
  with open(path, 'rb') as file:
    yield from _scan(file, end=path.stat().st_size, skipped=skipped)


def nested(
  path: pathlib.Path,
  *,
  skipped: list[metadata.Skipped],
  wanted: Callable[[str], bool],
) -> Iterator[tuple[str, Member]]:
  """Lists the files of a tar of tars: (stem of the inner tar, member).

  `wanted` says by its name whether a file is an inner tar. Raises ValueError
  if one of them is damaged, cut short or compressed.
  """
  with open(path, 'rb') as outer, open(path, 'rb') as inner:
    for tar in _scan(outer, end=path.stat().st_size, skipped=skipped):
      if not wanted(tar.name):
        continue
      inner.seek(tar.offset)  # offsets still count from the outer tar's start
      end = tar.offset + tar.size
      for member in _scan(inner, end=end, skipped=skipped, within=tar.name):
        yield pathlib.PurePath(tar.name).stem, member


def _scan(
  file: io.BufferedReader,
  *,
  end: int,
  skipped: list[metadata.Skipped],
  within: str = '',
) -> Iterator[Member]:
  """Lists the tars from the file's position to `end`; the last copy counts."""
  where = f'{file.name}: {within} in it' if within else file.name
  found: dict[str, Member] = {}  # by its path, without './'
  try:
    start: int | None = file.tell()
    while start is not None:
      file.seek(start)
      with tarfile.open(fileobj=file, mode='r:') as archive:
        for info in archive:
          if info.size < 0:  # tarfile would seek back and loop for ever
            raise ValueError(f'{where} is damaged: download it again')
          if info.isdir():
            continue
          name, reason = checked_name(printable(info.name))
          key = posixpath.normpath(name)
          target = found.get(posixpath.normpath(printable(info.linkname)))
          reason = reason or _reason(info, target=target)
          if reason:
            skipped.append(metadata.Skipped(name, reason))
          elif info.islnk() and target:
            found[key] = target._replace(name=name)
          elif info.offset_data + info.size > end:
            raise ValueError(f'{where} is cut short: download it again')
          else:
            found[key] = Member(file.name, info.offset_data, info.size, name)
      start = _next_archive(file, start=archive.offset, end=end, where=where)
  except tarfile.TarError as error:
    raise ValueError(
      f'{where} is not a whole, uncompressed tar archive ({error}): download '
      'it again, or decompress it first'
    ) from error
  yield from found.values()


def _reason(info: tarfile.TarInfo, *, target: Member | None) -> str:
  """Why a member of a tar is not read; '' if it is."""
  if info.islnk():
    return '' if target else 'a hard link to a file that the archive lacks'
  if not info.isfile():
    return 'no regular file but a link or a device'
  return 'a sparse file: pack it again without --sparse' if info.sparse else ''


def _next_archive(
  file: io.BufferedReader, *, start: int, end: int, where: str
) -> int | None:
  """The first byte of the tar behind the one that ends at `start`, or None.

  A tar ends with blocks of zeros. Python's tarfile also stops at a header that
  it cannot read, without an error, so ValueError is raised without zeros.
  """
  file.seek(start)
  if start + _BLOCK > end or file.read(_BLOCK) != bytes(_BLOCK):
    raise ValueError(
      f'{where} is damaged or cut short at byte {start:,}: download it again'
    )
  while (place := file.tell()) < end:
    chunk = file.read(min(_CHUNK, end - place))
    if rest := chunk.lstrip(b'\0'):
      return place + (len(chunk) - len(rest)) // _BLOCK * _BLOCK
    if not chunk:
      break
  return None


def checked_name(name: str) -> tuple[str, str]:
  """A printable name, shortened, and why it is not taken, or ''.

  >>> checked_name('../a.jpg')
  ('../a.jpg', 'its path leads out of the archive')
  """
  place = pathlib.PurePosixPath(name)
  if place.is_absolute() or '..' in place.parts:
    return name, 'its path leads out of the archive'
  if len(name) > _MAX_NAME_LENGTH:
    return name[:80] + '...', 'its name is too long'
  return name, ''


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
