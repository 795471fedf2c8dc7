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

from alexnet_jax.data.prepare import classes, layouts, naming, splits, trees

Request = naming.Request
_PACKED = frozenset(  # in another archive, or not read at all
  {'*.zip', '*.tar', '*.tgz', '*.gz', '*.bz2', '*.xz', '*.7z', '*.rar'}
)


def find_layout(source: pathlib.Path, *, request: Request) -> layouts.Layout:
  """Lists the images of a folder or an archive, by split and with labels.

  Raises ValueError if splits or labels are missing, which says what was found;
  and if an archive or a file of labels is damaged. OSError if a folder may not
  be read.
  """
  search = naming.Search(source, request=request)
  if not search.listing.images:
    raise ValueError(_nothing(search))
  places = trees.by_place(search.listing.images)
  if _is_a_class(places, search=search):
    search.notes.append(
      f'{max(places)} is a class, since class folders lie beside it'
    )
    outside = [(m, m.name.split('/')[:-1]) for m in search.listing.images]
    places = {
      '': [trees.Placed(member, tuple(parts)) for member, parts in outside]
    }
  search.trees = trees.split_trees(places, source=source)
  for split, tree in search.trees.items():
    naming.name_split(search, split=split, tree=tree)
  outside = places.get('', [])
  if search.trees:
    _tell_outside(search, outside=outside)
  else:
    naming.name_pool(search, tree=trees.descended('', outside, pool=True))
  _check_tables(search)
  _choose_splits(search)
  return _layout(search)


def _check_tables(search: naming.Search) -> None:
  """Raises ValueError if a file of --labels was of no use."""
  for split, path in search.request.tables.items():
    if split not in search.used:
      there = ' and '.join(search.trees) or 'train'
      raise ValueError(
        f'--labels={f"{split}:" * bool(split)}{path} is of no use: the images '
        f'of {there} lie in class folders, or there are none of its split; '
        'leave it out, or give it as --labels=SPLIT:FILE with the split whose '
        'images it names'
      )


def _is_a_class(
  places: Mapping[str, list[trees.Placed]], *, search: naming.Search
) -> bool:
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


def _tell_outside(
  search: naming.Search, *, outside: Sequence[trees.Placed]
) -> None:
  """Notes what images lie in no folder of a split, by their folders."""
  places = [os.path.dirname(tree.base[:-1]) for tree in search.trees.values()]
  depth = len([part for part in places[0].split('/') if part])
  counts = collections.Counter(
    '/'.join(placed.folders[: depth + 1]) for placed in outside
  )
  search.notes += [
    f'{place or "the source itself"} is not used: its {count:,} images are in '
    'no folder called train, val or test'
    for place, count in sorted(counts.items())
  ]


def _choose_splits(search: naming.Search) -> None:
  """Makes train and val of what was found; ValueError if one is missing."""
  named, bare, request = search.named, search.bare, search.request
  divided = request.pooled or request.val_share is not None
  if request.val_share is not None and 'val' in named:
    raise ValueError(
      f'{search.source} has a validation split of {len(named["val"].items):,} '
      'images: leave out --val_share, or give the folder of training images'
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


def _layout(search: naming.Search) -> layouts.Layout:
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
    form=_form(search, known=known),
    labels=_sources(named),
    notes=(*search.notes, *listing.notes, *resolved.notes, *listing.told()),
  )


def _same_folder(search: naming.Search) -> bool:
  """Whether a link makes train and val the same."""
  places = {
    os.path.realpath(search.source / search.trees[split].base)
    for split in ('train', 'val')
    if split in search.trees and search.source.is_dir()
  }
  both = {'train', 'val'} <= search.trees.keys()
  return both and len(places) == 1


def _form(search: naming.Search, *, known: classes.Known) -> str:
  """What the source is, in words that its publisher or users have for it."""
  by_file = [n for n in search.named.values() if n.source != naming.FOLDERS]
  if any(os.path.basename(n.source) == naming.KAGGLE for n in by_file):
    return "Kaggle's ILSVRC"
  if search.devkit:
    return 'unpacked tars of ILSVRC'
  if by_file and 'wnids.txt' in known.files:
    return 'Tiny ImageNet'
  kind = 'flat folders' if by_file else naming.FOLDERS
  return f'{kind} of {", ".join(search.trees)}' if search.trees else kind


def _sources(named: Mapping[str, naming.Named]) -> str:
  """Where labels come from, by split if not all from one place."""
  found = collections.defaultdict(list)
  for split, each in named.items():
    found[each.source].append(split)
  if len(found) == 1:
    return next(iter(found))
  order = sorted(found.items(), key=lambda item: item[0] == naming.FOLDERS)
  return ', '.join(f'{name} ({", ".join(of)})' for name, of in order)


def _nothing(search: naming.Search) -> str:
  """The message about a source without images."""
  listing = search.listing
  there = [f'{n:,} {what}' for what, n in listing.passed.most_common(3)]
  there += [f'{len(listing.folders):,} folders'] if listing.folders else []
  fix = (
    'expected the official tars, or class folders train/CLASS/IMAGE and '
    'val/CLASS/IMAGE'
  )
  if packed := sorted(_PACKED & listing.passed.keys()):
    fix = f'unpack those {packed[0]} first, or give a folder of them'
  if '*.parquet' in listing.passed:
    fix = 'give the folder that holds the parquet files, or the one above it'
  return (
    f'{search.source} holds no images, but {", ".join(there) or "nothing"}: '
    f'{fix}'
  )


def _missing(search: naming.Search) -> str:
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
    which = f'{flat}:' if flat in search.trees else ''
    fix = 'give the folder that holds a folder for each class, or '
    fix += f'to tools.prepare their labels as --labels={which}FILE'
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
    f'{" and no ".join(what[s] for s in lacking)} images with labels'
    f'{"".join(f" ({note})" for note in search.notes[:3])}: {fix}'
  )
