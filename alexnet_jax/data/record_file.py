"""Reads the records of one shard: checked once, then by one call of the system.

ArrayRecord checks a record's hash and copies it three times, while it holds the
interpreter's lock. That is done when a record is first read. Later reads take
the record's bytes straight from the file and compare their sum with the one of
the first time; if it differs, ArrayRecord reads the record again, and says what
is wrong. So a wrong assumption here about the layout of the file costs time,
never a wrong image.

The layout is that of WRITER_OPTIONS (riegeli/doc/riegeli_records_file_format.md
and the protocol buffers of ArrayRecord): blocks of 64 KiB begin with a header
of 24 bytes; a chunk has a header of 40 bytes, three numbers and one record; a
footer lists the place and size of every chunk, and the last block says where
the footer is.
"""

import contextlib
import errno
import os
import pathlib
import re

import numpy as np
from array_record.python import array_record_module
from jaxtyping import UInt64

from alexnet_jax.data import metadata

# One record per group: reading an image decodes no other.
WRITER_OPTIONS = 'group_size:1,uncompressed'
_READER_OPTIONS = 'readahead_buffer_size:0,max_parallelism:0'
_BLOCK, _BLOCK_HEADER, _CHUNK_HEADER = 1 << 16, 24, 40  # bytes
_MOST_ENTRY = 32  # of a footer, about a chunk
_USED = _BLOCK - _BLOCK_HEADER  # bytes of a block that chunks are in
_NUMBER = (
  rb'([\x80-\xff]{0,8}[\x00-\x7f])'  # seven bits a byte, the lowest first
)
_POSTSCRIPT = re.compile(
  rb'\x08' + _NUMBER + rb'\x10\xde\xc0\xeb\xfe\x84\xce\xc3\xc9\x71'
)
_ENTRY = re.compile(rb'\x08' + _NUMBER + rb'\x10' + _NUMBER + rb'\x18\x01')


class RecordFile:
  """An open shard; threads may share it."""

  def __init__(self, path: pathlib.Path, *, direct: bool):
    """Opens a shard; ValueError if it is damaged, OSError of the system.

    `direct` is whether a record is read straight from the file once it has been
    checked, which takes a second file descriptor.
    """
    self._reader = _open(path)
    self._sums = np.zeros(len(self), np.uint64)  # of checked records; 0: none
    self._places: list[tuple[int, int]] = []
    self._file = -1
    options = str(self._reader.writer_options_string()).split(',')
    if direct and {*WRITER_OPTIONS.split(',')} <= {*options}:
      self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
      with contextlib.suppress(OSError):  # ArrayRecord will say what is wrong
        self._places = _places(self._file, number=len(self))

  def __del__(self) -> None:
    if getattr(self, '_file', -1) >= 0:  # an error may precede it
      os.close(self._file)

  def __len__(self) -> int:
    return self._reader.num_records()

  def read(self, position: int) -> bytes | memoryview:
    """Reads a record; RuntimeError if it is damaged."""
    if expected := self._sums[position]:
      with contextlib.suppress(OSError):  # ArrayRecord will say what is wrong
        words, size = self._read_directly(position)
        if words.sum() == expected:
          return _bytes(words)[:size].toreadonly()
    (record,) = self._reader.read([position])
    if self._places and self._places[position][1] == len(record):
      self._sums[position] = _words(record).sum()
    return record

  def _read_directly(
    self, position: int
  ) -> tuple[UInt64[np.ndarray, 'n'], int]:
    """Reads a record, unchecked, and its size; OSError if the file is short."""
    begin, size = self._places[position]
    words = np.empty(-(-size // 8), np.uint64)
    words[-1] = 0
    record, header = _bytes(words)[:size], bytearray(_BLOCK_HEADER)
    end, parts = _USED - begin % _USED, []  # end of the block's part
    for start in (0, *range(end, size, _USED)):
      parts += [record[start:end], header]
      end += _USED
    parts.pop()
    if os.preadv(self._file, parts, _in_file(begin)) < sum(map(len, parts)):
      raise OSError('the file is too short')
    return words, size


def _open(path: pathlib.Path) -> array_record_module.ArrayRecordReader:
  with open(path, 'rb'):  # no permission, too many open files: no damage
    pass
  reason = ''
  try:
    reader = array_record_module.ArrayRecordReader(str(path), _READER_OPTIONS)
    if reader.ok():
      return reader
    reader.close()  # raises the reason
  except RuntimeError as error:
    if os.strerror(errno.EMFILE) in str(error):
      raise OSError(
        errno.EMFILE, os.strerror(errno.EMFILE), str(path)
      ) from error
    reason = f' ({error})'
  again = metadata.prepare_again(path.parent)
  raise ValueError(f'{path} is damaged{reason}: {again}')


def _places(file: int, *, number: int) -> list[tuple[int, int]]:
  """Place, counted without block headers, and size of each record, in bytes.

  [] if the footer is not as expected.
  """
  end = os.fstat(file).st_size
  found = _POSTSCRIPT.search(os.pread(file, _BLOCK, max(end - _BLOCK, 0)))
  begin = _number(found[1]) if found else 0
  if not 0 < end - begin < 4 * _BLOCK + _MOST_ENTRY * number:
    return []
  footer = os.pread(file, end - begin, begin)
  first = -begin % _BLOCK  # where in the footer a block begins
  starts = (0, *range(first + _BLOCK_HEADER, len(footer), _BLOCK))
  ends = range(first, len(footer) + _BLOCK, _BLOCK)
  chunk = b''.join(footer[a:b] for a, b in zip(starts, ends, strict=False))
  found = _ENTRY.findall(chunk)[-number:]
  entries = [(_number(chunk), _number(size)) for chunk, size in found]
  if len(entries) < number or any(sum(entry) > end for entry in entries):
    return []
  return [_place(chunk, size) for chunk, size in entries]


def _place(chunk: int, size: int) -> tuple[int, int]:
  """Place and size of the record in a chunk that begins at `chunk`."""
  block, offset = divmod(chunk, _BLOCK)
  begin = block * _USED + max(offset - _BLOCK_HEADER, 0)
  # Before it: compression, the size of what follows, the record's size.
  numbers = 2 + -(-size.bit_length() // 7)
  return begin + _CHUNK_HEADER + numbers, size


def _in_file(place: int) -> int:
  """Where in the file a place is that is counted without block headers."""
  block, offset = divmod(place, _USED)
  return block * _BLOCK + _BLOCK_HEADER + offset


def _number(encoded: bytes) -> int:
  return sum((byte & 127) << 7 * k for k, byte in enumerate(encoded))


def _words(record: bytes) -> UInt64[np.ndarray, 'n']:
  """A record as words, filled up by zeros."""
  words = np.zeros(-(-len(record) // 8), np.uint64)
  _bytes(words)[: len(record)] = record
  return words


def _bytes(words: UInt64[np.ndarray, 'n']) -> memoryview:
  return memoryview(words).cast('B')
