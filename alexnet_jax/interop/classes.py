"""Class names of nets whose files have none.

imagenet_classes.txt lists the 1,000 classes of ILSVRC-2012 in the order of
their WordNet ids, which is that of the units of published AlexNets: an id and
its words, as in the development kit of ILSVRC-2012.
"""

import collections
import pathlib
import re
from collections.abc import Sequence

from alexnet_jax.data import dataset
from alexnet_jax.runtime import paths

_IMAGENET = pathlib.Path(__file__).with_name('imagenet_classes.txt')
_MOST_BYTES = 10**8  # of a file of names


def of_units(units: int, *, file: str = '') -> tuple[dataset.ClassInfo, ...]:
  """Returns the classes of a net with so many units.

  They are those of `file`, if it is given; else ILSVRC-2012's of a net with
  1,000 units, else numbers. Raises ValueError if the file does not name as many
  classes.
  """
  if file:
    path = paths.expand(file)
    if path.is_file() and path.stat().st_size > _MOST_BYTES:
      raise ValueError(f'--classes={file} is no list of names: it is too large')
    found = parse(path.read_bytes(), place=f'--classes={file}')
    if len(found) != units:
      raise ValueError(
        f'--classes={file} has {len(found)} lines, but the net has {units} '
        'classes: give a line for each, in their order'
      )
    return found
  if units == 1000:
    return parse(_IMAGENET.read_bytes(), place=_IMAGENET.name)
  return tuple(dataset.ClassInfo(n, n, n) for n in map(_number, range(units)))


def _number(index: int) -> str:
  return f'class {index}'


def parse(text: bytes, *, place: str) -> tuple[dataset.ClassInfo, ...]:
  """Parses lines of 'n01440764 tench, Tinca tinca', or of words alone.

  >>> parse(b'n01440764 tench, Tinca tinca', place='it')[0].name
  'tench'
  """
  try:
    lines = [line.strip() for line in text.decode().splitlines()]
  except UnicodeDecodeError as error:
    raise ValueError(f'{place} is no text in UTF-8: give another') from error
  lines = [line for line in lines if line]
  with_ids = all(re.match(r'n\d{8}\s', line) for line in lines)
  found = []
  for line in lines:
    id_, words = line.split(maxsplit=1) if with_ids else (line, line)
    found.append(dataset.ClassInfo(id_, words.split(',')[0], words))
  check(found, place=place)
  return tuple(found)


def check(found: Sequence[dataset.ClassInfo], *, place: str) -> None:
  """Raises ValueError if a class is there twice, or cannot be shown."""
  for info in found:
    if not all(info) or not ''.join(info).isprintable():
      raise ValueError(
        f'{place}: class {info.id!r:.60} has an empty name, or one with '
        'characters that cannot be shown: mend it'
      )
  counts = collections.Counter(info.id for info in found).most_common(1)
  if counts and counts[0][1] > 1:
    raise ValueError(
      f'{place} has the class {counts[0][0]!r:.60} {counts[0][1]} times: name '
      'each once'
    )
