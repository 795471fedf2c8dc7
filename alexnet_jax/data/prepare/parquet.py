"""Parquet files of images, as Hugging Face publishes data sets.

A column holds encoded images, as `struct<bytes, path>` or as plain bytes, and
another labels: numbers of classes that the schema's metadata names, or names.

Parquet is read by groups of rows, of 100 images to thousands. Training images
are shuffled, and to read a group for each would read the data set as often as a
group has rows. So the images of each file are first copied to a tar, in
`unpacked`'s folder: one pass over the files, of a batch of rows at a time.
"""

import collections
import io
import json
import pathlib
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from alexnet_jax.data import metadata
from alexnet_jax.data.prepare import containers, layouts, tar, unpacked

_BATCH = 32  # rows
_IMAGES = ('image', 'img', 'jpg', 'jpeg', 'png', 'webp', 'image_bytes', 'bytes')
_LABELS = (
  'label', 'labels', 'fine_label', 'class', 'cls', 'target', 'class_label', 'y'
)  # fmt: skip


class _File(NamedTuple):
  """A parquet file and where its images and labels are."""

  path: pathlib.Path
  name: str  # below the source
  image: str  # column of images, such as 'image.bytes'
  label: str
  classes: tuple[str, ...] | None  # names of the numbers, if it has them


def find_layout(source: pathlib.Path) -> layouts.Layout | None:
  """Lists the images of a folder of parquet files, or of one; None without.

  Splits are told by file names such as train-00000-of-00003.parquet, or their
  folders'. Raises ValueError if a file is damaged or the files do not fit.
  """
  files = [found for path in _paths(source) if (found := _look(path, source))]
  if not files:
    return None
  known = {found.classes for found in files}
  if len(known) > 1:
    raise ValueError(
      f'{source} has parquet files that name their classes differently, such '
      f'as {files[0].name}: give the folder of one data set'
    )
  splits: dict[str, list[containers.Named]] = {}
  skipped: list[metadata.Skipped] = []
  placed, notes = containers.split_of([f.name for f in files], source=source)
  for found in files:
    if split := placed.get(found.name):
      splits.setdefault(split, []).extend(_rows(found))
  layout = containers.layout(
    source,
    splits=splits,
    classes=known.pop(),
    skipped=skipped,
    labels=f'column {files[0].label} of the parquet files',
  )
  return layout._replace(notes=(*layout.notes, *notes))


def _paths(source: pathlib.Path) -> list[pathlib.Path]:
  if source.is_file():
    return [source] if source.suffix == '.parquet' else []
  found = [*source.glob('*.parquet'), *source.glob('*/*.parquet')]
  return sorted(
    p for p in found if not p.relative_to(source).as_posix().startswith('.')
  )


def _look(path: pathlib.Path, source: pathlib.Path) -> _File | None:
  """Finds the columns of a file; None if it has no images."""
  with _open(path) as file:
    schema = file.schema_arrow
  columns = {column.name: column.type for column in schema}
  image = next((c for c in _IMAGES if _holds_bytes(columns.get(c))), None)
  if image is None:
    return None
  features = _features(schema.metadata, path=path)
  label = next((c for c in _LABELS if c in columns), None)
  label = label or next(
    (c for c in columns if features.get(c, {}).get('_type') == 'ClassLabel'),
    None,
  )
  name = path.name if path == source else path.relative_to(source).as_posix()
  if label is None:
    raise ValueError(
      f'{path} has images but no labels: its columns are {", ".join(columns)}, '
      f'none of them {", ".join(_LABELS)}'
    )
  classes = features.get(label, {}).get('names')
  classes = tuple(map(str, classes)) if classes else None
  inner = '' if _is_binary(columns[image]) else '.bytes'
  return _File(path, tar.printable(name), image + inner, label, classes)


def _features(content: Any, *, path: pathlib.Path) -> dict[str, Any]:
  """The features that Hugging Face keeps in the schema's metadata."""
  text = (content or {}).get(b'huggingface')
  if text is None:
    return {}
  try:
    found = json.loads(text)['info']['features']
    return {k: f for k, f in found.items() if isinstance(f, dict)}
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    raise ValueError(
      f'{path} has damaged metadata of Hugging Face: download it again'
    ) from None


def _is_binary(kind: Any) -> bool:
  return str(kind) in ('binary', 'large_binary', 'binary_view')


def _holds_bytes(kind: Any) -> bool:
  """Whether a column's type is bytes, or has a field `bytes` of them."""
  if kind is None or _is_binary(kind):
    return kind is not None
  fields = [kind.field(i) for i in range(kind.num_fields)]
  return any(f.name == 'bytes' and _is_binary(f.type) for f in fields)


def _open(path: pathlib.Path) -> Any:
  """Opens a file to read it in bounded memory; ValueError if damaged."""
  from pyarrow import lib, parquet  # takes a while

  try:
    return parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
  except lib.ArrowException as error:
    raise _damaged(path, error=error) from error


def _damaged(path: pathlib.Path, *, error: Exception) -> ValueError:
  reason = str(error).split('\n')[0]
  return ValueError(
    f'{path} is no whole parquet file ({reason}): download it again'
  )


def _batches(path: pathlib.Path, *, columns: Sequence[str]) -> Iterator[Any]:
  """Reads the rows of some columns, a few at a time."""
  from pyarrow import lib

  with _open(path) as file:
    try:
      yield from file.iter_batches(batch_size=_BATCH, columns=list(columns))
    except (lib.ArrowException, OSError) as error:
      raise _damaged(path, error=error) from error


def _rows(found: _File) -> Iterator[containers.Named]:
  """The images of a file and their labels, in its order."""
  labels: list[Any] = []
  places: list[str] = []
  columns = {found.label, found.image.replace('.bytes', '.path')}
  if '.' not in found.image:
    columns = {found.label}
  for batch in _batches(found.path, columns=sorted(columns)):
    labels += batch.column(found.label).to_pylist()
    if '.' in found.image:
      column = batch.column(found.image.split('.')[0])
      places += [(row or {}).get('path') or '' for row in column.to_pylist()]
  if all(label in (None, -1) for label in labels):  # not copied in vain
    empty = tar.Member(str(found.path), 0, 0, found.name)
    yield from (containers.Named(empty, None) for _ in labels)
    return
  whole = unpacked.once(
    found.path,
    write=lambda file: _copy(found, file),
    why='allows no random access: copying its images',
  )
  seen = collections.Counter(places)
  members = tar.members(whole, skipped=[])
  for row, (member, label) in enumerate(zip(members, labels, strict=True)):
    place = places[row] if places and seen[places[row]] == 1 else ''
    stem = found.path.stem
    last = pathlib.PurePosixPath(place).name or f'{stem}-{row:06d}'
    name = f'{found.name}/{tar.printable(last)}'
    yield containers.Named(member._replace(name=name), label)


def _copy(found: _File, file: BinaryIO) -> None:
  """Writes the images of a file to a tar; empty where there is none."""
  outer, _, inner = found.image.partition('.')
  with tarfile.open(fileobj=file, mode='w') as archive:
    row = 0
    for batch in _batches(found.path, columns=[found.image]):
      unpacked.check_room(2 * batch.nbytes)
      for value in batch.column(outer).to_pylist():
        data = (value or {}).get(inner) if inner else value
        info = tarfile.TarInfo(f'{row:09d}')
        info.size = len(data or b'')
        archive.addfile(info, io.BytesIO(data or b''))
        row += 1
