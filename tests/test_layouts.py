"""Layouts of class folders, tars and ILSVRC2010; damaged and hostile tars."""

import hashlib
import io
import os
import pathlib
import tarfile

import pytest

from alexnet_jax.data import records
from alexnet_jax.data.prepare import run, shards, sources, tar
from tests import official

_REAL = os.environ.get('ALEXNET_JAX_TEST_DATA', '')


def _png(seed):
  return official.png(seed)[1]


def _listed(layout):
  """{split: [(file, class name)]}."""
  return {
    split: [(i.member.name, layout.classes[i.label].id) for i in items]
    for split, items in layout.splits.items()
  }


_TREE = {
  'pets/train/cat/1.png': _png(1),
  'pets/train/dog/2.png': _png(2),
  'pets/train/cat/0.png': _png(3),
  'pets/test/dog/3.png': _png(4),
}


def _folder(tmp_path):
  for name, data in _TREE.items():
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
  return tmp_path / 'pets'


def _archive(tmp_path):
  path = tmp_path / 'pets.tar'
  path.write_bytes(official.tar(_TREE))
  return path


@pytest.mark.parametrize('make', [_folder, _archive])
def test_class_folders_in_a_folder_or_a_tar(tmp_path, make):
  layout = sources.find_layout(str(make(tmp_path)))
  assert layout.name == 'pets'
  assert [c.id for c in layout.classes] == ['cat', 'dog']
  found = {
    split: [(pathlib.PurePath(name).name, kind) for name, kind in items]
    for split, items in _listed(layout).items()
  }
  assert found == {
    'train': [('0.png', 'cat'), ('1.png', 'cat'), ('2.png', 'dog')],
    'val': [('3.png', 'dog')],  # test is used as val
  }
  assert layout.splits['val'][0].member.read() == _png(4)


def test_a_folder_and_a_tar_give_the_same_images(tmp_path):
  pixels = []
  for make in (_folder, _archive):
    layout = sources.find_layout(str(make(tmp_path)))
    work = run.plan(layout, options=shards.Options(image_size=16))
    output = tmp_path / make.__name__
    run.prepare(work, output=output, workers=1)
    train = records.load(str(output), image_size=16).train
    pixels.append(sorted(e.image.tobytes() for e in train.take([0, 1, 2])))
  assert pixels[0] == pixels[1]


def test_validation_is_preferred_to_test(tmp_path):
  tree = _TREE | {'pets/validation/cat/9.png': _png(9)}
  (tmp_path / 'a.tar').write_bytes(official.tar(tree))
  layout = sources.find_layout(str(tmp_path / 'a.tar'))
  assert list(layout.splits) == ['train', 'val', 'test']
  assert [name for name, _ in _listed(layout)['val']] == [
    'pets/validation/cat/9.png'
  ]


def test_unknown_layouts_are_an_error_of_one_line(tmp_path):
  (tmp_path / 'cat').mkdir()
  (tmp_path / 'cat' / '1.png').write_bytes(_png(1))
  with pytest.raises(ValueError, match='give --val_share=') as error:
    sources.find_layout(str(tmp_path))
  assert '\n' not in str(error.value)
  with pytest.raises(ValueError, match='no source at'):
    sources.find_layout(str(tmp_path / 'nothing'))


def test_links_to_class_folders_are_followed_and_strays_skipped(tmp_path):
  source = _folder(tmp_path)
  (tmp_path / 'birds').mkdir()
  (tmp_path / 'birds' / '5.png').write_bytes(_png(5))
  (source / 'train' / 'bird').symlink_to(tmp_path / 'birds')
  (source / 'train' / 'cat' / 'deep').mkdir()
  (source / 'train' / 'cat' / 'deep' / '6.png').write_bytes(_png(6))
  (source / 'train' / 'loop').symlink_to(source / 'train')
  (source / 'train' / 'stray.png').write_bytes(_png(7))
  (source / 'README').write_text('hello')  # no image
  layout = sources.find_layout(str(source))
  assert [c.id for c in layout.classes] == ['bird', 'cat', 'dog']
  assert [name for name, _ in _listed(layout)['train']] == [
    'train/bird/5.png',
    'train/cat/0.png',
    'train/cat/1.png',
    'train/cat/deep/6.png',
    'train/dog/2.png',
  ]
  assert set(layout.skipped) == {
    ('train/stray.png', 'not in SPLIT/CLASS/'),
  }


@pytest.mark.parametrize(
  ('more', 'said'),
  [
    ('pets/training/cat/8.png', 'two folders for train'),
    ('other/test/cat/8.png', 'two folders for test'),
    ('other/val/cat/8.png', 'in several places'),
  ],
)
def test_more_than_one_tree_of_class_folders_is_refused(tmp_path, more, said):
  (tmp_path / 'a.tar').write_bytes(official.tar(_TREE | {more: _png(8)}))
  with pytest.raises(ValueError, match=said) as error:
    sources.find_layout(str(tmp_path / 'a.tar'))
  assert '\n' not in str(error.value)


def _headers(data):
  """Offsets of the headers of a tar's members."""
  with tarfile.open(fileobj=io.BytesIO(data)) as archive:
    return [info.offset for info in archive]


@pytest.mark.parametrize(
  'damage',
  [
    lambda d: d[: _headers(d)[2] + 300],  # cut within a header
    lambda d: d[: _headers(d)[2]],  # cut in front of one
    lambda d: d[: _headers(d)[2]] + b'\xff' + d[_headers(d)[2] + 1 :],
    lambda d: d[: _headers(d)[2] + 512 + 10],  # cut within a file
  ],
)
def test_a_damaged_archive_is_an_error(tmp_path, damage):
  """Python's tarfile stops at a header it cannot read, without an error."""
  path = tmp_path / 'a.tar'
  path.write_bytes(damage(official.tar(_TREE)))
  with pytest.raises(ValueError, match=r'cut short'):
    sources.find_layout(str(path))


def test_junk_in_place_of_a_synsets_tar_is_an_error(tmp_path):
  source = official.write(tmp_path / 's')
  train = official.tar(
    {
      'n01000000.tar': b'<html>not found</html>'.ljust(4096),
      'n02000000.tar': official.tar({'n02000000_1.JPEG': _png(1)}),
    }
  )
  (source / 'ILSVRC2012_img_train.tar').write_bytes(train)
  with pytest.raises(ValueError, match=r'n01000000\.tar in it is damaged'):
    sources.find_layout(str(source))


def test_names_that_are_not_utf8_are_escaped(tmp_path):
  source = _folder(tmp_path)
  odd = os.path.join(os.fsencode(source), b'train/cat/caf\xe9.png')
  with open(odd, 'wb') as file:
    file.write(_png(8))
  layout = sources.find_layout(str(source))
  work = run.plan(layout, options=shards.Options(image_size=16))
  run.prepare(work, output=tmp_path / 'out', workers=1)
  train = records.load(str(tmp_path / 'out'), image_size=16).train
  assert r'train/cat/caf\xe9.png' in {e.name for e in train.take(range(4))}


def _write_2010(folder, *, test=True):
  """ILSVRC2010 with classes out of order, a test split and one patch."""
  folder.mkdir()
  train = {
    f'{wnid}.tar': official.tar({f'{wnid}_1.JPEG': _png(k)})
    for k, wnid in enumerate(official.LABELS)
  }
  files = {
    'ILSVRC2010_images_train.tar': official.tar(train),
    'ILSVRC2010_images_val.tar': official.tar(
      {f'val/ILSVRC2010_val_{n:08d}.JPEG': _png(10 + n) for n in (1, 2, 3)}
    ),
    'ILSVRC2010_devkit-1.0.tar.gz': official.devkit(
      'ILSVRC2010', folder='devkit-1.0'
    ),
    'patch_images.tar': official.tar(
      {'patch_images/val/ILSVRC2010_val_00000002.JPEG': _png(99)}
    ),
  }
  if test:
    files['ILSVRC2010_test_ground_truth.txt'] = b'2\n3\n'
    files['ILSVRC2010_images_test.tar'] = official.tar(
      {f'test/ILSVRC2010_test_{n:08d}.JPEG': _png(20 + n) for n in (1, 2)}
    )
  for name, data in files.items():
    (folder / name).write_bytes(data)
  return folder


def test_ilsvrc2010_labels_through_its_own_devkit(tmp_path):
  layout = sources.find_layout(str(_write_2010(tmp_path / 's')))
  assert layout.name == 'ILSVRC2010'
  found = _listed(layout)
  assert found['train'] == [
    (f'{wnid}_1.JPEG', wnid) for wnid in official.LABELS
  ]
  ids = official.SYNSETS  # val ids 3, 1, 2; test ids 2, 3
  assert [kind for _, kind in found['val']] == [ids[3], ids[1], ids[2]]
  assert [kind for _, kind in found['test']] == [ids[2], ids[3]]
  val = layout.splits['val']
  assert val[0].member.read() == _png(11)
  assert val[1].member.read() == _png(99)  # from patch_images.tar
  assert val[1].member.name == 'val/ILSVRC2010_val_00000002.JPEG'


def test_ilsvrc2010_without_its_test_images(tmp_path):
  layout = sources.find_layout(str(_write_2010(tmp_path / 's', test=False)))
  assert list(layout.splits) == ['train', 'val']


def test_members_that_point_outside_the_archive_are_skipped(tmp_path):
  """So are links; nothing is ever extracted."""
  path = tmp_path / 'a.tar'
  with tarfile.open(path, 'w') as archive:
    for name in ('train/cat/1.png', '../../evil.png', '/etc/evil.png'):
      info = tarfile.TarInfo(name)
      info.size = len(_png(1))
      archive.addfile(info, io.BytesIO(_png(1)))
    link = tarfile.TarInfo('train/cat/link.png')
    link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
    archive.addfile(link)
  skipped = []
  (found,) = tar.members(path, skipped=skipped)
  assert found.name == 'train/cat/1.png'
  assert [reason for _, reason in skipped[:2]] == [
    'its path leads out of the archive'
  ] * 2
  assert 'link' in skipped[2].reason and len(skipped) == 3


def test_skipped_members_are_in_the_metadata(tmp_path):
  tree = _TREE | {'pets/train/cat/../../../evil.png': _png(7)}
  (tmp_path / 'a.tar').write_bytes(official.tar(tree))
  layout = sources.find_layout(str(tmp_path / 'a.tar'))
  work = run.plan(layout, options=shards.Options(image_size=16))
  metadata = run.prepare(work, output=tmp_path / 'out', workers=1)
  assert metadata.skipped == (
    ('pets/train/cat/../../../evil.png', 'its path leads out of the archive'),
  )
  assert {p.name for p in tmp_path.iterdir()} == {'a.tar', 'out'}


@pytest.mark.skipif(
  not (pathlib.Path(_REAL) / 'cifar10-mini.tar').is_file() or not _REAL,
  reason='ALEXNET_JAX_TEST_DATA has no cifar10-mini.tar',
)
def test_real_cifar10_prepares_to_32_pixels(tmp_path):
  layout = sources.find_layout(str(pathlib.Path(_REAL) / 'cifar10-mini.tar'))
  assert [c.id for c in layout.classes] == [
    'airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse',
    'ship', 'truck',
  ]  # fmt: skip
  assert {k: len(v) for k, v in layout.splits.items()} == {
    'train': 10_000,
    'val': 2_000,
  }
  few = {split: items[::100] for split, items in layout.splits.items()}
  work = run.plan(
    layout._replace(splits=few), options=shards.Options(image_size=32)
  )
  metadata = run.prepare(work, output=tmp_path / 'out', workers=1)
  assert not metadata.skipped
  data = records.load(str(tmp_path / 'out'), image_size=32)
  assert (len(data.train), len(data.val)) == (100, 20)
  example = data.train[0]
  assert example.image.shape == (32, 32, 3)
  assert f'/{data.classes[example.label].id}/' in example.name


def test_halves_depend_on_class_and_file_name_alone(tmp_path):
  """§6, Fall 2009: half to train on, half to test."""
  for kind in 'ab':
    for i in range(40):
      path = tmp_path / 'train' / kind / f'{i}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(_png(0))
  with pytest.raises(ValueError, match='but no validation images'):
    sources.find_layout(str(tmp_path))
  whole = sources.find_layout(str(tmp_path), halves=True)
  names = {
    split: {(item.label, item.member.name.split('/')[-1]) for item in items}
    for split, items in whole.splits.items()
  }
  by_hand = {
    (label, f'{i}.png')
    for label, kind in enumerate('ab')
    for i in range(40)
    if hashlib.sha256(f'{kind}/{i}.png'.encode()).digest()[0] % 2
  }
  assert names['val'] == by_hand and 25 < len(by_hand) < 55
  assert len(names['train'] | names['val']) == 80
  assert not names['train'] & names['val']
  for path in (tmp_path / 'train' / 'a').glob('1*.png'):
    path.unlink()
  (tmp_path / 'val' / 'b').mkdir(parents=True)
  (tmp_path / 'train' / 'b' / '7.png').rename(tmp_path / 'val' / 'b' / '7.png')
  fewer = sources.find_layout(str(tmp_path), halves=True)
  left = {(i.label, i.member.name.split('/')[-1]) for i in fewer.splits['val']}
  gone = {(0, f'{i}.png') for i in [1, *range(10, 20)]}
  assert left == by_hand - gone
