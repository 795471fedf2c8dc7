"""Layouts: the image files of a source with their labels and splits (§2).

ilsvrc.py finds the layout of the official downloads and sources.py that of a
TFDS data set; this module finds that of class folders, or of a tar of them.
"""

import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from alexnet_jax.data import dataset, metadata, tfds
from alexnet_jax.data.prepare import tar

Member = tar.Member | tfds.Member  # an encoded image


class Labelled(NamedTuple):
  """An image file and its label."""

  member: Member
  label: int | None  # index in the classes; None: that of a tfds.Member


class Layout(NamedTuple):
  """The classes of a source, and the labelled image files of each split."""

  name: str
  classes: tuple[dataset.ClassInfo, ...]
  splits: Mapping[str, tuple[Labelled, ...]]
  skipped: tuple[metadata.Skipped, ...] = ()
  labels: str = ''  # where the labels come from, such as 'val.txt'
  notes: tuple[str, ...] = ()  # what a user should know, a line each


_SPLITS = {  # by the names of their folders
  'train': 'train',
  'training': 'train',
  'val': 'val',
  'valid': 'val',
  'validation': 'val',
  'test': 'test',
}


def in_halves(layout: Layout) -> Layout:
  """Divides all images of a layout into two halves, train and val.

  §6 does so with the 10,184 classes of Fall 2009, which has no official test
  set. A hash of class and file name decides, so an image stays in its half
  when others are added or removed.
  """
  halves: dict[str, list[Labelled]] = {'train': [], 'val': []}
  for item in itertools.chain(*layout.splits.values()):
    # A label that is not listed has no influence.
    kind = '' if item.label is None else layout.classes[item.label].id
    name = f'{kind}/{pathlib.PurePath(item.member.name).name}'
    odd = hashlib.sha256(name.encode()).digest()[0] % 2
    halves['val' if odd else 'train'].append(item)
  return layout._replace(
    name=f'{layout.name}, halves',
    splits={split: tuple(items) for split, items in halves.items()},
  )


def class_folders(source: pathlib.Path, *, need_val: bool = True) -> Layout:
  """Lists the images SPLIT/CLASS/IMAGE of a folder or an uncompressed tar.

  The classes are sorted by name; `need_val` asks for validation or test images.
  Raises ValueError if a split is missing or found twice.
  """
  skipped: list[metadata.Skipped] = []
  find = _files if source.is_dir() else tar.members
  placed = []  # (class, image, folders down to that of the split)
  for member in find(source, skipped=skipped):
    parts = pathlib.PurePath(member.name).parts
    depths = (i for i in range(len(parts) - 2) if parts[i].lower() in _SPLITS)
    if (depth := next(depths, None)) is None:
      skipped.append(metadata.Skipped(member.name, 'not in SPLIT/CLASS/'))
    else:
      placed.append((parts[depth + 1], member, parts[: depth + 1]))
  found = sorted({tree for *_, tree in placed})
  trees = _split_trees(found, source=source, need_val=need_val)
  placed.sort(key=lambda item: (item[0], item[1].name))
  kinds = sorted({kind for kind, *_ in placed})
  labels = {kind: label for label, kind in enumerate(kinds)}
  splits = {
    split: tuple(
      Labelled(member, labels[kind])
      for kind, member, place in placed
      if place == tree
    )
    for split, tree in trees.items()
  }
  classes = tuple(dataset.ClassInfo(kind, kind, kind) for kind in kinds)
  return Layout(source.stem, classes, splits, tuple(skipped))


def _split_trees(
  trees: list[tuple[str, ...]], *, source: pathlib.Path, need_val: bool
) -> dict[str, tuple[str, ...]]:
  """Chooses the tree of each split; test is used as val if there is no val."""
  chosen: dict[str, tuple[str, ...]] = {}
  for tree in trees:
    split = _SPLITS[tree[-1].lower()]
    if split in chosen:
      raise ValueError(
        f'{source} has two folders for {split}, {"/".join(chosen[split])} and '
        f'{"/".join(tree)}: give the folder above one of them, or rename one'
      )
    chosen[split] = tree
  if len({tree[:-1] for tree in trees}) > 1:
    shown = ', '.join('/'.join(tree) for tree in trees)
    raise ValueError(
      f'{source} has splits in several places, {shown}: give the folder '
      'directly above them'
    )
  if 'val' not in chosen and 'test' in chosen:
    chosen['val'] = chosen.pop('test')
  if 'train' not in chosen or (need_val and 'val' not in chosen):
    raise ValueError(
      f'{source} has no known layout: expected class folders, '
      f'{source}/train/CLASS/IMAGE and {source}/val/CLASS/IMAGE (or test in '
      'place of val), or such folders in an uncompressed tar'
    )
  order = ('train', 'val', 'test')
  return {split: chosen[split] for split in order if split in chosen}


def _files(
  folder: pathlib.Path, *, skipped: list[metadata.Skipped]
) -> Iterator[tar.Member]:
  """Lists all files below a folder, also through links to folders."""
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
        skipped.append(metadata.Skipped(name, 'no regular file'))
