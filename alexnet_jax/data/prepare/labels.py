"""Files of labels: which image has which class.

val.txt                  Caffe: `path label`; with tabs as Tiny ImageNet's
LOC_val_solution.csv     Kaggle: ImageId, PredictionString, and other csv with
                         a header (file, label) or without
metadata.jsonl           an object a line, {"file_name": ..., "label": ...}; or
                         .json: a list of them, or {file: label}
"""

import collections
import csv
import json
import pathlib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from alexnet_jax.data.prepare import archives, splits, tar

_MOST_BYTES = 2**29  # of a file; 1.3 million lines have 0.1 GB
_FILE = (  # names of columns, letters alone; the first that is there counts
  'filename', 'file', 'filepath', 'filepaths', 'filenames', 'path', 'paths',
  'imagepath', 'imagefile', 'imagename', 'image', 'images', 'imageid', 'img',
  'imgname', 'imgpath', 'imgid', 'relativepath', 'id', 'name', 'key',
)  # fmt: skip
_LABEL = (
  'label', 'labels', 'class', 'classes', 'classname', 'classlabel', 'category',
  'categoryname', 'target', 'wnid', 'synset', 'breed', 'species',
  'predictionstring', 'labelname', 'classid', 'categoryid', 'labelid', 'y',
)  # fmt: skip
_NONE = '-1'  # the label of an image without one
_SEVERAL = re.compile(r'-?\d+([\s,;]+-?[\d.]+)+').fullmatch
_SPLIT = ('split', 'subset', 'set', 'dataset', 'partition')
_LINE = re.compile(  # the path ends behind its ending, if it has one
  r'(?P<file>.+?\.(?:jpe?g|png|bmp|gif|tiff?|webp|ppm|avif)|\S+)'
  r'(?:\s*[,;]\s*|\s+)(?P<label>\S.*)',
  re.IGNORECASE,
)


class Row(NamedTuple):
  """A line of a file of labels."""

  file: str  # a path or a name, perhaps without its ending
  label: str
  split: str  # 'train', 'val', 'test' or '', which is any


class Table(NamedTuple):
  """A file of labels."""

  name: str
  rows: tuple[Row, ...]


def read(member: archives.Member, *, split: str = '') -> Table:
  """Reads a file of labels, for images of `split` alone if it is given.

  Rows with the label -1 are left out: it stands for none. Raises ValueError if
  the file is too large, no text, or without labels.
  """
  if member.size > _MOST_BYTES:
    raise ValueError(
      f'{member.name} has {member.size:,} bytes, more than {_MOST_BYTES:,}: '
      'no file of labels is so large'
    )
  try:
    text = member.read().decode('utf-8-sig')
    if '\0' in text:
      raise ValueError('it holds a zero byte')
    rows = tuple(_rows(text, name=member.name))
  except (ValueError, csv.Error, RecursionError) as error:
    raise ValueError(
      f'{member.name} gives no labels ({error}): give lines of `path '
      'label`, csv with the columns file and label, or json lines'
    ) from error
  if {row.label for row in rows} != {'-1', '1'}:  # else two classes
    rows = tuple(row for row in rows if row.label != _NONE)
  rows = tuple(row._replace(split=split or row.split) for row in rows)
  return Table(member.name, rows)


def member(path: pathlib.Path) -> tar.Member:
  """A file on the disk, to read it."""
  name = tar.printable(path.name)
  return tar.Member(str(path), 0, path.stat().st_size, name)


def _rows(text: str, *, name: str) -> Iterator[Row]:
  """Reads the rows in the form that the file's ending tells."""
  lines = [line for line in text.splitlines() if line.strip()]
  ending = posixpath.splitext(name)[1].lower()
  if ending == '.jsonl':
    yield from _objects(json.loads(line) for line in lines)
  elif ending == '.json':
    content = json.loads(text)
    if isinstance(content, dict):
      content = [{'file': k, 'label': v} for k, v in content.items()]
    yield from _objects(content)
  elif ending in ('.csv', '.tsv') or (lines and '\t' in lines[0]):
    yield from _columns(lines)
  else:
    for number, line in enumerate(lines, 1):
      match = _LINE.fullmatch(line.strip())
      if not match:
        raise ValueError(f'line {number}, {line[:60]!r}, has no label')
      yield _row(match['file'], match['label'])


def _objects(objects: Iterable[Any]) -> Iterator[Row]:
  """Rows of JSON objects."""
  for number, each in enumerate(objects, 1):
    if not isinstance(each, dict):
      raise ValueError(f'entry {number} is {each!r:.40}, not an object')
    fields = {_letters(key): value for key, value in each.items()}
    file, label = (_first(keys, fields) for keys in (_FILE, _LABEL))
    if file is None or label is None:
      raise ValueError(f'entry {number} has only {", ".join(each)}')
    if isinstance(fields[label], list | dict | None):
      raise ValueError(
        f'the label of {fields[file]!r:.60} is {fields[label]!r:.40}, not one '
        'name or number'
      )
    split = _first(_SPLIT, fields)
    where = str(fields[split]) if split else None
    yield _row(str(fields[file]), str(fields[label]), split=where)


def _columns(lines: Sequence[str]) -> Iterator[Row]:
  """Rows of csv, with a header or of (file, label)."""
  mark = max('\t;,', key=lambda mark: lines[0].count(mark)) if lines else ','
  rows = [
    [cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)
  ]
  header = [_letters(cell) for cell in rows[0]] if rows else []
  file, label = (_first(keys, header) for keys in (_FILE, _LABEL))
  place, kind, split = 0, 1, None
  if file and label:
    place, kind = header.index(file), header.index(label)
    found = _first(_SPLIT, header)
    split = header.index(found) if found else None
    rows = rows[1:]
  elif rows and not posixpath.splitext(rows[0][0])[1]:  # rather a header
    endings = [posixpath.splitext(row[0])[1] for row in rows[1:2]]
    if len(rows[0]) > 2 or any(endings):
      raise ValueError(f'its columns are {", ".join(rows[0])}')
  for number, row in enumerate(rows, 1):
    if len(row) <= max(place, kind) or not row[kind]:
      raise ValueError(f'row {number} of {", ".join(row)[:60]!r} has no label')
    # Kaggle's gives boxes after the class: n01751748 111 108 230 170 ...
    text = row[kind].split()[0] if label == 'predictionstring' else row[kind]
    where = None if split is None else ''.join(row[split : split + 1])
    yield _row(row[place], text, split=where)


def _row(file: str, label: str, *, split: str | None = None) -> Row:
  """Makes a row; `split` is the text of its column, None without one.

  Raises ValueError if there are several labels, or the split has another name.
  """
  path = tar.printable(file.strip().replace('\\', '/'))
  label = tar.printable(label.strip())
  if _SEVERAL(label):
    raise ValueError(f'{path} has the labels {label!r:.60}, not one')
  named = '' if split is None else splits.named(split)
  if named is None:
    raise ValueError(
      f'{path} is of the split {split!r:.40}, which is none of train, val and '
      'test: remove such lines, or the column'
    )
  return Row(path, label, named)


def _letters(name: object) -> str:
  return re.sub(r'[^a-z]', '', str(name).lower())


def _first(names: Iterable[str], there: Iterable[str]) -> str | None:
  found = set(there)
  return next((name for name in names if name in found), None)


def match(
  table: Table, *, images: Mapping[str, Sequence[archives.Member]]
) -> dict[str, Row]:
  """The row of each image that the table names, by the image's name.

  `images` are those of each split; '' are images outside all splits. A row
  names the image whose path has most in common with its own, from the end.
  Raises ValueError if it names several, or rows contradict each other.
  """
  by_name = collections.defaultdict(list)
  for split, members in images.items():
    for each in members:
      name = each.name.rpartition('/')[2]
      for key in {name, posixpath.splitext(name)[0]}:
        by_name[key].append((each.name, split))
  found: dict[str, tuple[int, Row]] = {}  # with what the paths have in common
  for row in table.rows:
    name = row.file.rpartition('/')[2]
    there = by_name.get(name) or by_name.get(posixpath.splitext(name)[0], [])
    if (best := _best(row, there, table=table.name)) is None:
      continue
    common, image = best
    before, other = found.get(image, (-1, row))
    if before == common and other.label != row.label:
      raise ValueError(
        f'{table.name} says of {image} both {other.label!r} and '
        f'{row.label!r}: keep one of the two lines'
      )
    if common > before:
      found[image] = common, row
  return {image: row for image, (_, row) in found.items()}


def _best(
  row: Row, there: Sequence[tuple[str, str]], *, table: str
) -> tuple[int, str] | None:
  """The image that a row names, and the folders that both paths end with."""
  parts = [p for p in row.file.split('/') if p not in ('', '.')][:-1]
  split = row.split or next(filter(None, map(splits.named, parts)), '')
  own = [name for name, of in there if not split or of in ('', split)]
  scores = {name: _common(parts, name.split('/')[:-1]) for name in own}
  most = max(scores.values(), default=0)
  best = [name for name in own if scores[name] == most]
  if len(best) > 1:
    raise ValueError(
      f'{table} names {row.file}, which may be {best[0]} or {best[1]}: give '
      'the path within the source'
    )
  return (most, best[0]) if best else None


def _common(a: Sequence[str], b: Sequence[str]) -> int:
  """How many parts two paths have in common at their ends."""
  pairs = zip(reversed(a), reversed(b), strict=False)
  return next(
    (i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b))
  )
