"""The prepared data set: image records and their statistics (paper §2).

  DIR/metadata.json                          see metadata.py
  DIR/train-00000-of-00008.array_record      one record per image
  DIR/mean_image.npy, DIR/rgb_pca.npz        of the training split

A record is a label (int32), the length of a name (uint16), both little-endian,
the name of the image's file in UTF-8, and then either size * size * 3 bytes of
RGB or a JPEG stream, depending on `encoding` in metadata.json.

tools.prepare writes the folder under another name and renames it at the end, so
a folder that exists is complete.
"""

import bisect
import dataclasses
import errno
import io
import itertools
import pathlib
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import simplejpeg
from jaxtyping import Float32
from PIL import Image

from alexnet_jax.data import dataset, images, record_file, stats
from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.runtime import descriptors, paths

_HEADER = struct.Struct('<iH')
WRITER_OPTIONS = record_file.WRITER_OPTIONS
STATISTICS_FILES = ('mean_image.npy', 'rgb_pca.npz')
_NUM_CHECKED = 16  # images of a split, read when it is opened


def encode(
  example: dataset.Example,
  *,
  encoding: metadata_lib.Encoding,
  jpeg_quality: int = 90,
) -> bytes:
  """Encodes an example as a record; `jpeg_quality` is 1 to 95."""
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
  record: bytes | memoryview,
  *,
  image_size: int,
  encoding: metadata_lib.Encoding,
) -> dataset.Example:
  """Decodes a record. A raw image is a read-only view of it.

  Raises ValueError, OSError or struct.error if the record is damaged.
  """
  label, length = _HEADER.unpack_from(record)
  start = _HEADER.size + length
  name = str(record[_HEADER.size : start], 'utf-8')
  match encoding:
    case 'raw':
      pixels = np.frombuffer(record, np.uint8, offset=start)
    case 'jpeg':  # the same pixels as PIL's, faster
      stream = memoryview(record)[start:]
      height, width, *_ = simplejpeg.decode_jpeg_header(stream)
      if (height, width) != (image_size, image_size):  # before decoding
        raise ValueError(f'{width} x {height} pixels, not {image_size} squared')
      pixels = simplejpeg.decode_jpeg(stream, 'RGB')
  return dataset.Example(pixels.reshape(image_size, image_size, 3), label, name)


def load(
  directory: str, *, image_size: int, resize: images.Resize = 'crop'
) -> dataset.Dataset:
  """Opens a prepared folder of this machine.

  Raises ValueError if it is missing, damaged, or has images of another size, or
  images that became squares in another way.
  """
  if not directory:
    raise ValueError(
      f'no folder given for prepared data: use --config.data.dir=DIR, after '
      f'{metadata_lib.PREPARE}DIR; or --config.data.source=embedded to try '
      'without'
    )
  folder = paths.expand(directory)
  metadata = metadata_lib.read(folder)
  if metadata.image_size != image_size:
    raise ValueError(
      f'{folder} holds images of {metadata.image_size} pixels a side, not '
      f'{image_size}: use --config.data.image_size={metadata.image_size}, or '
      f'prepare again with --image_size={image_size}'
    )
  if metadata.resize != resize:
    raise ValueError(
      f'{folder} was prepared with --resize={metadata.resize}, but '
      f'config.data.resize = {resize!r}: use '
      f'--config.data.resize={metadata.resize}, or prepare again with '
      f'--resize={resize}'
    )
  metadata_lib.check_files(folder, metadata=metadata, whole=STATISTICS_FILES)
  splits = {
    split: PreparedSplit(folder, metadata=metadata, split=split)
    for split in metadata.splits
  }
  statistics = read_statistics(folder, image_size=image_size)
  return dataset.Dataset(
    name=metadata.name,
    image_size=metadata.image_size,
    classes=metadata.classes,
    train=splits.get('train', splits['val']),  # see dataset.Dataset
    val=splits['val'],
    test=splits.get('test'),
    **statistics._asdict(),
    fingerprint=metadata_lib.fingerprint(metadata),
  )


def replace_statistics(
  folder: pathlib.Path, *, statistics: stats.Statistics
) -> None:
  """Writes new statistics and their checksums into a prepared folder."""
  metadata = metadata_lib.read(folder)
  new = write_statistics(folder, statistics=statistics)
  checksums = {**metadata.checksums, **new}
  metadata = dataclasses.replace(metadata, checksums=checksums)
  metadata_lib.write(folder, metadata=metadata)


def write_statistics(
  folder: pathlib.Path, *, statistics: stats.Statistics
) -> dict[str, str]:
  """Writes mean_image.npy and rgb_pca.npz; returns their checksums."""
  mean_file, pca_file = (folder / name for name in STATISTICS_FILES)
  with paths.replacing(mean_file) as file:
    np.save(file, statistics.mean_image)
  with paths.replacing(pca_file) as file:
    np.savez(file, **statistics.pca._asdict())
  return {
    path.name: metadata_lib.checksum(path) for path in (mean_file, pca_file)
  }


def read_statistics(
  folder: pathlib.Path, *, image_size: int, fix: str = ''
) -> stats.Statistics:
  """Reads mean_image.npy and rgb_pca.npz.

  Raises ValueError if they are damaged or of another image size. `fix` are the
  flags of tools.prepare that write them again, for the message; by default
  those for a prepared folder.
  """
  mean_file, pca_file = (folder / name for name in STATISTICS_FILES)
  try:
    # Loading a pickle would run it.
    mean = np.load(mean_file, allow_pickle=False)
    with open(pca_file, 'rb') as file:
      arrays = np.load(file, allow_pickle=False)
      components, stddevs = (arrays[name] for name in stats.RgbPca._fields)
    return stats.Statistics(
      _checked(mean, shape=(image_size, image_size, 3), low=0.0, high=255.0),
      stats.RgbPca(
        _checked(components, shape=(3, 3), low=-1.001, high=1.001),
        _checked(stddevs, shape=(3,), low=0.0, high=255.0),
      ),
    )
  except (PermissionError, IsADirectoryError):
    raise  # no damage
  except Exception as error:  # numpy, zipfile and zlib raise their own types
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
      raise
    raise ValueError(
      f'cannot read the statistics of {folder} ({error}): write them again '
      'with python -m alexnet_jax.tools.prepare '
      + (fix or f'--stats_only --output={folder}')
    ) from error


def _checked(
  array: Any, *, shape: tuple[int, ...], low: float, high: float
) -> Float32[np.ndarray, '...']:
  """Returns the array as float32 if its type, shape and range are right."""
  if not isinstance(array, np.ndarray) or array.dtype.kind != 'f':
    raise ValueError(f'{type(array).__name__}, expected an array of floats')
  if array.shape != shape:
    raise ValueError(f'shape {array.shape}, expected {shape}')
  if not ((array >= low) & (array <= high)).all():  # False for NaN too
    raise ValueError(f'values outside {low:g} to {high:g}, or NaN')
  return array.astype(np.float32)


class PreparedSplit:
  """Random access to the shards of one split.

  Threads share the open files, since reading by index is thread-safe. A pickle
  holds no open files; the copy opens its own on first use.
  """

  def __init__(
    self, folder: pathlib.Path, *, metadata: metadata_lib.Metadata, split: str
  ) -> None:
    """Opens the shards, and reads a few images.

    Raises ValueError if a shard or all of these images are damaged, or the
    number of images is wrong.
    """
    info = metadata.splits[split]
    self.image_size = metadata.image_size
    self._split = split
    self._encoding: metadata_lib.Encoding = metadata.encoding
    self._num_classes = len(metadata.classes)
    self._paths = [folder / shard for shard in info.shards]
    self._files: dict[int, record_file.RecordFile] = {}
    # Of the shards of all splits; the others are opened when they are needed.
    # Direct reading opens each file twice.
    total = sum(len(one.shards) for one in metadata.splits.values())
    share = len(self._paths) / total
    allowed = descriptors.allow(2 * total)
    self._most_open = max(1, int(min(allowed, total) * share))
    self._direct = allowed == 2 * total
    counts = [len(self._file(k)) for k in range(len(self._paths))]
    self._starts = [*itertools.accumulate(counts, initial=0)]
    if len(self) != info.num_images:
      raise ValueError(
        f'{folder} has {len(self)} {split} images, but its metadata.json says '
        f'{info.num_images}: {metadata_lib.prepare_again(folder)}'
      )
    number = min(len(self), _NUM_CHECKED)
    few = np.linspace(0, len(self) - 1, number).astype(int).tolist()
    found = [*self.take(few)]
    if all(isinstance(example, dataset.Unreadable) for example in found):
      raise ValueError(
        f'{folder}: all of {number} images are damaged ({found[0]}): '
        f'{metadata_lib.prepare_again(folder)}'
      )

  def __len__(self) -> int:
    return self._starts[-1]

  __getitem__ = dataset.get_by_take

  def take(
    self, indices: Iterable[int]
  ) -> Iterator[dataset.Example | dataset.Unreadable]:
    """Reads the examples at these indices, each when it is asked for.

    A caller that copies an image before it asks for the next reads memory that
    is still in the processor's cache (bench/NOTES.md, Input).
    """
    for index in indices:
      shard = bisect.bisect_right(self._starts, index) - 1
      record = self._read(shard, int(index - self._starts[shard]))
      yield self._decode(record, index=index)

  def _read(
    self, shard: int, position: int
  ) -> bytes | memoryview | dataset.Unreadable:
    try:
      return self._file(shard).read(position)
    except RuntimeError as error:
      self._files.pop(shard, None)  # a reader that failed keeps failing
      place = f'record {position} of {self._paths[shard].name}'
      return dataset.Unreadable(f'{place}: {str(error).splitlines()[0]}')

  def _decode(
    self, record: bytes | memoryview | dataset.Unreadable, *, index: int
  ) -> dataset.Example | dataset.Unreadable:
    if isinstance(record, dataset.Unreadable):
      return record
    place = f'image {index} of {self._split}'
    size, encoding = self.image_size, self._encoding
    try:
      example = decode(record, image_size=size, encoding=encoding)
    except (ValueError, OSError, struct.error) as error:
      reason = re.sub(r' at 0x[0-9a-f]+', '', str(error))
      return dataset.Unreadable(f'{place}: {reason}')
    # JAX would clip the label to the nearest class without an error.
    if not 0 <= example.label < self._num_classes:
      return dataset.Unreadable(
        f'{place}: its label is {example.label}, classes are 0 to '
        f'{self._num_classes - 1}'
      )
    return example

  def __getstate__(self) -> dict[str, Any]:
    return vars(self) | {'_files': {}}

  def _file(self, shard: int) -> record_file.RecordFile:
    # Two threads may both open a file; one of the readers is then kept. One
    # that is dropped here is closed once no thread uses it.
    if (file := self._files.get(shard)) is None:
      while len(self._files) >= self._most_open:
        self._files.pop(next(iter(self._files)), None)
      file = record_file.RecordFile(self._paths[shard], direct=self._direct)
      file = self._files.setdefault(shard, file)
    return file
