"""Writes small copies of the official ILSVRC downloads for tests."""

import io
import tarfile

import numpy as np
import scipy.io
from PIL import Image

# Devkit id -> WordNet id, unsorted; 4 is no class but an inner node.
SYNSETS = {1: 'n03000000', 2: 'n01000000', 3: 'n02000000', 4: 'n00000004'}
LABELS = {'n01000000': 0, 'n02000000': 1, 'n03000000': 2}
VAL_IDS = (3, 1, 2, 2)


def png(seed, *, width=20, height=16, mode='RGB'):
  """A PNG of noise as (array, bytes); PIL ignores the extension of its name."""
  rng = np.random.default_rng(seed)
  shape = (height, width) if mode == 'L' else (height, width, 3)
  array = rng.integers(256, size=shape, dtype=np.uint8)
  stream = io.BytesIO()
  Image.fromarray(array).save(stream, 'PNG')
  return array, stream.getvalue()


def tar(files):
  """A tar of {name: bytes}."""
  stream = io.BytesIO()
  with tarfile.open(fileobj=stream, mode='w') as archive:
    for name, content in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
  return stream.getvalue()


def devkit(
  year='ILSVRC2012',
  *,
  folder='ILSVRC2012_devkit_t12',
  synsets=SYNSETS,
  val_ids=VAL_IDS,
):
  """A devkit, by default with the classes and validation labels above."""
  kind = [
    (f'{year}_ID', object),
    ('WNID', object),
    ('words', object),
    ('num_children', object),
  ]
  table = np.empty((len(synsets), 1), kind)
  for row, (id_, wnid) in enumerate(synsets.items()):
    children = 2 if wnid == SYNSETS[4] else 0
    table[row, 0] = (id_, wnid, f'word {wnid}, synonym', children)
  meta = io.BytesIO()
  scipy.io.savemat(meta, {'synsets': table})
  truth = ''.join(f'{id_}\n' for id_ in val_ids).encode()
  root = f'{folder}/data/'
  return tar(
    {
      root + 'meta.mat': meta.getvalue(),
      root + f'{year}_validation_ground_truth.txt': truth,
    }
  )


def train_name(index):
  """Synset and file name of a training image."""
  wnid = sorted(LABELS)[index % 3]
  return wnid, f'{wnid}_{index}.JPEG'


def write(folder, *, num_train=9):
  """Writes training images of three synsets, and validation images 1, 2, 4."""
  inner = {}
  for index in range(num_train):
    wnid, name = train_name(index)
    inner.setdefault(wnid, {})[name] = png(index)[1]
  folder.mkdir(exist_ok=True)
  train = {f'{k}.tar': tar(v) for k, v in inner.items()}
  val = {f'ILSVRC2012_val_{n:08d}.JPEG': png(100 + n)[1] for n in (2, 4, 1)}
  (folder / 'ILSVRC2012_img_train.tar').write_bytes(tar(train))
  (folder / 'ILSVRC2012_img_val.tar').write_bytes(tar(val))
  (folder / 'ILSVRC2012_devkit_t12.tar.gz').write_bytes(devkit())
  return folder
