"""Layouts of containers, whose images come with labels, numbers or names."""

import collections
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from alexnet_jax.data import dataset, metadata
from alexnet_jax.data.prepare import layouts, tar, trees
from alexnet_jax.data.prepare import splits as splits_lib

_MOST = 100_000  # classes
Label = int | str | None  # -1 and '' as None: no label


class Named(NamedTuple):
  """An image and its label as the source has it."""

  member: Any
  label: Any  # a Label if it is sound


def split_of(
  files: Sequence[str], *, source: pathlib.Path
) -> tuple[dict[str, str], list[str]]:
  """The split of each file by its name, and lines about those left out.

  Where no name tells a split, all are training data; else a file whose name
  tells none is left out. Raises ValueError if two folders hold files of the
  same name and split, as two versions of a data set do.
  """
  named = {file: splits_lib.in_path(file) for file in files}
  if not any(named.values()):
    return dict.fromkeys(files, 'train'), []
  placed = {file: split for file, split in named.items() if split}
  alike: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
  for file, split in placed.items():
    alike[split, os.path.basename(file)].append(os.path.dirname(file))
  for (split, name), folders in alike.items():
    if len(folders) > 1 and not trees.are_parts(folders):
      raise ValueError(
        f'{source} has {name} of {split} in two folders, {folders[0]} and '
        f'{folders[1]}: give the folder of one data set'
      )
  return placed, [
    f'{tar.printable(file)} is not used: its name tells no split, as train or '
    'val would'
    for file, split in named.items()
    if not split
  ]


def layout(
  source: pathlib.Path,
  *,
  splits: Mapping[str, Iterable[Named]],
  classes: Sequence[str] | None,
  skipped: list[metadata.Skipped],
  labels: str,
) -> layouts.Layout:
  """Makes a layout; `classes` names the numbers, if the source does.

  Without, numbers are their own names, and names are sorted. A split without
  any label is left out, and an image without one is skipped; test is used as
  val if there is no val. `labels` says where they come from. Raises ValueError
  if labels do not fit the classes, or training images have none.
  """
  whole, notes = _with_labels(splits, source=source, skipped=skipped)
  if classes is None:
    classes = _classes(whole, source=source)
  known = {item.label for items in whole.values() for item in items}
  numbers = _numbers(known, classes=classes, source=source)
  shown = map(tar.printable, classes)
  return layouts.Layout(
    source.name.split('.')[0],
    tuple(dataset.ClassInfo(name, name, name) for name in shown),
    {
      split: tuple(layouts.Labelled(m, numbers[k]) for m, k in whole[split])
      for split in ('train', 'val', 'test')
      if whole.get(split)
    },
    tuple(skipped),
    labels=labels,
    notes=tuple(notes),
  )


def _with_labels(
  splits: Mapping[str, Iterable[Named]],
  *,
  source: pathlib.Path,
  skipped: list[metadata.Skipped],
) -> tuple[dict[str, list[Named]], list[str]]:
  """The labelled images of each split, and a line for each split without any.

  Raises ValueError if training images have none.
  """
  whole: dict[str, list[Named]] = {}
  notes = []
  for split, found in splits.items():
    items = list(found)
    whole[split] = [i for i in items if _label(i, source=source) is not None]
    if whole[split]:
      lacking = [i for i in items if _label(i, source=source) is None]
      skipped += [
        metadata.Skipped(m.name, 'it has no label') for m, _ in lacking
      ]
    else:
      notes.append(f'the {len(items):,} {split} images have no labels')
  if whole.get('train') == [] or not any(whole.values()):
    raise ValueError(
      f'{source} has no training images with labels: give the file or folder '
      'that has them too'
    )
  if not whole.get('val'):
    whole['val'] = whole.pop('test', [])
  return whole, notes


def _label(item: Named, *, source: pathlib.Path) -> Label:
  """The label of an image; ValueError if it is no number and no name."""
  label = item.label
  if label is not None and type(label) not in (int, str):
    raise ValueError(
      f'{source} has the label {label!r:.40} of {item.member.name}: one number '
      'or name an image is needed'
    )
  return None if label in (-1, '') else label


def _classes(
  whole: Mapping[str, Sequence[Named]], *, source: pathlib.Path
) -> list[str]:
  """The classes that labels without a list of names tell.

  Raises ValueError if another split has one that training images lack.
  """
  labels = {split: {i.label for i in items} for split, items in whole.items()}
  known = labels.get('train') or labels['val']
  for split, there in labels.items():
    if odd := sorted(map(repr, there - known)):
      raise ValueError(
        f'{source} has classes in {split} that train lacks, {len(odd)}: '
        f'{", ".join(odd[:5])}; rename or remove them, or name all classes in '
        'the data'
      )
  if all(isinstance(label, str) for label in known):
    return sorted(known)
  most = max(label for label in known if isinstance(label, int))
  return [str(number) for number in range(min(most, _MOST) + 1)]


def _numbers(
  known: set[Any], *, classes: Sequence[str], source: pathlib.Path
) -> dict[Any, int]:
  """The position of each label in the classes."""
  order: dict[Any, int] = {name: k for k, name in enumerate(classes)}
  if len(order) < len(classes):
    raise ValueError(f'{source} gives two classes the same name: rename one')
  order |= {number: number for number in range(len(classes))}
  if bad := sorted(repr(label) for label in known if label not in order):
    raise ValueError(
      f'{source} has the label {bad[0]:.40}, which is not of its '
      f'{len(classes):,} classes (at most {_MOST:,}, or all names): download '
      'it again, or correct the label'
    )
  return order
