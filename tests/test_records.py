"""Reading prepared data sets that are written here without our encoder."""

import io
import json
import pickle
import struct

import numpy as np
import pytest
from array_record.python import array_record_module
from PIL import Image

from alexnet_jax.configs import default
from alexnet_jax.data import dataset, records, sources
from tests import readers

_SIZE = 16


def _image(index):
  ramp = np.arange(_SIZE * _SIZE * 3).reshape(_SIZE, _SIZE, 3)
  return ((ramp + 17 * index) % 256).astype(np.uint8)


def _smooth(index):
  ramp = np.linspace(0, 200, _SIZE)[:, None, None] + np.zeros((_SIZE, _SIZE, 3))
  return (ramp + index).astype(np.uint8)


def _record(index, *, encoding):
  name = f'bild-{index}-ä.JPEG'.encode()
  header = struct.pack('<i', index % 3) + struct.pack('<H', len(name)) + name
  if encoding == 'raw':
    return header + _image(index).tobytes()
  stream = io.BytesIO()
  Image.fromarray(_smooth(index)).save(stream, 'JPEG', quality=95)
  return header + stream.getvalue()


def _write_shard(path, indices, *, encoding):
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for index in indices:
    writer.write(_record(index, encoding=encoding))
  writer.close()


def _prepared(folder, *, encoding='raw'):
  """Training shards of six, no and four images; two validation images."""
  shards = [f'train-{i:05d}-of-00003.array_record' for i in range(3)]
  parts = (range(6), range(0), range(6, 10))
  for shard, indices in zip(shards, parts, strict=True):
    _write_shard(folder / shard, indices, encoding=encoding)
  val = 'val-00000-of-00001.array_record'
  _write_shard(folder / val, range(10, 12), encoding=encoding)
  content = {
    'name': 'hand-made',
    'format_version': 1,
    'image_size': _SIZE,
    'encoding': encoding,
    'splits': {
      'train': {'num_images': 10, 'shards': shards},
      'val': {'num_images': 2, 'shards': [val]},
    },
    'classes': [
      {'id': f'n{k}', 'name': f'name {k}', 'words': f'name {k}, other'}
      for k in range(3)
    ],
    'skipped': [{'file': 'broken.JPEG', 'reason': 'why'}],
    'checksums': {name: 'f' * 64 for name in [*shards, val]},
  }
  (folder / 'metadata.json').write_text(json.dumps(content))
  mean = np.full((_SIZE, _SIZE, 3), 99.5, np.float32)
  np.save(folder / 'mean_image.npy', mean)
  np.savez(
    folder / 'rgb_pca.npz',
    components=np.eye(3, dtype=np.float32),
    stddevs=np.array([30, 20, 10], np.float32),
  )
  return folder


def _edit(folder, **changes):
  path = folder / 'metadata.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _load(folder, *, image_size=_SIZE, source='prepared'):
  data = default.get_config().data
  data.source, data.dir, data.image_size = source, str(folder), image_size
  return sources.load(data, seed=0)


def test_reads_the_documented_format(tmp_path):
  data = _load(_prepared(tmp_path))
  assert (len(data.train), len(data.val), data.test) == (10, 2, None)
  for index in [9, 0, 5, 6, 3]:
    image, label, name = data.train[index]
    np.testing.assert_array_equal(image, _image(index))
    assert (label, name) == (index % 3, f'bild-{index}-ä.JPEG')
  assert data.val[1].name == 'bild-11-ä.JPEG'
  assert data.classes[2] == ('n2', 'name 2', 'name 2, other')
  assert (data.mean_image == 99.5).all()
  assert data.pca.stddevs.tolist() == [30, 20, 10]


def test_jpeg_records(tmp_path):
  data = _load(_prepared(tmp_path, encoding='jpeg'))
  difference = data.train[7].image.astype(int) - _smooth(7)
  assert np.abs(difference).max() <= 4


def test_threads_and_pickles_read_the_same(tmp_path):
  split = _load(_prepared(tmp_path)).train
  assert split[3].name == 'bild-3-ä.JPEG'  # has open files when pickled
  copy = pickle.loads(pickle.dumps(split))
  wrong = []

  def read(seed):
    for index in np.random.default_rng(seed).integers(10, size=200):
      for source in (split, copy):
        if not np.array_equal(source[int(index)].image, _image(index)):
          wrong.append(index)

  readers.in_threads(read)
  assert not wrong


@pytest.mark.parametrize('encoding', ['raw', 'jpeg'])
def test_encode_writes_what_decode_reads(encoding):
  example = dataset.Example(_smooth(4), 999, 'n01440764/ü.JPEG')
  record = records.encode(example, encoding=encoding, jpeg_quality=95)
  assert struct.unpack_from('<iH', record) == (999, len(example.name) + 1)
  back = records.decode(record, image_size=_SIZE, encoding=encoding)
  assert back[1:] == example[1:]
  assert np.abs(back.image.astype(int) - example.image).max() <= (
    0 if encoding == 'raw' else 4
  )


def test_fingerprint_follows_checksums_and_class_order(tmp_path):
  _prepared(tmp_path)
  first = _load(tmp_path).fingerprint
  classes = json.loads((tmp_path / 'metadata.json').read_text())['classes']
  _edit(tmp_path, name='another', skipped=[])
  assert _load(tmp_path).fingerprint == first
  _edit(tmp_path, classes=classes[::-1])
  swapped = _load(tmp_path).fingerprint
  _edit(tmp_path, classes=classes, checksums={'a': '0' * 64})
  assert len({first, swapped, _load(tmp_path).fingerprint}) == 3


def _remove(name):
  return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (_remove('metadata.json'), 'no prepared data set .*tools.prepare --source'),
    (_remove('train-00001-of-00003.array_record'), 'incomplete: train-00001'),
    (_remove('mean_image.npy'), 'cannot read the statistics'),
    (lambda f: _edit(f, format_version=2), 'format_version 2.* reads 1'),
    (lambda f: _edit(f, encoding='png'), "encoding 'png'.* raw or jpeg"),
    (lambda f: _edit(f, classes=[{'id': 'n0'}]), 'metadata.json is damaged'),
    (lambda f: _edit(f, splits={}), 'lacks a split'),
    (lambda f: (f / 'metadata.json').write_text('{'), 'damaged'),
    (
      lambda f: np.save(f / 'mean_image.npy', np.zeros((4, 4, 3))),
      r'shape \(4, 4, 3\)',
    ),
    (
      lambda f: (f / 'val-00000-of-00001.array_record').write_bytes(b'x' * 9),
      'val-00000-of-00001.array_record',
    ),
  ],
)
def test_damage_is_an_error_of_one_line(tmp_path, damage, message):
  damage(_prepared(tmp_path))
  with pytest.raises(ValueError, match=message) as error:
    _load(tmp_path)
  assert '\n' not in str(error.value)


def test_a_count_that_does_not_match_is_an_error(tmp_path):
  _prepared(tmp_path)
  splits = json.loads((tmp_path / 'metadata.json').read_text())['splits']
  splits['train']['num_images'] = 11
  _edit(tmp_path, splits=splits)
  with pytest.raises(ValueError, match=r'10 train images.*says 11'):
    _load(tmp_path)


def test_errors_for_no_directory_and_wrong_size_name_the_fix(tmp_path):
  with pytest.raises(ValueError, match=r'use --config\.data\.dir'):
    _load('')
  _prepared(tmp_path)
  with pytest.raises(ValueError, match=r'16 pixels.*not 256.*image_size=16'):
    _load(tmp_path, image_size=256)


def test_unknown_source():
  with pytest.raises(ValueError, match='embedded or prepared'):
    _load('', source='imagenet')


def test_index_out_of_range(tmp_path):
  with pytest.raises(IndexError, match='10 of 10'):
    _load(_prepared(tmp_path)).train[10]
