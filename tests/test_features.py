"""Features on disk: each image once and in order, after any interruption."""

import collections
import dataclasses
import doctest
import json
import os

import jax
import numpy as np
import pytest

from alexnet_jax import setup as setup_lib
from alexnet_jax.data import dataset
from alexnet_jax.evaluate import load, predict
from alexnet_jax.studies.retrieval import features, search
from tests import nets

IMAGES = 30


class Damaged:
  """A split in which some images cannot be read."""

  def __init__(self, split, damaged):
    self._split, self._damaged = split, damaged
    self.image_size = split.image_size

  def __len__(self):
    return len(self._split)

  def __getitem__(self, index):
    if index in self._damaged:
      raise dataset.Unreadable(f'image {index} is damaged')
    return self._split[index]

  def take(self, indices):
    return [
      dataset.Unreadable(f'image {i} is damaged')
      if i in self._damaged
      else self._split[i]
      for i in indices
    ]


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  """A network of initial values, with the metadata of a checkpoint."""
  config = nets.config()
  config.data.embedded_train_images = IMAGES
  config.data.embedded_val_images = 20
  config.eval.batch_size = 4
  setup = setup_lib.set_up(config)
  variables = setup.programs.init().variables
  variables = jax.tree.map(lambda x: 3 * x, variables)
  meta = {'digests': {'conv1': 'aa'}, 'config': config.to_dict()}
  return load.Network(tmp_path_factory.mktemp('7'), 7, meta, setup, variables)


@pytest.fixture(scope='module')
def undisturbed(network, tmp_path_factory):
  return _extract(network, tmp_path_factory.mktemp('train'))


def _extract(network, folder, *, split='train', **more):
  return features.extract(network, split=split, folder=folder, **more)


def _with(network, *, damaged=(), digest='aa'):
  data = network.setup.dataset
  data = dataset.Dataset(
    **{name: getattr(data, name) for name in data.__dataclass_fields__}
    | {'train': Damaged(data.train, damaged)}
  )
  config = network.setup.config.copy_and_resolve_references()
  setup = network.setup._replace(dataset=data, config=config)
  setup = setup._replace(bad_records=type(setup.bad_records)(most=99))
  return network._replace(
    setup=setup, meta=network.meta | {'digests': {'conv1': digest}}
  )


def _same(one, other):
  for name in ('features', 'pixels', 'labels', 'index'):
    mine, theirs = getattr(one, name), getattr(other, name)
    assert mine.dtype == theirs.dtype
    np.testing.assert_array_equal(mine, theirs, err_msg=name)
  assert one.of_images == other.of_images


def test_rows_are_what_the_network_makes_of_each_image(network, undisturbed):
  assert undisturbed.index.tolist() == list(range(IMAGES))
  assert isinstance(undisturbed.features, np.memmap)
  train = network.setup.dataset.train
  assert undisturbed.labels.tolist() == [train[i].label for i in range(IMAGES)]
  rows = [
    predict.features(network.setup, batch, variables=network.variables)
    for batch in predict.minibatches(network.setup, train, title='')
  ]
  np.testing.assert_allclose(undisturbed.features, np.concatenate(rows), 1e-4)
  assert np.ptp(undisturbed.features, axis=0).max() > 0
  for row in (0, IMAGES - 1):
    small = features.shrink(train[row].image[None])[0]
    np.testing.assert_array_equal(undisturbed.pixels[row], small)


_Usage = collections.namedtuple('_Usage', 'total used free')


class Interrupted(Exception):
  pass


def _after(minibatches):
  """A check that interrupts after that many minibatches."""
  left = iter(range(minibatches))

  def check():
    if next(left, None) is None:
      raise Interrupted

  return check


@pytest.mark.parametrize('minibatches', [0, 1, 3, 7])
def test_interrupted_it_goes_on_and_ends_alike(
  network, undisturbed, tmp_path, monkeypatch, minibatches
):
  monkeypatch.setattr(features, '_EVERY', 2)
  with pytest.raises(Interrupted):
    _extract(network, tmp_path, check=_after(minibatches))
  with pytest.raises(ValueError, match='holds no finished features'):
    features.open_(tmp_path)
  taken = []
  found = _extract(network, tmp_path, check=lambda: taken.append(1))
  assert len(taken) == 8 - minibatches // 2 * 2  # without those saved
  _same(found, undisturbed)


def test_finished_it_is_only_opened(network, undisturbed, tmp_path):
  first = _extract(network, tmp_path)
  again = _extract(network, tmp_path, check=_after(0))
  _same(first, again)
  _same(features.open_(tmp_path), undisturbed)


@pytest.mark.parametrize('done', [2, 8])
def test_another_checkpoint_begins_anew(
  network, undisturbed, tmp_path, monkeypatch, done
):
  monkeypatch.setattr(features, '_EVERY', 2)
  other = _with(network, digest='bb')
  other = other._replace(variables=jax.tree.map(lambda x: -x, other.variables))
  if done == 8:
    _extract(other, tmp_path)
  else:
    with pytest.raises(Interrupted):
      _extract(other, tmp_path, check=_after(done))
  lines = []
  found = _extract(network, tmp_path, notify=lines.append)
  assert len(lines) == 1 and 'begun anew' in lines[0]
  _same(found, undisturbed)


def test_damaged_images_are_left_out(
  network, undisturbed, tmp_path, monkeypatch
):
  monkeypatch.setattr(features, '_EVERY', 2)
  damaged = {0, 5, 12, 13, 14, 15, IMAGES - 1}  # a whole minibatch, the last
  with pytest.raises(Interrupted):
    _extract(_with(network, damaged=damaged), tmp_path, check=_after(5))
  found = _extract(_with(network, damaged=damaged), tmp_path)
  kept = [i for i in range(IMAGES) if i not in damaged]
  assert found.index.tolist() == kept
  np.testing.assert_array_equal(found.features, undisturbed.features[kept])
  np.testing.assert_array_equal(found.pixels, undisturbed.pixels[kept])


def test_none_that_can_be_read_is_one_line(network, tmp_path):
  with pytest.raises(ValueError, match='no image of train'):
    _extract(_with(network, damaged=range(IMAGES)), tmp_path)


def test_a_sample_is_drawn_by_the_seed(network, undisturbed, tmp_path):
  found = _extract(network, tmp_path / 'a', most_images=7)
  assert len(found.index) == 7 and found.of_images == IMAGES
  assert (np.diff(found.index) > 0).all()
  np.testing.assert_array_equal(
    found.features, undisturbed.features[found.index]
  )
  assert features.sample(99, most=7, seed=1).tolist() != (
    features.sample(99, most=7, seed=2).tolist()
  )


def test_a_full_disk_is_one_line_before_anything_is_written(
  network, tmp_path, monkeypatch
):
  monkeypatch.setattr(
    features.shutil, 'disk_usage', lambda path: _Usage(10, 9, 1000)
  )
  with pytest.raises(ValueError, match=r'are needed for 30 images'):
    _extract(network, tmp_path)
  assert not list(tmp_path.glob('*.npy'))


def test_a_damaged_folder_is_one_line(network, tmp_path):
  _extract(network, tmp_path, split='val')
  os.truncate(tmp_path / 'pixels.npy', 500)
  with pytest.raises(ValueError, match='is damaged: remove it'):
    features.open_(tmp_path)
  (tmp_path / 'pixels.npy').unlink()
  with pytest.raises(ValueError, match='is damaged: remove it'):
    features.open_(tmp_path)


def test_small_images_are_means_of_blocks():
  images = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3))
  small = features.shrink(images.astype(np.uint8))
  blocks = images.reshape(2, 64, 2, 64, 2, 3).mean(axis=(2, 4))
  assert np.abs(small.reshape(2, 64, 64, 3) - blocks).max() <= 0.5
  # Blocks of 1 and 2 pixels a side: none is left out.
  odd = np.zeros((1, 80, 80, 3), np.uint8)
  odd[0, :, 79] = 200
  last = features.shrink(odd).reshape(64, 64, 3)[:, 63]
  assert set(last.ravel()) == {100}
  tiny = np.arange(27, dtype=np.uint8).reshape(1, 3, 3, 3)
  assert features.shrink(tiny).tolist() == [list(range(27))]


@pytest.mark.parametrize('minibatches', [0, 3])
def test_a_sample_is_taken_from_all_images(
  network, tmp_path, monkeypatch, minibatches
):
  monkeypatch.setattr(features, '_EVERY', 2)
  monkeypatch.setattr(features, '_ROWS', 4)
  damaged = _with(network, damaged={0, 5, 12, 13})
  expected = _extract(damaged, tmp_path / 'alone', most_images=17)
  folder, whole = tmp_path / 'train-17', tmp_path / 'train'
  with pytest.raises(Interrupted):  # with no features of all images yet
    _extract(damaged, folder, most_images=17, check=_after(minibatches))
  _extract(damaged, whole)
  found = _extract(
    damaged, folder, most_images=17, whole=whole, check=_after(0)
  )
  _same(found, expected)
  # Of another checkpoint they are of no use.
  with pytest.raises(Interrupted):
    _extract(network, tmp_path / 'a', most_images=17, check=_after(0))
  other = _with(network, digest='bb')
  with pytest.raises(Interrupted):
    _extract(other, folder, most_images=17, whole=whole, check=_after(0))


def test_progress_is_saved_by_the_clock_too(network, tmp_path, monkeypatch):
  monkeypatch.setattr(features, '_SECONDS', 0)
  with pytest.raises(Interrupted):
    _extract(network, tmp_path, check=_after(3))
  taken = []
  _extract(network, tmp_path, check=lambda: taken.append(1))
  assert len(taken) == 8 - 3


def test_an_empty_split_is_one_line(network, tmp_path):
  setup = network.setup
  data = dataclasses.replace(
    setup.dataset, val=features.Subset(setup.dataset.val, np.arange(0))
  )
  empty = network._replace(setup=setup._replace(dataset=data))
  with pytest.raises(ValueError, match='has 0 images, 1 are needed'):
    search.search(empty, workdir=tmp_path, bits=())
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('wrong', 'said'),
  [
    ({'most_images': 5}, 'most_images = 5, but 6 neighbours are looked for'),
    ({'queries': 0}, 'queries = 0: use at least 1'),
    ({'bits': (12,)}, 'codes of 12 bits: use a multiple of 8'),
  ],
)
def test_mistakes_are_found_before_anything_is_extracted(
  network, tmp_path, wrong, said
):
  with pytest.raises(ValueError, match=said):
    search.search(network, workdir=tmp_path, **{'bits': ()} | wrong)
  assert not list(tmp_path.iterdir())


def test_samples_replace_nothing(network, tmp_path):
  lines = []
  for most in (9, None, 7, 9, IMAGES):
    search.search(
      network,
      workdir=tmp_path,
      bits=(),
      queries=8,
      most_images=most,
      notify=lines.append,
    )
  assert lines == []
  rows = {
    path.name: len(features.open_(path).labels)
    for path in (tmp_path / 'features').iterdir()
  }
  assert rows == {'train': IMAGES, 'train-9': 9, 'train-7': 7, 'val-8': 8}


def test_a_search_counts_classes_by_hand(network, tmp_path):
  result = search.search(network, workdir=tmp_path, bits=(), queries=9)
  train = features.open_(tmp_path / 'features' / 'train')
  val = features.open_(tmp_path / 'features' / 'val-9')
  right = 0
  for row, label in zip(val.features, val.labels, strict=True):
    away = ((train.features.astype(float) - row) ** 2).sum(axis=1)
    nearest = np.argsort(away, kind='stable')[:6]
    right += sum(train.labels[i] == label for i in nearest)
  assert result['precision']['fc7'] == pytest.approx(right / (6 * 9))
  written = json.loads((tmp_path / 'retrieval.json').read_text())
  assert written == json.loads(json.dumps(result))


def test_examples():
  assert doctest.testmod(features).failed == 0
