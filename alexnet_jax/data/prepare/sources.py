"""Finds out what a source of images is, and lists its images (paper §2)."""

import pathlib
from collections.abc import Callable

from alexnet_jax.data import dataset, metadata, tfds
from alexnet_jax.data.prepare import (
  cifar,
  classes,
  folders,
  ilsvrc,
  layouts,
  parquet,
  splits,
  webdataset,
)
from alexnet_jax.runtime import paths

KNOWN = (
  'a folder with the official tars of ILSVRC2012 or ILSVRC2010; class folders '
  '(train/CLASS/IMAGE, val/CLASS/IMAGE), flat folders with files of labels, or '
  'archives of them; tfds:NAME'
)
_CONTAINERS: dict[str, Callable[[pathlib.Path], layouts.Layout | None]] = {
  'official tars': ilsvrc.find_layout,
  'archives of its own': cifar.find_layout,
  'parquet': parquet.find_layout,
  'WebDataset': webdataset.find_layout,
}


def find_layout(
  source: str,
  *,
  tfds_data_dir: str = '',
  halves: bool = False,
  labels: str = '',
  classes_of: str = '',
  val_share: float | None = None,
) -> layouts.Layout:
  """Lists the images of a path or of 'tfds:NAME', by split and with labels.

  `tfds_data_dir` is where TFDS keeps its data, '' its default; `halves` is for
  layouts.in_halves, `val_share` for layouts.hold_out. `labels` are files of
  labels, '[SPLIT:]FILE,...'; `classes_of` is a prepared folder, whose classes
  are used. Raises ValueError if the source does not exist, or splits or labels
  are missing.
  """
  if halves and val_share is not None:
    raise ValueError(
      f'--halves and --val_share={val_share:g} both divide the images: give one'
    )
  request = folders.Request(
    tables=_tables(labels),
    pooled=halves,
    val_share=val_share,
    evaluated=bool(classes_of),
  )
  wanted = _classes(classes_of)
  if source.startswith(tfds.PREFIX):
    name = source.removeprefix(tfds.PREFIX)
    found = _tfds_layout(tfds.find(name, data_dir=tfds_data_dir))
    _refuse_flags(found, labels=labels, classes_of=classes_of)
  else:
    found = _of_path(paths.expand(source).resolve(), request=request)
  if wanted:
    found = classes.mapped(found, wanted=wanted, of=classes_of)
  if halves:
    found = layouts.in_halves(found)
  elif val_share is not None:
    found = _held_out(found, share=val_share)
  elif 'train' not in found.splits and not wanted:
    raise ValueError(
      f'{source} has no training images: give --classes_of=DATA to make a set '
      'to evaluate on'
    )
  elif 'val' not in found.splits:
    raise ValueError(
      f'{source} has no validation images with labels: give --val_share=0.1 to '
      'split some off'
    )
  return layouts.told(found)


def _of_path(path: pathlib.Path, *, request: folders.Request) -> layouts.Layout:
  """Lists the images of a folder or a file."""
  if not path.exists():
    raise ValueError(f'no source at {path}: give --source, {KNOWN}')
  if (path / metadata.FILE).is_file() and any(path.glob('*.array_record')):
    raise ValueError(
      f'{path} is a prepared data set: train with --config.data.dir={path}'
    )
  for form, find in _CONTAINERS.items():
    if (found := find(path)) is not None:
      _refuse_flags(found, labels=bool(request.tables))
      return found._replace(form=f'{found.name}, {form}')
  return folders.find_layout(path, request=request)


def _refuse_flags(found: layouts.Layout, **flags: object) -> None:
  """Raises ValueError for flags that a layout has no use for."""
  for name, value in flags.items():
    if value:
      raise ValueError(
        f'{found.name} has labels of its own, {found.labels}: '
        f'leave out --{name}'
      )


def _held_out(found: layouts.Layout, *, share: float) -> layouts.Layout:
  """Splits validation images off; ValueError if there are some."""
  if not 0 < share < 1:
    raise ValueError(f'--val_share={share:g}: give more than 0 and less than 1')
  if 'val' in found.splits:
    raise ValueError(
      f'{found.name} has a validation split: leave out --val_share'
    )
  divided = layouts.hold_out(found, share=share)
  if not divided.splits['val']:
    raise ValueError(
      f'{found.name} has one image a class, none to split off for validation: '
      'give more images, or a validation split'
    )
  return divided


def _tables(flag: str) -> dict[str, pathlib.Path]:
  """Files of --labels=[SPLIT:]FILE,..., by split; '' is any."""
  found: dict[str, pathlib.Path] = {}
  for entry in filter(None, flag.split(',')):
    split, mark, name = entry.partition(':')
    known = splits.exact(split) if mark else None
    path = paths.expand(name if known else entry)
    if not path.is_file():
      raise ValueError(
        f'--labels={flag}: there is no file {path}; give FILE, or train:FILE '
        'and val:FILE with a comma between them'
      )
    found[known or ''] = path
  return found


def _classes(prepared: str) -> tuple[dataset.ClassInfo, ...]:
  """The classes of a prepared folder."""
  if not prepared:
    return ()
  return metadata.read(paths.expand(prepared)).classes


def _tfds_layout(found: tfds.Prepared) -> layouts.Layout:
  """Lists every image of a data set; labels are read with the images."""
  splits = {
    split: tuple(
      layouts.Labelled(tfds.Member(found.folder, name, index), None)
      for index in range(len(tfds.data_source(found.folder, split=name)))
    )
    for split, name in found.splits.items()
  }
  return layouts.Layout(
    found.name, found.classes, splits, form='TFDS', labels='TFDS'
  )
