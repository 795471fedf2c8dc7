"""Reads and writes metadata.json, which describes a prepared data set.

A prepared folder may come from a stranger, so every field is checked: types,
ranges, file names that lead out of the folder, and control characters that a
terminal would obey.
"""

import collections
import dataclasses
import hashlib
import itertools
import json
import pathlib
import zlib
from collections.abc import Iterable, Mapping
from typing import (
  Any,
  Literal,
  NamedTuple,
  get_args,
  get_origin,
  get_type_hints,
)

from alexnet_jax.data import dataset, images
from alexnet_jax.runtime import paths

FILE = 'metadata.json'
Encoding = Literal['raw', 'jpeg']
# Fields that are left out if they have this value.
_ADDED: dict[str, Any] = {'resize': 'crop', 'samples': {}}
_SAMPLE = 2**16  # bytes at each end of a shard
_MOST = {'image_size': 4096}  # of whole numbers, by field; 2**31 for others
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

  format_version: Literal[1] = 1  # the first field: the others depend on it
  name: str
  image_size: int
  encoding: Encoding
  splits: Mapping[str, SplitInfo]
  classes: tuple[dataset.ClassInfo, ...]
  skipped: tuple[Skipped, ...]
  checksums: Mapping[str, str]  # file name -> SHA-256 of the file
  resize: images.Resize = 'crop'  # how images became squares
  # Shard -> `sample` of the file.
  samples: Mapping[str, str] = dataclasses.field(default_factory=dict)


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


def sample(path: pathlib.Path) -> str:
  """The size of a file and a sum of its ends: quick, for each start of a run.

  It tells a shard from that of another data set; what is damaged in between is
  found by the sums within a record file, when it is read.
  """
  size = path.stat().st_size
  with open(path, 'rb') as file:
    crc = zlib.crc32(file.read(_SAMPLE))
    file.seek(max(size - _SAMPLE, 0))
    crc = zlib.crc32(file.read(_SAMPLE), crc)
  return f'{size}-{crc:08x}'


def check_files(
  folder: pathlib.Path, *, metadata: Metadata, whole: Iterable[str]
) -> None:
  """Compares files with metadata.json: `whole` ones by SHA-256, shards quickly.

  Raises ValueError that names the first that differs. Files without a sum pass:
  versions before 0.2 wrote no quick sums of shards.
  """
  checks = (
    (metadata.checksums, checksum, whole),
    (metadata.samples, sample, shards(metadata)),
  )
  for sums, function, names in checks:
    for name in names:
      path = folder / name
      if name in sums and path.is_file() and function(path) != sums[name]:
        raise ValueError(
          f'{path} is not what was prepared (its checksum in {FILE} is '
          f'another): copy it again from where it came, or '
          f'{prepare_again(folder)}'
        )


def write(folder: pathlib.Path, *, metadata: Metadata) -> None:
  """Writes metadata.json; the same bytes for the same metadata."""
  content = vars(metadata) | {
    'splits': {k: v._asdict() for k, v in metadata.splits.items()},
    'classes': [c._asdict() for c in metadata.classes],
    'skipped': [s._asdict() for s in metadata.skipped],
  }
  content = {k: v for k, v in content.items() if _ADDED.get(k) != v}
  with paths.replacing(folder / FILE) as file:
    file.write((_json(content) + '\n').encode())


def _json(content: Any) -> str:
  return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)


def read(folder: pathlib.Path) -> Metadata:
  """Reads and checks metadata.json; ValueError if a shard is missing, too."""
  if not folder.exists():
    raise ValueError(
      f'no prepared data set at {str(folder)!r}, which does not exist: give '
      f'another folder, or make one with {PREPARE}{folder}'
    )
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
  """Parses a metadata.json of the folder `place`; ValueError if damaged."""
  try:
    metadata = _record(json.loads(text.decode('utf-8')), Metadata)
    _check(metadata)
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f'{place}/{FILE} is damaged ({error}): {prepare_again(place)}'
    ) from error
  return metadata


def prepare_again(folder: pathlib.Path | str) -> str:
  """The advice of an error message about a damaged folder."""
  return f'prepare the data again with {PREPARE}{folder}'


def shards(metadata: Metadata) -> list[str]:
  """File names of the shards of all splits."""
  return [name for split in metadata.splits.values() for name in split.shards]


_KINDS = {str: 'text', int: 'a whole number', list: 'a list', dict: 'an object'}
_FORMS = {tuple: list, Mapping: dict}  # in JSON


def _typed(value: Any, kind: Any, *, name: str) -> Any:
  """Returns the JSON value of a field as its type `kind`, or ValueError."""
  origin, args = get_origin(kind), get_args(kind)
  if origin is None and kind not in _KINDS:
    return _record(value, kind)
  form = type(args[0]) if origin is Literal else _FORMS.get(origin, kind)
  if not isinstance(value, form) or isinstance(value, bool):
    raise ValueError(f'{name} is {value!r:.40}, not {_KINDS[form]}')
  if origin is Literal and value not in args:
    known = ' or '.join(map(str, args))
    raise ValueError(f'{name} {value!r}, this program reads {known}')
  most = _MOST.get(name, 2**31)
  if form is int and not 1 <= value <= most:
    raise ValueError(f'{name} is {value}, not 1 to {most}')
  if form is list:
    return tuple(_typed(each, args[0], name=name) for each in value)
  if form is dict:
    return {k: _typed(each, args[1], name=name) for k, each in value.items()}
  return value


def _record(content: Any, kind: type) -> Any:
  """Returns a JSON object as a type above, or raises ValueError."""
  if not isinstance(content, dict):
    raise ValueError(f'{content!r:.40} where an object was expected')
  fields, content = {}, _ADDED | content if kind is Metadata else content
  for name, hint in get_type_hints(kind).items():
    if name not in content:
      raise ValueError(f'{name} is missing')
    fields[name] = _typed(content[name], hint, name=name)
  return kind(**fields)


def _check(metadata: Metadata) -> None:
  """Raises ValueError for what the types of the fields do not say."""
  if 'val' not in metadata.splits:  # train is not there if made to evaluate on
    raise ValueError(f'lacks a split: val expected, {[*metadata.splits]} there')
  for split, info in metadata.splits.items():
    if not info.shards:
      raise ValueError(f'the {split} split has no shards')
    for shard in info.shards:
      if not paths.is_plain_name(shard):
        raise ValueError(f'the {split} shard {shard!r} is no plain file name')
  if not metadata.classes:
    raise ValueError('classes is empty')
  for text in (metadata.name, *itertools.chain(*metadata.classes)):
    if not text.isprintable():
      raise ValueError(f'name {text!r} has characters that cannot be shown')
  ids = [c.id for c in metadata.classes]
  for what, names in (('class', ids), ('shard', shards(metadata))):
    name, count = collections.Counter(names).most_common(1)[0]
    if count > 1:
      raise ValueError(f'the {what} {name!r} is listed {count} times')
