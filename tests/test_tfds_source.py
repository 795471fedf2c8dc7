"""A tiny TFDS data set, built here, and read without TensorFlow."""

import io
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax.configs import default
from alexnet_jax.data import dataset, records, sources, stats
from alexnet_jax.data import tfds as tfds_lib
from alexnet_jax.data.prepare import run, shards, statistics
from alexnet_jax.data.prepare import sources as sources_lib


def _image(seed):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)


class TinyPets(tfds.core.GeneratorBasedBuilder):
  """Six training, three validation and one unlabelled image; two classes."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    features = tfds.features.FeaturesDict(
      {
        'image': tfds.features.Image(shape=(None, None, 3)),
        'label': tfds.features.ClassLabel(names=['cat', 'dog']),
      }
    )
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, manager):
    del manager
    return {
      'train': self._examples(6),
      'validation': self._examples(3),
      'test': self._examples(1, label=-1),
    }

  def _examples(self, number, *, label=None):
    for i in range(number):
      stream = io.BytesIO()
      Image.fromarray(_image(100 * number + i)).save(stream, 'PNG')
      stream.seek(0)
      yield i, {'image': stream, 'label': i % 2 if label is None else label}

  def _generate_examples(self):
    raise NotImplementedError


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('tfds')
  builder = TinyPets(data_dir=folder, file_format='array_record')
  builder.download_and_prepare()
  return str(folder)


def _load(data_dir, *, name='tiny_pets', image_size=16, resize='crop'):
  data = default.get_config().data
  data.source, data.dir, data.tfds = 'tfds', data_dir, name
  data.image_size, data.resize = image_size, resize
  return sources.load(data, seed=0)


def _statistics(data_dir, *args, image_size):
  return subprocess.run(
    [
      *(sys.executable, '-m', 'alexnet_jax.tools.prepare', '--stats_only'),
      *('--source=tfds:tiny_pets', f'--tfds_data_dir={data_dir}'),
      *(f'--image_size={image_size}', '--workers=1', *args),
    ],
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_prepares_like_any_other_source(data_dir, tmp_path):
  layout = sources_lib.find_layout('tfds:tiny_pets', tfds_data_dir=data_dir)
  assert layout.name == 'tiny_pets/1.0.0'
  assert [c.id for c in layout.classes] == ['cat', 'dog']
  work = run.plan(layout, options=shards.Options(image_size=16))
  run.prepare(work, output=tmp_path / 'out', workers=1)
  data = records.load(str(tmp_path / 'out'), image_size=16)
  assert (len(data.train), len(data.val)) == (6, 3)
  found = {(e.label, e.image.tobytes()) for e in data.train.take(range(6))}
  middles = {(i % 2, _image(600 + i)[2:18].tobytes()) for i in range(6)}
  assert found == middles


def test_reads_without_preparing_once_statistics_exist(data_dir):
  with pytest.raises(ValueError, match='--stats_only --source=tfds:tiny_pets'):
    _load(data_dir)
  done = _statistics(data_dir, image_size=16)
  assert done.returncode == 0, done.stderr
  data = _load(data_dir)
  assert (len(data.train), len(data.val)) == (6, 3)
  assert [c.name for c in data.classes] == ['cat', 'dog']
  squares = np.stack([data.train[i].image for i in range(6)])
  sums = stats.empty(16)
  for image in squares:
    sums = stats.add(sums, image=image)
  np.testing.assert_array_equal(data.mean_image, stats.finish(sums).mean_image)
  assert data.fingerprint == _load(data_dir).fingerprint


def test_warped_images_have_statistics_of_their_own(data_dir):
  with pytest.raises(ValueError, match=r'15 --resize=warp --tfds_data_dir'):
    _load(data_dir, image_size=15, resize='warp')
  done = _statistics(data_dir, '--resize=warp', image_size=15)
  assert done.returncode == 0, done.stderr
  data = _load(data_dir, image_size=15, resize='warp')
  with pytest.raises(ValueError, match='no mean image of 15 pixels yet'):
    _load(data_dir, image_size=15)
  whole = {_warped(_image(600 + i), size=15) for i in range(6)}
  squares = [data.train[i].image for i in range(6)]
  assert {square.tobytes() for square in squares} == whole
  np.testing.assert_allclose(data.mean_image, np.mean(squares, 0), rtol=1e-6)


def _warped(pixels, *, size):
  image = Image.fromarray(pixels)
  return image.resize((size, size), Image.Resampling.BICUBIC).tobytes()


def test_a_damaged_record_is_reported_and_the_others_are_read(
  data_dir, tmp_path
):
  shutil.copytree(data_dir, tmp_path / 'tfds')
  shard = next(tmp_path.rglob('*train*array_record*'))
  data = bytearray(shard.read_bytes())
  written = [place for place, byte in enumerate(data) if byte]
  data[written[len(written) // 2]] ^= 255
  shard.write_bytes(data)
  found = tfds_lib.find('tiny_pets', data_dir=str(tmp_path / 'tfds'))
  split = found.split('train', image_size=16)
  taken = split.take(range(6))
  damaged = [e for e in taken if isinstance(e, dataset.Unreadable)]
  assert len(damaged) == 1 and str(damaged[0]).startswith('train/')
  layout = sources_lib.find_layout(
    'tfds:tiny_pets', tfds_data_dir=str(tmp_path / 'tfds')
  )
  work = run.plan(layout, options=shards.Options(image_size=16))
  metadata = run.prepare(work, output=tmp_path / 'out', workers=1)
  assert metadata.splits['train'].num_images == 5
  assert len(metadata.skipped) == 1
  assert not metadata.skipped[0].reason.startswith('train/')
  _, skipped = statistics.compute(split, workers=1)
  assert len(skipped) == 1
  with pytest.raises(IndexError, match='image 6 of 6'):
    split[6]


@pytest.mark.parametrize(
  ('name', 'said'),
  [
    ('no_such_set', 'TFDS has no data set'),
    ('mnist:9.9.9', 'TFDS has no data set'),
    ('imagenette/full-size-v2', r'is not prepared in .*download_and_prepare'),
  ],
)
def test_a_missing_data_set_is_an_error_of_one_line(data_dir, name, said):
  with pytest.raises(ValueError, match=said) as error:
    _load(data_dir, name=name)
  assert '\n' not in str(error.value)


def test_an_unlabelled_image_is_unreadable(data_dir):
  folder = tfds_lib.find('tiny_pets', data_dir=data_dir).folder
  split = tfds_lib.Split(folder, split='test', image_size=16)
  with pytest.raises(dataset.Unreadable) as error:
    split[0]
  assert str(error.value) == 'test/0: its label is -1, no class'


def test_reading_needs_no_tensorflow():
  assert 'tensorflow' not in sys.modules
