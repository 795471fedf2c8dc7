"""Which image files a source holds, and their labels (paper §2).

A layout is a list of files with labels for each split, and the classes.
Sources: a folder of the official ILSVRC downloads (ilsvrc.py); class folders,
or an uncompressed tar of them; `tfds:NAME` (tfds_source.py).
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
  """An image file somewhere."""

  @property
  def name(self) -> str: ...

  def read(self) -> bytes: ...


@runtime_checkable
class SelfLabelled(Member, Protocol):
  """One whose label is read with it, so that listing need not read it."""

  def label(self) -> int: ...


class Labelled(NamedTuple):
  """An image file, and its class's place in the list of classes.

  A label of None is the member's own to tell, a `SelfLabelled`.
  """

  member: Member
  label: int | None


class Layout(NamedTuple):
  """All of a source that preparing it needs."""

  name: str
  classes: tuple[dataset.ClassInfo, ...]
  splits: Mapping[str, tuple[Labelled, ...]]
  rejected: tuple[tar.Rejected, ...] = ()  # members that are not read


# What folders may call a split.
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
  """Where in a tree of class folders a file lies."""

  root: tuple[str, ...]  # folders above that of the split
  folder: str  # of the split, as it is spelled
  kind: str  # the class


def halves(layout: Layout) -> Layout:
  """All images of a layout, half to train on and half to validate with.

  So §6 divides the 10,184 classes of Fall 2009, of which there is no official
  test set. A hash of the class and the file's name decides, so that an image
  is in the same half whatever else there is, and whoever lists it.
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
  """0 or 1. Labels that are read with the file play no part."""
  kind = '' if item.label is None else layout.classes[item.label].id
  name = f'{kind}/{pathlib.PurePath(item.member.name).name}'
  return hashlib.sha256(name.encode()).digest()[0] % 2


def folders(source: pathlib.Path, *, need_val: bool = True) -> Layout:
  """Class folders, in a folder or in a tar; classes by their folders' names.

  Args:
    source: of SPLIT/CLASS/IMAGE.
    need_val: whether there must be validation or test images.

  Raises:
    ValueError: if there are none, or more than one tree of them.
  """
  found = _files(source) if source.is_dir() else tar.members(source)
  rejected: list[tar.Rejected] = []
  placed: list[tuple[_Place, tar.Member]] = []
  for member in found:
    if isinstance(member, tar.Rejected):
      rejected.append(member)
      continue
    place = _place(member.name)
    if place is None:
      rejected.append(tar.Rejected(member.name, 'not in SPLIT/CLASS/'))
    else:
      placed.append((place, member))
  names = _split_folders(
    {place for place, _ in placed}, source=source, need_val=need_val
  )
  kinds = sorted({place.kind for place, _ in placed})
  labels = {kind: label for label, kind in enumerate(kinds)}
  splits = {
    split: sorted(
      (
        Labelled(member, labels[place.kind])
        for place, member in placed
        if place.folder == folder
      ),
      key=lambda item: (item.label, item.member.name),
    )
    for split, folder in names.items()
  }
  return Layout(
    source.stem,
    tuple(dataset.ClassInfo(kind, kind, kind) for kind in kinds),
    {split: tuple(items) for split, items in splits.items()},
    tuple(rejected),
  )


def _place(name: str) -> _Place | None:
  """Splits a name at the first folder that is called as a split is."""
  parts = pathlib.PurePath(name).parts
  for i, part in enumerate(parts[:-2]):
    if part.lower() in _SPLITS:
      return _Place(parts[:i], part, parts[i + 1])
  return None


def _split_folders(
  places: set[_Place], *, source: pathlib.Path, need_val: bool
) -> dict[str, str]:
  """The folder of each split; test stands in for val where there is none."""
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
      f'{source} has splits in several places, {shown}: give the folder right '
      'above them'
    )
  if 'val' not in chosen and 'test' in chosen:
    chosen['val'] = chosen.pop('test')
  needed = {'train', 'val'} if need_val else {'train'}
  if not needed <= set(chosen):
    expected = _EXPECTED.format(source=source)
    raise ValueError(f'{source} has no known layout: expected {expected}')
  order = ('train', 'val', 'test')
  return {split: chosen[split][-1] for split in order if split in chosen}


def _files(
  folder: pathlib.Path,
) -> Iterator[tar.Member | tar.Rejected]:
  """Every file below a folder, through links to folders as well."""
  seen = set()
  for place, inner, files in os.walk(folder, followlinks=True):
    inner.sort()
    real = os.path.realpath(place)
    if real in seen:  # a link to a folder above
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
