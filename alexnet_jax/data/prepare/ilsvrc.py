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

import functools
import io
import itertools
import operator
import pathlib
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence

from alexnet_jax.data import dataset, metadata
from alexnet_jax.data.prepare import files, labels, layouts, tar

# Year, how the names of its tars begin, and all names of its devkit.
_DEVKITS_2010 = ('ILSVRC2010_devkit-1.0.tar.gz', 'devkit-1.0.tar.gz')
_EDITIONS = (
  ('ILSVRC2012', 'ILSVRC2012_img', ('ILSVRC2012_devkit_t12.tar.gz',)),
  ('ILSVRC2010', 'ILSVRC2010_images', _DEVKITS_2010),
)
_Found = Iterator[tuple[str | int, tar.Member]]  # WordNet id or devkit's number


def find_layout(source: pathlib.Path) -> layouts.Layout | None:
  """Lists the images of a folder of downloads; None if it is no such folder.

  Raises ValueError if a file of the edition is missing or damaged.
  """
  for year, images, devkits in _EDITIONS:
    val = source / f'{images}_val.tar'
    if val.is_file() or _train_tars(source, images=images):
      return _layout(year, images, devkits, source=source)
  return None


def _layout(
  year: str, images: str, devkits: Sequence[str], *, source: pathlib.Path
) -> layouts.Layout:
  """Lists the images of one edition."""
  named = [source / name for name in devkits]
  devkit = next((path for path in named if path.is_file()), named[0])
  val = source / f'{images}_val.tar'
  train = _train_tars(source, images=images)
  first = train[0] if train else source / f'{images}_train.tar'
  for path in (first, val, devkit):
    if not path.is_file():
      pieces = sorted(p.name for p in source.glob(f'{path.name}.*'))
      joined = f'join its pieces, cat {path.name}.* > {path.name}'
      fix = joined if pieces else 'download it from image-net.org'
      raise ValueError(f'{path} is missing: {fix}')
  synsets, val_ids = _read_devkit(devkit, year=year)
  skipped: list[metadata.Skipped] = []
  passed = files.Listing()
  splits: dict[str, _Found] = {
    'train': itertools.chain.from_iterable(
      _by_synset(path, skipped=skipped, passed=passed) for path in train
    ),
    'val': _by_number(val, ids=val_ids, skipped=skipped, passed=passed),
  }
  truth = source / f'{year}_test_ground_truth.txt'
  test = source / f'{year}_images_test.tar'
  if truth.is_file() and test.is_file():
    ids = _numbers(truth.read_bytes(), path=truth)
    splits['test'] = _by_number(test, ids=ids, skipped=skipped, passed=passed)
  classes = tuple(sorted(synsets.values()))
  place: dict[str | int, int] = {c.id: k for k, c in enumerate(classes)}
  place |= {number: place[c.id] for number, c in synsets.items()}
  patch = source / 'patch_images.tar'
  better = tar.members(patch, skipped=[]) if patch.is_file() else ()
  patches = {pathlib.PurePath(member.name).name: member for member in better}
  listed = {
    split: tuple(_labelled(found, place=place, patches=patches))
    for split, found in splits.items()
  }
  return layouts.Layout(
    year,
    classes,
    listed,
    tuple(skipped),
    labels=f'devkit meta.mat ({devkit.name})',
    notes=passed.told(),
  )


def unpacked(
  source: pathlib.Path,
) -> tuple[labels.Table, dict[str, str]] | None:
  """Labels of unpacked val images by the devkit beside them, packed or not.

  Returns them and the words of all classes by id, or None without a devkit.
  """
  for year, _, devkits in _EDITIONS:
    for name in (*devkits, *(d.removesuffix('.tar.gz') for d in devkits)):
      if (path := source / name).exists():
        synsets, val_ids = _read_devkit(path, year=year)
        rows = tuple(
          labels.Row(f'{year}_val_{number:08d}', synsets[id_].id, 'val')
          for number, id_ in enumerate(val_ids, 1)
        )
        words = {info.id: info.words for info in synsets.values()}
        return labels.Table(f'devkit meta.mat ({name})', rows), words
  return None


def _train_tars(source: pathlib.Path, *, images: str) -> list[pathlib.Path]:
  """The official train tar, or else several that divide its synsets."""
  whole = source / f'{images}_train.tar'
  number = re.compile(rf'{images}_train[._-]*(part)?[._-]*\d+\.tar')
  parts = source.glob(f'{images}_train*.tar')
  parts = sorted(path for path in parts if number.fullmatch(path.name))
  return [whole] if whole.is_file() else parts


def _by_synset(
  path: pathlib.Path, *, skipped: list[metadata.Skipped], passed: files.Listing
) -> _Found:
  """Images of a tar of tars, each with the name of the inner tar."""
  found = tar.nested(
    path, skipped=skipped, wanted=functools.partial(passed.wants, ending='.tar')
  )
  for synset, member in found:
    if passed.wants(member.name):
      yield synset, member


def _by_number(
  path: pathlib.Path,
  *,
  ids: Sequence[int],
  skipped: list[metadata.Skipped],
  passed: files.Listing,
) -> _Found:
  """Images ..._00000123.JPEG by name, each with entry 123 of `ids`, from 1."""
  by_name = operator.attrgetter('name')
  for member in sorted(tar.members(path, skipped=skipped), key=by_name):
    if not passed.wants(member.name):
      continue
    match = re.fullmatch(
      r'.*_(?:val|test)_(\d+)\.jpe?g', member.name, re.IGNORECASE
    )
    number = int(match[1]) if match else 0
    if not 1 <= number <= len(ids):
      raise ValueError(
        f'image {member.name} of {path.name} has no label: there are '
        f'{len(ids)}, for ..._00000001.JPEG onwards; use the devkit released '
        'with these images'
      )
    yield ids[number - 1], member


def _labelled(
  found: _Found,
  *,
  place: Mapping[str | int, int],
  patches: Mapping[str, tar.Member],
) -> Iterator[layouts.Labelled]:
  """Labels images by their synset, and replaces those that have a patch."""
  for synset, member in found:
    if synset not in place:
      raise ValueError(
        f'synset of {member.name} is {synset!r}, which the devkit does not '
        'know: use the devkit released with these images'
      )
    patch = patches.get(pathlib.PurePath(member.name).name)
    image = patch._replace(name=member.name) if patch else member
    yield layouts.Labelled(image, place[synset])


def _read_devkit(
  path: pathlib.Path, *, year: str
) -> tuple[dict[int, dataset.ClassInfo], tuple[int, ...]]:
  """Reads the synsets by their numbers, and the numbers of the val images.

  meta.mat also lists the inner nodes of the hierarchy; only leaves are classes.
  """
  import scipy.io  # a fifth of what a worker would import

  names = ('data/meta.mat', f'data/{year}_validation_ground_truth.txt')
  try:
    if path.is_dir():
      meta, truth = ((path / name).read_bytes() for name in names)
    else:
      with tarfile.open(path) as archive:
        meta, truth = (_extract(archive, ending=name) for name in names)
    synsets = scipy.io.loadmat(io.BytesIO(meta), simplify_cells=True)['synsets']
    leaves = {
      int(s[f'{year}_ID']): dataset.ClassInfo(
        s['WNID'], s['words'].split(',')[0], s['words']
      )
      for s in synsets
      if not s['num_children']
    }
  except Exception as error:  # tarfile, zlib and scipy raise their own types
    reason = str(error).split('\n')[0]
    raise ValueError(
      f'{path} is not a whole {year} devkit ({reason}): download it again'
    ) from error
  return leaves, _numbers(truth, path=path)


def _extract(archive: tarfile.TarFile, *, ending: str) -> bytes:
  """Reads the first member whose name has this ending."""
  for info in archive:
    file = archive.extractfile(info) if info.name.endswith(ending) else None
    if file is not None:
      return file.read()
  raise KeyError(f'it has no {ending}')


def _numbers(text: bytes, *, path: pathlib.Path) -> tuple[int, ...]:
  """Parses the devkit's numbers of synsets, one per line."""
  try:
    return tuple(map(int, text.split()))
  except ValueError as error:
    raise ValueError(
      f'{path} holds labels that are no numbers ({error}): download it again'
    ) from error
