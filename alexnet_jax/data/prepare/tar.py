"""Files inside tar archives, read where they lie: nothing is extracted.

So no name in an archive can reach a path outside the output. A file whose name
tries to, or that is no regular file, is listed as rejected. Not in the paper.
"""

import io
import pathlib
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

_BLOCK = 512  # bytes, of a tar
_LONGEST_NAME = 4096


class Member(NamedTuple):
  """An image file: `size` bytes of `path` from `offset` on."""

  path: str
  offset: int
  size: int
  name: str

  def read(self) -> bytes:
    """The file's bytes."""
    with open(self.path, 'rb') as file:
      file.seek(self.offset)
      return file.read(self.size)


class Rejected(NamedTuple):
  """A member that is not read, and why."""

  name: str
  reason: str


def members(path: pathlib.Path) -> Iterator[Member | Rejected]:
  """What an uncompressed tar holds, but for its folders.

  Raises:
    ValueError: if it is damaged, cut short or compressed.
  """
  size = path.stat().st_size
  with open(path, 'rb') as file:
    yield from _scan(file, path=path, end=size)


def nested(path: pathlib.Path) -> Iterator[tuple[str, Member | Rejected]]:
  """(name of the inner tar, member of it) for a tar of tars."""
  with open(path, 'rb') as outer, open(path, 'rb') as inner:
    for tar in _scan(outer, path=path, end=path.stat().st_size):
      if isinstance(tar, Rejected):
        yield tar.name, tar
        continue
      inner.seek(tar.offset)  # whence offsets are counted in the outer
      end = tar.offset + tar.size
      for member in _scan(inner, path=path, end=end, within=tar.name):
        yield pathlib.PurePath(tar.name).stem, member


def extract(archive: tarfile.TarFile, *, ending: str) -> bytes:
  """The first member whose name ends so, in memory.

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
  """Headers of the tar that starts here, one at a time."""
  where = f'{path}: {within} in it' if within else str(path)
  try:
    with tarfile.open(fileobj=file, mode='r:') as archive:
      for info in archive:
        if info.size < 0:  # tarfile would go back, and round in a circle
          raise ValueError(f'{where} is damaged: download it again')
        if info.isdir():
          continue
        name = printable(info.name)
        if _leaves(name):
          yield Rejected(name, 'its path leads out of the archive')
        elif len(name) > _LONGEST_NAME:
          yield Rejected(name[:80] + '...', 'its name is too long')
        elif not info.isfile():
          yield Rejected(name, 'no regular file but a link or a device')
        elif info.offset_data + info.size > end:
          raise ValueError(f'{where} is cut short: download it again')
        else:
          yield Member(str(path), info.offset_data, info.size, name)
      if not _ends(file, archive.offset, end=end):
        raise ValueError(
          f'{where} is damaged or cut short at byte {archive.offset:,}: '
          'download it again'
        )
  except tarfile.TarError as error:
    raise ValueError(
      f'{where} is not a whole, uncompressed tar archive ({error}): download '
      'it again, or decompress it first'
    ) from error


def _ends(file: io.BufferedReader, offset: int, *, end: int) -> bool:
  """Whether a tar's end stands there, a block of zeros.

  Python's tarfile takes a header that it cannot read for the end as well.
  """
  file.seek(offset)
  return offset + _BLOCK <= end and file.read(_BLOCK) == bytes(_BLOCK)


def printable(name: str) -> str:
  r"""A name in UTF-8, which a terminal can show; what it cannot, spelled out.

  >>> printable('n\udcff/\x1b[2J.jpg')
  'n\\xff/\\x1b[2J.jpg'
  """
  data = name.encode('utf-8', 'surrogateescape')
  text = data.decode('utf-8', 'backslashreplace')
  return ''.join(
    c if c.isprintable() else c.encode('unicode_escape').decode() for c in text
  )


def _leaves(name: str) -> bool:
  """Whether a member's path points outside the folder it is unpacked into."""
  path = pathlib.PurePosixPath(name)
  return path.is_absolute() or '..' in path.parts
