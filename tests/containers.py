"""Containers of images: a builder for each, of the images of tests/disks.py."""

import gzip
import io
import json
import pathlib
import struct
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests import disks, official

KINDS = tuple(disks.WNIDS)  # the number of a class is its place here


def class_files():
  """{SPLIT/CLASS/IMAGE: JPEG} of class folders."""
  return {
    f'{split}/{p.kind}/{p.number:04d}.jpg': p.data
    for split in ('train', 'val')
    for p in disks.pictures()[split]
  }


def zip_of(path, files, *, method=zipfile.ZIP_DEFLATED):
  with zipfile.ZipFile(path, 'w', method) as archive:
    for name, data in files.items():
      archive.writestr(name, data)
  return path


def deflated_zip(folder):
  return zip_of(folder / 'pets.zip', class_files())


def stored_zip(folder):
  files = class_files()
  return zip_of(folder / 'pets.zip', files, method=zipfile.ZIP_STORED)


def plain_tar(folder):
  (folder / 'pets.tar').write_bytes(official.tar(class_files()))
  return folder / 'pets.tar'


def gzipped_tar(folder):
  path = folder / 'pets.tar.gz'
  path.write_bytes(gzip.compress(official.tar(class_files())))
  return path


def concatenated_tar(folder):
  """Two tars, one behind the other."""
  files = list(class_files().items())
  parts = (dict(files[:7]), dict(files[7:]))
  (folder / 'pets.tar').write_bytes(b''.join(map(official.tar, parts)))
  return folder / 'pets.tar'


def table(split, *, plain=False, strings=False, labelled=True, names=KINDS):
  """A table as Hugging Face has it; the oracle is what goes in."""
  rows = disks.pictures()[split]
  labels = [p.kind if strings else KINDS.index(p.kind) for p in rows]
  labels = labels if labelled else [-1] * len(rows)
  images = [
    p.data if plain else {'bytes': p.data, 'path': f'{p.kind}_{p.number}.JPEG'}
    for p in rows
  ]
  kind = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
  columns = {
    'image': pa.array(images, pa.binary() if plain else kind),
    'label': pa.array(labels),
  }
  features = {
    'image': {'_type': 'Image'},
    'label': {'names': list(names), '_type': 'ClassLabel'},
  }
  content = json.dumps({'info': {'features': features}}).encode()
  found = pa.table(columns)
  if plain or strings:
    return found
  return found.replace_schema_metadata({b'huggingface': content})


def parquet(folder, **options):
  """Two files of training images, one of validation, test without labels."""
  data = folder / 'pets' / 'data'
  data.mkdir(parents=True)
  train = table('train', **options)
  for number, part in enumerate((train[:9], train[9:])):
    path = data / f'train-{number:05d}-of-00002.parquet'
    pq.write_table(part, path, row_group_size=4)
  pq.write_table(table('val', **options), data / 'validation-00000.parquet')
  test = table('test', labelled=False, **(options | {'strings': False}))
  if not options.get('strings'):
    pq.write_table(test, data / 'test-00000-of-00001.parquet')
  return folder / 'pets'


def plain_parquet(folder):
  return parquet(folder, plain=True, strings=True)


def sample(p, *, kind='cls'):
  """The files of an image in a WebDataset."""
  number = KINDS.index(p.kind)
  labels = {
    'cls': str(number),
    'json': json.dumps({'label': number, 'class_name': p.kind}),
    'txt': p.kind,
  }
  key = f'{p.number:06d}'
  return {f'{key}.jpg': p.data, f'{key}.{kind}': labels[kind].encode()}


def webdataset(folder, *, kind='cls'):
  """Two tars of training images and one of validation."""
  (folder / 'pets').mkdir()
  train, val = (disks.pictures()[split] for split in ('train', 'val'))
  parts = {'train-0000': train[:9], 'train-0001': train[9:], 'val-00': val}
  for name, rows in parts.items():
    files = {n: d for p in rows for n, d in sample(p, kind=kind).items()}
    (folder / 'pets' / f'pets-{name}.tar').write_bytes(official.tar(files))
  if kind == 'cls':
    (folder / 'pets' / 'classnames.txt').write_text('\n'.join(KINDS))
  return folder / 'pets'


def webdataset_json(folder):
  return webdataset(folder, kind='json')


def webdataset_txt(folder):
  return webdataset(folder, kind='txt')


def pixels(data):
  """The pixels of an encoded image, by PIL alone."""
  return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))


def _text(text):
  data = text if isinstance(text, bytes) else text.encode()
  short = len(data) < 256
  return (
    b'U%c' % len(data) if short else b'T' + struct.pack('<i', len(data))
  ) + data


def _number(value):
  return b'J' + struct.pack('<i', value)


def _list(items):
  return b'](' + b''.join(items) + b'e'


def _array(rows):
  """An array of bytes, as Python 2 pickled those of NumPy."""
  shape = b''.join(map(_number, rows.shape)) + b'\x86'
  call = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n'
  call += b'(' + _number(0) + b't' + _text('b') + b'\x87R'
  kind = b'cnumpy\ndtype\n' + _text('u1') + _number(0) + _number(1) + b'\x87R'
  kind += b'(' + _number(3) + _text('|') + b'NNN' + _number(-1) * 2
  kind += _number(0) + b'tb'
  state = b'(' + _number(1) + shape + kind + b'\x89' + _text(rows.tobytes())
  return call + state + b'tb'


def python2_pickle(content):
  """A dictionary as Python 2 pickled it: texts are bytes, lists of either."""
  parts = [b'\x80\x02}(']
  for key, value in content.items():
    parts.append(_text(key))
    if isinstance(value, np.ndarray):
      parts.append(_array(value))
    elif isinstance(value, list):
      each = _text if value and isinstance(value[0], str) else _number
      parts.append(_list(map(each, value)))
    else:
      parts.append(_text(value))
  return b''.join(parts) + b'u.'


def planes(rows):
  """The images of CIFAR's batches: a row of red, green and blue each."""
  stack = np.stack([pixels(p.data) for p in rows])
  return np.ascontiguousarray(stack.transpose(0, 3, 1, 2)).reshape(
    len(rows), -1
  )


def cifar_batches():
  """{file: images} of CIFAR-10."""
  train, val = (disks.pictures()[split] for split in ('train', 'val'))
  return {f'data_batch_{k + 1}': train[k::5] for k in range(5)} | {
    'test_batch': val
  }


def cifar10_files():
  files = {
    f'cifar-10-batches-py/{name}': python2_pickle(
      {
        'batch_label': 'a batch',
        'labels': [KINDS.index(p.kind) for p in rows],
        'data': planes(rows),
        'filenames': [f'{p.kind}_{p.number}.png' for p in rows],
      }
    )
    for name, rows in cifar_batches().items()
  }
  meta = python2_pickle({'label_names': list(KINDS)})
  return files | {'cifar-10-batches-py/batches.meta': meta}


def cifar10(folder):
  """cifar-10-python.tar.gz in a folder."""
  (folder / 'pets').mkdir()
  data = gzip.compress(official.tar(cifar10_files()))
  (folder / 'pets' / 'cifar-10-python.tar.gz').write_bytes(data)
  return folder / 'pets'


def cifar10_folder(folder):
  """cifar-10-batches-py, already unpacked."""
  return disks.write(folder, cifar10_files()) / 'cifar-10-batches-py'


def cifar10_binary(folder):
  files = {
    f'cifar-10-batches-bin/{name}.bin': b''.join(
      bytes([KINDS.index(p.kind)]) + row.tobytes()
      for p, row in zip(rows, planes(rows), strict=True)
    )
    for name, rows in cifar_batches().items()
  }
  names = '\n'.join(KINDS) + '\n\n'
  files['cifar-10-batches-bin/batches.meta.txt'] = names.encode()
  path = folder / 'some.tar'
  path.write_bytes(official.tar(files))
  return path


def cifar100(folder):
  """cifar-100-python, of fine and coarse labels."""
  train, val = (disks.pictures()[split] for split in ('train', 'val'))
  files = {
    f'cifar-100-python/{name}': python2_pickle(
      {
        'filenames': [f'{p.kind}_{p.number}.png' for p in rows],
        'fine_labels': [KINDS.index(p.kind) for p in rows],
        'coarse_labels': [0] * len(rows),
        'data': planes(rows),
      }
    )
    for name, rows in (('train', train), ('test', val))
  }
  files['cifar-100-python/meta'] = python2_pickle(
    {'fine_label_names': list(KINDS), 'coarse_label_names': ['all']}
  )
  (folder / 'c.tgz').write_bytes(gzip.compress(official.tar(files)))
  return folder / 'c.tgz'


def append(path, files):
  """Appends to a tar, as `tar -r` does."""
  with tarfile.open(path, 'a') as archive:
    for name, data in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))


def link(path, *, name, to):
  """Appends a hard link to a tar."""
  with tarfile.open(path, 'a') as archive:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.LNKTYPE, to
    archive.addfile(info)


def patched(path, *, old, new, which=-1):
  """Replaces one occurrence of some bytes of a file by as many others."""
  data = path.read_bytes()
  assert len(old) == len(new)
  place = data.rfind(old) if which == -1 else data.find(old)
  assert place >= 0
  path.write_bytes(data[:place] + new + data[place + len(old) :])
  return pathlib.Path(path)
