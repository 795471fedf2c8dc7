"""CIFAR-10 and CIFAR-100 as their own archives: python or binary version.

The python version consists of pickles. No pickle is run here: `pickles` reads
numbers, texts and arrays of bytes, and refuses what asks for anything else.
"""

import io
import operator
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from alexnet_jax.data import dataset
from alexnet_jax.data.prepare import (
  archives,
  containers,
  layouts,
  pickles,
  tar,
)

_SIDE, _BYTES = 32, 3072  # pixels; bytes of an image: all red, green, blue


class _Kind(NamedTuple):
  """A version of one of the data sets."""

  name: str
  train: tuple[str, ...]  # files
  test: str
  classes: str  # file that names them
  key: str  # of the list of names in it, '' for a text
  labels: str | int  # key of the labels; in binary files their bytes an image


_TEN = [f'data_batch_{k}' for k in range(1, 6)]
_KINDS = {  # by the folder in the archive
  'cifar-10-batches-py': _Kind(
    'CIFAR-10', tuple(_TEN), 'test_batch', 'batches.meta', 'label_names',
    'labels',
  ),
  'cifar-100-python': _Kind(
    'CIFAR-100', ('train',), 'test', 'meta', 'fine_label_names', 'fine_labels'
  ),
  'cifar-10-batches-bin': _Kind(
    'CIFAR-10', tuple(f'{name}.bin' for name in _TEN), 'test_batch.bin',
    'batches.meta.txt', '', 1,
  ),
  'cifar-100-binary': _Kind(
    'CIFAR-100', ('train.bin',), 'test.bin', 'fine_label_names.txt', '', 2
  ),
}  # fmt: skip
_ARCHIVES = (
  'cifar-10-python.tar.gz', 'cifar-100-python.tar.gz',
  'cifar-10-binary.tar.gz', 'cifar-100-binary.tar.gz',
)  # fmt: skip


class Member(NamedTuple):
  """An image of 32 x 32 pixels, stored as 3,072 bytes."""

  path: str
  offset: int
  name: str

  def read(self) -> bytes:
    """Reads it as a PNG."""
    with open(self.path, 'rb') as file:
      file.seek(self.offset)
      data = file.read(_BYTES)
    if len(data) < _BYTES:
      raise dataset.Unreadable('the file is cut short')
    planes = np.frombuffer(data, np.uint8).reshape(3, _SIDE, _SIDE)
    stream = io.BytesIO()
    Image.fromarray(planes.transpose(1, 2, 0)).save(stream, 'PNG')
    return stream.getvalue()


def find_layout(source: pathlib.Path) -> layouts.Layout | None:
  """Lists the images of an archive of CIFAR, or of a folder with one of them.

  Training images are those of the batches, validation images the test batch.
  None if it is something else; ValueError if a file is missing or damaged.
  """
  found = _find(source)
  if found is None:
    return None
  folder, files = found
  kind = _KINDS[folder]
  for name in (*kind.train, kind.test, kind.classes):
    if name not in files:
      raise ValueError(f'{source} has no {folder}/{name}: download it again')
  read = _binary if isinstance(kind.labels, int) else _python
  splits = {'train': kind.train, 'val': (kind.test,)}
  listed = {
    split: [item for f in batch for item in read(files[f], kind=kind)]
    for split, batch in splits.items()
  }
  layout = containers.layout(
    source,
    splits=listed,
    classes=_classes(files[kind.classes], key=kind.key),
    skipped=[],
    labels=f'{kind.labels} of each batch'
    if kind.key
    else 'bytes of each image',
  )
  note = 'its images are 32 x 32 pixels: give --image_size=32 to keep them so'
  return layout._replace(name=kind.name, notes=(*layout.notes, note))


def _find(source: pathlib.Path) -> tuple[str, dict[str, tar.Member]] | None:
  """The name of CIFAR's folder, and its files by their names."""
  if source.is_dir():
    for folder in _KINDS:
      place = source if source.name == folder else source / folder
      if place.is_dir():
        paths = [path for path in place.iterdir() if path.is_file()]
        return folder, {
          p.name: tar.Member(str(p), 0, p.stat().st_size, f'{folder}/{p.name}')
          for p in paths
        }
    there = (source / name for name in _ARCHIVES)
    return next((_find(path) for path in there if path.is_file()), None)
  first = archives.first_names(source, count=4)
  folder = next((f for f in _KINDS for n in first if f in n.split('/')), None)
  if folder is None:
    return None
  by_name = operator.attrgetter('name')
  files = sorted(archives.members(source, skipped=[]), key=by_name)
  return folder, {
    member.name.rpartition('/')[2]: member
    for member in files
    if isinstance(member, tar.Member)
  }


def _classes(member: tar.Member, *, key: str) -> Sequence[str]:
  if not key:
    return member.read().decode().split()
  found = pickles.read(member).get(key)
  if not isinstance(found, list) or not all(isinstance(c, str) for c in found):
    raise _damaged(member, reason=f'no {key}')
  return found


def _python(member: tar.Member, *, kind: _Kind) -> Iterator[containers.Named]:
  """The images of a pickled batch and their labels."""
  content = pickles.read(member)
  data, labels = content.get('data'), content.get(kind.labels)
  titles = content.get('filenames')
  if not isinstance(data, pickles.Array) or not isinstance(labels, list):
    raise _damaged(member, reason=f'no data and {kind.labels}')
  if data.shape != (len(labels), _BYTES):
    raise _damaged(member, reason=f'{data.shape} for {len(labels)} labels')
  whole = isinstance(titles, list) and len(set(map(str, titles))) == len(labels)
  for row, label in enumerate(labels):
    title = tar.printable(str(titles[row])) if whole else f'{row:05d}.png'
    offset = data.offset + row * _BYTES
    image = Member(member.path, offset, f'{member.name}/{title}')
    yield containers.Named(image, label)


def _binary(member: tar.Member, *, kind: _Kind) -> Iterator[containers.Named]:
  """The images of a binary batch: labels (of CIFAR-100 two) and pixels each."""
  assert isinstance(kind.labels, int)
  each = kind.labels + _BYTES
  if member.size % each:
    raise _damaged(member, reason=f'{member.size:,} bytes')
  rows = np.frombuffer(member.read(), np.uint8).reshape(-1, each)
  for row, label in enumerate(rows[:, kind.labels - 1].tolist()):
    offset = member.offset + row * each + kind.labels
    name = f'{member.name}/{row:05d}.png'
    yield containers.Named(Member(member.path, offset, name), label)


def _damaged(member: tar.Member, *, reason: str) -> ValueError:
  return ValueError(
    f'{member.name} of {member.path} is no batch of CIFAR ({reason}): download '
    'it again'
  )
