"""Layouts: the image files of a source with their labels and splits (§2).

sources.py finds the layout of a source; this module says what one is, and
divides images anew.
"""

import collections
import hashlib
import itertools
import pathlib
from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from alexnet_jax.data import dataset, metadata


@runtime_checkable
class Member(Protocol):
  """An encoded image of a source; goes to workers, and repr() tells it."""

  @property
  def name(self) -> str:
    """Its path within the source, printable."""
    ...

  def read(self) -> bytes:
    """Reads it; dataset.Unreadable if it is damaged."""
    ...


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
  form: str = ''  # what the source is, such as "Kaggle's ILSVRC"
  labels: str = ''  # where the labels come from, such as 'val.txt'
  notes: tuple[str, ...] = ()  # what a user should know, a line each


def in_halves(layout: Layout) -> Layout:
  """Divides all images of a layout into two halves, train and val.

  §6 does so with the 10,184 classes of Fall 2009, which has no official test
  set. A hash of class and file name decides, so an image stays in its half
  when others are added or removed.
  """
  halves: dict[str, list[Labelled]] = {'train': [], 'val': []}
  for item in itertools.chain(*layout.splits.values()):
    odd = _hash(item, layout=layout) >> 56 & 1  # of the first byte
    halves['val' if odd else 'train'].append(item)
  return layout._replace(
    name=f'{layout.name}, halves',
    splits={split: tuple(items) for split, items in halves.items()},
  )


def hold_out(layout: Layout, *, share: float) -> Layout:
  """Moves a share of the training images of each class to val.

  A hash of class and file name decides, so an image stays in its split when
  others are added or removed. A class keeps at least one image in each; if it
  has one alone, in train.
  """
  by_class: dict[int | None, list[Labelled]] = {}
  for item in layout.splits['train']:
    by_class.setdefault(item.label, []).append(item)
  held: set[Labelled] = set()
  for items in by_class.values():
    hashes = {item: _hash(item, layout=layout) for item in items}
    items.sort(key=hashes.__getitem__)
    count = sum(hashes[item] < share * 2**64 for item in items)
    held.update(items[: min(max(count, 1), len(items) - 1)])
  train = layout.splits['train']
  divided = {
    'train': tuple(item for item in train if item not in held),
    'val': tuple(item for item in train if item in held),
  }
  note = (
    f'{len(held):,} of {len(train):,} images are split off for validation, by '
    f'a hash of their names (--val_share={share:g})'
  )
  return layout._replace(
    splits={
      **divided,
      **{s: v for s, v in layout.splits.items() if s != 'train'},
    },
    notes=(note, *layout.notes),
  )


def _hash(item: Labelled, *, layout: Layout) -> int:
  """64 bits that the class and the file name of an image determine."""
  # A label that is not listed has no influence.
  kind = '' if item.label is None else layout.classes[item.label].id
  name = f'{kind}/{pathlib.PurePath(item.member.name).name}'
  return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], 'big')


def without(layout: Layout, files: Collection[str]) -> Layout:
  """A layout without the images of these names."""
  splits = {
    split: tuple(item for item in items if item.member.name not in files)
    for split, items in layout.splits.items()
  }
  return layout._replace(splits=splits, notes=())


def told(layout: Layout) -> Layout:
  """Adds notes about classes that have one image, or none in a split."""
  notes = []
  for split, what in (('train', 'training'), ('val', 'validation')):
    items = layout.splits.get(split, ())
    if not items or any(item.label is None for item in items):
      continue
    counts = collections.Counter(item.label for item in items)
    ids = [info.id for info in layout.classes]
    none = [id_ for label, id_ in enumerate(ids) if not counts[label]]
    one = [id_ for label, id_ in enumerate(ids) if counts[label] == 1]
    if none:
      notes.append(f'no {what} images of {_shown(none, of=len(ids))}')
    if one and split == 'train':
      notes.append(f'one training image of {_shown(one, of=len(ids))}')
  return layout._replace(notes=(*layout.notes, *notes))


def _shown(names: list[str], *, of: int) -> str:
  """How many of the classes these are, and the first of them."""
  more = ', ...' if len(names) > 5 else ''
  return f'{len(names):,} of {of:,} classes: {", ".join(names[:5])}{more}'
