"""A record is checked when it is first read, and read directly afterwards."""

import contextlib
import os

import numpy as np
import pytest
from array_record.python import array_record_module

from alexnet_jax.data import record_file
from tests import readers

BLOCK = 65536
# Around the end of a block, of a few blocks, and where a number takes one byte
# more; a first record that leaves 0 to 24 bytes of its block to the second.
SIZES = (1, 7, 8, 127, 128, 16383, 16384, 65000, 65512, 65536, 200000, 9)
OPTIONS = record_file.WRITER_OPTIONS


def _records(sizes):
  rng = np.random.default_rng(0)
  return [rng.integers(1, 256, n, np.uint8).tobytes() for n in sizes]


def _written(path, records, *, options=OPTIONS):
  writer = array_record_module.ArrayRecordWriter(str(path), options)
  for record in records:
    writer.write(record)
  writer.close()
  return path


def _counted(path, *, direct=True):
  """A file, and how often ArrayRecord has read from it."""
  file, calls = record_file.RecordFile(path, direct=direct), []
  reader = file._reader

  class Counting:
    def read(self, positions):
      calls.extend(positions)
      return reader.read(positions)

    def num_records(self):
      return reader.num_records()

  file._reader = Counting()
  return file, calls


@pytest.mark.parametrize(
  'sizes',
  [SIZES, (5,), *[(BLOCK - 80 - rest, 3000, 70000) for rest in range(0, 70)]],
  ids=lambda sizes: f'{sizes[0]}x{len(sizes)}',
)
def test_every_record_is_checked_once_and_read_directly(tmp_path, sizes):
  records = _records(sizes)
  file, calls = _counted(_written(tmp_path / 'a', records))
  for _ in range(3):
    assert [bytes(file.read(k)) for k in range(len(sizes))] == records
  assert calls == [*range(len(sizes))]


def test_a_footer_of_several_blocks(tmp_path):
  records = _records([20] * 12000)  # of eleven bytes or more each
  file, calls = _counted(_written(tmp_path / 'a', records))
  for _ in range(2):
    assert bytes(file.read(11999)) == records[-1]
    assert bytes(file.read(0)) == records[0]
  assert calls == [11999, 0]


@pytest.mark.parametrize(
  ('options', 'direct'),
  [
    ('group_size:1', True),  # compressed
    ('group_size:4,uncompressed', True),
    (OPTIONS, False),
  ],
)
def test_other_files_are_read_by_array_record(tmp_path, options, direct):
  records = _records(SIZES)
  path = _written(tmp_path / 'a', records, options=options)
  file, calls = _counted(path, direct=direct)
  for _ in range(2):
    assert [file.read(k) for k in range(len(SIZES))] == records
  assert len(calls) == 2 * len(SIZES)


def _change(path, old, new):
  content = path.read_bytes()
  assert content.count(old) == 1 and len(old) == len(new)
  with open(path, 'r+b') as file:  # the same file: it stays open elsewhere
    file.seek(content.index(old))
    file.write(new)


@pytest.mark.parametrize('seen', [0, 1, 2], ids='read {} times before'.format)
def test_a_changed_record_is_found(tmp_path, seen):
  records = _records([3000, 3000])
  path = _written(tmp_path / 'a', records)
  file = record_file.RecordFile(path, direct=True)
  for _ in range(seen):
    file.read(1)
  _change(path, records[1][1000:1100], records[1][1000:1099] + b'\0')
  with pytest.raises(RuntimeError, match='hash'):
    file.read(1)
  again = record_file.RecordFile(path, direct=True)
  assert bytes(again.read(0)) == records[0]


def test_a_record_that_was_changed_back_is_read(tmp_path):
  (record,) = _records([3000])
  path = _written(tmp_path / 'a', [record])
  file, _ = _counted(path)
  assert bytes(file.read(0)) == bytes(file.read(0)) == record
  _change(path, record, record[::-1])  # the sum of bytes is that of before
  with pytest.raises(RuntimeError):
    file.read(0)
  _change(path, record[::-1], record)
  again = record_file.RecordFile(path, direct=True)
  assert bytes(again.read(0)) == record


@pytest.mark.parametrize('left', [0, 100, BLOCK, 3 * BLOCK])
def test_a_file_that_is_cut_is_left_to_array_record(tmp_path, left):
  record = _records([BLOCK * 4])[0] + bytes(8)
  path = _written(tmp_path / 'a', [record])
  file, calls = _counted(path)
  file.read(0), file.read(0)  # and memory keeps a copy, to be used again
  assert len(calls) == 1
  os.truncate(path, left)
  with contextlib.suppress(RuntimeError):
    assert file.read(0) in (b'', record)  # b'' is no image: it is reported
  assert len(calls) == 2


def test_images_outlive_their_file(tmp_path):
  records = _records([3000, 3000])
  file = record_file.RecordFile(_written(tmp_path / 'a', records), direct=True)
  read = [file.read(k % 2) for k in range(8)]
  before = len(os.listdir('/proc/self/fd'))
  del file
  assert len(os.listdir('/proc/self/fd')) == before - 2
  assert [bytes(record) for record in read] == records * 4
  assert read[-1].readonly


def test_threads_read_the_same(tmp_path):
  records = _records(SIZES)
  file = record_file.RecordFile(_written(tmp_path / 'a', records), direct=True)
  wrong = []

  def read(seed):
    for k in (
      np.random.default_rng(seed).integers(len(SIZES), size=300).tolist()
    ):
      if bytes(file.read(k)) != records[k]:
        wrong.append(k)

  readers.in_threads(read)
  assert not wrong


@pytest.mark.parametrize('number', [b'\xff' * 8 + b'\x7f', b'\x00'])
def test_a_footer_that_names_no_such_place_is_left_alone(tmp_path, number):
  """Array record checks the footer; here, of another writer, it is passed."""
  path = tmp_path / 'a'
  entry = b'\x08' + number + b'\x10' + number + b'\x18\x01'
  postscript = b'\x08\x0a\x10\xde\xc0\xeb\xfe\x84\xce\xc3\xc9\x71'
  path.write_bytes(bytes(40) + entry + postscript)
  with open(path, 'rb') as file:
    assert record_file._places(file.fileno(), number=9) == []
    if number != b'\x00':
      assert record_file._places(file.fileno(), number=1) == []
