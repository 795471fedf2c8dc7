"""Which image files a source holds, and their labels (paper §2).

A layout is a list of files with labels for each split, and the classes.
Sources: a folder of the official ILSVRC downloads (ilsvrc.py); class folders,
or an uncompressed tar of them; `tfds:NAME` (tfds_source.py).
"""

import pathlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from alexnet_jax.data import archives, dataset


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
  rejected: tuple[archives.Rejected, ...] = ()  # members that are not read


# What folders may call a split; the first that is there counts.
_SPLIT_NAMES = {
  'train': ('train', 'training'),
  'val': ('val', 'valid', 'validation'),
  'test': ('test',),
}
_EXPECTED = (
  'class folders, {source}/train/CLASS/IMAGE and {source}/val/CLASS/IMAGE (or '
  'test in place of val), or such folders in an uncompressed tar'
)


def folders(source: pathlib.Path) -> Layout:
  """Class folders, in a folder or in a tar; classes by their folders' names.

  Raises:
    ValueError: if there are none.
  """
  if source.is_dir():
    found = _files(source)
  else:
    found = list(archives.members(source))
  rejected = tuple(m for m in found if isinstance(m, archives.Rejected))
  parts: dict[tuple[str, str], list[archives.Member]] = {}
  for member in found:
    if isinstance(member, archives.Member):
      *_, split, kind, _ = ('', '', *pathlib.PurePath(member.name).parts)
      parts.setdefault((split.lower(), kind), []).append(member)
  names = {split for split, _ in parts}
  chosen = {
    split: next((name for name in choices if name in names), '')
    for split, choices in _SPLIT_NAMES.items()
  }
  chosen['val'] = chosen['val'] or chosen.pop('test')
  if not chosen['train'] or not chosen['val']:
    expected = _EXPECTED.format(source=source)
    raise ValueError(f'{source} has no known layout: expected {expected}')
  used = {split: name for split, name in chosen.items() if name}
  kinds = sorted({k for s, k in parts if s in used.values()})
  return Layout(
    source.stem,
    tuple(dataset.ClassInfo(kind, kind, kind) for kind in kinds),
    {
      split: _labelled(parts, split=name, kinds=kinds)
      for split, name in used.items()
    },
    rejected,
  )


def _labelled(
  parts: Mapping[tuple[str, str], Iterable[archives.Member]],
  *,
  split: str,
  kinds: list[str],
) -> tuple[Labelled, ...]:
  """A split's images, sorted by class and name."""
  return tuple(
    Labelled(member, label)
    for label, kind in enumerate(kinds)
    for member in sorted(parts.get((split, kind), ()), key=lambda m: m.name)
  )


def _files(folder: pathlib.Path) -> list[archives.Member | archives.Rejected]:
  """Every file below a folder."""
  found = []
  for path in sorted(folder.rglob('*')):
    name = str(path.relative_to(folder))
    if path.is_dir():
      continue
    if not path.is_file():
      found.append(archives.Rejected(name, 'no regular file'))
    else:
      size = path.stat().st_size
      found.append(archives.Member(str(path), 0, size, name))
  return found
