"""fc7's activations for every image of a split, kept in a folder (§6.1).

The activations are those of the centre crop, after the ReLU. The image itself
is kept beside them, made small, to compare distances of pixels:

features.npy   float32 [images, units]
pixels.npy     uint8 [images, 3 * side^2], see `shrink`
labels.npy     int32 [images]
index.npy      int32 [images], positions in the split
progress.json  checkpoint and data, and the number of images done

Unreadable images have no row, so the arrays may be longer than what is in use.
The 1.28 million images of ImageNet take 37 GB.

An interrupted extraction resumes from the last progress.json in minibatches of
the same size, so on the same devices its rows are bit for bit those of an
uninterrupted one.
"""

import dataclasses
import hashlib
import math
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from alexnet_jax.checkpoint import checksums
from alexnet_jax.data import dataset
from alexnet_jax.evaluate import load, predict
from alexnet_jax.runtime import locks, paths
from alexnet_jax.train import log

SIDE = 64  # pixels, height and width of a small image, at most
_PROGRESS = 'progress.json'
_ARRAYS = ('features', 'pixels', 'labels', 'index')
_EVERY = 16  # minibatches between two saves of the progress,
_SECONDS = 30  # or seconds
_ROWS = 2048  # copied at once
_STREAM = 0x5A3B1E  # separates the sample's random numbers from others

# A row per image of each array, and the number of images done after them.
_Parts = Iterator[tuple[dict[str, np.ndarray], int]]


class Features(NamedTuple):
  """A row per readable image of a split or sample, in memory-mapped arrays."""

  features: Float[np.ndarray, 'n units']  # fc7's activations
  pixels: UInt8[np.ndarray, 'n values']  # the image, made small
  labels: Int[np.ndarray, ' n']
  index: Int[np.ndarray, ' n']  # position in the split
  of_images: int  # in the whole split


@dataclasses.dataclass(frozen=True)
class Subset:
  """A dataset.Split with the images of another at the given positions."""

  split: dataset.Split
  index: Int[np.ndarray, ' n']

  @property
  def image_size(self) -> int:
    return self.split.image_size

  def __len__(self) -> int:
    return len(self.index)

  def __getitem__(self, index: int) -> dataset.Example:
    return self.split[int(self.index[index])]

  def take(
    self, indices: Sequence[int]
  ) -> Sequence[dataset.Example | dataset.Unreadable]:
    return self.split.take(self.index[list(indices)].tolist())


def sample(images: int, *, most: int | None, seed: int) -> np.ndarray:
  """Positions of all images, or of `most` drawn from them, in order.

  >>> sample(5, most=None, seed=0).tolist(), len(sample(5, most=3, seed=0))
  ([0, 1, 2, 3, 4], 3)
  """
  if most is None or most >= images:
    return np.arange(images)
  rng = np.random.default_rng([_STREAM, seed])
  return np.sort(rng.choice(images, size=most, replace=False))


def extract(
  network: load.Network,
  *,
  split: Literal['train', 'val'],
  folder: pathlib.Path,
  most_images: int | None = None,
  whole: pathlib.Path | None = None,
  notify: Callable[[str], None] = print,
  check: Callable[[], None] = lambda: None,
) -> Features:
  """Extracts features into the folder; resumes, or opens finished ones.

  Args:
    folder: for this split or sample; `notify` says if it held something else.
    most_images: the size of a sample to draw, if the split has more images.
    whole: a folder that may have features of the whole split, to copy from.
    check: called before each minibatch; may raise to stop the extraction.

  Raises:
    ValueError: if the disk has too little room, another process uses the
      folder, too many images are damaged, or none can be read.
  """
  images: dataset.Split = getattr(network.setup.dataset, split)
  seed = network.setup.config.seed
  chosen = sample(len(images), most=most_images, seed=seed)
  with locks.locked(folder, fix='use a copy of the workdir'):
    key = _key(network, split=split, chosen=chosen)
    progress = _begin(folder, key=key, notify=notify)
    start = progress['done']
    if start < len(chosen):
      key = _key(network, split=split, chosen=np.arange(len(images)))
      there = log.read_json(whole / _PROGRESS) if whole else {}
      if whole and _is_of(there, key) and there['done'] == len(images):
        parts = _copied(open_(whole), chosen, start=start)
      else:
        part = Subset(images, chosen)
        title = f'features of {split}'
        parts = _extracted(network, part, start=start, title=title, check=check)
      _write(folder, parts, progress=progress)
  found = open_(folder)._replace(of_images=len(images))
  if not len(found.labels):
    raise ValueError(
      f'no image of {split} of {network.setup.dataset.name} can be read: '
      'prepare the data again'
    )
  return found


def open_(folder: pathlib.Path) -> Features:
  """Opens what `extract` wrote, without running any pickled code.

  Raises ValueError if the folder is missing, unfinished or damaged.
  """
  progress = log.read_json(folder / _PROGRESS)
  if not progress or progress['done'] < progress['images']:
    raise ValueError(
      f'{folder} holds no finished features: let alexnet_jax.tools.retrieve '
      'finish them'
    )
  try:
    arrays = {name: _map(folder, name)[: progress['rows']] for name in _ARRAYS}
  except (OSError, ValueError) as error:
    fix = 'remove it, and run this again'
    raise ValueError(f'{folder} is damaged: {fix}') from error
  return Features(**arrays, of_images=progress['images'])


def _map(folder: pathlib.Path, name: str) -> np.memmap:
  return np.load(folder / f'{name}.npy', mmap_mode='r', allow_pickle=False)


def shrink(
  images: UInt8[np.ndarray, 'b s s 3'],
) -> UInt8[np.ndarray, 'b values']:
  """Averages each image to SIDE x SIDE pixels, rounded, as one row.

  Blocks differ by a pixel where SIDE does not divide s. Smaller images keep
  their size.

  >>> shrink(np.full((1, 128, 128, 3), 7, np.uint8)).shape
  (1, 12288)
  """
  size = images.shape[1]
  side = min(size, SIDE)
  edges = np.arange(side) * size // side
  lengths = np.diff(edges, append=size)
  down = np.add.reduceat(images, edges, axis=1, dtype=np.uint32)
  sums = np.add.reduceat(down, edges, axis=2)  # [b, side, side, 3]
  areas = lengths[:, None, None] * lengths[None, :, None]
  means = (sums + areas // 2) // areas
  return means.astype(np.uint8).reshape(len(images), 3 * side**2)


def _key(
  network: load.Network, *, split: str, chosen: np.ndarray
) -> dict[str, Any]:
  """Everything that determines the rows."""
  return {
    'checkpoint': checksums.combine(network.meta['digests']),
    'data': network.setup.dataset.fingerprint,
    'dtype': network.setup.config.dtype,
    'split': split,
    'images': len(chosen),
    'chosen': hashlib.sha256(chosen.astype('<i8').tobytes()).hexdigest()[:32],
  }


def _begin(
  folder: pathlib.Path, *, key: dict[str, Any], notify: Callable[[str], None]
) -> dict[str, Any]:
  """The folder's progress if it has this key; otherwise empties the folder."""
  there = log.read_json(folder / _PROGRESS)
  if _is_of(there, key):
    return there
  if there:
    notify(
      f'{folder} held features of another checkpoint, data set or sample: '
      'begun anew'
    )
  for name in (_PROGRESS, *(f'{array}.npy' for array in _ARRAYS)):
    (folder / name).unlink(missing_ok=True)
  return key | {'done': 0, 'rows': 0}  # images tried, and those with a row


def _is_of(progress: dict[str, Any], key: dict[str, Any]) -> bool:
  return all(progress.get(name) == value for name, value in key.items())


def _copied(
  whole: Features, chosen: Int[np.ndarray, ' n'], *, start: int
) -> _Parts:
  """Yields the remaining rows of a sample from those of the whole split."""
  (at,) = np.nonzero(np.isin(whole.index, chosen[start:]))
  for first in range(0, max(len(at), 1), _ROWS):
    some = at[first : first + _ROWS]
    done = len(chosen)
    if first + _ROWS < len(at):
      done = int(np.searchsorted(chosen, whole.index[some[-1]])) + 1
    yield {name: getattr(whole, name)[some] for name in _ARRAYS}, done


def _extracted(
  network: load.Network,
  part: Subset,
  *,
  start: int,
  title: str,
  check: Callable[[], None],
) -> _Parts:
  """Yields the remaining rows, a minibatch at once."""
  end = len(part)
  size = min(network.setup.config.eval.batch_size, end)
  # Repeats of the last image fill up the last minibatch.
  places = np.minimum(np.arange(start, -(-end // size) * size), end - 1)
  rest = Subset(part.split, part.index[places])
  done = start
  batches = predict.minibatches(network.setup, rest, title=title, check=check)
  for batch in batches:
    kept = batch.indices < end - start
    fc7 = predict.features(network.setup, batch, variables=network.variables)
    rows = {
      'features': fc7,
      'pixels': shrink(jax.device_get(batch.images)[batch.readable]),
      'labels': batch.host_labels.astype(np.int32),
      'index': rest.index[batch.indices].astype(np.int32),
    }
    done = min(done + len(batch.labels), end)
    yield {name: values[kept] for name, values in rows.items()}, done


def _write(
  folder: pathlib.Path, parts: _Parts, *, progress: dict[str, Any]
) -> None:
  """Appends rows to those in use, and saves the progress now and then."""
  saved = time.monotonic()
  for number, (rows, done) in enumerate(parts, start=1):
    if not progress['done']:
      _create(folder, rows, images=progress['images'])
    for name, values in rows.items():
      # A full disk is an OSError here; in a writable memory map it is a SIGBUS.
      mapped = _map(folder, name)
      with open(folder / f'{name}.npy', 'r+b') as file:
        file.seek(mapped.offset + progress['rows'] * mapped[0].nbytes)
        file.write(values.tobytes())
    progress |= {'rows': progress['rows'] + len(rows['index']), 'done': done}
    late = time.monotonic() - saved >= _SECONDS
    if late or number % _EVERY == 0 or done == progress['images']:
      _save(folder, progress)
      saved = time.monotonic()


def _create(
  folder: pathlib.Path, rows: dict[str, np.ndarray], *, images: int
) -> None:
  """Creates sparse files of the final size, if the disk has room for them."""
  shapes = {name: (images, *array.shape[1:]) for name, array in rows.items()}
  need = sum(math.prod(shapes[n]) * a.itemsize for n, a in rows.items())
  free = shutil.disk_usage(folder).free
  if need > free:
    raise ValueError(
      f'{folder} has {paths.size_text(free)} free, {paths.size_text(need)} '
      'are needed '
      f'for {images:,} images: make room, or use fewer with --most_images'
    )
  for name, array in rows.items():
    np.lib.format.open_memmap(
      folder / f'{name}.npy', 'w+', dtype=array.dtype, shape=shapes[name]
    )


def _save(folder: pathlib.Path, progress: dict[str, Any]) -> None:
  """Writes progress.json, once the rows it counts are on the disk."""
  for name in _ARRAYS:
    with open(folder / f'{name}.npy', 'r+b') as file:
      os.fsync(file.fileno())
  log.write_json(folder / _PROGRESS, progress)
