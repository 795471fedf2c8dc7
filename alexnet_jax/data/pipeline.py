"""Batches of crops for training, of whole images for evaluation (§4.1, §5).

Position p = step * batch_size + row counts images seen since the start. Its
epoch is p // N, and its image the epoch's permutation at p % N, so batches run
across the border of epochs: no image is dropped, and each is seen exactly once
an epoch. A batch is a pure function of its step, and the step is the iterator's
whole state: resuming is exact.

Paper silent: what becomes of an epoch's last images, too few for a minibatch.
2012: files of 1024 images, and minibatches within a file; pictures that fail to
decode are skipped and shrink it (convdata_jpeg.py:30-47).
Here: minibatches run on into the next epoch; what cannot be decoded is left out
when a data set is prepared, and listed.

Batches are uint8 and prefetched while the device computes; the mean image is
subtracted there (steps/preprocess.py).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TypedDict

import grain
import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt8
from ml_collections import config_dict

from alexnet_jax.data import augment as augment_lib
from alexnet_jax.data import bad_records as bad_records_lib
from alexnet_jax.data import dataset as dataset_lib

ALL = slice(None)


# A minibatch of training crops, not mirrored yet: fields of augment.batch_spec.
TrainBatch = dict[str, np.ndarray]


def blank_batch(images: int, *, crop_size: int) -> TrainBatch:
  """Makes a batch of black images of class 0, with neutral draws."""
  spec = augment_lib.batch_spec(crop_size=crop_size)
  batch = {
    name: np.zeros((images, *shape), dtype)
    for name, (shape, dtype) in spec.items()
  }
  for name, draw in augment_lib.DRAWS.items():
    batch[name][:] = draw.neutral
  return batch


class EvalBatch(TypedDict):
  """Whole images; mask is False for padding and damaged images."""

  image: UInt8[np.ndarray, 'b s s 3']  # RGB 0-255
  label: Int32[np.ndarray, 'b']
  mask: Bool[np.ndarray, 'b']  # which rows count
  index: Int32[np.ndarray, 'b']  # in the split; 0 in padding
  name: list[str]  # where each image came from; '' in padding


def train_batches(
  dataset: dataset_lib.Dataset,
  *,
  config: config_dict.ConfigDict,
  total_steps: int,
  rows: slice = ALL,
  bad_records: bad_records_lib.BadRecords | None = None,
) -> grain.IterDataset[TrainBatch]:
  """Makes the iterator over batches 0 to total_steps - 1 of a run.

  Args:
    dataset: its training split is read.
    total_steps: length of the run; the draws do not depend on it.
    rows: the rows of each batch that this host feeds.
    bad_records: counts damaged images, which the next image in the split
      replaces; None: none are allowed.

  Raises:
    ValueError: if crops are larger than images, or there are no images.
  """
  data, size = config.data, dataset.image_size
  if data.crop_size > size:
    raise ValueError(
      f'crop_size {data.crop_size} exceeds the images of {dataset.name}: set '
      f'it to at most {size}, or prepare larger images'
    )
  if not len(dataset.train):
    raise ValueError(f'{dataset.name}: its training split has no images')
  augment = augment_lib.Augment(**config.augment)

  @functools.lru_cache(maxsize=3)  # a batch reads two epochs, threads a third
  def draws(epoch: int) -> augment_lib.EpochDraws:
    return augment_lib.draw_epoch(
      augment,
      border=size - data.crop_size,  # 32 pixels
      num_images=len(dataset.train),
      pca=dataset.pca,
      seed=config.seed,
      epoch=epoch,
      reshuffle=data.reshuffle,
    )

  source = _TrainSource(
    split=dataset.train,
    draws=draws,
    images_per_draw=augment.images_per_draw,
    batch_size=config.batch_size,
    crop_size=data.crop_size,
    total_steps=total_steps,
    rows=np.arange(config.batch_size)[rows],  # this host's
    bad_records=bad_records or bad_records_lib.BadRecords(most=0),
  )
  return _iterate(
    source, threads=data.read_threads, prefetch=data.prefetch_batches
  )


def eval_batches(
  split: dataset_lib.Split,
  *,
  batch_size: int,
  rows: slice | np.ndarray = ALL,
  threads: int = 2,
  prefetch: int = 4,
  bad_records: bad_records_lib.BadRecords | None = None,
) -> grain.IterDataset[EvalBatch]:
  """Makes the iterator over a split, in order; the last batch is padded.

  All hosts make the same number of batches, each host its `rows` of them.
  """
  source = _EvalSource(
    split=split,
    batch_size=batch_size,
    rows=np.arange(batch_size)[rows],
    bad_records=bad_records or bad_records_lib.BadRecords(most=0),
  )
  return _iterate(source, threads=threads, prefetch=prefetch)


_ORDER_IMAGES = 64  # records that order_warning reads, from two places


def order_warning(split: dataset_lib.Split) -> str:
  """Warns if neighbouring records are often of the same class; '' if not.

  Training draws its own order, but other readers of the shards would see one
  class after another.
  """
  n = len(split)
  if n < 2 * _ORDER_IMAGES:
    return ''
  # Damaged records are skipped here: training reports them.
  apart = _labels(split, range(0, n, n // _ORDER_IMAGES))
  together = _labels(split, range(_ORDER_IMAGES))
  # Probability that two images drawn at random are of the same class.
  _, counts = np.unique(apart, return_counts=True)
  chance = ((counts / len(apart)) ** 2).sum()
  if len(together) < 2:
    return ''
  same = (together[1:] == together[:-1]).mean()
  if same <= (1 + chance) / 2:  # halfway from chance to sorted
    return ''
  return (
    f'warning: {same:.0%} of neighbouring training records are of the same '
    'class: they were not shuffled when they were written. This run draws its '
    'own order; to have them shuffled, prepare the data again'
  )


def _labels(split: dataset_lib.Split, indices: range) -> np.ndarray:
  examples = split.take(list(indices))
  return np.array(
    [e.label for e in examples if isinstance(e, dataset_lib.Example)]
  )


def _iterate(
  source: '_TrainSource | _EvalSource', *, threads: int, prefetch: int
) -> grain.IterDataset:
  # Few threads and a short buffer: decoding holds the interpreter's lock, and
  # grain's defaults, 16 threads and 500 elements, are slower and would hold 500
  # batches in memory.
  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=max(threads, prefetch)
  )
  return grain.MapDataset.source(source).to_iter_dataset(options)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _TrainSource:
  """Random access to batches: element `step` is the batch of that step."""

  split: dataset_lib.Split
  draws: Callable[[int], augment_lib.EpochDraws]  # of an epoch
  images_per_draw: int
  batch_size: int
  crop_size: int
  total_steps: int
  rows: Int64[np.ndarray, 'b']
  bad_records: bad_records_lib.BadRecords

  def __len__(self) -> int:
    return self.total_steps

  def __getitem__(self, step: int) -> TrainBatch:
    start = step * self.batch_size  # position of row 0 since the start
    # All images of a group share the draws of its first row.
    leaders = self.rows - self.rows % self.images_per_draw
    group = [n for n, draw in augment_lib.DRAWS.items() if draw.per_group]
    single = [n for n in augment_lib.DRAWS if n not in group]
    draws = self._take(group, positions=start + leaders)
    draws |= self._take(['permutation', *single], positions=start + self.rows)
    indices = draws.pop('permutation')  # [B] in the split
    image, label = self._crops(indices, offsets=draws['offset'])
    return {'image': image, 'label': label} | {
      name: array.astype(augment_lib.DRAWS[name].dtype)
      for name, array in draws.items()
    }

  def _take(
    self, fields: list[str], *, positions: Int64[np.ndarray, 'b']
  ) -> dict[str, np.ndarray]:
    """Returns the draws at positions, which may span more than one epoch."""
    n = len(self.split)
    epochs, first = np.unique(positions // n, return_index=True)  # in order
    parts = np.split(positions % n, first[1:])  # one for each epoch
    draws = [self.draws(int(epoch)) for epoch in epochs]
    return {
      field: np.concatenate(
        [getattr(d, field)[part] for d, part in zip(draws, parts, strict=True)]
      )
      for field in fields
    }

  def _crops(
    self, indices: Int32[np.ndarray, 'b'], *, offsets: np.ndarray
  ) -> tuple[UInt8[np.ndarray, 'b c c 3'], Int32[np.ndarray, 'b']]:
    size = self.crop_size
    image = np.empty((len(indices), size, size, 3), np.uint8)
    label = np.empty(len(indices), np.int32)  # [B]
    for row, (example, (y, x)) in enumerate(
      zip(self._sound(indices.tolist()), offsets.tolist(), strict=True)
    ):
      image[row] = example.image[y : y + size, x : x + size]
      label[row] = example.label
    return image, label

  def _sound(self, indices: list[int]) -> Iterator[dataset_lib.Example]:
    """Yields images of a split; the next sound one for a damaged one."""
    found = self.split.take(indices)
    for index, example in zip(indices, found, strict=True):
      for step in range(1, len(self.split) + 1):  # the whole split at most
        if isinstance(example, dataset_lib.Example):
          break
        self.bad_records.add(example)  # raises beyond the limit
        (example,) = self.split.take([(index + step) % len(self.split)])
      else:
        raise ValueError('every training image is damaged: prepare them again')
      yield example


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _EvalSource:
  """Random access to evaluation batches."""

  split: dataset_lib.Split
  batch_size: int
  rows: Int64[np.ndarray, 'b']
  bad_records: bad_records_lib.BadRecords

  def __len__(self) -> int:
    return -(-len(self.split) // self.batch_size)  # rounded up

  def __getitem__(self, batch: int) -> EvalBatch:
    position = batch * self.batch_size + self.rows  # [B] in the split
    mask = position < len(self.split)  # [B], False for padding
    index = np.where(mask, position, 0).astype(np.int32)
    size = self.split.image_size
    image = np.zeros((len(index), size, size, 3), np.uint8)  # padding is black
    label = np.zeros(len(index), np.int32)
    name = [''] * len(index)
    (rows,) = np.nonzero(mask)
    for row, example in zip(
      rows.tolist(), self.split.take(index[rows].tolist()), strict=True
    ):
      if isinstance(example, dataset_lib.Unreadable):
        self.bad_records.add(example)
        mask[row] = False
      else:
        image[row], label[row] = example.image, example.label
        name[row] = example.name
    return EvalBatch(
      image=image, label=label, mask=mask, index=index, name=name
    )
