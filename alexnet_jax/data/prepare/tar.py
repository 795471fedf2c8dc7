"""Reads files inside tar archives in place, without extracting them.

No name in an archive can therefore write outside the output folder. A file
whose name tries to, or that is no regular file, is skipped.
"""

import io
import pathlib
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from alexnet_jax.data import metadata

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


def members(
  path: pathlib.Path, *, skipped: list[metadata.Skipped]
) -> Iterator[Member]:
  """Lists the files of an uncompressed tar; adds those left out to `skipped`.

  Raises ValueError if it is damaged, cut short or compressed.
  """
  with open(path, 'rb') as file:
    yield from _scan(file, end=path.stat().st_size, skipped=skipped)


def nested(
  path: pathlib.Path, *, skipped: list[metadata.Skipped]
) -> Iterator[tuple[str, Member]]:
  """Lists the files of a tar of tars: (stem of the inner tar, member).

  Raises ValueError if one of them is damaged, cut short or compressed.
  """
  with open(path, 'rb') as outer, open(path, 'rb') as inner:
    for tar in _scan(outer, end=path.stat().st_size, skipped=skipped):
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
  """Lists the tar that starts at the file's position and ends before `end`."""
  where = f'{file.name}: {within} in it' if within else file.name
  try:
    with tarfile.open(fileobj=file, mode='r:') as archive:
      for info in archive:
        if info.size < 0:  # tarfile would seek back and loop for ever
          raise ValueError(f'{where} is damaged: download it again')
        if info.isdir():
          continue
        name = printable(info.name)
        place = pathlib.PurePosixPath(name)
        if place.is_absolute() or '..' in place.parts:
          reason = 'its path leads out of the archive'
        elif len(name) > _MAX_NAME_LENGTH:
          name, reason = name[:80] + '...', 'its name is too long'
        elif not info.isfile():
          reason = 'no regular file but a link or a device'
        elif info.offset_data + info.size > end:
          raise ValueError(f'{where} is cut short: download it again')
        else:
          yield Member(file.name, info.offset_data, info.size, name)
          continue
        skipped.append(metadata.Skipped(name, reason))
      # A tar ends with a block of zeros. Python's tarfile also stops at
      # a header that it cannot read, without an error.
      file.seek(archive.offset)
      whole = archive.offset + _BLOCK <= end
      if not whole or file.read(_BLOCK) != bytes(_BLOCK):
        raise ValueError(
          f'{where} is damaged or cut short at byte {archive.offset:,}: '
          'download it again'
        )
  except tarfile.TarError as error:
    raise ValueError(
      f'{where} is not a whole, uncompressed tar archive ({error}): download '
      'it again, or decompress it first'
    ) from error


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
