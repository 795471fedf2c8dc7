"""Classes of a source: their order, their names, and how splits share them.

Splits never get classes of their own: one that only validation has is refused,
unless a list of all classes is there.
"""

import collections
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from alexnet_jax.data import dataset
from alexnet_jax.data.prepare import archives, layouts, tar

# Lists of all classes, by the names of their files.
COMPLETE = ('LOC_synset_mapping.txt', 'wnids.txt')
# Classes by number, a line each from 0 on.
NUMBERED = (
  'synset_words.txt', 'synsets.txt', 'classes.txt', 'class_names.txt',
  'classnames.txt', 'labels.txt', 'names.txt',
)  # fmt: skip
WORDS = ('words.txt', 'LOC_synset_mapping.txt', 'synset_words.txt')
_LINE = re.compile(r'(n\d{8})[\s,:]+(.+)|(.+)')
_NUMBERED_LINE = re.compile(r'(\d+)[\s,:]+(.+)')
_WNID = re.compile(r'n\d{8}').fullmatch
_ILSVRC = 1000  # classes
_SHOWN = 5  # names in a message


class Known(NamedTuple):
  """Lists of classes found in files beside the images."""

  complete: tuple[str, ...]  # ids of all classes; empty if not known
  numbered: Mapping[int, str]  # number -> id
  words: Mapping[str, str]  # id -> its words
  files: tuple[str, ...]  # where that is from; the last has the numbers


class Resolved(NamedTuple):
  """The classes, and the label of each name that a split uses for one."""

  classes: tuple[dataset.ClassInfo, ...]
  labels: Mapping[str, Mapping[str, int]]  # split -> name -> label
  notes: tuple[str, ...] = ()


def read(members: Mapping[str, archives.Member]) -> Known:
  """Reads the lists of classes among files, by their names without folders."""
  lines = {
    name: _lines(members[name])
    for name in (*COMPLETE, *NUMBERED, *WORDS)
    if name in members
  }
  complete = next((lines[name] for name in COMPLETE if name in lines), [])
  first = next((name for name in NUMBERED if name in lines), '')
  numbers = _numbers(lines.get(first, ()))
  words: dict[str, str] = {}
  for name in (*WORDS, *NUMBERED):
    words = dict(lines.get(name, ())) | words
  ids = tuple(id_ for id_, _ in complete)
  found = [name for name in lines if name != first] + [first] * bool(first)
  return Known(ids, numbers, words, tuple(found))


def _lines(member: archives.Member) -> list[tuple[str, str]]:
  """(id, words) of each line; the id again if it has no words."""
  try:
    text = member.read().decode('utf-8-sig')
  except ValueError as error:
    raise ValueError(
      f'{member.name} is no list of classes ({error}): repair or remove it'
    ) from error
  found = []
  for line in filter(None, map(str.strip, text.splitlines())):
    match = _LINE.fullmatch(tar.printable(line.replace('\t', ' ')))
    id_, words, alone = match.groups() if match else (None, None, line)
    found.append((id_ or alone, words or alone))
  return found


def _numbers(lines: Sequence[tuple[str, str]]) -> dict[int, str]:
  """Ids by number: that of the line, or the one that the line begins with.

  Empty if two classes have the same name, as crane has in ILSVRC2012.
  """
  numbered = dict(enumerate(id_ for id_, _ in lines))
  matches = [_NUMBERED_LINE.fullmatch(id_) for id_, _ in lines]
  if all(matches):  # 1 001.Black_footed_Albatross
    numbered = {int(match[1]): match[2] for match in matches if match}
  return numbered if len(set(numbered.values())) == len(lines) else {}


def resolve(
  names: Mapping[str, Collection[str]], *, known: Known, pooled: bool = False
) -> Resolved:
  """Numbers the classes that the images of each split are said to have.

  Classes that are whole numbers are sorted as numbers, others by name. `pooled`
  splits may have different classes. Raises ValueError if another split has
  classes that training lacks, or numbers cannot be mapped.
  """
  ids = {split: _ids(names, split=split, known=known) for split in names}
  used = {split: set(each.values()) for split, each in ids.items()}
  every: set[str] = set().union(*used.values())
  if every <= set(known.complete):
    every = set(known.complete)
  elif not pooled:
    for split in [s for s in used if s != 'train']:
      _check_subset(used[split], split=split, train=used.get('train', set()))
  order = _order(every, names=names.get('train', ()), known=known)
  return Resolved(
    tuple(_info(id_, known=known) for id_ in order),
    _labels(ids, place={id_: label for label, id_ in enumerate(order)}),
    (*_renamed(ids, known=known), *_alike(order)),
  )


def _renamed(
  ids: Mapping[str, Mapping[str, str]], *, known: Known
) -> Iterator[str]:
  """A line that says which class a list gives to the first number, if any."""
  pairs = {pair for each in ids.values() for pair in each.items()}
  numbers = [(int(n), i) for n, i in pairs if is_number(n) and n != i]
  if known.numbered and numbers:
    number, id_ = min(numbers)
    yield f'{known.files[-1]} names the numbers: {number} is {id_}'


def mapped(
  layout: layouts.Layout, *, wanted: Sequence[dataset.ClassInfo], of: str
) -> layouts.Layout:
  """Gives a layout the classes of the data set `of`, by id, name or synonym.

  Images of classes that it lacks are left out, which is told. Raises ValueError
  if it has none of the classes.
  """
  place = _places(layout.classes, wanted=wanted)
  used = {item.label for items in layout.splits.values() for item in items}
  lacking = sorted(
    info.id
    for label, info in enumerate(layout.classes)
    if label in used and label not in place
  )
  if not place:
    raise ValueError(
      f'{of} has none of the classes {shown(lacking)}: give the data set whose '
      'classes these are to --classes_of'
    )
  splits = {
    split: tuple(
      item._replace(label=place[item.label])
      for item in items
      if item.label in place
    )
    for split, items in layout.splits.items()
  }
  found = len({*place.values()})
  notes = [f'{found:,} of the {len(wanted):,} classes of {of}']
  if is_number(layout.classes[0].id) and not is_number(wanted[0].id):
    notes[0] += ': number 0 is its first, and so on'
  if lacking:
    left = sum(map(len, layout.splits.values())) - sum(
      map(len, splits.values())
    )
    notes.append(
      f'{left:,} images are left out, since {of} has no class {shown(lacking)}'
    )
  return layout._replace(
    classes=tuple(wanted), splits=splits, notes=(*layout.notes, *notes)
  )


def _labels(
  ids: Mapping[str, Mapping[str, str]], *, place: Mapping[str, int]
) -> dict[str, dict[str, int]]:
  return {
    split: {name: place[id_] for name, id_ in each.items() if id_ in place}
    for split, each in ids.items()
  }


def _places(
  classes: Sequence[dataset.ClassInfo], *, wanted: Sequence[dataset.ClassInfo]
) -> dict[int | None, int]:
  """The label in `wanted` of each label in `classes` that it has.

  Numbers are positions among the WordNet ids of ILSVRC, as in ImageNet-V2.
  """
  exact = {info.id: label for label, info in enumerate(wanted)}
  ids = [info.id for info in classes]
  if all(map(is_number, ids)) and not all(map(is_number, exact)):
    numbers = {int(id_) for id_ in ids}
    whole = numbers == set(range(len(wanted)))
    sound = len(wanted) == _ILSVRC and max(numbers) < _ILSVRC  # not from 1 on
    if (
      not (sound or whole)
      or sorted(exact) != [*exact]
      or not all(map(_WNID, exact))
    ):
      return {}
    return {label: int(id_) for label, id_ in enumerate(ids)}
  by_name: dict[str, set[int]] = collections.defaultdict(set)
  for label, info in enumerate(wanted):
    for word in (*info, *info.words.split(',')):
      by_name[_folded(word)].add(label)
  found: dict[int | None, int] = {}
  for label, info in enumerate(classes):
    alike: set[int] = set().union(*(by_name[_folded(w)] for w in info))
    if info.id in exact or len(alike) == 1:
      found[label] = exact[info.id] if info.id in exact else alike.pop()
  return found


def _ids(
  names: Mapping[str, Collection[str]], *, split: str, known: Known
) -> dict[str, str]:
  """The id of the class of each name in a split."""
  own = names[split]
  if not own or not all(map(is_number, own)):
    return {name: name for name in own}
  if known.numbered:
    lacking = sorted({int(n) for n in own} - known.numbered.keys())
    if lacking:
      raise ValueError(
        f'{split} has the label {lacking[0]}, which {known.files[-1]} does not '
        f'list ({min(known.numbered)} to {max(known.numbered)}): use the list '
        'that belongs to these labels'
      )
    return {name: known.numbered[int(name)] for name in own}
  others = [n for s, each in names.items() if s != split for n in each]
  if words := [n for n in others if not is_number(n)]:
    raise ValueError(
      f'labels of {split} are numbers such as {min(own)}, other classes have '
      f'names such as {words[0]!r}: put the names into classes.txt beside the '
      'images, a line for each number from 0 on'
    )
  first = {int(n): n for n in sorted(names.get('train', ()))}  # 00007 is 7
  distinct = len(first) == len(names.get('train', ()))
  return {n: first.get(int(n), n) if distinct else n for n in own}


def is_number(name: str) -> bool:
  """Returns whether the name of a class is a whole number, as 0 and 007."""
  return name.isascii() and name.isdecimal()


def _order(
  ids: Collection[str], *, names: Collection[str], known: Known
) -> list[str]:
  """Numbers in their order, also where a list names them; else by name."""
  if all(map(is_number, names)):
    listed = {id_: number for number, id_ in known.numbered.items()}
    if set(ids) <= listed.keys():
      return sorted(ids, key=listed.__getitem__)
  if all(map(is_number, ids)):
    return sorted(ids, key=lambda id_: (int(id_), id_))
  return sorted(ids)


def _info(id_: str, *, known: Known) -> dataset.ClassInfo:
  words = known.words.get(id_, id_)
  return dataset.ClassInfo(id_, words.split(',')[0], words)


def _check_subset(
  found: Collection[str], *, split: str, train: Collection[str]
) -> None:
  """Raises ValueError if a split has classes that training lacks."""
  lacking = sorted(set(found) - set(train))
  if not lacking:
    return
  near = {_folded(name): name for name in train}
  pairs = [(n, near[_folded(n)]) for n in lacking if _folded(n) in near]
  hint = ''.join(
    f'; {a!a} is {b!a} in train'  # in ASCII, which tells forms of Unicode
    for a, b in pairs[:_SHOWN]
  )
  raise ValueError(
    f'{split} has classes that train lacks, {len(lacking)}: {shown(lacking)}'
    f'{hint}: rename or remove them, or give a data set that has all classes '
    'as --classes_of'
  )


def _alike(order: Iterable[str]) -> list[str]:
  """Lines about classes whose names differ in spelling alone."""
  groups = collections.defaultdict(list)
  for id_ in order:
    groups[_folded(id_)].append(ascii(id_))
  return [
    f'are these one class? {" and ".join(each)}'
    for each in groups.values()
    if len(each) > 1
  ]


def _folded(name: str) -> str:
  """A name without case, form of Unicode, kind of spaces and leading zeros."""
  text = unicodedata.normalize('NFKC', name).casefold()
  text = re.sub(r'[\s_-]+', ' ', text).strip()
  return text.lstrip('0') or '0' if is_number(text) else text


def shown(names: Sequence[str]) -> str:
  """The first of these names, and how many more there are."""
  more = len(names) - _SHOWN
  text = ', '.join(map(repr, names[:_SHOWN]))
  return f'{text} and {more} more' if more > 0 else text
