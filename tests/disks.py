"""Data sets as they lie on disks: a builder for each layout, of real images.

Each image has content of its own, so `TRUTH` tells its class whatever layout it
is found in. The images are of CIFAR-10 where ALEXNET_JAX_TEST_DATA has them,
else drawn.
"""

import functools
import io
import json
import os
import pathlib
import tarfile
import zipfile
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests import official

_REAL = pathlib.Path(os.environ.get('ALEXNET_JAX_TEST_DATA', '/nowhere'))
# Sorted by name these are in another order than by WordNet id.
WNIDS = {
  'airplane': 'n02690373',
  'automobile': 'n02958343',
  'bird': 'n01503061',
  'cat': 'n02121620',
}
WORDS = {
  'airplane': 'airliner, jet',
  'automobile': 'car, auto, motorcar',
  'bird': 'bird',
  'cat': 'domestic cat, house cat',
}
_EACH = {'train': 5, 'val': 2, 'test': 1}  # images of a class


class Picture(NamedTuple):
  """An image of a class."""

  kind: str
  number: int  # in its split, from 1 on; classes take turns
  data: bytes  # a JPEG of 32 x 32 pixels


@functools.cache
def pictures() -> dict[str, tuple[Picture, ...]]:
  """The images of train, val and test."""
  found: dict[str, tuple[Picture, ...]] = {}
  data = _cifar() if (_REAL / 'cifar10-mini.tar').is_file() else _drawn()
  for split, each in _EACH.items():
    rows = [(kind, data[kind].pop()) for _ in range(each) for kind in WNIDS]
    found[split] = tuple(
      Picture(kind, n, jpeg) for n, (kind, jpeg) in enumerate(rows, 1)
    )
  return found


def truth() -> dict[bytes, str]:
  """The class of each image, by its content."""
  return {p.data: p.kind for split in pictures().values() for p in split}


def _cifar() -> dict[str, list[bytes]]:
  found: dict[str, list[bytes]] = {kind: [] for kind in WNIDS}
  need = sum(_EACH.values())
  with tarfile.open(_REAL / 'cifar10-mini.tar') as archive:
    for info in archive:
      kind = info.name.split('/')[-2]
      if info.isfile() and kind in found and len(found[kind]) < need:
        data = archive.extractfile(info).read()
        if data not in found[kind]:
          found[kind].append(data)
      if all(len(each) == need for each in found.values()):
        break
  return found


def _drawn() -> dict[str, list[bytes]]:
  rng = np.random.default_rng(0)
  return {
    kind: [_jpeg(rng) for _ in range(sum(_EACH.values()))] for kind in WNIDS
  }


def _jpeg(rng: np.random.Generator) -> bytes:
  stream = io.BytesIO()
  pixels = rng.integers(256, size=(32, 32, 3), dtype=np.uint8)
  Image.fromarray(pixels).save(stream, 'JPEG')
  return stream.getvalue()


def write(folder: pathlib.Path, files: dict[str, bytes | str]) -> pathlib.Path:
  """Writes {path: content} below a folder, and returns the folder."""
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)
  return folder


def class_folders(folder: pathlib.Path) -> pathlib.Path:
  """torchvision's ImageFolder: train/CLASS/IMAGE and val/CLASS/IMAGE."""
  return write(
    folder,
    {
      f'{split}/{p.kind}/{p.number:04d}.jpg': p.data
      for split in ('train', 'val')
      for p in pictures()[split]
    },
  )


def one_folder(folder: pathlib.Path) -> pathlib.Path:
  """CLASS/IMAGE, without a split."""
  return write(
    folder,
    {f'{p.kind}/{p.number:04d}.jpg': p.data for p in pictures()['train']},
  )


def numbers(folder: pathlib.Path) -> pathlib.Path:
  """ImageNet-V2: folders 0, 1, ..., in the order of the WordNet ids."""
  order = sorted(WNIDS, key=WNIDS.__getitem__)
  return write(
    folder,
    {
      f'{order.index(p.kind)}/{p.number:04d}.jpeg': p.data
      for p in pictures()['val']
    },
  )


def _kaggle_files() -> dict[str, bytes | str]:
  data = 'ILSVRC/Data/CLS-LOC'
  notes = 'ILSVRC/Annotations/CLS-LOC'
  sets = 'ILSVRC/ImageSets/CLS-LOC'
  files: dict[str, bytes | str] = {}
  rows, order = ['ImageId,PredictionString'], ['']
  for p in pictures()['train']:
    wnid = WNIDS[p.kind]
    files[f'{data}/train/{wnid}/{wnid}_{p.number}.JPEG'] = p.data
    files[f'{notes}/train/{wnid}/{wnid}_{p.number}.xml'] = '<annotation/>'
  for p in pictures()['val']:
    name = f'ILSVRC2012_val_{p.number:08d}'
    files[f'{data}/val/{name}.JPEG'] = p.data
    files[f'{notes}/val/{name}.xml'] = '<annotation/>'
    box = f'{WNIDS[p.kind]} 1 2 30 31 '
    rows.append(f'{name},{box}' + box * (p.number % 2))
    order.append(f'{name} {p.number}')
  for p in pictures()['test']:
    files[f'{data}/test/ILSVRC2012_test_{p.number:08d}.JPEG'] = p.data
  words = sorted((WNIDS[kind], WORDS[kind]) for kind in WNIDS)
  files['LOC_val_solution.csv'] = '\n'.join([rows[0], *rows[:0:-1], ''])
  files['LOC_train_solution.csv'] = 'ImageId,PredictionString\n'
  files['LOC_sample_submission.csv'] = 'ImageId,PredictionString\n'
  files['LOC_synset_mapping.txt'] = ''.join(f'{a} {b}\n' for a, b in words)
  files[f'{sets}/val.txt'] = '\n'.join([*order[1:], ''])
  files[f'{sets}/train_cls.txt'] = 'n01503061/n01503061_1 1\n'
  return files


def unpacked_tars(folder: pathlib.Path) -> pathlib.Path:
  """ILSVRC2012's tars unpacked, with val/ flat and the devkit as it came.

  The devkit's numbers of synsets are in another order than WordNet ids.
  """
  files: dict[str, bytes | str] = {}
  for p in pictures()['train']:
    wnid = WNIDS[p.kind]
    files[f'train/{wnid}/{wnid}_{p.number}.JPEG'] = p.data
  for p in pictures()['val']:
    files[f'val/ILSVRC2012_val_{p.number:08d}.JPEG'] = p.data
  kinds = {n: kind for n, kind in enumerate(WNIDS, 1)}
  number = {kind: n for n, kind in kinds.items()}
  files['ILSVRC2012_devkit_t12.tar.gz'] = official.devkit(
    synsets={n: WNIDS[kind] for n, kind in kinds.items()},
    val_ids=[number[p.kind] for p in pictures()['val']],
  )
  return write(folder, files)


def kaggle(folder: pathlib.Path) -> pathlib.Path:
  """Kaggle's ILSVRC, given its top folder."""
  return write(folder, _kaggle_files())


def kaggle_inner(folder: pathlib.Path) -> pathlib.Path:
  """Kaggle's ILSVRC, given Data/CLS-LOC."""
  return kaggle(folder) / 'ILSVRC/Data/CLS-LOC'


def tiny_imagenet(folder: pathlib.Path) -> pathlib.Path:
  """Tiny ImageNet with its files of boxes, and test images without labels."""
  files: dict[str, bytes | str] = {}
  boxes: dict[str, str] = {}
  val = ''
  for p in pictures()['train']:
    wnid = WNIDS[p.kind]
    files[f'train/{wnid}/images/{wnid}_{p.number}.JPEG'] = p.data
    boxes[wnid] = boxes.get(wnid, '') + f'{wnid}_{p.number}.JPEG\t0\t0\t9\t9\n'
  for wnid, text in boxes.items():
    files[f'train/{wnid}/{wnid}_boxes.txt'] = text
  for p in pictures()['val']:
    files[f'val/images/val_{p.number}.JPEG'] = p.data
    val += f'val_{p.number}.JPEG\t{WNIDS[p.kind]}\t0\t0\t62\t62\n'
  for p in pictures()['test']:
    files[f'test/images/test_{p.number}.JPEG'] = p.data
  files['val/val_annotations.txt'] = val
  files['wnids.txt'] = ''.join(f'{w}\n' for w in reversed(WNIDS.values()))
  words = {**{WNIDS[k]: WORDS[k] for k in WNIDS}, 'n00001740': 'entity'}
  files['words.txt'] = ''.join(f'{a}\t{b}\n' for a, b in words.items())
  return write(folder, files)


def _flat() -> dict[str, bytes | str]:
  """train/IMAGE and val/IMAGE."""
  return {
    f'{split}/{p.number:03d}.jpg': p.data
    for split in ('train', 'val')
    for p in pictures()[split]
  }


def caffe(folder: pathlib.Path) -> pathlib.Path:
  """Caffe's flat folders: train.txt and val.txt of `path number`."""
  files, order = _flat(), list(WNIDS)[::-1]
  for split in ('train', 'val'):
    files[f'{split}.txt'] = ''.join(
      f'{p.number:03d}.jpg {order.index(p.kind)}\n' for p in pictures()[split]
    )
  files['synset_words.txt'] = ''.join(
    f'{WNIDS[kind]} {WORDS[kind]}\n' for kind in order
  )
  return write(folder, files)


def csv_files(folder: pathlib.Path) -> pathlib.Path:
  """Flat folders with train.csv and val.csv, which have a header."""
  files = _flat()
  for split in ('train', 'val'):
    rows = (f'{p.number:03d}.jpg,{p.kind}\n' for p in pictures()[split])
    files[f'{split}.csv'] = 'filename,label\n' + ''.join(rows)
  return write(folder, files)


def csv_pool(folder: pathlib.Path) -> pathlib.Path:
  """One folder of images, and labels.csv of names without a header."""
  files: dict[str, bytes | str] = {
    f'images/{p.number:03d}.jpg': p.data for p in pictures()['train']
  }
  files['labels.csv'] = ''.join(
    f'{p.number:03d}.jpg,{p.kind}\n' for p in pictures()['train']
  )
  return write(folder, files)


def json_lines(folder: pathlib.Path) -> pathlib.Path:
  """Flat folders, each with metadata.jsonl of `file_name` and `label`."""
  files = _flat()
  for split in ('train', 'val'):
    files[f'{split}/metadata.jsonl'] = ''.join(
      json.dumps({'file_name': f'{p.number:03d}.jpg', 'label': p.kind}) + '\n'
      for p in pictures()[split]
    )
  return write(folder, files)


def _content(folder: pathlib.Path, *, within: str) -> dict[str, bytes]:
  """The files below a folder, with names that begin with `within`."""
  return {
    within + str(p.relative_to(folder)): p.read_bytes()
    for p in sorted(folder.rglob('*'))
    if p.is_file()
  }


def archive_of(folder: pathlib.Path) -> pathlib.Path:
  """An uncompressed tar of class folders."""
  tree = class_folders(folder / 'tree')
  (folder / 'pets.tar').write_bytes(official.tar(_content(tree, within='p/')))
  return folder / 'pets.tar'


def _zip(path: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, content in files.items():
      archive.writestr(name, content)
  return path


def zip_of(folder: pathlib.Path) -> pathlib.Path:
  """A zip of class folders, as a Mac packs it."""
  tree = class_folders(folder / 'tree')
  files = _content(tree, within='pets/')
  junk = {'__MACOSX/pets/._train': b'x', 'pets/.DS_Store': b'x'}
  return _zip(folder / 'pets.zip', files | junk)


def kaggle_zip(folder: pathlib.Path) -> pathlib.Path:
  """Kaggle's ILSVRC as it is downloaded: one zip."""
  tree = kaggle(folder / 'tree')
  name = 'imagenet-object-localization-challenge.zip'
  return _zip(folder / name, _content(tree, within=''))


def archives_of_splits(folder: pathlib.Path) -> pathlib.Path:
  """A folder with two tars of training images and a zip of val."""
  tree = class_folders(folder / 'tree')
  there = folder / 'there'
  there.mkdir()
  train = list(_content(tree / 'train', within='').items())
  for number, part in enumerate((train[:7], train[7:])):
    path = there / f'train-{number}.tar'
    path.write_bytes(official.tar(dict(part)))
  _zip(there / 'val.zip', _content(tree / 'val', within='val/'))
  return there
