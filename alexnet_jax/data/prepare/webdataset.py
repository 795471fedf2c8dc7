"""WebDataset: tars in which files of one name up to a dot belong together.

KEY.jpg is an image and KEY.cls, KEY.json or KEY.txt its label: a number of a
class, or its name. The split is told by the name of the tar or its folder.
Names of classes come from classnames.txt, one a line, from dataset_info.json,
or from the KEY.json.
"""

import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from alexnet_jax.data import metadata
from alexnet_jax.data.prepare import archives, containers, layouts, tar

_IMAGES = ('jpg', 'jpeg', 'png', 'webp')
_LABELS = ('cls', 'json', 'txt')  # the first that is there
_JSON_LABELS = ('label', 'cls', 'class', 'label_id', 'class_id', 'target')
_JSON_NAMES = ('class_name', 'classname', 'label_name', 'wnid', 'synset')
_LISTS = ('classnames.txt', 'classes.txt')
_INFOS = ('dataset_info.json', 'dataset_infos.json', '_info.json', 'info.json')
_FIRST = 16  # files of a tar that tell what it is
_MOST_TEXT = 2**20  # bytes


def find_layout(source: pathlib.Path) -> layouts.Layout | None:
  """Lists the images of WebDataset's tars in a folder, or of one; None without.

  Raises ValueError if a tar is damaged, or a label is none.
  """
  paths = _paths(source)
  if not paths or not _pairs(archives.first_names(paths[0], count=_FIRST)):
    return None
  skipped: list[metadata.Skipped] = []
  splits: dict[str, list[containers.Named]] = {}
  shown: dict[Any, set[str]] = {}  # label -> names that KEY.json gives it
  names = {
    path.name if path == source else path.relative_to(source).as_posix(): path
    for path in paths
  }
  placed, notes = containers.split_of([*names], source=source)
  for below, split in placed.items():
    within = tar.printable(below)
    images = _images(names[below], within=within, skipped=skipped)
    for member, label, name in images:
      splits.setdefault(split, []).append(containers.Named(member, label))
      if name and label is not None:
        shown.setdefault(label, set()).add(name)
  layout = containers.layout(
    source,
    splits=splits,
    classes=_class_names(source) or _from_json(shown),
    skipped=skipped,
    labels='KEY.cls, KEY.json or KEY.txt beside each image',
  )
  return layout._replace(notes=(*layout.notes, *notes))


def _paths(source: pathlib.Path) -> list[pathlib.Path]:
  """The tars of a folder and of the folders in it."""
  if source.is_file():
    return [source] if source.suffix != '.zip' else []
  found = [*source.glob('*.t*'), *source.glob('*/*.t*')]
  return sorted(
    path
    for path in found
    if archives.is_archive(path)
    and not any(p.startswith('.') for p in path.relative_to(source).parts)
  )


def _split_name(name: str) -> tuple[str, str]:
  """The key of a file, and what follows its first dot, in lower case."""
  folder, _, file = name.rpartition('/')
  key, _, kind = file.partition('.')
  return (f'{folder}/{key}' if folder else key) if key else '', kind.lower()


def _pairs(found: Iterable[str]) -> bool:
  """Whether an image and a label of the same key are among these names."""
  kinds: dict[str, set[str]] = {}
  for key, kind in map(_split_name, found):
    kinds.setdefault(key, set()).add(kind)
  return any(
    key and kind & set(_IMAGES) and kind & set(_LABELS)
    for key, kind in kinds.items()
  )


def _images(
  path: pathlib.Path, *, within: str, skipped: list[metadata.Skipped]
) -> Iterator[tuple[archives.Member, Any, str]]:
  """The images of a tar with their labels, and the names of these or ''."""
  samples: dict[str, dict[str, archives.Member]] = {}
  for member in archives.members(path, skipped=skipped):
    key, kind = _split_name(member.name)
    if key:
      samples.setdefault(key, {})[kind] = member
  for key, parts in samples.items():
    images = [parts[kind] for kind in _IMAGES if kind in parts]
    name = f'{within}/{images[0].name if images else key}'
    if len(images) != 1:
      if images:
        reason = 'several images of one key'
        skipped.append(metadata.Skipped(name, reason))
      continue
    kind = next((kind for kind in _LABELS if kind in parts), None)
    label, shown = _label(parts[kind], kind=kind) if kind else (None, '')
    yield images[0]._replace(name=name), label, shown


def _label(member: archives.Member, *, kind: str) -> tuple[Any, str]:
  """The label in a file, and the name of its class or ''."""
  where = f'{member.name} of {member.path}'
  if member.size > _MOST_TEXT:
    raise ValueError(f'{where} has {member.size:,} bytes: no label')
  try:
    text = member.read().decode().strip()
    content = json.loads(text) if kind == 'json' else None
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{where} is no label ({error}): correct it') from error
  if isinstance(content, dict):
    label = next((content[k] for k in _JSON_LABELS if k in content), None)
    name = next((content[k] for k in _JSON_NAMES if k in content), '')
    return name if label is None else label, name if _is_name(name) else ''
  if content is not None:
    return content, ''
  if '\n' in text:
    raise ValueError(f'{where} has several lines: one label is needed')
  return int(text) if text.removeprefix('-').isdecimal() else text, ''


def _is_name(value: Any) -> bool:
  return isinstance(value, str) and bool(value)


def _from_json(shown: dict[Any, set[str]]) -> list[str] | None:
  """Names of the classes 0, 1, ..., if each has one name of its own."""
  numbers = range(len(shown))
  if not shown or any(len(shown.get(k, ())) != 1 for k in numbers):
    return None
  return [next(iter(shown[k])) for k in numbers]


def _class_names(source: pathlib.Path) -> list[str] | None:
  """The names of the classes in a file beside the tars."""
  folder = source if source.is_dir() else source.parent
  for path in (folder / name for name in _LISTS):
    if path.is_file():
      text = path.read_text('utf-8-sig').rstrip()
      return [line.strip() for line in text.splitlines()]
  for path in (folder / name for name in _INFOS):
    if path.is_file():
      try:
        found = _names_in(json.loads(path.read_text('utf-8')))
      except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is damaged ({error}): remove it') from error
      if found:
        return found
  return None


def _names_in(content: Any) -> list[str] | None:
  """The first list `names` in a JSON file, as Hugging Face writes it."""
  if isinstance(content, dict):
    found = content.get('names')
    if isinstance(found, list) and all(map(_is_name, found)):
      return found
    return next(filter(None, map(_names_in, content.values())), None)
  return None
