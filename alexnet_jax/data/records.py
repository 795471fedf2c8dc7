"""The prepared data set: image records, and what describes them (paper §2).

  DIR/metadata.json                          see metadata.py
  DIR/train-00000-of-00008.array_record      one record an image
  DIR/mean_image.npy, DIR/rgb_pca.npz        of the training split

A record is a label (int32), the length of a name (uint16), both little-endian,
the name of the image's file in UTF-8, and then either size * size * 3 bytes of
RGB or a JPEG stream, as `encoding` says.

The folder is written under another name and renamed when whole, so one that
exists is complete.
"""

import dataclasses
import io
import pathlib
import re
import struct
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import simplejpeg
from array_record.python import array_record_module
from jaxtyping import Float32
from PIL import Image

from alexnet_jax.data import dataset, stats
from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.runtime import paths

_HEADER = struct.Struct('<iH')
# One record a group: reading one image at random decodes no other.
WRITER_OPTIONS = 'group_size:1,uncompressed'
_READER_OPTIONS = 'readahead_buffer_size:0,max_parallelism:0'
STATISTICS_FILES = ('mean_image.npy', 'rgb_pca.npz')
_LOOKED_AT = 16  # images of a split, when it is opened


def encode(
  example: dataset.Example,
  *,
  encoding: metadata_lib.Encoding,
  jpeg_quality: int = 90,
) -> bytes:
  """An example as a record."""
  name = example.name.encode()
  header = _HEADER.pack(example.label, len(name)) + name
  match encoding:
    case 'raw':
      return header + example.image.tobytes()
    case 'jpeg':
      stream = io.BytesIO()
      image = Image.fromarray(example.image)
      image.save(stream, 'JPEG', quality=jpeg_quality)
      return header + stream.getvalue()


def decode(
  record: bytes, *, image_size: int, encoding: metadata_lib.Encoding
) -> dataset.Example:
  """The example in a record. Raw images are read-only views of it."""
  label, length = _HEADER.unpack_from(record)
  start = _HEADER.size + length
  name = record[_HEADER.size : start].decode()
  match encoding:
    case 'raw':
      pixels = np.frombuffer(record, np.uint8, offset=start)
    case 'jpeg':  # the same pixels as PIL's, sooner
      stream = memoryview(record)[start:]
      height, width, *_ = simplejpeg.decode_jpeg_header(stream)
      if (height, width) != (image_size, image_size):  # nor is it unpacked
        raise ValueError(f'{width} x {height} pixels, not {image_size} squared')
      pixels = simplejpeg.decode_jpeg(stream, 'RGB')
  return dataset.Example(pixels.reshape(image_size, image_size, 3), label, name)


def load(directory: str, *, image_size: int) -> dataset.Dataset:
  """Opens a prepared folder; a ValueError of one line where it cannot."""
  if not directory:
    raise ValueError(
      f'no folder given for prepared data: use --config.data.dir=DIR, after '
      f'{metadata_lib.PREPARE}DIR; or --config.data.source=embedded to try '
      'without'
    )
  folder = paths.given(directory)
  metadata = metadata_lib.read(folder)
  if metadata.image_size != image_size:
    raise ValueError(
      f'{folder} holds images of {metadata.image_size} pixels a side, not '
      f'{image_size}: use --config.data.image_size={metadata.image_size}, or '
      f'prepare again with --image_size={image_size}'
    )
  splits = {
    split: PreparedSplit(folder, metadata=metadata, split=split)
    for split in metadata.splits
  }
  for split in splits.values():
    split.refuse_unreadable()
  statistics = read_statistics(folder, image_size=image_size)
  return dataset.Dataset(
    name=metadata.name,
    image_size=metadata.image_size,
    classes=metadata.classes,
    train=splits['train'],
    val=splits['val'],
    test=splits.get('test'),
    mean_image=statistics.mean_image,
    pca=statistics.pca,
    fingerprint=metadata_lib.fingerprint(metadata),
  )


def replace_statistics(
  folder: pathlib.Path, *, statistics: stats.Statistics
) -> None:
  """Writes new statistics into a prepared folder, and their checksums."""
  metadata = metadata_lib.read(folder)
  write_statistics(folder, statistics=statistics)
  new = {
    name: metadata_lib.checksum(folder / name) for name in STATISTICS_FILES
  }
  metadata_lib.write(
    folder,
    metadata=dataclasses.replace(
      metadata, checksums={**metadata.checksums, **new}
    ),
  )


def write_statistics(
  folder: pathlib.Path, *, statistics: stats.Statistics
) -> None:
  """Writes mean_image.npy and rgb_pca.npz."""
  arrays = {
    'mean_image.npy': lambda path: np.save(path, statistics.mean_image),
    'rgb_pca.npz': lambda path: np.savez(path, **statistics.pca._asdict()),
  }
  for name, save in arrays.items():
    scratch = folder / f'.{name}'
    save(scratch)
    scratch.replace(folder / name)


def read_statistics(
  folder: pathlib.Path, *, image_size: int, fix: str = ''
) -> stats.Statistics:
  """Reads them back, float32.

  Args:
    folder: that they are in.
    image_size: of the data set.
    fix: flags of tools.prepare that write them anew, for the message; those of
      a prepared folder if not given.

  Raises:
    ValueError: in one line, if they are damaged or not of such images.
  """
  try:
    mean, axes, stddevs = _load_statistics(folder)
    return stats.Statistics(
      _sound(mean, shape=(image_size, image_size, 3), low=0.0, high=255.0),
      stats.RgbPca(
        _sound(axes, shape=(3, 3), low=-1.001, high=1.001),
        _sound(stddevs, shape=(3,), low=0.0, high=255.0),
      ),
    )
  except ValueError as error:
    raise ValueError(
      f'cannot read the statistics of {folder} ({error}): make them anew with '
      'python -m alexnet_jax.tools.prepare '
      + (fix or f'--stats_only --output={folder}')
    ) from error


def _load_statistics(folder: pathlib.Path) -> list[Any]:
  """The mean image, components and standard deviations, not yet looked at."""
  mean_file, pca_file = (folder / name for name in STATISTICS_FILES)
  try:
    # Never a pickle, which is numpy's default too: to load one is to run it.
    mean = np.load(mean_file, allow_pickle=False)
    with open(pca_file, 'rb') as file:
      arrays = np.load(file, allow_pickle=False)
      return [mean, *(arrays[name] for name in stats.RgbPca._fields)]
  except Exception as error:  # numpy, zipfile and zlib: each has its own
    raise ValueError(str(error)) from error


def _sound(
  array: Any, *, shape: tuple[int, ...], low: float, high: float
) -> Float32[np.ndarray, '...']:
  """An array as it has to be, float32."""
  if not isinstance(array, np.ndarray) or array.dtype.kind != 'f':
    raise ValueError(f'{type(array).__name__} where floats belong')
  if array.shape != shape:
    raise ValueError(f'shape {array.shape} where {shape} belongs')
  if not ((array >= low) & (array <= high)).all():  # NaN is neither
    raise ValueError(f'values that are no numbers from {low:g} to {high:g}')
  return array.astype(np.float32)


class PreparedSplit:
  """Random access to one split's shards.

  Threads share the open files, as reading by index allows; a pickle holds none
  and opens them again on first use.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    metadata: metadata_lib.Metadata,
    split: str,
  ) -> None:
    info = metadata.splits[split]
    self._split = split
    self._image_size = metadata.image_size
    self._encoding: metadata_lib.Encoding = metadata.encoding
    self._num_classes = len(metadata.classes)
    self._paths = [folder / shard for shard in info.shards]
    self._reset()
    counts = [self._reader(k).num_records() for k in range(len(self._paths))]
    self._starts = np.cumsum([0, *counts])
    if len(self) != info.num_images:
      raise ValueError(
        f'{folder} holds {len(self)} {split} images, its metadata.json says '
        f'{info.num_images}: {_again(folder)}'
      )

  @property
  def image_size(self) -> int:
    return self._image_size

  def _reset(self) -> None:
    self._lock = threading.Lock()
    self._readers = [None] * len(self._paths)

  def refuse_unreadable(self) -> None:
    """Looks at a few images before a run writes anything.

    Raises:
      ValueError: if all of them are damaged.
    """
    number = min(len(self), _LOOKED_AT)
    few = np.linspace(0, len(self) - 1, number).astype(int).tolist()
    seen = self.take(few)
    if all(isinstance(example, dataset.Unreadable) for example in seen):
      folder = self._paths[0].parent
      raise ValueError(
        f'{folder}: not one of {number} images can be used ({seen[0]}): '
        f'{_again(folder)}'
      )

  def __len__(self) -> int:
    return int(self._starts[-1])

  def __getitem__(self, index: int) -> dataset.Example:
    if not 0 <= index < len(self):
      raise IndexError(f'{self._split} image {index} of {len(self)}')
    (example,) = self.take([index])
    if isinstance(example, dataset.Unreadable):
      raise example
    return example

  def take(
    self, indices: Sequence[int]
  ) -> list[dataset.Example | dataset.Unreadable]:
    """The examples at these indices; one read for all of a shard."""
    where = np.asarray(indices)
    shards = np.searchsorted(self._starts, where, side='right') - 1
    out: list = [None] * len(where)
    for shard in np.unique(shards).tolist():
      (rows,) = np.nonzero(shards == shard)
      positions = (where[rows] - self._starts[shard]).tolist()
      records = self._read(shard, positions)
      for row, record in zip(rows.tolist(), records, strict=True):
        out[row] = self._decode(record, index=int(where[row]))
    return out

  def _read(
    self, shard: int, positions: list[int]
  ) -> list[bytes | dataset.Unreadable]:
    """Records of a shard; where one is damaged, one after another."""
    reader = self._reader(shard)
    try:
      return reader.read(positions)
    except RuntimeError as error:
      with self._lock:
        self._readers[shard] = None  # once failed, it would go on failing
      if len(positions) == 1:
        place = f'record {positions[0]} of {self._paths[shard].name}'
        return [dataset.Unreadable(f'{place}: {str(error).splitlines()[0]}')]
    return [self._read(shard, [position])[0] for position in positions]

  def _decode(
    self, record: bytes | dataset.Unreadable, *, index: int
  ) -> dataset.Example | dataset.Unreadable:
    if isinstance(record, dataset.Unreadable):
      return record
    place = f'image {index} of {self._split}'
    try:
      example = decode(
        record, image_size=self._image_size, encoding=self._encoding
      )
    except (ValueError, OSError, struct.error) as error:
      reason = re.sub(r' at 0x[0-9a-f]+', '', str(error))
      return dataset.Unreadable(f'{place}: {reason}')
    # Where it is not refused, JAX would take the nearest class there is.
    if not 0 <= example.label < self._num_classes:
      return dataset.Unreadable(
        f'{place}: its label is {example.label}, classes are 0 to '
        f'{self._num_classes - 1}'
      )
    return example

  def __getstate__(self) -> dict[str, Any]:
    return vars(self) | {'_lock': None, '_readers': None}

  def __setstate__(self, state: dict[str, Any]) -> None:
    vars(self).update(state)
    self._reset()

  def _reader(self, shard: int) -> array_record_module.ArrayRecordReader:
    with self._lock:
      if self._readers[shard] is None:
        self._readers[shard] = _open(self._paths[shard])
      return self._readers[shard]


def _open(path: pathlib.Path) -> array_record_module.ArrayRecordReader:
  try:
    reader = array_record_module.ArrayRecordReader(str(path), _READER_OPTIONS)
    if reader.ok():
      return reader
    reader.close()  # raises, and says what is wrong
  except RuntimeError as error:
    raise ValueError(
      f'{path} is damaged ({error}): {_again(path.parent)}'
    ) from error
  raise ValueError(f'{path} is damaged: {_again(path.parent)}')


def _again(folder: pathlib.Path) -> str:
  return f'prepare the data again with {metadata_lib.PREPARE}{folder}'
