"""Archives, parquet, WebDataset and CIFAR's own files; damaged and hostile."""

import collections
import gzip
import os
import pathlib
import pickle
import resource
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alexnet_jax.data import dataset, records
from alexnet_jax.data.prepare import (
  archives,
  cifar,
  layouts,
  parquet,
  pickles,
  run,
  shards,
  sources,
  tar,
  unpacked,
  webdataset,
  zips,
)
from tests import containers, disks, official


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('ALEXNET_JAX_CACHE', str(tmp_path / 'cache'))
  yield tmp_path / 'cache' / 'unpacked'
  unpacked.remove([])


def _members(path):
  skipped = []
  return list(archives.members(path, skipped=skipped)), skipped


def _reasons(skipped):
  return {file: reason for file, reason in skipped}


def _write(layout, output, *, workers=1, **options):
  options = {'progress': lambda images: None} | options
  work = run.plan(layout, options=shards.Options(image_size=32))
  return run.prepare(work, output=output, workers=workers, **options)


def _files(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


ARCHIVES = [
  containers.plain_tar,
  containers.gzipped_tar,
  containers.concatenated_tar,
  containers.deflated_zip,
  containers.stored_zip,
]
SOURCES = [
  (parquet, containers.parquet),
  (parquet, containers.plain_parquet),
  (webdataset, containers.webdataset),
  (webdataset, containers.webdataset_json),
  (webdataset, containers.webdataset_txt),
]
CIFAR = [
  (cifar, containers.cifar10),
  (cifar, containers.cifar10_folder),
  (cifar, containers.cifar10_binary),
  (cifar, containers.cifar100),
]


def _ids(value):
  return value.__name__.rpartition('.')[2] if value else 'archive'


@pytest.mark.parametrize('build', ARCHIVES, ids=_ids)
def test_an_archive_lists_every_file(tmp_path, build):
  found, skipped = _members(build(tmp_path))
  assert not skipped
  files = {member.name: member.read() for member in found}
  assert files == containers.class_files() and len(found) == len(files)
  assert pickle.loads(pickle.dumps(found)) == found  # for the workers


@pytest.mark.parametrize(('module', 'build'), SOURCES, ids=_ids)
def test_every_label_and_every_byte(tmp_path, module, build):
  layout = module.find_layout(build(tmp_path))
  truth = disks.truth()
  assert [c.id for c in layout.classes] == sorted(disks.WNIDS)
  for split in ('train', 'val'):
    items = layout.splits[split]
    kinds = [layout.classes[item.label].id for item in items]
    assert kinds == [truth[item.member.read()] for item in items]
    assert len(set(item.member.name for item in items)) == len(items)
    assert len(items) == len(disks.pictures()[split])
  assert not layout.skipped and 'test' not in layout.splits
  assert layout.labels


@pytest.mark.parametrize(('module', 'build'), CIFAR, ids=_ids)
def test_every_label_and_every_pixel_of_cifar(tmp_path, module, build):
  layout = module.find_layout(build(tmp_path))
  truth = {
    containers.pixels(p.data).tobytes(): p.kind
    for split in ('train', 'val')
    for p in disks.pictures()[split]
  }
  assert [c.id for c in layout.classes] == list(containers.KINDS)
  for split in ('train', 'val'):
    items = layout.splits[split]
    assert len(items) == len(disks.pictures()[split])
    for member, label in items:
      kind = truth[containers.pixels(member.read()).tobytes()]
      assert layout.classes[label].id == kind
      assert kind in member.name or build is containers.cifar10_binary
  assert '--image_size=32' in layout.notes[-1]


def test_our_batches_are_pickles_that_numpy_reads():
  """Else the tests above would read what only they have written."""
  files = containers.cifar10_files()
  for name, rows in containers.cifar_batches().items():
    content = pickle.loads(
      files[f'cifar-10-batches-py/{name}'], encoding='latin1'
    )
    assert content['labels'] == [containers.KINDS.index(p.kind) for p in rows]
    np.testing.assert_array_equal(content['data'], containers.planes(rows))


def _of_archive(path):
  """Every image of class folders in an archive, labelled."""
  found, skipped = _members(path)
  kinds = [dataset.ClassInfo(k, k, k) for k in containers.KINDS]
  splits = collections.defaultdict(list)
  for member in found:
    split, kind, _ = member.name.split('/')
    label = containers.KINDS.index(kind)
    splits[split].append(layouts.Labelled(member, label))
  listed = {k: tuple(v) for k, v in splits.items()}
  return layouts.Layout('pets', tuple(kinds), listed, tuple(skipped))


EVERY = [(None, build) for build in ARCHIVES] + SOURCES[::2] + CIFAR[::3]


@pytest.mark.parametrize(('module', 'build'), EVERY, ids=_ids)
def test_stopped_and_resumed_gives_the_same_bytes(
  tmp_path, cache, module, build
):
  path = build(tmp_path)
  find = module.find_layout if module else _of_archive
  _write(find(path), tmp_path / 'whole')
  assert not list(cache.glob('*.tar'))  # copies end with the run

  def stop(images):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    _write(find(path), tmp_path / 'out', progress=stop)
  # What a killed process leaves: a copy that is not whole.
  for copy in cache.glob('*.tar'):
    copy.rename(cache / f'.{copy.name}.tmp')
    os.truncate(cache / f'.{copy.name}.tmp', 999)
  _write(find(path), tmp_path / 'out')
  assert _files(tmp_path / 'out') == _files(tmp_path / 'whole')
  assert not list(cache.glob('*.tar')) and not list(cache.glob('.*.tmp'))


@pytest.mark.slow
def test_two_workers_and_one_give_the_same_bytes(tmp_path):
  """All kinds of members at once: starting workers takes seconds."""
  found = []
  for module, build in EVERY:
    folder = tmp_path / _ids(build)
    folder.mkdir()
    path = build(folder)
    found.append(module.find_layout(path) if module else _of_archive(path))
  splits = {
    split: tuple(item for layout in found for item in layout.splits[split])
    for split in ('train', 'val')
  }
  layout = found[0]._replace(splits=splits)
  assert len(splits['train']) == 20 * len(EVERY)
  _write(layout, tmp_path / 'two', workers=2)
  for module, build in EVERY:  # they ended with that run
    path = next((tmp_path / _ids(build)).iterdir())
    module.find_layout(path) if module else _members(path)
  _write(layout, tmp_path / 'one')
  assert _files(tmp_path / 'one') == _files(tmp_path / 'two')


def test_all_containers_give_the_same_pixels(tmp_path):
  """Records of a zip, parquet and so on differ in names alone."""
  seen = set()
  for module, build in EVERY[:-2]:
    folder = tmp_path / _ids(build)
    folder.mkdir()
    path = build(folder)
    layout = module.find_layout(path) if module else _of_archive(path)
    _write(layout, folder / 'out')
    data = records.load(str(folder / 'out'), image_size=32)
    kinds = [c.id for c in data.classes]
    seen.add(
      tuple(
        tuple(sorted((kinds[e.label], e.image.tobytes()) for e in split))
        for split in (data.train.take(range(20)), data.val.take(range(8)))
      )
    )
  assert len(seen) == 1


# Tars.


def test_what_follows_the_end_of_a_tar_is_read_if_it_is_a_tar(tmp_path):
  path = tmp_path / 'a.tar'
  one, two = official.tar({'a': b'1'}), official.tar({'b': b'2'})
  path.write_bytes(one + bytes(3 * 2**20) + two + bytes(100))
  found, _ = _members(path)
  assert [(m.name, m.read()) for m in found] == [('a', b'1'), ('b', b'2')]
  for junk in (b'x' * 512, b'x', b'\0' * 300 + b'x' * 512, two[:700]):
    path.write_bytes(one + junk)
    with pytest.raises(ValueError, match='download it again'):
      _members(path)


def test_concatenated_tars_inside_the_official_one(tmp_path):
  inner = official.tar({'n1_1.JPEG': b'1'}) + official.tar({'n1_2.JPEG': b'2'})
  path = tmp_path / 'train.tar'
  outer = official.tar({'n1.tar': inner})
  path.write_bytes(outer + official.tar({'n2.tar': inner[:10240]}))
  found = [
    (stem, member.name, member.read())
    for stem, member in tar.nested(path, skipped=[], wanted=bool)
  ]
  assert found == [
    ('n1', 'n1_1.JPEG', b'1'),
    ('n1', 'n1_2.JPEG', b'2'),
    ('n2', 'n1_1.JPEG', b'1'),
  ]


def test_the_last_copy_of_a_name_counts(tmp_path):
  path = tmp_path / 'a.tar'
  path.write_bytes(official.tar({'a.jpg': b'old', 'b.jpg': b'b'}))
  containers.append(path, {'./a.jpg': b'newer'})
  found, skipped = _members(path)
  assert sorted(m.read() for m in found) == [b'b', b'newer'] and not skipped
  with pytest.warns(UserWarning, match='Duplicate name'):
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
      archive.writestr('a.jpg', b'old')
      archive.writestr('a.jpg', b'newer')
  (only,), _ = _members(tmp_path / 'a.zip')
  assert only.read() == b'newer'


def test_hard_links_are_read_from_their_targets(tmp_path):
  path = tmp_path / 'a.tar'
  path.write_bytes(official.tar({'./a/1.jpg': b'1'}))
  containers.link(path, name='b/2.jpg', to='./a/1.jpg')
  containers.link(path, name='b/3.jpg', to='b/2.jpg')
  containers.link(path, name='b/4.jpg', to='no/such.jpg')
  containers.link(path, name='../5.jpg', to='a/1.jpg')
  found, skipped = _members(path)
  assert [(m.name, m.read()) for m in found] == [
    ('./a/1.jpg', b'1'),
    ('b/2.jpg', b'1'),
    ('b/3.jpg', b'1'),
  ]
  assert _reasons(skipped) == {
    'b/4.jpg': 'a hard link to a file that the archive lacks',
    '../5.jpg': 'its path leads out of the archive',
  }


def test_a_sparse_file_is_no_image(tmp_path):
  path = tmp_path / 'a.tar'
  with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as archive:
    info = tarfile.TarInfo('holes.jpg')
    info.pax_headers = {
      'GNU.sparse.major': '0', 'GNU.sparse.minor': '1',
      'GNU.sparse.map': '0,1', 'GNU.sparse.size': '999',
    }  # fmt: skip
    archive.addfile(info)
  found, skipped = _members(path)
  assert not found and 'sparse' in skipped[0].reason


@pytest.mark.parametrize('top', ['', 'train/', 'train_{}/'])
def test_several_tars_a_split(tmp_path, top):
  files = containers.class_files().items()
  rows = [(n.partition('/')[2], d) for n, d in files if n.startswith('train')]
  for number, part in enumerate((rows[:9], rows[9:])):
    inner = {top.format(number) + name: data for name, data in part}
    path = tmp_path / f'train_{number}.tar'
    path.write_bytes(official.tar(inner))
  val = {n.partition('/')[2]: d for n, d in files if n.startswith('val')}
  containers.zip_of(tmp_path / 'val.zip', val)
  layout = sources.find_layout(str(tmp_path))
  assert [c.id for c in layout.classes] == sorted(disks.WNIDS)
  for split in ('train', 'val'):
    kinds = [
      layout.classes[item.label].id == disks.truth()[item.member.read()]
      for item in layout.splits[split]
    ]
    assert all(kinds) and len(kinds) == len(disks.pictures()[split])


def test_the_official_train_tar_in_several_parts(tmp_path):
  folder = official.write(tmp_path / 's')
  whole = [
    (item.label, item.member.read())
    for item in sources.find_layout(str(folder)).splits['train']
  ]
  path = folder / 'ILSVRC2012_img_train.tar'
  with tarfile.open(path) as archive:
    inner = {info.name: archive.extractfile(info).read() for info in archive}
  path.unlink()
  (folder / 'ILSVRC2012_img_train.tar.00').write_bytes(b'')
  with pytest.raises(ValueError, match='join its pieces, cat ILSVRC2012_img_'):
    sources.find_layout(str(folder))
  names = sorted(inner)
  for number, part in enumerate((names[:1], names[1:])):
    data = official.tar({name: inner[name] for name in part})
    (folder / f'ILSVRC2012_img_train_{number}.tar').write_bytes(data)
  (folder / 'ILSVRC2012_img_train_t3.tar').write_bytes(b'dogs')
  parts = sources.find_layout(str(folder)).splits['train']
  assert [(item.label, item.member.read()) for item in parts] == whole


# Compressed tars.


def test_a_compressed_tar_is_told_once_and_kept_for_a_second_reader(
  tmp_path, cache, capsys
):
  path = containers.gzipped_tar(tmp_path)
  unpacked._told.clear()
  first, again = _members(path)[0], _members(path)[0]
  assert first == again
  assert capsys.readouterr().out.count('decompressing it') == 1
  (copy,) = cache.glob('*.tar')
  with open(cache / '.users') as other:  # another run reads it, too
    import fcntl

    fcntl.flock(other, fcntl.LOCK_SH)
    unpacked.remove(first)
    assert copy.exists()
  _members(path)
  unpacked.remove(first)
  assert not copy.exists()


@pytest.mark.parametrize('module', ['gzip', 'bz2', 'lzma'])
def test_damaged_compressed_tars_are_an_error_of_one_line(
  tmp_path, cache, module
):
  data = __import__(module).compress(official.tar({'a.jpg': bytes(range(256))}))
  path = tmp_path / 'a.tgz'
  path.write_bytes(data)
  assert [m.name for m in _members(path)[0]] == ['a.jpg']
  turned = bytes(byte ^ 255 for byte in data[60:64])
  for damaged in (data[:-12], data[:60] + turned + data[64:]):
    path.write_bytes(damaged)
    os.utime(path, (1, len(damaged)))  # not within one tick of the clock
    with pytest.raises(
      ValueError, match=r'a\.tgz is damaged or cut sh'
    ) as error:
      _members(path)
    assert '\n' not in str(error.value)
  assert len(list(cache.iterdir())) == 3  # the whole one and two locks


def test_a_bomb_or_a_full_disk_ends_decompressing(tmp_path, cache, monkeypatch):
  path = tmp_path / 'a.tar.gz'
  path.write_bytes(gzip.compress(bytes(2**22)))
  monkeypatch.setattr(unpacked, '_CHUNK', 2**18)
  monkeypatch.setattr(unpacked, '_BOMB', (100, 2**20))
  with pytest.raises(ValueError, match='more than 100 times its size'):
    _members(path)
  monkeypatch.setattr(unpacked, '_SPARE', 2**62)
  with pytest.raises(ValueError, match='has no room for a tar of the images'):
    _members(path)
  assert not list(cache.glob('*tar*'))


# Zip archives.


def _zip(tmp_path, **change):
  """A zip of one member with changed fields of its entry."""
  path = tmp_path / 'a.zip'
  info = zipfile.ZipInfo(change.pop('name', 'a.jpg'))
  info.external_attr = change.pop('mode', 0o100644) << 16
  method = change.pop('method', zipfile.ZIP_DEFLATED)
  with zipfile.ZipFile(path, 'w', method) as archive:
    archive.writestr(info, bytes(1000), compress_type=method)
  data = bytearray(path.read_bytes())
  entry = data.rfind(b'PK\1\2')
  offsets = {'flags': (8, 'H'), 'size': (24, 'I'), 'crc': (16, 'I')}
  for field, value in change.items():
    place, kind = offsets[field]
    struct.pack_into('<' + kind, data, entry + place, value)
  path.write_bytes(data)
  return path


@pytest.mark.parametrize(
  ('change', 'reason'),
  [
    ({'flags': 1}, 'encrypted: unpack it with its password'),
    ({'mode': 0o120777}, 'no regular file but a link or a device'),
    ({'name': '../a.jpg'}, 'its path leads out of the archive'),
    ({'name': '/a.jpg'}, 'its path leads out of the archive'),
    ({'name': 'cat\\a.jpg'}, r'its name has \, not /: pack it again'),
    ({'method': zipfile.ZIP_BZIP2}, 'compressed by method 12: pack it again'),
    ({'size': 2**31}, '2,147,483,648 bytes, more than 1,073,741,824 for an'),
  ],
)
def test_members_of_a_zip_that_are_not_read(tmp_path, change, reason):
  found, skipped = _members(_zip(tmp_path, **change))
  assert not found
  assert [r[: len(reason)] for _, r in skipped] == [reason]


def test_names_of_a_zip_that_are_not_marked_as_utf8(tmp_path):
  path = containers.zip_of(
    tmp_path / 'a.zip', {'aXX.jpg': b'1', 'aYY.jpg': b''}
  )
  data = path.read_bytes()
  data = data.replace(b'XX', 'é'.encode()).replace(b'YY', b'\xe9\xe9')
  path.write_bytes(data)
  (only,), skipped = _members(path)
  assert only.name == 'aé.jpg' and only.read() == b'1'
  assert [reason for _, reason in skipped] == [
    'its name is not UTF-8: pack it again'
  ]


def test_a_zip_of_more_than_65535_files_or_4_gb_is_read(tmp_path):
  """Kaggle's download is one: its directory is in the format zip64."""
  path = tmp_path / 'a.zip'
  with zipfile.ZipFile(path, 'w') as archive:
    with archive.open('a.jpg', 'w', force_zip64=True) as file:
      file.write(b'1234')
    archive.fp.seek(2**33)  # a hole, not on the disk
    archive.start_dir = 2**33
    archive.writestr('far.jpg', b'5678')
  found, _ = _members(path)
  assert [(m.name, m.read()) for m in found] == [
    ('a.jpg', b'1234'),
    ('far.jpg', b'5678'),
  ]
  assert found[1].offset == 2**33


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_within_a_zip_is_of_one_image(tmp_path, method):
  path = containers.zip_of(
    tmp_path / 'a.zip', containers.class_files(), method=method
  )
  layout = _of_archive(path)
  bad = layout.splits['train'][3].member
  data = bytearray(path.read_bytes())
  place = bad.offset + 30 + len(bad.name) + bad.packed // 2
  data[place : place + 4] = b'\0\xff\0\xff'
  path.write_bytes(data)
  done = _write(_of_archive(path), tmp_path / 'out')
  assert done.skipped == ((bad.name, 'the archive is damaged here'),)
  assert done.splits['train'].num_images == 19
  data[bad.offset : bad.offset + 4] = b'junk'
  path.write_bytes(data)
  with pytest.raises(dataset.Unreadable, match='damaged here'):
    bad.read()


def test_a_zip_cut_short_is_an_error_of_one_line(tmp_path):
  path = containers.deflated_zip(tmp_path)
  path.write_bytes(path.read_bytes()[:-30])
  with pytest.raises(ValueError, match='not a whole zip archive') as error:
    _members(path)
  assert '\n' not in str(error.value)


def test_a_zip_bomb_takes_no_memory(tmp_path):
  """Its directory says 1,000 bytes; it would decompress to 100 MB."""
  path = tmp_path / 'a.zip'
  containers.zip_of(path, {'a.jpg': bytes(10**8)})
  size = struct.pack('<I', 10**8)
  containers.patched(path, old=size, new=struct.pack('<I', 1000))
  (member,), _ = _members(path)
  assert member.size == 1000
  tracemalloc.start()
  with pytest.raises(dataset.Unreadable, match='damaged here'):
    member.read()
  assert tracemalloc.get_traced_memory()[1] < 2**20
  tracemalloc.stop()


def test_reading_a_member_reads_no_directory(tmp_path, monkeypatch):
  """Else each of a million images would parse a million entries."""
  found, _ = _members(containers.deflated_zip(tmp_path))
  monkeypatch.setattr(zipfile, 'ZipFile', None)
  assert {m.name: m.read() for m in found} == containers.class_files()


def test_few_files_are_open_at_a_time(tmp_path):
  rows = disks.pictures()['train']
  for number in range(120):
    files = containers.sample(rows[number % len(rows)])
    name = f'train-{number:04d}.tar'
    (tmp_path / name).write_bytes(official.tar(files))
    pq.write_table(
      containers.table('val'), tmp_path / f'train-{number:04d}.parquet'
    )
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  used = len(os.listdir('/proc/self/fd'))
  resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
  try:
    tars, tables = (m.find_layout(tmp_path) for m in (webdataset, parquet))
    items = [*tars.splits['train'], *tables.splits['train'][:200]]
    assert all(item.member.read() for item in items)
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
  assert len(tars.splits['train']) == 120


# Parquet.


def _parquet(tmp_path, **tables):
  for name, content in tables.items():
    pq.write_table(content, tmp_path / f'{name}.parquet')
  return tmp_path


def test_a_folder_without_images_in_parquet_is_something_else(tmp_path):
  assert parquet.find_layout(tmp_path) is None
  _parquet(tmp_path, train=pa.table({'x': [1], 'label': [0]}))
  assert parquet.find_layout(tmp_path) is None


def test_labels_without_names_are_their_own(tmp_path):
  train = containers.table('train').replace_schema_metadata(None)
  layout = parquet.find_layout(_parquet(tmp_path, train=train))
  assert [c.id for c in layout.classes] == ['0', '1', '2', '3']
  assert list(layout.splits) == ['train']


def test_a_test_split_with_labels_is_val_and_gaps_are_skipped(tmp_path):
  test = containers.table('test')
  train = containers.table('train')
  labels = train['label'].to_pylist()
  labels[2] = -1
  train = train.set_column(1, 'label', pa.array(labels))
  layout = parquet.find_layout(_parquet(tmp_path, train=train, test=test))
  assert {k: len(v) for k, v in layout.splits.items()} == {
    'train': 19,
    'val': 4,
  }
  assert [reason for _, reason in layout.skipped] == ['it has no label']


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda t: t.drop_columns('label'), 'has images but no labels'),
    (
      lambda t: t.set_column(1, 'label', pa.array([[0]] * len(t))),
      'one number or name an image',
    ),
    (
      lambda t: t.set_column(1, 'label', pa.array([7] * len(t))),
      'label 7, which is not of its 4 classes',
    ),
    (
      lambda t: t.replace_schema_metadata({b'huggingface': b'{'}),
      'damaged metadata',
    ),
    (
      lambda t: t.set_column(1, 'label', pa.array([-1] * len(t))),
      'no training images with labels',
    ),
  ],
)
def test_wrong_parquet_is_an_error_of_one_line(tmp_path, change, said):
  _parquet(tmp_path, train=change(containers.table('train')))
  with pytest.raises(ValueError, match=said) as error:
    parquet.find_layout(tmp_path)
  assert '\n' not in str(error.value)


def test_classes_that_only_validation_has_are_refused(tmp_path):
  train = containers.table('train', plain=True, strings=True)
  val = containers.table('val', plain=True, strings=True)
  labels = pa.array([name.title() for name in val['label'].to_pylist()])
  _parquet(tmp_path, train=train, val=val.set_column(1, 'label', labels))
  said = r"classes in val that train lacks, 4: 'Airplane', "
  with pytest.raises(ValueError, match=said) as error:
    parquet.find_layout(tmp_path)
  assert '\n' not in str(error.value)


def test_parquet_files_that_name_classes_differently_are_refused(tmp_path):
  train = containers.table('train')
  val = containers.table('val', names=containers.KINDS[::-1])
  with pytest.raises(ValueError, match='name their classes differently'):
    parquet.find_layout(_parquet(tmp_path, train=train, val=val))


def test_damaged_parquet_is_an_error_and_a_damaged_image_is_listed(tmp_path):
  train = containers.table('train', plain=True)
  rows = [b'', None, b'no image', *train['image'].to_pylist()[3:]]
  train = train.set_column(0, 'image', pa.array(rows, pa.binary()))
  path = _parquet(
    tmp_path, train=train, val=containers.table('val', plain=True)
  )
  done = _write(parquet.find_layout(path), tmp_path / 'out')
  assert sorted(reason for _, reason in done.skipped) == [
    'no image of a known format',
    'the file is empty',
    'the file is empty',
  ]
  assert done.splits['train'].num_images == 17
  whole = (path / 'train.parquet').read_bytes()
  for bad in (whole[:-50], whole[:100] + b'\xff' * 3000 + whole[3100:]):
    (path / 'train.parquet').write_bytes(bad)
    with pytest.raises(ValueError, match='no whole parquet file') as error:
      parquet.find_layout(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('build', 'name'),
  [(containers.parquet, 'data/holdout-0.parquet'),
   (containers.webdataset, 'pets-extra-0.tar')],
)  # fmt: skip
def test_a_file_whose_name_tells_no_split_is_left_out(tmp_path, build, name):
  source = build(tmp_path)
  whole = sources.find_layout(str(source))
  train = next(p for p in sorted(source.rglob('*train*')) if p.is_file())
  shutil.copy(train, source / name)
  layout = sources.find_layout(str(source))
  assert f'{name} is not used: its name tells no split' in layout.notes[-1]
  assert layout.splits.keys() == whole.splits.keys()
  for split, items in layout.splits.items():
    assert len(items) == len(whole.splits[split])


def test_two_versions_of_a_data_set_are_not_joined(tmp_path):
  source = containers.parquet(tmp_path)
  shutil.copytree(source / 'data', source / 'more')
  with pytest.raises(ValueError, match='in two folders, data and more: give'):
    sources.find_layout(str(source))


# WebDataset.


def test_blank_lines_behind_the_names_are_no_class(tmp_path):
  source = containers.webdataset(tmp_path)
  with open(source / 'classnames.txt', 'a') as file:
    file.write('\n\n')
  layout = sources.find_layout(str(source))
  assert [info.id for info in layout.classes] == [*containers.KINDS]


def test_tars_of_class_folders_are_no_webdataset(tmp_path):
  assert webdataset.find_layout(containers.plain_tar(tmp_path)) is None
  assert webdataset.find_layout(tmp_path) is None


def _webdataset(tmp_path, files):
  (tmp_path / 'train-0.tar').write_bytes(official.tar(files))
  return tmp_path


def test_images_of_a_webdataset_without_a_label_are_skipped(tmp_path):
  layout = webdataset.find_layout(
    _webdataset(
      tmp_path,
      {
        'a.jpg': b'1', 'a.cls': b'0\n', 'a.seg.png': b'', '._a.jpg': b'x',
        'b.PNG': b'2', 'b.json': b'{"label": 1, "class_name": "dog"}',
        'c.jpg': b'3', 'c.json': b'{"caption": "nice"}',
        'd.jpg': b'4', 'd.png': b'5', 'd.cls': b'1', 'e.cls': b'1',
      },
    )
  )  # fmt: skip
  assert [(m.read(), k) for m, k in layout.splits['train']] == [
    (b'1', 0),
    (b'2', 1),
  ]
  assert _reasons(layout.skipped) == {
    'train-0.tar/c.jpg': 'it has no label',
    'train-0.tar/d.jpg': 'several images of one key',
  }
  # Only the second class is named, so both go by their numbers.
  assert [c.id for c in layout.classes] == ['0', '1']


@pytest.mark.parametrize(
  ('label', 'said'),
  [
    ({'a.cls': b'\xff'}, 'a.cls of .* is no label'),
    ({'a.json': b'{'}, 'a.json of .* is no label'),
    ({'a.json': b'[' * 10**5}, 'a.json of .* is no label'),
    ({'a.txt': b'a photo\nof a cat'}, 'has several lines'),
    ({'a.cls': b'-7'}, 'label -7, which is not of'),
    ({'a.cls': b'999999999'}, 'label 999999999, which is not of'),
    ({'a.cls': bytes(2**21)}, '2,097,152 bytes: no label'),
    ({'a.json': b'{"label": [1, 2]}'}, 'one number or name'),
  ],
)
def test_wrong_labels_of_a_webdataset_are_an_error(tmp_path, label, said):
  files = {'a.jpg': b'1', **label}
  with pytest.raises(ValueError, match=said) as error:
    webdataset.find_layout(_webdataset(tmp_path, files))
  assert '\n' not in str(error.value)


# CIFAR's pickles.


class _Hostile:
  def __init__(self, call, *args):
    self.call, self.args = call, args

  def __reduce__(self):
    return self.call, self.args


def _batch(tmp_path, data):
  path = tmp_path / 'data_batch_1'
  path.write_bytes(data)
  return tar.Member(str(path), 0, len(data), 'data_batch_1')


@pytest.mark.parametrize('protocol', range(6))
def test_a_hostile_pickle_runs_nothing(tmp_path, protocol):
  mark = tmp_path / 'mark'
  hostile = _Hostile(os.mkdir, str(mark))
  data = pickle.dumps({'data': hostile, 'labels': [1]}, protocol)
  with pytest.raises(ValueError, match=r'mkdir.* and nothing of it was run'):
    pickles.read(_batch(tmp_path, data))
  assert not mark.exists()
  pickle.loads(data)
  assert mark.exists()  # it would have


@pytest.mark.parametrize(
  'data',
  [
    b'',
    b'\x80\x02}.'[:3],
    b'\x80\x02].',  # a list
    b'cnumpy\nndarray\n(tR.',
    b'(S"x"\nios\nsystem\n.',  # INST
    b'\x80\x02(U\x01xcnumpy\ndtype\no.',  # OBJ
    b'\x80\x02cnumpy\ndtype\n)\x81.',  # NEWOBJ
    b'U\x01x\x93.',  # STACK_GLOBAL without a stack
    b'X\x02\0\0\0osX\x06\0\0\0system\x93.',
    b'\x82\x01.',  # EXT1
    b'Pname\n.',  # PERSID
    b'}(' + b')' + b'\x85' * 40_000 + b'K\x01u.',  # a deep key
    b'}(U\x01aT\xff\xff\xff\x7fx',  # 2 GB that are not there
    b'}K\x01K\x02b.',  # BUILD of a dictionary
    b'h\x05.',
    b'e.',
    b'0' * 99,
  ],
)
def test_damaged_and_hostile_pickles_are_an_error_of_one_line(tmp_path, data):
  with pytest.raises(ValueError, match=r'download it') as error:
    pickles.read(_batch(tmp_path, data))
  assert '\n' not in str(error.value)


def test_random_damage_of_a_batch_never_runs_or_crashes(tmp_path):
  data = containers.cifar10_files()['cifar-10-batches-py/data_batch_1']
  rng = np.random.default_rng(0)
  read = 0
  for _ in range(300):
    bad = bytearray(data)
    for place in rng.integers(250, size=2):
      bad[place] = rng.integers(256)
    try:
      pickles.read(_batch(tmp_path, bytes(bad)))
      read += 1
    except ValueError as error:
      assert '\n' not in str(error)
  assert 0 < read < 300


@pytest.mark.parametrize(
  ('name', 'content', 'said'),
  [
    ('data_batch_2', None, 'has no cifar-10-batches-py/data_batch_2'),
    ('data_batch_2', {'labels': [0]}, 'no data and labels'),
    ('batches.meta', {'label_names': 'cat'}, 'no label_names'),
    (
      'data_batch_2',
      {'labels': [9], 'data': np.zeros((1, 3072), np.uint8)},
      'label 9, which is not of its 4 classes',
    ),
    (
      'data_batch_2',
      {'labels': [1, 1], 'data': np.zeros((1, 3072), np.uint8)},
      r'\(1, 3072\) for 2 labels',
    ),
  ],
)
def test_wrong_batches_are_an_error(tmp_path, name, content, said):
  path = containers.cifar10_folder(tmp_path)
  (path / name).unlink()
  if content:
    (path / name).write_bytes(containers.python2_pickle(content))
  with pytest.raises(ValueError, match=said) as error:
    cifar.find_layout(path)
  assert '\n' not in str(error.value)


def test_other_folders_and_files_are_no_cifar(tmp_path):
  assert cifar.find_layout(tmp_path) is None
  assert cifar.find_layout(containers.plain_tar(tmp_path)) is None
  (tmp_path / 'x').write_bytes(zlib.compress(b'x'))
  assert cifar.find_layout(tmp_path / 'x') is None


def test_a_zip_is_told_by_its_content(tmp_path):
  path = containers.deflated_zip(tmp_path)
  path = path.rename(tmp_path / 'download')
  assert all(isinstance(m, zips.Member) for m in _members(path)[0])
  assert not archives.is_archive(pathlib.Path(path))
