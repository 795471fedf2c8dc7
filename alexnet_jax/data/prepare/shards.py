"""Writes one shard of a prepared data set (paper §2).

The bytes of a shard depend on its images and the options alone. A note beside
a finished shard keeps its checksum, its statistics and the images left out, so
that no later run writes it again.
"""

import dataclasses
import errno
import json
import os
import pathlib
from typing import NamedTuple

import numpy as np
from array_record.python import array_record_module

from alexnet_jax.data import dataset, images, records, stats, tfds
from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.data.prepare import layouts
from alexnet_jax.data.prepare import workers as workers_lib

WRITING = 'writing-'  # begins the names of incomplete files
NOTE = '.done.npz'  # ends the names of notes


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
  # Not in repr(), which older versions took the digest of.
  resize: images.Resize = dataclasses.field(default='crop', repr=False)


class Shard(NamedTuple):
  """A file of records to write."""

  split: str
  file: str
  items: tuple[layouts.Labelled, ...]


class Result(NamedTuple):
  """Facts of a finished shard, kept in its note."""

  num_images: int
  skipped: tuple[metadata_lib.Skipped, ...]
  checksum: str  # SHA-256 of the file
  sums: stats.Sums  # of its images; zero unless it is a training shard


def write(
  shard: Shard,
  *,
  folder: pathlib.Path,
  options: Options,
  progress: workers_lib.Progress,
) -> Result:
  """Writes a shard and its note, unless an earlier run finished them.

  The sums are over the images as training will read them, so a JPEG is decoded.
  Raises OSError if the disk is full.
  """
  path = folder / shard.file
  if (result := _read_note(path)) is not None:
    progress(len(shard.items))
    return result
  unfinished = _unfinished(path)
  try:
    sums, skipped = _write_records(
      shard, path=unfinished, options=options, progress=progress
    )
  except RuntimeError as error:  # the writer's, for a full disk too
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
      if os.strerror(code) in str(error):
        raise OSError(code, os.strerror(code), str(folder)) from error
    raise
  os.replace(unfinished, path)
  count = len(shard.items) - len(skipped)
  checksum = metadata_lib.checksum(path)
  result = Result(count, tuple(skipped), checksum, sums)
  _write_note(result, path=path)
  return result


def _write_records(
  shard: Shard,
  *,
  path: pathlib.Path,
  options: Options,
  progress: workers_lib.Progress,
) -> tuple[stats.Sums, list[metadata_lib.Skipped]]:
  """Writes the records; returns the sums, and the images left out."""
  size, encoding = options.image_size, options.encoding
  sums, skipped = stats.empty(size), []
  make_writer = array_record_module.ArrayRecordWriter
  writer = make_writer(str(path), records.WRITER_OPTIONS)
  for member, label in shard.items:
    try:
      image = images.square(member.read(), size=size, resize=options.resize)
      if label is None:
        assert isinstance(member, tfds.Member)
        label = member.label()
    except dataset.Unreadable as error:
      skipped.append(metadata_lib.Skipped(member.name, str(error)))
    else:
      example = dataset.Example(image, label, member.name)
      quality = options.jpeg_quality
      record = records.encode(example, encoding=encoding, jpeg_quality=quality)
      writer.write(record)
      if shard.split == 'train':
        read = records.decode(record, image_size=size, encoding=encoding)
        sums = stats.add(sums, image=read.image)
    progress(1)
  writer.close()
  return sums, skipped


def _unfinished(path: pathlib.Path) -> pathlib.Path:
  """The path at which this process writes a file until it is complete.

  The name holds the process id: a worker that briefly outlives its killed
  parent must not write into the files of the next run.
  """
  return path.with_name(f'{WRITING}{os.getpid()}-{path.name}')


def _write_note(result: Result, *, path: pathlib.Path) -> None:
  note = path.with_name(path.name + NOTE)
  unfinished = _unfinished(note)
  *content, sums = result
  np.savez(unfinished, content=json.dumps(content), **sums._asdict())
  os.replace(unfinished, note)


def _read_note(path: pathlib.Path) -> Result | None:
  """Reads the result of a shard that an earlier run finished; else None."""
  note = path.with_name(path.name + NOTE)
  if not path.is_file():
    return None
  try:
    with open(note, 'rb') as file, np.load(file, allow_pickle=False) as arrays:
      count, skipped, checksum = json.loads(str(arrays['content']))
      sums = stats.Sums(int(arrays['count']), arrays['image'], arrays['outer'])
  except Exception:  # numpy, zipfile and zlib raise their own types
    return None  # no note, or a damaged one: the shard is written again
  reasons = tuple(metadata_lib.Skipped(*entry) for entry in skipped)
  return Result(count, reasons, checksum, sums)
