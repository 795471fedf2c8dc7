"""Reads files inside zip archives in place, without extracting them.

zipfile reads the directory once; a member then knows where its bytes are, so
that no reader opens the directory again.
"""

import pathlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from alexnet_jax.data import dataset, metadata
from alexnet_jax.data.prepare import tar

_HEADER = struct.Struct('<4s22xHH')  # in front of each file: lengths of 2 parts
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags
_MOST = 2**30  # bytes; the largest bitmap that is decoded has 0.54 GB


class Member(NamedTuple):
  """A file of a zip archive, stored or deflated."""

  path: str
  offset: int  # of its own header
  packed: int  # bytes in the archive
  size: int  # bytes of the file itself
  crc: int
  name: str

  def read(self) -> bytes:
    """Reads the file's content; dataset.Unreadable if it is damaged."""
    with open(self.path, 'rb') as file:
      file.seek(self.offset)
      header = file.read(_HEADER.size)
      if len(header) < _HEADER.size or header[:4] != b'PK\3\4':
        raise dataset.Unreadable('the archive is damaged here')
      file.seek(sum(_HEADER.unpack(header)[1:]), 1)
      data = file.read(self.packed)
      method = int.from_bytes(header[8:10], 'little')
    if method == zipfile.ZIP_DEFLATED:
      data = self._inflate(data)
    if len(data) != self.size or zlib.crc32(data) != self.crc:
      raise dataset.Unreadable('the archive is damaged here')
    return data

  def _inflate(self, data: bytes) -> bytes:
    """Decompresses to no more than the size that the directory gives."""
    try:
      return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.size + 1)
    except zlib.error as error:
      raise dataset.Unreadable('the archive is damaged here') from error


def members(
  path: pathlib.Path, *, skipped: list[metadata.Skipped]
) -> Iterator[Member]:
  """Lists the files of a zip archive; adds those left out to `skipped`.

  Of several copies of a name the last counts. Raises ValueError if the archive
  is damaged, cut short or in several parts.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      infos = archive.infolist()
  except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
    raise ValueError(
      f'{path} is not a whole zip archive ({error}): download or pack it again'
    ) from error
  last = {info.filename: info for info in infos}
  for info in last.values():
    if info.is_dir():
      continue
    name, reason = _name(info)
    if reason := reason or _reason(info):
      skipped.append(metadata.Skipped(name, reason))
    else:
      packed, size = info.compress_size, info.file_size
      yield Member(str(path), info.header_offset, packed, size, info.CRC, name)


def _name(info: zipfile.ZipInfo) -> tuple[str, str]:
  """The printable name of a file, and why it is not taken, or ''."""
  name = info.filename
  if not info.flag_bits & _UTF8:  # zipfile read it as DOS would
    try:
      name = name.encode('cp437').decode()  # as macOS writes UTF-8
    except UnicodeDecodeError:
      return tar.printable(name), 'its name is not UTF-8: pack it again'
  name, reason = tar.checked_name(tar.printable(name))
  if '\\' in info.filename:
    reason = reason or r'its name has \, not /: pack it again'
  return name, reason


def _reason(info: zipfile.ZipInfo) -> str:
  """Why a file of a zip archive is not read; '' if it is."""
  mode = info.external_attr >> 16  # 0 if written elsewhere than on Unix
  if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
    return 'no regular file but a link or a device'
  if info.flag_bits & _ENCRYPTED:
    return 'encrypted: unpack it with its password'
  if info.compress_type not in _METHODS:
    return f'compressed by method {info.compress_type}: pack it again'
  if max(info.file_size, info.compress_size) > _MOST:
    return f'{info.file_size:,} bytes, more than {_MOST:,} for an image'
  return ''
