"""Layouts: the image files of a source with their labels and splits (§2).

ilsvrc.py finds the layout of the official downloads and tfds.py that of a TFDS
data set; this module finds that of class folders, or of a tar of them.
"""

import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from alexnet_jax.data import dataset
from alexnet_jax.data.prepare import tar


@runtime_checkable
class Member(Protocol):
  """An image file in a folder, a tar or a TFDS data set."""

  @property
  def name(self) -> str:
    """Its path in the source."""
    ...

  def read(self) -> bytes:
    """Reads the encoded image."""
    ...


@runtime_checkable
class SelfLabelled(Member, Protocol):
  """A member that stores its own label, so listing need not read it."""

  def label(self) -> int:
    """Reads the label."""
    ...


class Labelled(NamedTuple):
  """An image file and its label."""

  member: Member
  label: int | None  # index in the classes; None: member is SelfLabelled


class Layout(NamedTuple):
  """The classes of a source, and the labelled image files of each split."""

  name: str
  classes: tuple[dataset.ClassInfo, ...]
  splits: Mapping[str, tuple[Labelled, ...]]
  rejected: tuple[tar.Rejected, ...] = ()  # files that are left out


# Names of a split's folder.
_SPLITS = {
  'train': 'train',
  'training': 'train',
  'val': 'val',
  'valid': 'val',
  'validation': 'val',
  'test': 'test',
}
_EXPECTED = (
  'class folders, {source}/train/CLASS/IMAGE and {source}/val/CLASS/IMAGE (or '
  'test in place of val), or such folders in an uncompressed tar'
)


class _Place(NamedTuple):
  """The place of a file in a tree of class folders."""

  root: tuple[str, ...]  # folders above the split's folder
  folder: str  # the split's folder, such as 'Training'
  kind: str  # the class's folder


def in_halves(layout: Layout) -> Layout:
  """Divides all images of a layout into two halves, train and val.

  §6 does so with the 10,184 classes of Fall 2009, which has no official test
  set. A hash of class and file name decides, so an image stays in its half
  when others are added or removed.
  """
  pooled = [item for items in layout.splits.values() for item in items]
  return layout._replace(
    name=f'{layout.name}, halves',
    splits={
      split: tuple(
        item for item in pooled if _half(item, layout=layout) == number
      )
      for number, split in enumerate(('train', 'val'))
    },
  )


def _half(item: Labelled, *, layout: Layout) -> int:
  """0 for train, 1 for val; a label that is not listed has no influence."""
  kind = '' if item.label is None else layout.classes[item.label].id
  name = f'{kind}/{pathlib.PurePath(item.member.name).name}'
  return hashlib.sha256(name.encode()).digest()[0] % 2


def class_folders(source: pathlib.Path, *, need_val: bool = True) -> Layout:
  """Lists class folders in a folder or a tar; the classes are sorted by name.

  Args:
    source: a folder or an uncompressed tar of SPLIT/CLASS/IMAGE.
    need_val: whether there must be validation or test images.

  Raises:
    ValueError: if a split is missing or found twice.
  """
  found = _files(source) if source.is_dir() else tar.members(source)
  rejected: list[tar.Rejected] = []
  placed: list[tuple[_Place, tar.Member]] = []
  for member in found:
    if isinstance(member, tar.Rejected):
      rejected.append(member)
    elif place := _place(member.name):
      placed.append((place, member))
    else:
      rejected.append(tar.Rejected(member.name, 'not in SPLIT/CLASS/'))
  folders = _split_folders(
    {place for place, _ in placed}, source=source, need_val=need_val
  )
  placed.sort(key=lambda item: (item[0].kind, item[1].name))
  kinds = sorted({place.kind for place, _ in placed})
  labels = {kind: label for label, kind in enumerate(kinds)}
  splits = {
    split: tuple(
      Labelled(member, labels[place.kind])
      for place, member in placed
      if place.folder == folder
    )
    for split, folder in folders.items()
  }
  classes = tuple(dataset.ClassInfo(kind, kind, kind) for kind in kinds)
  return Layout(source.stem, classes, splits, tuple(rejected))


def _place(name: str) -> _Place | None:
  """Splits a path at the first folder that has a split's name."""
  parts = pathlib.PurePath(name).parts
  for i, part in enumerate(parts[:-2]):
    if part.lower() in _SPLITS:
      return _Place(parts[:i], part, parts[i + 1])
  return None


def _split_folders(
  places: set[_Place], *, source: pathlib.Path, need_val: bool
) -> dict[str, str]:
  """The folder of each split; test is used as val if there is no val."""
  trees = sorted({(*p.root, p.folder) for p in places})
  chosen: dict[str, tuple[str, ...]] = {}
  for tree in trees:
    split = _SPLITS[tree[-1].lower()]
    if split in chosen:
      raise ValueError(
        f'{source} has two folders for {split}, {"/".join(chosen[split])} and '
        f'{"/".join(tree)}: give the folder above one of them, or rename one'
      )
    chosen[split] = tree
  if len({tree[:-1] for tree in chosen.values()}) > 1:
    shown = ', '.join('/'.join(tree) for tree in trees)
    raise ValueError(
      f'{source} has splits in several places, {shown}: give the folder '
      'directly above them'
    )
  if 'val' not in chosen and 'test' in chosen:
    chosen['val'] = chosen.pop('test')
  needed = {'train', 'val'} if need_val else {'train'}
  if not needed <= set(chosen):
    expected = _EXPECTED.format(source=source)
    raise ValueError(f'{source} has no known layout: expected {expected}')
  order = ('train', 'val', 'test')
  return {split: chosen[split][-1] for split in order if split in chosen}


def _files(folder: pathlib.Path) -> Iterator[tar.Member | tar.Rejected]:
  """All files below a folder, also through links to folders."""
  seen = set()
  for place, inner, files in os.walk(folder, followlinks=True):
    inner.sort()
    real = os.path.realpath(place)
    if real in seen:  # a circle of links
      inner.clear()
      continue
    seen.add(real)
    for file in sorted(files):
      path = pathlib.Path(place, file)
      name = tar.printable(str(path.relative_to(folder)))
      if path.is_file():
        yield tar.Member(str(path), 0, path.stat().st_size, name)
      else:
        yield tar.Rejected(name, 'no regular file')
