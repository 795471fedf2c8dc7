"""Which image files a source holds, and their labels (paper §2).

A layout is a list of files with labels for each split, and the classes. Files
in a tar are named by their place in it and read from there: nothing is
extracted.

Known so far: ILSVRC2012, the folder of the official downloads:
  ILSVRC2012_img_train.tar          a tar of one tar for each synset
  ILSVRC2012_img_val.tar            ILSVRC2012_val_00000001.JPEG, ...
  ILSVRC2012_devkit_t12.tar.gz      which synset is which, and the val labels

Its labels are the synsets' places in the order of their WordNet ids, which is
what published AlexNets use. The devkit numbers them otherwise.
"""

import io
import pathlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import scipy.io

from alexnet_jax.data import dataset


class Member(NamedTuple):
  """An image file: `size` bytes of `path` from `offset` on."""

  path: str
  offset: int
  size: int
  name: str

  def read(self) -> bytes:
    """The file's bytes."""
    with open(self.path, 'rb') as file:
      file.seek(self.offset)
      return file.read(self.size)


class Labelled(NamedTuple):
  member: Member
  label: int


class Layout(NamedTuple):
  """All of a source that preparing it needs."""

  name: str
  classes: tuple[dataset.ClassInfo, ...]
  splits: Mapping[str, tuple[Labelled, ...]]


def find(source: pathlib.Path) -> Layout:
  """Recognises and lists a source; a ValueError of one line if it cannot."""
  if not source.exists():
    raise ValueError(f'no source at {source}: give --source=PATH')
  if (source / 'ILSVRC2012_img_train.tar').is_file():
    return ilsvrc2012(source)
  raise ValueError(
    f'{source} has no known layout: expected a folder with '
    'ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and '
    'ILSVRC2012_devkit_t12.tar.gz'
  )


def ilsvrc2012(source: pathlib.Path) -> Layout:
  """The official ILSVRC2012 downloads."""
  devkit = _devkit(_need(source / 'ILSVRC2012_devkit_t12.tar.gz'))
  classes = tuple(sorted(devkit.synsets.values()))
  labels = {info.id: label for label, info in enumerate(classes)}
  train = [
    Labelled(member, _lookup(labels, synset, what=f'synset of {member.name}'))
    for synset, member in _nested(_need(source / 'ILSVRC2012_img_train.tar'))
  ]
  val = [
    Labelled(member, labels[_val_synset(devkit, name=member.name)])
    for member in _members(_need(source / 'ILSVRC2012_img_val.tar'))
  ]
  val.sort(key=lambda labelled: labelled.member.name)
  return Layout(
    'ILSVRC2012', classes, {'train': tuple(train), 'val': tuple(val)}
  )


class _Devkit(NamedTuple):
  synsets: Mapping[int, dataset.ClassInfo]  # by the devkit's own ids
  val_ids: tuple[int, ...]  # the id of validation image 1, 2, ...


def _devkit(path: pathlib.Path) -> _Devkit:
  """Reads meta.mat and the validation labels out of the devkit.

  meta.mat also lists the inner nodes of the hierarchy; classes are its leaves.
  """
  try:
    with tarfile.open(path) as archive:
      meta = _extract(archive, ending='data/meta.mat')
      truth = _extract(
        archive, ending='data/ILSVRC2012_validation_ground_truth.txt'
      )
    synsets = scipy.io.loadmat(io.BytesIO(meta), simplify_cells=True)['synsets']
    leaves = {
      int(s['ILSVRC2012_ID']): dataset.ClassInfo(
        s['WNID'], s['words'].split(',')[0], s['words']
      )
      for s in synsets
      if not s['num_children']
    }
    return _Devkit(leaves, tuple(map(int, truth.split())))
  except (tarfile.TarError, OSError, EOFError, KeyError) as error:
    reason = str(error).splitlines()[0]
    raise ValueError(
      f'{path} is not a whole ILSVRC2012 devkit ({reason}): download it again'
    ) from error


def _extract(archive: tarfile.TarFile, *, ending: str) -> bytes:
  for info in archive:
    file = archive.extractfile(info) if info.name.endswith(ending) else None
    if file is not None:
      return file.read()
  raise KeyError(f'it has no {ending}')


def _val_synset(devkit: _Devkit, *, name: str) -> str:
  """The synset of ILSVRC2012_val_00000123.JPEG: line 123 of the labels."""
  match = re.fullmatch(r'.*_val_(\d+)\.JPEG', name)
  number = int(match[1]) if match else 0
  if not 1 <= number <= len(devkit.val_ids):
    raise ValueError(
      f'validation image {name} has no label: the devkit has '
      f'{len(devkit.val_ids)}, for ILSVRC2012_val_00000001.JPEG onwards'
    )
  id_ = devkit.val_ids[number - 1]
  return _lookup(devkit.synsets, id_, what=f'ILSVRC2012_ID of {name}').id


def _lookup(table: Mapping, key: object, *, what: str):
  if key not in table:
    raise ValueError(f'{what} is {key!r}, which the devkit does not know')
  return table[key]


def _need(path: pathlib.Path) -> pathlib.Path:
  if not path.is_file():
    raise ValueError(
      f'{path} is missing: download it from image-net.org to that place'
    )
  return path


def _members(path: pathlib.Path) -> Iterator[Member]:
  """The regular files in a tar."""
  with open(path, 'rb') as file:
    for info in _scan(file, path=path):
      yield Member(str(path), info.offset_data, info.size, info.name)


def _nested(path: pathlib.Path) -> Iterator[tuple[str, Member]]:
  """(name of the inner tar, file in it) for a tar of tars."""
  with open(path, 'rb') as outer, open(path, 'rb') as inner:
    for tar in _scan(outer, path=path):
      inner.seek(tar.offset_data)  # whence offsets are counted in the outer
      for info in _scan(inner, path=path):
        if info.offset_data + info.size > tar.offset_data + tar.size:
          raise ValueError(f'{path}: {tar.name} in it is cut short')
        name = pathlib.PurePath(tar.name).stem
        yield name, Member(str(path), info.offset_data, info.size, info.name)


def _scan(
  file: io.BufferedReader, *, path: pathlib.Path
) -> Iterator[tarfile.TarInfo]:
  """Headers of the tar that starts here, one at a time."""
  try:
    with tarfile.open(fileobj=file, mode='r:') as archive:
      for info in archive:
        if info.isfile():
          yield info
  except tarfile.TarError as error:
    raise ValueError(
      f'{path} is not a whole tar archive ({error}): download it again'
    ) from error
