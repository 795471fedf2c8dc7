"""The prepared data set: image records, and what describes them (paper §2).

  DIR/metadata.json                          see `Metadata`
  DIR/train-00000-of-00008.array_record      one record an image
  DIR/mean_image.npy, DIR/rgb_pca.npz        of the training split

A record is a label (int32), the length of a name (uint16), both little-endian,
the name of the image's file in UTF-8, and then either size * size * 3 bytes of
RGB or a JPEG stream, as `encoding` says.

The folder is written under another name and renamed when whole, so one that
exists is complete.
"""

import collections
import dataclasses
import hashlib
import io
import json
import pathlib
import re
import struct
import threading
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import simplejpeg
from array_record.python import array_record_module
from PIL import Image

from alexnet_jax.data import dataset, stats

FORMAT_VERSION = 1
Encoding = Literal['raw', 'jpeg']
T = TypeVar('T')
_HEADER = struct.Struct('<iH')
# One record a group: reading one image at random decodes no other.
WRITER_OPTIONS = 'group_size:1,uncompressed'
_READER_OPTIONS = 'readahead_buffer_size:0,max_parallelism:0'
STATISTICS_FILES = ('mean_image.npy', 'rgb_pca.npz')
_PREPARE = 'python -m alexnet_jax.tools.prepare --source=... --output='


class SplitInfo(NamedTuple):
  num_images: int
  shards: tuple[str, ...]  # file names


class Skipped(NamedTuple):
  """An image that could not be used, and why."""

  file: str
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
  """metadata.json. Labels index `classes`, in that order."""

  name: str
  image_size: int
  encoding: Encoding
  splits: Mapping[str, SplitInfo]
  classes: tuple[dataset.ClassInfo, ...]
  skipped: tuple[Skipped, ...]
  checksums: Mapping[str, str]  # file name -> SHA-256 of the file
  format_version: int = FORMAT_VERSION


def encode(
  example: dataset.Example, *, encoding: Encoding, jpeg_quality: int = 90
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
  record: bytes, *, image_size: int, encoding: Encoding
) -> dataset.Example:
  """The example in a record. Raw images are read-only views of it."""
  label, length = _HEADER.unpack_from(record)
  start = _HEADER.size + length
  name = record[_HEADER.size : start].decode()
  match encoding:
    case 'raw':
      pixels = np.frombuffer(record, np.uint8, offset=start)
    case 'jpeg':  # the same pixels as PIL's, sooner
      pixels = simplejpeg.decode_jpeg(memoryview(record)[start:], 'RGB')
  return dataset.Example(pixels.reshape(image_size, image_size, 3), label, name)


def load(directory: str, *, image_size: int) -> dataset.Dataset:
  """Opens a prepared folder; a ValueError of one line where it cannot."""
  if not directory:
    raise ValueError(
      f'no folder given for prepared data: use --config.data.dir=DIR, after '
      f'{_PREPARE}DIR; or --config.data.source=embedded to try without'
    )
  folder = pathlib.Path(directory).expanduser()
  metadata = read_metadata(folder)
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
    fingerprint=fingerprint(metadata),
  )


def fingerprint(metadata: Metadata) -> str:
  """SHA-256 of the checksums, the splits' shards and the order of classes."""
  identity = {
    'checksums': dict(metadata.checksums),
    'splits': {k: list(v.shards) for k, v in metadata.splits.items()},
    'classes': [c.id for c in metadata.classes],
  }
  return hashlib.sha256(_json(identity).encode()).hexdigest()


def write_metadata(folder: pathlib.Path, *, metadata: Metadata) -> None:
  """Writes metadata.json; the same bytes for the same metadata."""
  content = dataclasses.asdict(metadata)
  content['splits'] = {k: v._asdict() for k, v in metadata.splits.items()}
  content['classes'] = [c._asdict() for c in metadata.classes]
  content['skipped'] = [s._asdict() for s in metadata.skipped]
  (folder / 'metadata.json').write_text(_json(content) + '\n')


def _json(content: Any) -> str:
  return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)


def read_metadata(folder: pathlib.Path) -> Metadata:
  """Reads and checks metadata.json, and that every shard is there."""
  if not (folder / 'metadata.json').is_file():
    raise ValueError(
      f'no prepared data set at {str(folder)!r} (it has no metadata.json): '
      f'make one with {_PREPARE}{folder}, or use the embedded data'
    )
  try:
    content = json.loads((folder / 'metadata.json').read_text('utf-8'))
    _refuse_unknown(folder, content=content)
    metadata = _parse(content)
  except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
    raise ValueError(
      f'{folder}/metadata.json is damaged ({type(error).__name__}: {error}): '
      f'prepare the data again with {_PREPARE}{folder}'
    ) from error
  _check(folder, metadata=metadata)
  return metadata


def _refuse_unknown(folder: pathlib.Path, *, content: Mapping) -> None:
  for field, known in (
    ('format_version', (FORMAT_VERSION,)),
    ('encoding', get_args(Encoding)),
  ):
    if content[field] not in known:
      raise ValueError(
        f'{folder} has {field} {content[field]!r}, this program reads '
        f'{" or ".join(map(str, known))}: prepare again with {_PREPARE}{folder}'
      )


def _parse(content: Mapping[str, Any]) -> Metadata:
  """The content, every field of its kind.

  Raises:
    TypeError, KeyError: if one is not, or is missing.
  """
  splits = {
    name: SplitInfo(
      _of(int, split['num_images']),
      tuple(_of(str, shard) for shard in _of(list, split['shards'])),
    )
    for name, split in _of(dict, content['splits']).items()
  }
  classes = [
    dataset.ClassInfo(**{k: _of(str, v) for k, v in c.items()})
    for c in _of(list, content['classes'])
  ]
  return Metadata(
    name=_of(str, content['name']),
    image_size=_of(int, content['image_size']),
    encoding=content['encoding'],
    splits=splits,
    classes=tuple(classes),
    skipped=tuple(Skipped(**s) for s in _of(list, content['skipped'])),
    checksums=_of(dict, content['checksums']),
  )


def _of(kind: type[T], value: Any) -> T:
  if not isinstance(value, kind):
    raise TypeError(f'{value!r} is no {kind.__name__}')
  return value


def _check(folder: pathlib.Path, *, metadata: Metadata) -> None:
  wrong = None
  shards = [name for s in metadata.splits.values() for name in s.shards]
  outside = [name for name in shards if pathlib.PurePath(name).name != name]
  missing = [name for name in shards if not (folder / name).is_file()]
  ids = collections.Counter(c.id for c in metadata.classes)
  if outside:
    wrong = f'names a shard {outside[0]!r}, which leads out of the folder'
  elif not ids:
    wrong = 'has no classes'
  elif max(ids.values()) > 1:
    wrong = f'has the class {ids.most_common(1)[0][0]!r} twice'
  elif missing:
    wrong = f'is incomplete: {missing[0]} and {len(missing) - 1} more missing'
  elif not {'train', 'val'} <= set(metadata.splits):
    wrong = f'lacks a split: train and val expected, {[*metadata.splits]} there'
  if wrong:
    raise ValueError(
      f'{folder} {wrong}; prepare the data again with {_PREPARE}{folder}'
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


def replace_statistics(
  folder: pathlib.Path, *, statistics: stats.Statistics
) -> None:
  """Writes new statistics into a prepared folder, and their checksums."""
  metadata = read_metadata(folder)
  write_statistics(folder, statistics=statistics)
  new = {name: checksum(folder / name) for name in STATISTICS_FILES}
  write_metadata(
    folder,
    metadata=dataclasses.replace(
      metadata, checksums={**metadata.checksums, **new}
    ),
  )


def checksum(path: pathlib.Path) -> str:
  """SHA-256 of a file."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def read_statistics(
  folder: pathlib.Path, *, image_size: int
) -> stats.Statistics:
  """Reads them back, float32."""
  try:
    # No pickles, which is numpy's default too: they could run anything.
    mean_image = np.load(folder / 'mean_image.npy', allow_pickle=False)
    with np.load(folder / 'rgb_pca.npz', allow_pickle=False) as arrays:
      pca = stats.RgbPca(
        arrays['components'].astype(np.float32),
        arrays['stddevs'].astype(np.float32),
      )
  except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
    raise ValueError(
      f'cannot read the statistics of {folder} ({error}): prepare the data '
      f'again with {_PREPARE}{folder}'
    ) from error
  if mean_image.shape != (image_size, image_size, 3):
    raise ValueError(
      f'{folder}/mean_image.npy has shape {mean_image.shape}, not that of '
      f'images of {image_size} pixels: prepare the data again'
    )
  if pca.components.shape != (3, 3) or pca.stddevs.shape != (3,):
    raise ValueError(
      f'{folder}/rgb_pca.npz has shapes {pca.components.shape} and '
      f'{pca.stddevs.shape}, not (3, 3) and (3,): prepare the data again'
    )
  if not all(np.isfinite(array).all() for array in (mean_image, *pca)):
    raise ValueError(
      f'the statistics of {folder} are not finite: prepare the data again'
    )
  return stats.Statistics(mean_image.astype(np.float32), pca)


class PreparedSplit:
  """Random access to one split's shards.

  Threads share the open files, as reading by index allows; a pickle holds none
  and opens them again on first use.
  """

  def __init__(
    self, folder: pathlib.Path, *, metadata: Metadata, split: str
  ) -> None:
    info = metadata.splits[split]
    self._split = split
    self._image_size = metadata.image_size
    self._classes = len(metadata.classes)
    self._encoding: Encoding = metadata.encoding
    self._paths = [folder / shard for shard in info.shards]
    self._reset()
    counts = [self._reader(k).num_records() for k in range(len(self._paths))]
    self._starts = np.cumsum([0, *counts])
    if len(self) != info.num_images:
      raise ValueError(
        f'{folder} holds {len(self)} {split} images, its metadata.json says '
        f'{info.num_images}: prepare the data again'
      )

  @property
  def image_size(self) -> int:
    return self._image_size

  def _reset(self) -> None:
    self._lock = threading.Lock()
    self._readers = [None] * len(self._paths)

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
    try:
      example = decode(
        record, image_size=self._image_size, encoding=self._encoding
      )
      if not 0 <= example.label < self._classes:
        raise ValueError(f'label {example.label} of {self._classes} classes')
    except (ValueError, OSError, struct.error) as error:
      reason = re.sub(r' at 0x[0-9a-f]+', '', str(error))
      return dataset.Unreadable(f'image {index} of {self._split}: {reason}')
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
      f'{path} is damaged ({error}): prepare the data again'
    ) from error
  raise ValueError(f'{path} is damaged: prepare the data again')
