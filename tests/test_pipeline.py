"""Batches: each image once an epoch, the same on any machine, resumable."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from alexnet_jax.configs import smoke
from alexnet_jax.data import augment, dataset, pipeline, stats
from alexnet_jax.data import bad_records as bad_records_lib

_SIZE, _CROP = 8, 5


class _Numbered:
  """Images whose every pixel tells image, row and column."""

  image_size = _SIZE

  def __init__(self, num_images, *, damaged=()):
    self._num_images = num_images
    self._damaged = damaged

  def take(self, indices):
    return [
      dataset.Unreadable(f'image {index}')
      if index in self._damaged
      else self[index]
      for index in indices
    ]

  def __len__(self):
    return self._num_images

  def __getitem__(self, index):
    image = np.empty((_SIZE, _SIZE, 3), np.uint8)
    image[..., 0] = index
    image[..., 1] = np.arange(_SIZE)[:, None]
    image[..., 2] = np.arange(_SIZE)
    return dataset.Example(image, index % 7, f'{index}.jpg')


def _dataset(num_images, *, damaged=()):
  return dataset.Dataset(
    name='numbered',
    image_size=_SIZE,
    classes=tuple(dataset.ClassInfo(str(k), str(k), str(k)) for k in range(7)),
    train=_Numbered(num_images, damaged=damaged),
    val=_Numbered(num_images),
    mean_image=np.zeros((_SIZE, _SIZE, 3), np.float32),
    pca=stats.RgbPca(np.eye(3, dtype=np.float32), np.ones(3, np.float32) * 9),
    fingerprint='0',
  )


def _train(
  num_images=10,
  *,
  batch_size=4,
  total_steps=20,
  damaged=(),
  drawn=None,
  rows=slice(None),
  bad_records=None,
  **data,
):
  config = smoke.get_config()
  config.batch_size, config.data.crop_size = batch_size, _CROP
  config.augment.update(dataclasses.asdict(drawn or augment.Augment()))
  config.data.update(data)
  return pipeline.train_batches(
    _dataset(num_images, damaged=damaged),
    config=config,
    total_steps=total_steps,
    rows=rows,
    bad_records=bad_records,
  )


def _stream(batches, key):
  return np.concatenate([batch[key] for batch in batches])


def _seen(batches):
  return _stream(batches, 'image')[:, 0, 0, 0]


def _assert_equal(a, b):
  assert a.keys() == b.keys()
  for key in a:
    np.testing.assert_array_equal(a[key], b[key])


def test_each_image_once_an_epoch_with_batches_across_its_border():
  seen = _seen(_train(10, batch_size=4, total_steps=20))  # 8 epochs
  assert len(seen) == 80
  orders = seen.reshape(8, 10)
  for order in orders:
    assert sorted(order) == list(range(10))
  assert len({tuple(order) for order in orders}) == 8


def test_a_batch_larger_than_the_set():
  seen = _seen(_train(3, batch_size=8, total_steps=3))
  for order in seen.reshape(8, 3):
    assert sorted(order) == [0, 1, 2]


def test_crops_are_cut_at_their_offset_and_labelled():
  for batch in _train():
    assert batch['image'].shape == (4, _CROP, _CROP, 3)
    for image, (y, x), label in zip(
      batch['image'], batch['offset'], batch['label'], strict=True
    ):
      assert 0 <= y <= _SIZE - _CROP and 0 <= x <= _SIZE - _CROP
      assert (image[..., 1] == np.arange(y, y + _CROP)[:, None]).all()
      assert (image[..., 2] == np.arange(x, x + _CROP)).all()
      assert (image[..., 0] == image[0, 0, 0]).all()
      assert label == image[0, 0, 0] % 7


def test_the_stream_does_not_depend_on_batch_size_or_threads():
  whole = list(_train(10, batch_size=4, total_steps=15))
  for other in (
    _train(10, batch_size=6, total_steps=10),
    _train(
      10, batch_size=4, total_steps=15, read_threads=5, prefetch_batches=7
    ),
  ):
    batches = list(other)
    for key in whole[0]:
      np.testing.assert_array_equal(
        _stream(batches, key), _stream(whole, key), err_msg=key
      )


def test_processes_share_out_the_rows_of_one_batch():
  whole = list(_train(10, batch_size=6))
  parts = [_train(10, batch_size=6, rows=slice(0, 4))]
  parts.append(_train(10, batch_size=6, rows=slice(4, 6)))
  for batch, a, b in zip(whole, *parts, strict=True):
    _assert_equal(
      batch, {key: np.concatenate([a[key], b[key]]) for key in batch}
    )


def test_resumes_exactly_at_any_step():
  steps = list(_train(10, total_steps=9))
  for start in range(9):
    iterator = iter(_train(10, total_steps=9))
    for _ in range(start):
      next(iterator)
    state = iterator.get_state()
    resumed = iter(_train(10, total_steps=9, read_threads=1))
    resumed.set_state(state)
    assert state == {'next_index': start}
    for expected, batch in zip(steps[start:], resumed, strict=True):
      _assert_equal(expected, batch)


def test_draws_shared_by_chunks_of_a_batch():
  settings = augment.Augment(images_per_draw=4)
  per_image = list(_train(10, batch_size=10))
  chunks = list(_train(10, batch_size=10, drawn=settings))
  for single, batch in zip(per_image, chunks, strict=True):
    leaders = np.array([0, 0, 0, 0, 4, 4, 4, 4, 8, 8])
    for key in ('offset', 'mirror'):
      np.testing.assert_array_equal(batch[key], single[key][leaders])
    for key in ('label', 'colour'):
      np.testing.assert_array_equal(batch[key], single[key])
  part = _train(10, batch_size=10, drawn=settings, rows=slice(3, 9))
  for batch, rows in zip(chunks, part, strict=True):
    _assert_equal({key: batch[key][3:9] for key in batch}, rows)


def test_an_order_drawn_once_repeats():
  orders = _seen(_train(10, batch_size=5, reshuffle=False)).reshape(10, 10)
  assert (orders == orders[0]).all()


def test_the_colour_shift_ends_within_a_batch():
  settings = augment.Augment(colour_epochs=1, divide_by_colour=True)
  batches = list(_train(6, batch_size=4, total_steps=3, drawn=settings))
  shifted = _stream(batches, 'colour').any(axis=1)
  assert shifted.tolist() == [True] * 6 + [False] * 6
  scale = _stream(batches, 'scale')
  np.testing.assert_allclose(scale, [1 / 1.1] * 6 + [1] * 6)


def test_evaluation_counts_each_image_once():
  split = _Numbered(10)
  batches = list(pipeline.eval_batches(split, batch_size=4))
  assert [batch['mask'].tolist() for batch in batches] == [
    [True] * 4,
    [True] * 4,
    [True, True, False, False],
  ]
  mask = _stream(batches, 'mask')
  assert _stream(batches, 'index')[mask].tolist() == list(range(10))
  assert _seen(batches)[mask].tolist() == list(range(10))
  assert _stream(batches, 'label')[mask].tolist() == [k % 7 for k in range(10)]
  for key in ('image', 'label', 'index'):
    assert not _stream(batches, key)[~mask].any()


def test_evaluation_gives_every_process_as_many_batches():
  split = _Numbered(5)
  parts = [
    list(pipeline.eval_batches(split, batch_size=4, rows=rows))
    for rows in (slice(0, 2), slice(2, 4))
  ]
  assert [len(part) for part in parts] == [2, 2]
  index = [_stream(part, 'index')[_stream(part, 'mask')] for part in parts]
  assert [i.tolist() for i in index] == [[0, 1, 4], [2, 3]]


def test_a_crop_larger_than_the_images_is_an_error():
  with pytest.raises(ValueError, match=r'crop_size 9 .* at most 8'):
    _train(crop_size=9)


def test_an_empty_split_is_an_error():
  with pytest.raises(ValueError, match='no images'):
    _train(0)


def test_data_needs_no_jax_and_training_needs_no_preparing():
  code = (
    'import sys\n'
    'from alexnet_jax.data import augment, sources\n'
    'from alexnet_jax.data.prepare import run, sources\n'
    "assert 'jax' not in sys.modules\n"
    "ours = [name for name in sys.modules if name.startswith('alexnet_jax')]\n"
    'for name in ours: del sys.modules[name]\n'
    'import alexnet_jax.train\n'
    "assert 'alexnet_jax.data.sources' in sys.modules\n"
    "assert 'alexnet_jax.data.prepare' not in sys.modules"
  )
  subprocess.run([sys.executable, '-c', code], check=True, timeout=60)


def test_the_next_sound_image_stands_in_for_a_damaged_one():
  counted = bad_records_lib.BadRecords(most=2)
  seen = _seen(_train(10, damaged=(3, 4), total_steps=5, bad_records=counted))
  expected = _seen(_train(10, total_steps=5))
  expected[(expected == 3) | (expected == 4)] = 5
  np.testing.assert_array_equal(seen, expected)
  assert sorted(counted.drain()) == ['image 3', 'image 4']
  assert counted.drain() == []  # told once, however often it came up


def test_labels_are_those_of_the_images_that_stand_in():
  batches = list(
    _train(
      10,
      damaged=(9,),
      bad_records=bad_records_lib.BadRecords(most=1),
      total_steps=5,
    )
  )
  assert (_seen(batches) % 7 == _stream(batches, 'label')).all()


def test_too_many_damaged_images_end_the_run():
  batches = _train(
    10,
    damaged=(3, 4),
    total_steps=5,
    bad_records=bad_records_lib.BadRecords(most=1),
  )
  with pytest.raises(ValueError, match=r'max_bad_records = 1; the last: image'):
    list(batches)


def test_a_set_that_is_damaged_throughout_ends_the_run():
  batches = _train(
    4,
    damaged=range(4),
    total_steps=1,
    bad_records=bad_records_lib.BadRecords(most=9),
  )
  with pytest.raises(ValueError, match='every training image is damaged'):
    list(batches)


def test_by_default_none_may_be_damaged():
  with pytest.raises(ValueError, match='1 images are damaged, more than'):
    list(_train(10, damaged=(3,), total_steps=5))


def test_evaluation_leaves_damaged_images_out():
  counted = bad_records_lib.BadRecords(most=9)
  split = _Numbered(10, damaged=(0, 7))
  batches = list(
    pipeline.eval_batches(split, batch_size=4, bad_records=counted)
  )
  mask = _stream(batches, 'mask')
  assert _seen(batches)[mask].tolist() == [1, 2, 3, 4, 5, 6, 8, 9]
  assert len(counted.drain()) == 2


class _Sorted(_Numbered):
  """Records that lie class by class, or not."""

  def __init__(self, labels):
    super().__init__(len(labels))
    self._labels = labels

  def __getitem__(self, index):
    return (
      super().__getitem__(index % 250)._replace(label=int(self._labels[index]))
    )


def test_records_that_lie_class_by_class_are_named():
  labels = np.repeat(np.arange(10), 100)
  assert 'not shuffled' in pipeline.order_warning(_Sorted(labels))


@pytest.mark.parametrize('classes', [2, 10, 1000])
def test_shuffled_records_are_not(classes):
  labels = np.random.default_rng(0).integers(0, classes, 2000)
  assert pipeline.order_warning(_Sorted(labels)) == ''
  assert pipeline.order_warning(_Sorted(labels[:20])) == ''  # too few to tell
