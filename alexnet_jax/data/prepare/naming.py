"""Which class each image of a source is said to have, by folder or by file."""

import collections
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from alexnet_jax.data import metadata
from alexnet_jax.data.prepare import (
  archives,
  classes,
  files,
  ilsvrc,
  labels,
  splits,
  trees,
)

FOLDERS = 'class folders'
_THUMBNAILS = re.compile(r'[._@]*(thumbs?|thumbnails?)', re.I).fullmatch
KAGGLE = 'LOC_val_solution.csv'
_KAGGLE_FILES = (KAGGLE, 'LOC_synset_mapping.txt')


class Request(NamedTuple):
  """What a user asks for besides the source."""

  tables: Mapping[str, pathlib.Path]  # of --labels, by split; '' is any
  pooled: bool = False  # the images of all splits are divided anew
  val_share: float | None = None
  evaluated: bool = False  # may lack train: classes are another data set's


class Named(NamedTuple):
  """The images of a split with the names that their classes have there."""

  items: tuple[tuple[str, archives.Member], ...]
  source: str  # of the names: 'class folders', or a file of labels


class Search:
  """What was found in a source so far."""

  def __init__(self, source: pathlib.Path, *, request: Request):
    self.source, self.request = source, request
    self.listing = files.listing(source)
    self.above = _above(source)
    self.trees: dict[str, trees.Tree] = {}  # by split
    self.named: dict[str, Named] = {}  # by split
    self.bare: dict[str, trees.Tree] = {}  # splits without labels
    self.notes: list[str] = []
    self.devkit: dict[str, str] = {}  # words of classes by id, if it was used
    self.used: set[str] = set()  # splits whose file of --labels was read
    self._tables: set[tuple[str, int]] = set()  # where files of labels lie

  def skip(self, members: Sequence[archives.Member], *, reason: str) -> None:
    """Lists images that are left out."""
    found = [metadata.Skipped(member.name, reason) for member in members]
    self.listing.skipped += found

  def table(self, *wanted: str, base: str) -> archives.Member | None:
    """The file of labels of a split ('' for any) that is nearest to `base`.

    Raises ValueError if there are several.
    """
    for split in wanted:
      if path := self.request.tables.get(split):
        self.used.add(split)
        return labels.member(path)
    place = base.rstrip('/')
    while True:
      for split in wanted:
        near = [m for m in self._texts(place) if _stem_split(m) == split]
        if len(near) > 1:
          raise ValueError(
            f'{self.source} has the files of labels {near[0].name} and '
            f'{near[1].name}: give one of them as --labels={split}:FILE'
          )
        if near:
          return near[0]
      if not place:
        return self.above.get(KAGGLE) if 'val' in wanted else None
      place = os.path.dirname(place)

  def read(self, member: archives.Member, *, split: str = '') -> labels.Table:
    """Reads a file of labels, which thereby is no list of classes."""
    self._tables.add(_place(member))
    return labels.read(member, split=split)

  def of_devkit(self, *, base: str) -> labels.Table | None:
    """Labels of ILSVRC's devkit, where its tars were unpacked beside it."""
    if not self.source.is_dir():
      return None
    for place in _holders(base):
      if found := ilsvrc.unpacked(self.source / place):
        table, self.devkit = found
        return table
    return None

  def known(self) -> classes.Known:
    """What lists of classes say that lie above the splits, or with them."""
    found_in = (*self.trees.values(), *self.bare.values())
    places = {place for tree in found_in for place in _holders(tree.base)}
    found = dict(self.above)
    for place in sorted({'', *places}):
      found |= {
        os.path.basename(m.name): m
        for m in self._texts(place)
        if _place(m) not in self._tables
      }
    known = classes.read(found)
    if self.devkit:
      return known._replace(complete=tuple(self.devkit), words=self.devkit)
    return known if known.numbered else self._numbered(known)

  def _numbered(self, known: classes.Known) -> classes.Known:
    """Learns the numbers of class folders from Caffe's train.txt."""
    train = self.named.get('train')
    numbers = any(
      all(classes.is_number(name) for name, _ in each.items)
      for each in self.named.values()
      if each.source != FOLDERS
    )
    if not (numbers and train and train.source == FOLDERS and self.trees):
      return known
    member = self.table('train', base=self.trees['train'].base)
    if member is None:
      return known
    folders = {image.name: name for name, image in train.items}
    images = [image for _, image in train.items]
    found = labels.match(labels.read(member), images={'train': images})
    pairs = {(row.label, folders[name]) for name, row in found.items()}
    ids = {int(n): folder for n, folder in pairs if classes.is_number(n)}
    if len(pairs) != len(ids) or len(set(ids.values())) < len(pairs):
      return known  # not one number for each folder
    return known._replace(numbered=ids, files=(*known.files, member.name))

  def _texts(self, place: str) -> list[archives.Member]:
    """Files of text right in a folder."""
    texts = self.listing.texts.items()
    return [each for name, each in texts if os.path.dirname(name) == place]


def _place(member: archives.Member) -> tuple[str, int]:
  """Where on the disk a file begins."""
  return os.path.realpath(member.path), member.offset


def _holders(base: str) -> list[str]:
  """The folders above that of a split, from the nearest to the source, ''."""
  place, found = base.rstrip('/'), []
  while place:
    place = os.path.dirname(place)
    found.append(place)
  return found


def _stem_split(member: archives.Member) -> str | None:
  return splits.of_file(pathlib.PurePath(member.name).stem)


def _above(source: pathlib.Path) -> dict[str, archives.Member]:
  """Kaggle's files of labels above ILSVRC/, where the source is in that."""
  for folder in source.parents:
    if (folder / 'ILSVRC') in (source, *source.parents):
      return {
        name: labels.member(folder / name)
        for name in _KAGGLE_FILES
        if (folder / name).is_file()
      }
  return {}


def name_split(search: Search, *, split: str, tree: trees.Tree) -> None:
  """Names the classes of a split by its folders, or by a file of labels."""
  member = None
  if tree.flat or tree.single or split in search.request.tables:
    member = search.table(split, '', base=tree.base)
  if not tree.flat and member is None:
    _name_by_folders(search, split=split, tree=tree, form='SPLIT/CLASS/')
    return
  members = [placed.member for placed in tree.images]
  table = search.read(member) if member else None
  if table is None and split == 'val':
    table = search.of_devkit(base=tree.base)
  found = labels.match(table, images={split: members}) if table else {}
  if table is None or (not found and split == 'test'):  # labels.csv of train
    search.bare[split] = tree
    return
  _check_matched(search, table=table, found=found, members=members)
  named = [(found[m.name].label, m) for m in members if m.name in found]
  search.named[split] = _in_order(named, source=table.name)


def name_pool(search: Search, *, tree: trees.Tree) -> None:
  """Names the classes of images that lie in no folder of a split.

  train.txt and val.txt, or a column of one file, may divide them.
  """
  tables = {
    split: search.read(member, split=split)
    for split in splits.ORDER
    if (member := search.table(split, base=tree.base))
  }
  if len(tables) < 2 and not search.request.tables.keys() & tables.keys():
    tables = {}
  member = search.table('', base=tree.base)
  unsure = tree.flat or tree.single or '' in search.request.tables
  if not tables and member and unsure:
    tables = {'': search.read(member)}
  members = [placed.member for placed in tree.images]
  if tables:
    _name_by_tables(search, members=members, tables=tables)
  elif tree.flat:
    search.bare['train'] = tree
  else:
    _name_by_folders(search, split='train', tree=tree, form='CLASS/')


def _name_by_tables(
  search: Search,
  *,
  members: Sequence[archives.Member],
  tables: Mapping[str, labels.Table],
) -> None:
  """Names and divides images by files of labels."""
  named: dict[str, list[tuple[str, archives.Member]]] = {}
  every: dict[str, labels.Row] = {}
  for table in tables.values():
    found = labels.match(table, images={'': members})
    if both := sorted(found.keys() & every.keys()):
      search.notes.append(
        f'{len(both):,} images are in two splits, such as {both[0]}'
      )
    every |= found
    for member in members:
      if row := found.get(member.name):
        split = named.setdefault(row.split or 'train', [])
        split.append((row.label, member))
  whole = labels.Table(
    ', '.join(table.name for table in tables.values()),
    tuple(row for table in tables.values() for row in table.rows),
  )
  _check_matched(search, table=whole, found=every, members=members)
  for split in (s for s in splits.ORDER if s in named):
    search.named[split] = _in_order(named[split], source=whole.name)


def _check_matched(
  search: Search,
  *,
  table: labels.Table,
  found: Mapping[str, labels.Row],
  members: Sequence[archives.Member],
) -> None:
  """Tells what images and lines have no counterpart; ValueError if none has."""
  if not table.rows:
    raise ValueError(f'{table.name} holds no labels: give one that does')
  if not found:
    raise ValueError(
      f'{table.name} names none of the {len(members):,} images, such as '
      f'{members[0].name}: its first is {table.rows[0].file}; give the file '
      'that belongs to them as --labels=FILE'
    )
  left = [member for member in members if member.name not in found]
  search.skip(left, reason=f'no label in {table.name}')
  own = {*found.values()}
  lines = sum(row not in own for row in table.rows)
  if lines:
    search.notes.append(
      f'{lines:,} of {len(table.rows):,} lines of {table.name} name no image '
      'here'
    )


def _in_order(
  named: Sequence[tuple[str, archives.Member]], *, source: str
) -> Named:
  """Images in the order of their names."""
  return Named(tuple(sorted(named, key=lambda item: item[1].name)), source)


def _name_by_folders(
  search: Search, *, split: str, tree: trees.Tree, form: str
) -> None:
  """Names classes by the folders right below that of the split."""
  by_class: dict[str, list[archives.Member]] = collections.defaultdict(list)
  for member, folders in tree.images:
    if not folders:
      search.skip([member], reason=f'not in {form}')
    elif any(map(_THUMBNAILS, folders[1:])):
      search.listing.passed['thumbnails'] += 1
    else:
      by_class[folders[0]].append(member)
  _tell_deeper(search, tree=tree, pool=form == 'CLASS/')
  below = {
    name.removeprefix(tree.base).split('/')[0]
    for name in search.listing.folders
    if name.startswith(tree.base)
  }
  empty = sorted(below - by_class.keys())
  for name, members in [*by_class.items()]:
    if not any(map(files.begins_as_image, members)):
      search.skip(by_class.pop(name), reason='no image of a known format')
      empty.append(f'{name} ({len(members):,} files)')
  if not by_class:
    raise ValueError(
      f'{search.source}/{tree.base} has no image that can be read in '
      f'{classes.shown(empty)}: give JPEG, PNG, GIF, BMP, TIFF, WebP or PPM'
    )
  if empty:
    search.notes.append(
      f'no class, since they hold no usable image: {tree.base}'
      + classes.shown(empty)
    )
  items = [(name, m) for name, each in by_class.items() for m in each]
  items.sort(key=lambda item: (item[0], item[1].name))
  search.named[split] = Named(tuple(items), FOLDERS)


def _tell_deeper(search: Search, *, tree: trees.Tree, pool: bool) -> None:
  """Notes classes whose images lie in several folders of their own.

  ValueError if these `pool` folders rather are splits with unknown names.
  """
  inner: dict[str, set[str]] = collections.defaultdict(set)
  for _, folders in tree.images:
    if len(folders) > 1 and not any(map(_THUMBNAILS, folders[1:])):
      inner[folders[0]].add(folders[1])
  several = {name: found for name, found in inner.items() if len(found) > 1}
  shared = set.intersection(*inner.values()) if inner else set()
  whole = len(inner) == len({placed.folders[:1] for placed in tree.images})
  if whole and 1 < len(inner) <= len(splits.ORDER) and len(shared) > 1 and pool:
    raise ValueError(
      f'{search.source}/{tree.base} has folders with the same folders in each, '
      f'{classes.shown(sorted(inner))} with {classes.shown(sorted(shared))}: '
      'call those of the splits train and val'
    )
  for name, found in sorted(several.items())[:1]:
    more = f', and {len(several) - 1} others' if len(several) > 1 else ''
    search.notes.append(
      f'{tree.base}{name} is one class, with the folders '
      f'{classes.shown(sorted(found))} in it{more}'
    )
