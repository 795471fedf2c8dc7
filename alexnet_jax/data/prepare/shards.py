"""Writes one shard of a prepared data set (paper §2).

The bytes of a shard depend on its images and the options alone. A note beside
a finished shard keeps its checksum, its statistics and the images left out, so
that no later run writes it again.
"""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from array_record.python import array_record_module

from alexnet_jax.data import dataset, images, records, stats
from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.data.prepare import layouts

WRITING = 'writing-'  # begins the names of incomplete files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options that, with the source, determine the bytes written."""

  image_size: int = 256  # pixels
  encoding: metadata_lib.Encoding = 'raw'
  # Paper silent: how the 256 x 256 images are kept.
  # 2012: as JPEGs, of quality 85 to judge by a folder's name
  # (fix-big-imgnet.py:7).
  # Here: as pixels; or --encoding=jpeg, of quality 90.
  jpeg_quality: int = 90  # 1-95


class Shard(NamedTuple):
  """A file of records to write."""

  split: str
  file: str
  items: tuple[layouts.Labelled, ...]


class Result(NamedTuple):
  """What is known of a finished shard; kept in its note."""

  file: str
  num_images: int
  skipped: tuple[metadata_lib.Skipped, ...]
  checksum: str  # SHA-256 of the file
  sums: stats.Sums  # of its images; zero unless it is a training shard


def write(
  shard: Shard,
  *,
  folder: pathlib.Path,
  options: Options,
  progress: Callable[[int], object],
) -> Result:
  """Writes a shard and its note; calls progress(1) after each image.

  The sums are over the images as training will read them, so a JPEG is decoded.

  Raises:
    OSError: if the disk is full.
  """
  sums, skipped = stats.empty(options.image_size), []
  path = folder / shard.file
  unfinished = _unfinished(path)
  writer = array_record_module.ArrayRecordWriter(
    str(unfinished), records.WRITER_OPTIONS
  )
  for item in shard.items:
    try:
      record = _record(item, options=options)
    except dataset.Unreadable as error:
      skipped.append(metadata_lib.Skipped(item.member.name, str(error)))
    else:
      with _full_disk(folder):
        writer.write(record)
      if shard.split == 'train':
        sums = stats.add(sums, image=_image(record, options=options))
    progress(1)
  with _full_disk(folder):
    writer.close()
  os.replace(unfinished, path)
  count = len(shard.items) - len(skipped)
  result = Result(
    shard.file, count, tuple(skipped), metadata_lib.checksum(path), sums
  )
  _write_note(result, folder=folder)
  return result


@contextlib.contextmanager
def _full_disk(folder: pathlib.Path) -> Iterator[None]:
  """Turns the writer's RuntimeError for a full disk into an OSError."""
  try:
    yield
  except RuntimeError as error:
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
      if os.strerror(code) in str(error):
        raise OSError(code, os.strerror(code), str(folder)) from error
    raise


def _record(item: layouts.Labelled, *, options: Options) -> bytes:
  member, label = item
  image = images.square(member.read(), size=options.image_size)
  if label is None:
    assert isinstance(member, layouts.SelfLabelled)
    label = member.label()
  return records.encode(
    dataset.Example(image, label, member.name),
    encoding=options.encoding,
    jpeg_quality=options.jpeg_quality,
  )


def _image(record: bytes, *, options: Options) -> np.ndarray:
  return records.decode(
    record, image_size=options.image_size, encoding=options.encoding
  ).image


def _unfinished(path: pathlib.Path) -> pathlib.Path:
  """Where this process writes a file until it is complete.

  The name holds the process id: a worker that briefly outlives its killed
  parent must not write into the files of the next run.
  """
  return path.with_name(f'{WRITING}{os.getpid()}-{path.name}')


def _note(file: str, *, folder: pathlib.Path) -> pathlib.Path:
  return folder / f'{file}.done.npz'


def _write_note(result: Result, *, folder: pathlib.Path) -> None:
  content = result._asdict() | {'sums': None}
  note = _note(result.file, folder=folder)
  unfinished = _unfinished(note)
  np.savez(
    unfinished,
    content=json.dumps(content),
    count=result.sums.count,
    image=result.sums.image,
    outer=result.sums.outer,
  )
  os.replace(unfinished, note)


def read_note(shard: Shard, *, folder: pathlib.Path) -> Result | None:
  """Reads the result of a shard that an earlier run finished; else None."""
  note = _note(shard.file, folder=folder)
  if not note.is_file() or not (folder / shard.file).is_file():
    return None
  try:
    with open(note, 'rb') as file, np.load(file, allow_pickle=False) as arrays:
      content = json.loads(str(arrays['content']))
      sums = stats.Sums(int(arrays['count']), arrays['image'], arrays['outer'])
  except Exception:  # numpy, zipfile and zlib raise their own types
    return None  # a damaged note counts as none: the shard is written again
  skipped = tuple(metadata_lib.Skipped(*entry) for entry in content['skipped'])
  return Result(**content | {'skipped': skipped, 'sums': sums})


def remove_note(shard: Shard, *, folder: pathlib.Path) -> None:
  """Removes the note of a shard, if it has one."""
  _note(shard.file, folder=folder).unlink(missing_ok=True)
