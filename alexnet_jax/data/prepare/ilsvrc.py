"""The official downloads of ILSVRC2012 and ILSVRC2010 (paper §2).

ILSVRC2012_img_train.tar          a tar of tars, one per synset
ILSVRC2012_img_val.tar            ILSVRC2012_val_00000001.JPEG, ...
ILSVRC2012_devkit_t12.tar.gz      ids of the synsets, and the val labels

ILSVRC2010_images_train.tar       the same for 2010
ILSVRC2010_images_val.tar
ILSVRC2010_devkit-1.0.tar.gz
ILSVRC2010_images_test.tar        optional, with
                                  ILSVRC2010_test_ground_truth.txt; Table 1 of
                                  the paper reports this split
patch_images.tar                  optional; replaces images of the same name

Labels number the synsets in the order of their WordNet ids, as published
AlexNets do. The devkits number them in another order.
"""

import io
import pathlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import scipy.io

from alexnet_jax.data import dataset
from alexnet_jax.data.prepare import layouts, tar


class _Devkit(NamedTuple):
  """What the devkit says about classes and labels."""

  synsets: Mapping[int, dataset.ClassInfo]  # by the devkit's own ids
  val_ids: tuple[int, ...]  # devkit ids of validation images 1, 2, ...


class _Edition(NamedTuple):
  """File names of one year."""

  year: str
  train: str
  val: str
  devkits: tuple[str, ...]  # all names of the same file


EDITIONS = (
  _Edition(
    'ILSVRC2012',
    'ILSVRC2012_img_train.tar',
    'ILSVRC2012_img_val.tar',
    ('ILSVRC2012_devkit_t12.tar.gz',),
  ),
  _Edition(
    'ILSVRC2010',
    'ILSVRC2010_images_train.tar',
    'ILSVRC2010_images_val.tar',
    ('ILSVRC2010_devkit-1.0.tar.gz', 'devkit-1.0.tar.gz'),
  ),
)


def find_layout(source: pathlib.Path) -> layouts.Layout | None:
  """Lists the images of a folder of downloads; None if it is no such folder.

  Raises:
    ValueError: if a file of the edition is missing or damaged.
  """
  for edition in EDITIONS:
    if (source / edition.train).is_file():
      return _layout(edition, source=source)
  return None


def _layout(edition: _Edition, *, source: pathlib.Path) -> layouts.Layout:
  named = [source / name for name in edition.devkits]
  there = [path for path in named if path.is_file()] or [_require(named[0])]
  devkit = _devkit(edition, there[0])
  classes = tuple(sorted(devkit.synsets.values()))
  listing = _Listing(devkit, classes, _patches(source))
  train = listing.by_synset(source / edition.train)
  splits = {'train': tuple(train)}
  splits['val'] = listing.by_number(
    _require(source / edition.val), ids=devkit.val_ids
  )
  truth = source / f'{edition.year}_test_ground_truth.txt'
  test = source / f'{edition.year}_images_test.tar'
  if truth.is_file() and test.is_file():
    ids = _numbers(truth.read_bytes(), path=truth)
    splits['test'] = listing.by_number(test, ids=ids)
  return layouts.Layout(edition.year, classes, splits, tuple(listing.rejected))


class _Listing:
  """Labels the members of tars, and collects the rejected ones."""

  def __init__(
    self,
    devkit: _Devkit,
    classes: tuple[dataset.ClassInfo, ...],
    patches: Mapping[str, tar.Member],
  ):
    self._devkit = devkit
    self._labels = {info.id: label for label, info in enumerate(classes)}
    self._patches = patches
    self.rejected: list[tar.Rejected] = []

  def by_synset(self, path: pathlib.Path) -> Iterator[layouts.Labelled]:
    """Labels training images by their tar, which is named after the synset."""
    for synset, member in tar.nested(path):
      if isinstance(member, tar.Rejected):
        self.rejected.append(member)
        continue
      label = _lookup(self._labels, synset, what=f'synset of {member.name}')
      yield layouts.Labelled(self._patched(member), label)

  def by_number(
    self, path: pathlib.Path, *, ids: tuple[int, ...]
  ) -> tuple[layouts.Labelled, ...]:
    """Labels images ..._00000123.JPEG by entry 123 of `ids`, from 1 on."""
    found = []
    for member in tar.members(path):
      if isinstance(member, tar.Rejected):
        self.rejected.append(member)
        continue
      match = re.fullmatch(r'.*_(?:val|test)_(\d+)\.JPEG', member.name)
      number = int(match[1]) if match else 0
      if not 1 <= number <= len(ids):
        raise ValueError(
          f'image {member.name} of {path.name} has no label: there are '
          f'{len(ids)}, for ..._00000001.JPEG onwards; use the devkit released '
          'with these images'
        )
      what = f"the devkit's id of {member.name}"
      synset = _lookup(self._devkit.synsets, ids[number - 1], what=what)
      label = self._labels[synset.id]
      found.append(layouts.Labelled(self._patched(member), label))
    return tuple(sorted(found, key=lambda labelled: labelled.member.name))

  def _patched(self, member: tar.Member) -> tar.Member:
    patch = self._patches.get(pathlib.PurePath(member.name).name)
    return patch._replace(name=member.name) if patch else member


def _patches(source: pathlib.Path) -> dict[str, tar.Member]:
  """Images of patch_images.tar, by file name."""
  path = source / 'patch_images.tar'
  if not path.is_file():
    return {}
  return {
    pathlib.PurePath(member.name).name: member
    for member in tar.members(path)
    if isinstance(member, tar.Member)
  }


def _devkit(edition: _Edition, path: pathlib.Path) -> _Devkit:
  """Reads meta.mat and the validation labels of the devkit.

  meta.mat also lists the inner nodes of the hierarchy; only leaves are classes.
  """
  try:
    with tarfile.open(path) as archive:
      meta = tar.extract(archive, ending='data/meta.mat')
      name = f'data/{edition.year}_validation_ground_truth.txt'
      truth = tar.extract(archive, ending=name)
    synsets = scipy.io.loadmat(io.BytesIO(meta), simplify_cells=True)['synsets']
    leaves = {
      int(s[f'{edition.year}_ID']): dataset.ClassInfo(
        s['WNID'], s['words'].split(',')[0], s['words']
      )
      for s in synsets
      if not s['num_children']
    }
  except Exception as error:  # tarfile, zlib and scipy raise their own types
    reason = str(error).split('\n')[0]
    raise ValueError(
      f'{path} is not a whole {edition.year} devkit ({reason}): download it '
      'again'
    ) from error
  return _Devkit(leaves, _numbers(truth, path=path))


def _numbers(text: bytes, *, path: pathlib.Path) -> tuple[int, ...]:
  """Parses devkit ids, one per line."""
  try:
    return tuple(map(int, text.split()))
  except ValueError as error:
    raise ValueError(
      f'{path} holds labels that are no numbers ({error}): download it again'
    ) from error


def _lookup(table: Mapping, key: object, *, what: str):
  if key not in table:
    raise ValueError(
      f'{what} is {key!r}, which the devkit does not know: use the devkit '
      'released with these images'
    )
  return table[key]


def _require(path: pathlib.Path) -> pathlib.Path:
  if not path.is_file():
    raise ValueError(f'{path} is missing: download it from image-net.org')
  return path
