"""Reads and writes metadata.json, which describes a prepared data set.

A prepared folder may come from a stranger, so every field is checked: types,
ranges, file names that lead out of the folder, and control characters that a
terminal would obey.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from alexnet_jax.data import dataset
from alexnet_jax.runtime import paths

FILE = 'metadata.json'
FORMAT_VERSION = 1
Encoding = Literal['raw', 'jpeg']
_MAX_IMAGE_SIZE = 4096  # pixels
PREPARE = 'python -m alexnet_jax.tools.prepare --source=... --output='


class SplitInfo(NamedTuple):
  """The shards of a split, and how many images they hold."""

  num_images: int
  shards: tuple[str, ...]  # file names


class Skipped(NamedTuple):
  """An image that was left out, and the reason."""

  file: str
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
  """The content of metadata.json. Labels index `classes`."""

  name: str
  image_size: int
  encoding: Encoding
  splits: Mapping[str, SplitInfo]
  classes: tuple[dataset.ClassInfo, ...]
  skipped: tuple[Skipped, ...]
  checksums: Mapping[str, str]  # file name -> SHA-256 of the file
  format_version: int = FORMAT_VERSION


def fingerprint(metadata: Metadata) -> str:
  """SHA-256 of all checksums, the shards of each split and the class order."""
  identity = {
    'checksums': dict(metadata.checksums),
    'splits': {k: list(v.shards) for k, v in metadata.splits.items()},
    'classes': [c.id for c in metadata.classes],
  }
  return hashlib.sha256(_json(identity).encode()).hexdigest()


def checksum(path: pathlib.Path) -> str:
  """SHA-256 of a file, in hex."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def write(folder: pathlib.Path, *, metadata: Metadata) -> None:
  """Writes metadata.json; the same bytes for the same metadata."""
  content = dataclasses.asdict(metadata)
  content['splits'] = {k: v._asdict() for k, v in metadata.splits.items()}
  content['classes'] = [c._asdict() for c in metadata.classes]
  content['skipped'] = [s._asdict() for s in metadata.skipped]
  scratch = folder / f'.{FILE}'
  scratch.write_text(_json(content) + '\n', 'utf-8')
  scratch.replace(folder / FILE)


def _json(content: Any) -> str:
  return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)


def read(folder: pathlib.Path) -> Metadata:
  """Reads and checks metadata.json, and that every shard exists.

  Raises:
    ValueError: if a file is missing, or metadata.json is damaged.
  """
  if not (folder / FILE).is_file():
    raise ValueError(
      f'no prepared data set at {str(folder)!r} (it has no {FILE}): '
      f'make one with {PREPARE}{folder}, or use the embedded data'
    )
  metadata = parse((folder / FILE).read_bytes(), place=str(folder))
  missing = [name for name in shards(metadata) if not (folder / name).is_file()]
  if missing:
    raise ValueError(
      f'{folder} is incomplete: {missing[0]} and {len(missing) - 1} more '
      f'missing; {prepare_again(folder)}'
    )
  return metadata


def parse(text: bytes, *, place: str) -> Metadata:
  """Parses and checks the content of a metadata.json.

  Args:
    text: the file's content.
    place: the folder's path or address, for the message.

  Raises:
    ValueError: if it is damaged.
  """
  try:
    content = json.loads(text.decode('utf-8'))
    _check_format(content)
    return _parse(content)
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f'{place}/{FILE} is damaged ({error}): {prepare_again(place)}'
    ) from error


def prepare_again(folder: pathlib.Path | str) -> str:
  """What an error message advises for a damaged folder."""
  return f'prepare the data again with {PREPARE}{folder}'


def shards(metadata: Metadata) -> list[str]:
  """File names of the shards of all splits."""
  return [name for split in metadata.splits.values() for name in split.shards]


def _check_format(content: Any) -> None:
  for field, kind, known in (
    ('format_version', int, (FORMAT_VERSION,)),
    ('encoding', str, get_args(Encoding)),
  ):
    value = _field(content, field, kind)
    if value not in known:
      choices = ' or '.join(map(str, known))
      raise ValueError(f'{field} {value!r}, this program reads {choices}')


def _parse(content: Mapping[str, Any]) -> Metadata:
  """Builds Metadata from JSON; raises ValueError for a wrong field."""
  splits = _field(content, 'splits', dict)
  metadata = Metadata(
    name=_text_field(content, 'name'),
    image_size=_int_field(content, 'image_size', most=_MAX_IMAGE_SIZE),
    encoding=content['encoding'],
    splits={name: _split(name, split) for name, split in splits.items()},
    classes=tuple(map(_class, _field(content, 'classes', list))),
    skipped=tuple(
      Skipped(_field(s, 'file', str), _field(s, 'reason', str))
      for s in _field(content, 'skipped', list)
    ),
    checksums=_field(content, 'checksums', dict),
  )
  if not {'train', 'val'} <= set(splits):
    raise ValueError(
      f'lacks a split: train and val expected, {[*splits]} there'
    )
  if not metadata.classes:
    raise ValueError('classes is empty')
  _check_unique((c.id for c in metadata.classes), what='class')
  _check_unique(shards(metadata), what='shard')
  return metadata


def _check_unique(names: Iterable[str], *, what: str) -> None:
  name, count = Counter(names).most_common(1)[0]
  if count > 1:
    raise ValueError(f'the {what} {name!r} is listed {count} times')


def _split(name: str, content: Any) -> SplitInfo:
  shards = _field(content, 'shards', list)
  for shard in shards:
    if not paths.is_plain_name(shard):
      raise ValueError(f'the {name} shard {shard!r} is no plain file name')
  if not shards:
    raise ValueError(f'the {name} split has no shards')
  return SplitInfo(_int_field(content, 'num_images'), tuple(shards))


def _class(content: Any) -> dataset.ClassInfo:
  return dataset.ClassInfo(
    *(_text_field(content, field) for field in dataset.ClassInfo._fields)
  )


def _int_field(content: Any, name: str, *, most: int = 2**31) -> int:
  value = _field(content, name, int)
  if not 1 <= value <= most:
    raise ValueError(f'{name} is {value}, not 1 to {most}')
  return value


def _text_field(content: Any, name: str) -> str:
  value = _field(content, name, str)
  if not value.isprintable():
    raise ValueError(f'{name} {value!r} has characters that cannot be shown')
  return value


_KINDS = {str: 'text', int: 'a whole number', list: 'a list', dict: 'an object'}


def _field(content: Any, name: str, kind: type) -> Any:
  """A field of a JSON object, checked to be of type `kind`."""
  if not isinstance(content, dict):
    raise ValueError(f'{content!r:.40} where an object was expected')
  if name not in content:
    raise ValueError(f'{name} is missing')
  value = content[name]
  if not isinstance(value, kind) or isinstance(value, bool):
    raise ValueError(f'{name} is {value!r:.40}, not {_KINDS[kind]}')
  return value
