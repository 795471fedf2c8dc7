"""Layouts of folders and archives: splits, class folders, files of labels (§2).

A folder called train, val or test holds a split: class folders, or images that
lie flat and have their labels in a file, beside them or in a folder above.
ImageFolder of torchvision, Kaggle's ILSVRC, Tiny ImageNet and the flat folders
of Caffe all are such. Without splits, class folders or a flat folder are one
set of images.
"""

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from alexnet_jax.data import metadata
from alexnet_jax.data.prepare import (
  archives,
  classes,
  files,
  labels,
  layouts,
  splits,
)

_HOLDERS = frozenset(  # folders that are no class where there is no other
  'images image imgs img jpegimages data photos pictures'.split()
)
_THUMBNAILS = frozenset({'thumbnails', 'thumbnail', 'thumbs', 'thumb'})
_FOLDERS = 'class folders'
_KAGGLE = 'LOC_val_solution.csv'
_KAGGLE_FILES = (_KAGGLE, 'LOC_synset_mapping.txt')


class Request(NamedTuple):
  """What a user asks for besides the source."""

  tables: Mapping[str, pathlib.Path]  # of --labels, by split; '' is any
  pooled: bool = False  # the images of all splits are divided anew
  val_share: float | None = None
  evaluated: bool = False  # may lack train: classes are another data set's


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


class Named(NamedTuple):
  """The images of a split with the names that their classes have there."""

  items: tuple[tuple[str, archives.Member], ...]
  source: str  # of the names: 'class folders', or a file of labels


class _Search:
  """What was found in a source so far."""

  def __init__(self, source: pathlib.Path, *, request: Request):
    self.source, self.request = source, request
    self.listing = files.listing(source)
    self.above = _above(source)
    self.trees: dict[str, Tree] = {}  # by split
    self.named: dict[str, Named] = {}  # by split
    self.bare: dict[str, Tree] = {}  # splits without labels
    self.notes: list[str] = []

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
        return self.above.get(_KAGGLE) if 'val' in wanted else None
      place = os.path.dirname(place)

  def known(self) -> classes.Known:
    """What lists of classes say that lie above the splits, or with them."""
    bases = [tree.base for tree in (*self.trees.values(), *self.bare.values())]
    places = {'', *(os.path.dirname(base.rstrip('/')) for base in bases)}
    found = dict(self.above)
    for place in sorted(places):
      found |= {os.path.basename(m.name): m for m in self._texts(place)}
    return classes.read(found)

  def _texts(self, place: str) -> list[archives.Member]:
    """Files of text right in a folder."""
    texts = self.listing.texts.items()
    return [each for name, each in texts if os.path.dirname(name) == place]


def _stem_split(member: archives.Member) -> str | None:
  return splits.of_file(pathlib.PurePath(member.name).stem)


def find_layout(source: pathlib.Path, *, request: Request) -> layouts.Layout:
  """Lists the images of a folder or an archive, by split and with labels.

  Raises ValueError if splits or labels are missing, which says what was found;
  and if an archive or a file of labels is damaged. OSError if a folder may not
  be read.
  """
  search = _Search(source, request=request)
  if not search.listing.images:
    raise ValueError(_nothing(search))
  places = _by_place(search.listing.images)
  if _is_a_class(places, search=search):
    outside = [(m, m.name.split('/')[:-1]) for m in search.listing.images]
    places = {'': [Placed(member, tuple(parts)) for member, parts in outside]}
  search.trees = _split_trees(places, source=source)
  for split, tree in search.trees.items():
    _name_split(search, split=split, tree=tree)
  outside = places.get('', [])
  if search.trees:
    strays = [placed.member for placed in outside]
    search.skip(strays, reason='not in SPLIT/CLASS/')
  else:
    _name_pool(search, tree=_descended('', outside, pool=True))
  _choose_splits(search)
  return _layout(search)


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


def _by_place(images: Sequence[archives.Member]) -> dict[str, list[Placed]]:
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


def _split_trees(
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
    if len(found) > 1 and not _are_parts(found):
      raise ValueError(
        f'{source} has two folders for {split}, {found[0]} and {found[1]}: '
        'give the folder above one of them, or rename one'
      )
  shown = [place for found in chosen.values() for place in found]
  if len({os.path.dirname(place) for place in shown}) > 1:
    raise ValueError(
      f'{source} has splits in several places, {", ".join(shown)}: give the '
      'folder directly above them'
    )
  return {
    split: _descended(
      f'{chosen[split][0]}/', [p for f in chosen[split] for p in places[f]]
    )
    for split in splits.ORDER
    if split in chosen
  }


def _is_a_class(places: Mapping[str, list[Placed]], *, search: _Search) -> bool:
  """Whether the one folder with a split's name lies among class folders."""
  (place, *more) = [place for place in places if place] or ['']
  if not place or more or any(p.folders for p in places[place]):
    return False
  split = splits.named(os.path.basename(place)) or ''
  beside = tuple(filter(None, os.path.dirname(place).split('/')))
  depth = len(beside)
  others = {
    p.folders[depth]
    for p in places.get('', ())
    if p.folders[:depth] == beside and len(p.folders) > depth
  }
  return bool(others) and search.table(split, '', base=f'{place}/') is None


def _are_parts(places: Sequence[str]) -> bool:
  """Whether folders are parts of one split, told by numbers at their ends."""
  stems = {place.rstrip('0123456789').rstrip('-_. ') for place in places}
  return len(stems) == 1 and len({os.path.dirname(p) for p in places}) == 1


def _descended(
  base: str, images: Sequence[Placed], *, pool: bool = False
) -> Tree:
  """Goes down while all images lie in one folder that is no class.

  Such are images/ in Tiny ImageNet's val/, the second train/ of train/train/,
  and in a `pool` without splits any folder that holds folders.
  """
  while images and images[0].folders:
    first = images[0].folders[0]
    if any(placed.folders[:1] != (first,) for placed in images):
      break
    deeper = all(len(placed.folders) > 1 for placed in images)
    holder = first.lower() in _HOLDERS or splits.named(first)
    if not (holder or (pool and deeper)):
      break
    base = f'{base}{first}/'
    images = [Placed(p.member, p.folders[1:]) for p in images]
  return Tree(base, tuple(images))


def _name_split(search: _Search, *, split: str, tree: Tree) -> None:
  """Names the classes of a split by its folders, or by a file of labels."""
  if not tree.flat and split not in search.request.tables:
    _name_by_folders(search, split=split, tree=tree, form='SPLIT/CLASS/')
  elif member := search.table(split, '', base=tree.base):
    table = labels.read(member)
    members = [placed.member for placed in tree.images]
    found = labels.match(table, images={split: members})
    _check_matched(search, table=table, found=found, members=members)
    named = [(found[m.name].label, m) for m in members if m.name in found]
    search.named[split] = _in_order(named, source=table.name)
  else:
    search.bare[split] = tree


def _name_pool(search: _Search, *, tree: Tree) -> None:
  """Names the classes of images that lie in no folder of a split.

  train.txt and val.txt, or a column of one file, may divide them.
  """
  tables = {
    split: labels.read(member, split=split)
    for split in splits.ORDER
    if (member := search.table(split, base=tree.base))
  }
  if len(tables) < 2 and not search.request.tables.keys() & tables.keys():
    tables = {}
  member = search.table('', base=tree.base)
  if not tables and member and (tree.flat or '' in search.request.tables):
    tables = {'': labels.read(member)}
  members = [placed.member for placed in tree.images]
  if tables:
    _name_by_tables(search, members=members, tables=tables)
  elif tree.flat:
    search.bare['train'] = tree
  else:
    _name_by_folders(search, split='train', tree=tree, form='CLASS/')


def _name_by_tables(
  search: _Search,
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
  search: _Search,
  *,
  table: labels.Table,
  found: Mapping[str, labels.Row],
  members: Sequence[archives.Member],
) -> None:
  """Tells what images and lines have no counterpart; ValueError if none has."""
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
  search: _Search, *, split: str, tree: Tree, form: str
) -> None:
  """Names classes by the folders right below that of the split."""
  by_class: dict[str, list[archives.Member]] = collections.defaultdict(list)
  for member, folders in tree.images:
    if not folders:
      search.skip([member], reason=f'not in {form}')
    elif any(folder.lower() in _THUMBNAILS for folder in folders[1:]):
      search.listing.passed['thumbnails'] += 1
    else:
      by_class[folders[0]].append(member)
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
  search.named[split] = Named(tuple(items), _FOLDERS)


def _choose_splits(search: _Search) -> None:
  """Makes train and val of what was found; ValueError if one is missing."""
  named, bare, request = search.named, search.bare, search.request
  divided = request.pooled or request.val_share is not None
  if request.val_share is not None and 'val' in named:
    raise ValueError(
      f'{search.source} has a validation split, {search.trees["val"].base}: '
      'leave out --val_share, or give the folder of the training images'
    )
  if not divided and not {'val'} & {*named, *bare}:
    if 'test' in named:
      named['val'] = named.pop('test')
    elif request.evaluated and 'train' in named:
      named['val'] = named.pop('train')  # a set to evaluate on
  need = {'train', 'val'}
  if request.pooled:
    need = {*named} or need
  elif divided:
    need = {'train'}
  elif request.evaluated:
    need = {'val'}
  if not need <= named.keys():
    raise ValueError(_missing(search))
  for tree in bare.values():
    search.notes.append(
      f'{tree.base} is not used: no labels of its {len(tree.images):,} images'
    )


def _layout(search: _Search) -> layouts.Layout:
  """Numbers the classes and makes a layout of what was named."""
  request, listing = search.request, search.listing
  known = search.known()
  named = {s: search.named[s] for s in splits.ORDER if s in search.named}
  names = {s: {name for name, _ in each.items} for s, each in named.items()}
  free = request.pooled or request.evaluated
  resolved = classes.resolve(names, known=known, pooled=free)
  items = {
    split: tuple(
      layouts.Labelled(member, resolved.labels[split][name])
      for name, member in each.items
    )
    for split, each in named.items()
  }
  if _same_folder(search):
    search.notes.append(
      'train and val are the same folder: validation is on training images'
    )
  return layouts.Layout(
    search.source.stem,
    resolved.classes,
    items,
    tuple(listing.skipped),
    labels=_sources(named),
    notes=(*search.notes, *listing.notes, *resolved.notes, *listing.told()),
  )


def _same_folder(search: _Search) -> bool:
  """Whether a link makes train and val the same."""
  places = {
    os.path.realpath(search.source / search.trees[split].base)
    for split in ('train', 'val')
    if split in search.trees and search.source.is_dir()
  }
  both = {'train', 'val'} <= search.trees.keys()
  return both and len(places) == 1


def _sources(named: Mapping[str, Named]) -> str:
  """Where labels come from, by split if not all from one place."""
  found = collections.defaultdict(list)
  for split, each in named.items():
    found[each.source].append(split)
  if len(found) == 1:
    return next(iter(found))
  order = sorted(found.items(), key=lambda item: item[0] == _FOLDERS)
  return ', '.join(f'{name} ({", ".join(of)})' for name, of in order)


def _nothing(search: _Search) -> str:
  """The message about a source without images."""
  listing = search.listing
  there = [f'{n:,} {what}' for what, n in listing.passed.most_common(3)]
  there += [f'{len(listing.folders):,} folders'] if listing.folders else []
  return (
    f'{search.source} holds no images, but {", ".join(there) or "nothing"}: '
    'expected the official tars, or class folders train/CLASS/IMAGE and '
    'val/CLASS/IMAGE'
  )


def _missing(search: _Search) -> str:
  """The message about a split that is missing: what is there, and the fix."""
  shown = []
  for split, each in search.named.items():
    base = search.trees[split].base if split in search.trees else each.source
    kinds = len({kind for kind, _ in each.items})
    shown.append(f'{base} with {kinds} classes, {len(each.items):,} images')
  shown += [
    f'{tree.base or "a folder"} with {len(tree.images):,} images that lie flat '
    'and have no file of labels'
    for tree in search.bare.values()
  ]
  lacking = [s for s in ('train', 'val') if s not in search.named]
  flat = next((s for s in lacking if s in search.bare), '')
  if flat:
    fix = f'give their labels as --labels={flat}:FILE'
    fix += ', or --val_share=0.1' if flat == 'val' else ''
  elif 'train' in lacking:
    fix = (
      'give the folder that holds train/CLASS/IMAGE too, or --classes_of=DATA '
      'to make a set for evaluation alone'
    )
  else:
    fix = (
      'give --val_share=0.1 to split validation images off, or a folder that '
      'holds val/CLASS/IMAGE too'
    )
  what = {'train': 'training', 'val': 'validation'}
  return (
    f'{search.source} has {"; ".join(shown)}, but no '
    f'{" and no ".join(what[s] for s in lacking)} images with labels: {fix}'
  )
