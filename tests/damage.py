"""Folders to damage, and ways to do it, for the table of bad inputs.

A way is a function of the folder that a command is run in, where `data` is a
prepared data set and `run` the workdir of a step of configs/smoke.py on it.
"""

import io
import json
import pathlib
import pickle
import shutil
import struct
import tarfile

import numpy as np
from array_record.python import array_record_module

from alexnet_jax.checkpoint import checksums
from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.data import records, stats, synthetic
from tests import official

SIZE = 80  # pixels, of configs/smoke.py
IMAGES = {'train': 32, 'val': 24}
STEP = 'run/checkpoints/1'


def prepare(folder):
  """A prepared data set of drawn images."""
  folder.mkdir()
  drawn = synthetic.load(
    image_size=SIZE,
    train_images=IMAGES['train'],
    val_images=IMAGES['val'],
    seed=0,
  )
  for split, examples in (('train', drawn.train), ('val', drawn.val)):
    _write_shard(
      folder / split,
      [
        records.encode(e, encoding='raw')
        for e in examples.take(range(len(examples)))
      ],
    )
  records.write_statistics(
    folder, statistics=stats.Statistics(drawn.mean_image, drawn.pca)
  )
  metadata = metadata_lib.Metadata(
    name='drawn',
    image_size=SIZE,
    encoding='raw',
    splits={k: metadata_lib.SplitInfo(n, (k,)) for k, n in IMAGES.items()},
    classes=drawn.classes,
    skipped=(),
    checksums={},
  )
  metadata_lib.write(folder, metadata=metadata)
  sign(folder)


def sign(folder):
  """Writes the sums of the files of a prepared data set as they are."""
  path = folder / metadata_lib.FILE
  content = json.loads(path.read_text())
  named = [n for s in content['splits'].values() for n in s['shards']]
  shards = [name for name in named if (folder / name).is_file()]
  files = [n for n in records.STATISTICS_FILES if (folder / n).is_file()]
  content['checksums'] = {
    name: metadata_lib.checksum(folder / name) for name in [*shards, *files]
  }
  content['samples'] = {n: metadata_lib.sample(folder / n) for n in shards}
  path.write_text(json.dumps(content, indent=1, sort_keys=True) + '\n')


def _write_shard(path, encoded):
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for record in encoded:
    writer.write(record)
  writer.close()


def written(name, content=b''):
  """A file, perhaps in the place of another; content may depend on `here`."""

  def way(here):
    (here / name).write_bytes(content(here) if callable(content) else content)

  return way


def cut(name, start=None, end=None):
  """A file of which a part is left."""

  def way(here):
    (here / name).write_bytes((here / name).read_bytes()[start:end])

  return way


def gone(name):
  """A file or a folder that is not there."""

  def way(here):
    path = here / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()

  return way


def emptied(name):
  """A folder without what was in it."""

  def way(here):
    gone(name)(here)
    (here / name).mkdir()

  return way


def edited(name, /, *path, **changes):
  """A JSON file with other fields in the object at a path; None: without."""

  def way(here):
    content = json.loads((here / name).read_text())
    part = content
    for field in path:
      part = part[field]
    part.update(changes)
    for field in [field for field, value in part.items() if value is None]:
      del part[field]
    (here / name).write_text(json.dumps(content))

  return way


def metadata(*path, **changes):
  """metadata.json with other fields in the object at a path; None: without."""
  return edited('data/metadata.json', *path, **changes)


def split(name, encoded):
  """A split of other records."""

  def way(here):
    path = here / 'data' / name
    path.unlink()
    _write_shard(path, encoded)

  return way


def every_record(name, record):
  """A split whose every record is this one."""
  return split(name, [record] * IMAGES[name])


def record(label=0, *, pixels=SIZE * SIZE * 3):
  """A black image as a raw record."""
  return struct.pack('<iH', label, 1) + b'x' + bytes(pixels)


def npy(array):
  """The content of a .npy file."""
  stream = io.BytesIO()
  np.save(stream, array)
  return stream.getvalue()


def npz(**arrays):
  """The content of a .npz file."""
  stream = io.BytesIO()
  np.savez(stream, **arrays)
  return stream.getvalue()


class _Program:
  """What runs when its pickle is loaded: it makes a folder, which is seen."""

  def __init__(self, here):
    self._here = here

  def __reduce__(self):
    return pathlib.Path.mkdir, (self._here / 'a pickle was loaded',)


def program(here):
  """A pickle."""
  return pickle.dumps(_Program(here))


def program_npy(here):
  """A .npy file that holds a pickle."""
  array = np.empty(1, object)
  array[0] = _Program(here)
  return npy(array)


def program_npz(here):
  """A .npz file that holds a pickle."""
  array = np.empty(1, object)
  array[0] = _Program(here)
  return npz(components=array, stddevs=array)


def step(way):
  """A damaged step whose sums are those of the damaged files."""

  def resigned(here):
    way(here)
    sums = checksums.file_sums(here / STEP)
    (here / STEP / 'files.json').write_text(json.dumps(sums))

  return resigned


def signed(way):
  """Damaged data whose sums are those of the damaged files."""

  def resigned(here):
    way(here)
    sign(here / 'data')

  return resigned


def class_folders(*ways):
  """A source of one picture a split, `tree`, and then what `ways` do."""

  def way(here):
    for split in ('train', 'val'):
      (here / 'tree' / split / 'class').mkdir(parents=True)
      written(f'tree/{split}/class/a.png', official.png(0)[1])(here)
    for more in ways:
      more(here)

  return way


def folder(name):
  """An empty folder."""
  return lambda here: (here / name).mkdir(parents=True)


def tar(name, *, mode='w'):
  """A tar of class folders."""

  def way(here):
    with tarfile.open(here / name, mode) as archive:
      for split in ('train', 'val'):
        info = tarfile.TarInfo(f'{split}/class/a.png')
        content = official.png(0)[1]
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))

  return way


def endless_tar(name):
  """A tar whose header says that the next one is where it is itself."""
  first, second = (tarfile.TarInfo(f'train/class/{n}.png') for n in 'ab')
  second.size = -tarfile.BLOCKSIZE
  headers = [info.tobuf(tarfile.GNU_FORMAT) for info in (first, second)]
  return written(name, b''.join(headers) + bytes(10240))


def downloads(way):
  """The official downloads in miniature, `official`, damaged in a way."""

  def both(here):
    official.write(here / 'official')
    way(here)

  return both


def both(*ways):
  """One after another."""

  def way(here):
    for each in ways:
      each(here)

  return way
