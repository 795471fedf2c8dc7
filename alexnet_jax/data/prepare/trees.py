"""Where in a source the images of each split lie."""

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from alexnet_jax.data.prepare import archives, splits

_HOLDERS = frozenset(  # folders that are no class where there is no other
  'images image imgs img jpegimages data photos pictures'.split()
)


class Placed(NamedTuple):
  """An image, and the folders below that of its split."""

  member: archives.Member
  folders: tuple[str, ...]


class Tree(NamedTuple):
  """The images below a folder."""

  base: str  # 'data/train/', '' is the source itself
  images: tuple[Placed, ...]

  @property
  def flat(self) -> bool:
    """Whether most images lie in no folder of their own class."""
    return 2 * sum(not p.folders for p in self.images) > len(self.images)

  @property
  def single(self) -> bool:
    """Whether all images lie in one folder, which may be no class."""
    return len({placed.folders[:1] for placed in self.images}) == 1


def by_place(images: Sequence[archives.Member]) -> dict[str, list[Placed]]:
  """Images by the folder of their split; '' are those outside all."""
  found: dict[str, list[Placed]] = collections.defaultdict(list)
  cut: dict[str, tuple[str, tuple[str, ...]]] = {}  # of the folders seen
  for member in images:
    folder = member.name.rpartition('/')[0]
    if folder not in cut:
      parts = tuple(p for p in folder.split('/') if p not in ('', '.'))
      depth = _depth(parts)
      cut[folder] = '/'.join(parts[:depth]), parts[depth:]
    place, below = cut[folder]
    found[place].append(Placed(member, below))
  return dict(found)


def _depth(folders: Sequence[str]) -> int:
  """How many folders lead to that of the split, itself too; 0 without one."""
  for split_of in (splits.exact, splits.named):
    for depth, name in enumerate(folders, 1):
      if split_of(name):
        return depth
  return 0


def split_trees(
  places: Mapping[str, list[Placed]], *, source: pathlib.Path
) -> dict[str, Tree]:
  """The images of each split; ValueError if a split is found twice.

  Folders such as train-1 and train-2 are one split.
  """
  chosen: dict[str, list[str]] = collections.defaultdict(list)
  for place in sorted(filter(None, places)):
    split = splits.named(os.path.basename(place))
    assert split is not None
    chosen[split].append(place)
  for split, found in chosen.items():
    if len(found) > 1 and not are_parts(found):
      raise ValueError(
        f'{source} has two folders for {split}, {found[0]} and {found[1]}: '
        f'give the folder above one of them, or move them to one {split}/CLASS/'
      )
  shown = [place for found in chosen.values() for place in found]
  if len({os.path.dirname(place) for place in shown}) > 1:
    raise ValueError(
      f'{source} has splits in several places, {", ".join(shown)}: give the '
      'folder directly above them'
    )
  return {
    split: descended(
      f'{chosen[split][0]}/', [p for f in chosen[split] for p in places[f]]
    )
    for split in splits.ORDER
    if split in chosen
  }


def are_parts(places: Sequence[str]) -> bool:
  """Whether folders are parts of one split, told by numbers at their ends."""
  stems = {place.rstrip('0123456789').rstrip('-_. ') for place in places}
  return len(stems) == 1 and len({os.path.dirname(p) for p in places}) == 1


def descended(
  base: str, images: Sequence[Placed], *, pool: bool = False
) -> Tree:
  """Goes down while all images lie in one folder that is no class.

  Such are images/ in Tiny ImageNet's val/, the second train/ of train/train/,
  and in a `pool` without splits any folder that holds folders. A few images
  that lie beside those folders change nothing.
  """
  while len(tops := {p.folders[0] for p in images if p.folders}) == 1:
    (first,) = tops
    inside = sum(bool(p.folders) for p in images)
    deeper = sum(len(p.folders) > 1 for p in images)
    holder = first.lower() in _HOLDERS or splits.named(first)
    if 2 * (inside if holder else deeper * pool) <= len(images):
      break
    base = f'{base}{first}/'
    images = [Placed(p.member, p.folders[1:]) for p in images]
  return Tree(base, tuple(images))
