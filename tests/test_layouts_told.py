"""What is no image, and what preparing refuses or tells about a source."""

import os
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from alexnet_jax.data import dataset, metadata, records
from alexnet_jax.data.prepare import (
  classes,
  folders,
  layouts,
  run,
  shards,
  sources,
  workers,
)
from tests import disks, official

_SPLIT = {
  f'{split}/{p.kind}/{p.number:04d}.jpg': p.data
  for split in ('train', 'val')
  for p in disks.pictures()[split]
}
_ONE = {
  f'{p.kind}/{p.number:04d}.jpg': p.data for p in disks.pictures()['train']
}
_TRAIN = {k: v for k, v in _SPLIT.items() if k.startswith('train/')}
_JPEG = disks.pictures()['train'][0].data
_NAMES = sorted(disks.WNIDS)


def _flat(split):
  return {
    f'{split}/{p.number:03d}.jpg': p.data for p in disks.pictures()[split]
  }


def _lines(split, order):
  return ''.join(
    f'{p.number:03d}.jpg {order.index(p.kind)}\n'
    for p in disks.pictures()[split]
  )


def _find(folder, files, **flags):
  return sources.find_layout(str(disks.write(folder, files)), **flags)


def _listed(layout):
  return {
    split: sorted((layout.classes[k].id, m.read()) for m, k in items)
    for split, items in layout.splits.items()
  }


def _is_right(layout, kinds=None):
  truth, kinds = disks.truth(), kinds or (lambda id_: id_)
  return all(
    kinds(layout.classes[k].id) == truth[m.read()]
    for items in layout.splits.values()
    for m, k in items
  )


SYSTEM = [
  '.ipynb_checkpoints', '@eaDir', '__MACOSX', '.git', '.cache', 'lost+found',
  '$RECYCLE.BIN', '.Trash-1000', '.thumbnails', '.AppleDouble',
  'System Volume Information', '.hidden',
]  # fmt: skip
LEFTOVERS = [
  'Thumbs.db', 'desktop.ini', '.DS_Store', '._0001.jpg', '0001.jpg~',
  '.0001.jpg.swp', '0001.jpg_original', '0001.jpg.bak', '0001.tmp', 'notes.txt',
  'boxes.xml', '@eaDir/0001.jpg/thumb.jpg', 'thumbnails/0001.jpg',
]  # fmt: skip


@pytest.mark.parametrize('archive', [False, True])
def test_what_systems_leave_is_no_class_and_no_image(tmp_path, archive):
  junk = {
    f'{place}{name}/a.jpg': _JPEG
    for place in ('', 'train/', 'val/')
    for name in SYSTEM
  }
  junk |= {f'train/cat/{name}': _JPEG for name in LEFTOVERS}
  clean = _find(tmp_path / 'clean', _SPLIT)
  if archive:
    path = tmp_path / 'a.tar'
    path.write_bytes(official.tar(_SPLIT | junk))
    layout = sources.find_layout(str(path))
  else:
    layout = _find(tmp_path / 'all', _SPLIT | junk)
  assert [info.id for info in layout.classes] == _NAMES
  assert _listed(layout) == _listed(clean)
  assert not layout.skipped
  (line,) = layout.notes
  count = 3 * len(SYSTEM) + len(LEFTOVERS)
  assert line.startswith(f'passed over {count} that are no images: ')


def test_files_without_an_ending_are_images_if_they_begin_as_such(tmp_path):
  renamed = {name.removesuffix('.jpg'): data for name, data in _SPLIT.items()}
  layout = _find(tmp_path / 's', renamed | {'train/cat/README': b'hello'})
  assert _listed(layout) == _listed(_find(tmp_path / 'clean', _SPLIT))
  assert layout.notes == ('passed over 1 that are no images: 1 README',)


def test_many_leftovers_do_not_exceed_max_skipped(tmp_path):
  junk = {f'train/cat/{k}/.DS_Store': b'x' for k in range(120)}
  layout = _find(tmp_path / 's', _SPLIT | junk)
  work = run.plan(layout, options=shards.Options(image_size=8))
  run.prepare(work, output=tmp_path / 'out', workers=1, max_skipped=0)
  assert 'passed over 120 that are no images: 120 .DS_Store' in layout.notes


def test_a_folder_without_a_usable_image_is_no_class_and_is_named(tmp_path):
  heic = b'\0\0\0\x18ftypheic'
  files = {'train/owl/a.heic': heic, 'train/owl/b.heic': heic}
  source = disks.write(tmp_path / 's', _SPLIT | files)
  (source / 'train/eel').mkdir()
  layout = sources.find_layout(str(source))
  assert [info.id for info in layout.classes] == _NAMES
  assert [skipped.file for skipped in layout.skipped] == list(files)
  assert layout.notes == (
    "no class, since they hold no usable image: train/'eel', 'owl (2 files)'",
  )
  with pytest.raises(ValueError, match=r"no image that can be read in 'owl "):
    _find(tmp_path / 'only', files | {'val/owl/c.heic': heic})


def test_folders_within_a_class_are_told(tmp_path):
  more = {f'train/cat/{name}/1.jpg': _JPEG for name in ('persian', 'manx')}
  layout = _find(tmp_path / 's', _SPLIT | more)
  assert [info.id for info in layout.classes] == _NAMES
  assert layout.notes == (
    "train/cat is one class, with the folders 'manx', 'persian' in it",
  )


def test_images_outside_the_splits_are_told(tmp_path):
  more = {f'seg_pred/{k}.jpg': _JPEG for k in range(3)}
  layout = _find(tmp_path / 's', _SPLIT | more)
  assert not layout.skipped
  assert layout.notes == (
    'seg_pred is not used: its 3 images are in no folder called train, val or '
    'test',
  )


def test_few_images_and_classes_of_one_split_are_told(tmp_path):
  layout = _find(tmp_path / 's', _SPLIT | {'train/owl/1.jpg': _JPEG})
  assert layout.notes == (
    'one training image of 1 of 5 classes: owl',
    'no validation images of 1 of 5 classes: owl',
  )


@pytest.mark.parametrize(
  ('train', 'val', 'says'),
  [
    ('owl', 'Owl', "'Owl' is 'owl' in train"),
    ('owl', 'owl ', "'owl ' is 'owl' in train"),
    ('caf\xe9', 'cafe\u0301', r"'cafe\u0301' is 'caf\xe9' in train"),
    ('owl', 'eel', "train lacks, 1: 'eel'"),
  ],
)
def test_classes_of_val_that_train_lacks_are_refused(
  tmp_path, train, val, says
):
  more = {f'train/{train}/1.jpg': _JPEG, f'val/{val}/1.jpg': _JPEG}
  with pytest.raises(ValueError) as error:
    _find(tmp_path / 's', _SPLIT | more)
  assert says in str(error.value) and 'rename' in str(error.value)
  assert str(error.value).isprintable()


def test_classes_of_training_that_look_alike_are_told(tmp_path):
  more = {f'train/{name}/1.jpg': _JPEG for name in ('Cat', 'cat ')}
  layout = _find(tmp_path / 's', _SPLIT | more)
  assert "are these one class? 'Cat' and 'cat' and 'cat '" in layout.notes


REFUSED = {
  'class folders': (_ONE, {}, ['4 classes, 20 images', '--val_share=0.1']),
  'a flat val': (
    *(_TRAIN | _flat('val'), {}),
    ['train/ with 4 classes', 'val/ with 8 images', '--labels=val:FILE'],
  ),
  'all flat': (
    *({f'{k}.jpg': _JPEG for k in 'ab'}, {}),
    ['2 images that lie flat', '--labels=FILE'],
  ),
  'val alone': (
    *({k: v for k, v in _SPLIT.items() if k not in _TRAIN}, {}),
    ['val/ with 4 classes', 'no training images', '--classes_of=DATA'],
  ),
  'no images': ({'a/b.txt': 'x'}, {}, ['holds no images, but 1 *.txt']),
  'a share of what is divided': (
    *(_SPLIT, {'val_share': 0.1}),
    ['has a validation split of 8 images', 'leave out --val_share'],
  ),
  'unknown names of splits': (
    {
      k.replace('train/', 'A/').replace('val/', 'B/'): v
      for k, v in _SPLIT.items()
    },
    {'val_share': 0.1},
    ["same folders in each, 'A', 'B' with 'airplane', 'automobile'", 'train'],
  ),
  'splits in classes': (
    *({f'{k}/{s}/1.jpg': _JPEG for k in 'ab' for s in ('train', 'val')}, {}),
    ['two folders for train, a/train and b/train', 'to one train/CLASS/'],
  ),
  'a share of all': (_ONE, {'val_share': 1.0}, ['more than 0 and less than 1']),
  'a share of single images': (
    *({f'{k}/1.jpg': _JPEG for k in 'ab'}, {'val_share': 0.1}),
    ['has one image a class, none to split off'],
  ),
  'both ways': (_ONE, {'val_share': 0.1, 'halves': True}, ['give one']),
  'no such file': (_SPLIT, {'labels': 'nosuch'}, ['there is no file nosuch']),
  'two files': (
    *(_flat('train') | {'train.txt': 'a 0', 'train.csv': 'a,0'}, {}),
    ['train.csv and train.txt', '--labels=train:FILE'],
  ),
  'two labels': (
    *(_flat('train') | {'train.txt': '001.jpg a\n001.jpg b\n'}, {}),
    ["train/001.jpg both 'a' and 'b'"],
  ),
  'other names': (
    *(_flat('train') | {'train.txt': 'x.jpg a\n'}, {}),
    ['train.txt names none of the 20 images', 'its first is x.jpg'],
  ),
  'no labels': (
    *(_flat('train') | {'train.txt': '001.jpg\n'}, {}),
    ['train.txt gives no labels', "'001.jpg', has no label"],
  ),
  'no text': (
    *(_flat('train') | {'train.txt': b'\xff\xfe\0'}, {}),
    ['train.txt gives no labels'],
  ),
  'columns of each class': (
    *(_flat('train') | {'train.csv': 'id,a,b\n001,0,1\n002,1,0\n'}, {}),
    ['train.csv gives no labels', 'its columns are id, a, b'],
  ),
  'several numbers a line': (
    *(_flat('train') | {'train.txt': '001.jpg 1 5\n'}, {}),
    ["001.jpg has the labels '1 5', not one"],
  ),
  'another split in csv': (
    _flat('train')
    | {'train.csv': 'file,label,split\n001.jpg,a,val\n002.jpg,a,holdout\n'},
    *({}, ["002.jpg is of the split 'holdout', which is none of train, val"]),
  ),
  'another split in json': (
    _flat('train')
    | {'m.json': '', 'train.json': '[{"file": "1", "label": 1, "split": ""}]'},
    *({}, ["1 is of the split '', which is none of train, val"]),
  ),
  'labels of none': (
    *(_flat('train') | {'train.txt': '001.jpg -1\n'}, {}),
    ['train.txt holds no labels'],
  ),
  'archives in an archive': (
    *({'a.7z': b''}, {}),
    ['holds no images, but 1 *.7z', 'unpack those *.7z first'],
  ),
  'parquet farther down': (
    *({'a/b/c/train.parquet': b''}, {}),
    ['1 *.parquet', 'give the folder that holds the parquet files'],
  ),
  'several labels an image': (
    *(_flat('train') | {'train.json': '{"001.jpg": [1, 2]}'}, {}),
    ["label of '001.jpg' is [1, 2], not one name or number"],
  ),
  'numbers without names': (
    *(_TRAIN | _flat('val') | {'val.txt': _lines('val', _NAMES)}, {}),
    ['labels of val are numbers', 'classes.txt'],
  ),
  'too few names': (
    _TRAIN
    | _flat('val')
    | {'val.txt': _lines('val', _NAMES), 'classes.txt': '\n'.join(_NAMES[:3])},
    *({}, ['val has the label 3', 'classes.txt does not list (0 to 2)']),
  ),
}  # fmt: skip


@pytest.mark.parametrize(
  ('files', 'flags', 'says'), REFUSED.values(), ids=list(REFUSED)
)
def test_what_is_missing_is_said_in_one_line(tmp_path, files, flags, says):
  with pytest.raises(ValueError) as error:
    _find(tmp_path / 's', files, **flags)
  for part in says:
    assert part in str(error.value)
  assert str(error.value).isprintable()


OTHERS = {
  'other names of splits': {
    k.replace('train/', 'training_set/').replace('val/', 'test_set/'): v
    for k, v in _SPLIT.items()
  },
  'a folder within its like': {
    k.replace('train/', 'seg_train/seg_train/').replace('val/', 'val/val/'): v
    for k, v in _SPLIT.items()
  },
  'a folder around': {f'pets/all/{k}': v for k, v in _SPLIT.items()},
  'numbers and their names': _TRAIN
  | _flat('val')
  | {
    'val.txt': _lines('val', _NAMES[::-1]),
    'synsets.txt': '\n'.join(_NAMES[::-1]),
  },
  "numbers of Caffe's train.txt": _TRAIN
  | _flat('val')
  | {
    'val.txt': _lines('val', _NAMES[::-1]),
    'train.txt': ''.join(
      f'{k.removeprefix("train/")} {_NAMES[::-1].index(k.split("/")[1])}\n'
      for k in _TRAIN
    ),
  },
  'one file with a column for splits': {
    f'birds/{split}-{p.number:03d}.jpg': p.data
    for split in ('train', 'val')
    for p in disks.pictures()[split]
  }
  | {
    'labels.csv': 'class id,filepaths,labels,data set\n'
    + ''.join(
      f'0,birds/{split}-{p.number:03d}.jpg,{p.kind},{split}\n'
      for split in ('train', 'val')
      for p in disks.pictures()[split]
    )
  },
  'paths of another machine': _flat('train')
  | _flat('val')
  | {
    'labels.csv': 'path,class\n'
    + ''.join(
      f'C:\\data\\{split}\\{p.number:03d}.jpg,{p.kind}\n'
      for split in ('train', 'val')
      for p in disks.pictures()[split]
    )
  },
}


@pytest.mark.parametrize('files', OTHERS.values(), ids=list(OTHERS))
def test_other_ways_to_lay_out_the_same(tmp_path, files):
  layout = _find(tmp_path / 's', files)
  assert _is_right(layout)
  assert {s: len(v) for s, v in layout.splits.items()} == {
    'train': 20,
    'val': 8,
  }


def test_a_class_may_be_called_train(tmp_path):
  name = {'airplane': 'train', 'bird': 'bus'}
  files = {
    f'{name.get(p.kind, p.kind)}/{p.number}.jpg': p.data
    for p in disks.pictures()['train']
  }
  layout = _find(tmp_path / 's', files, val_share=0.2)
  back = {'train': 'airplane', 'bus': 'bird'}
  assert [c.id for c in layout.classes] == ['automobile', 'bus', 'cat', 'train']
  assert _is_right(layout, lambda id_: back.get(id_, id_))


def test_labels_for_one_split(tmp_path):
  """The file lies elsewhere, and its rows are in another order."""
  rows = [f'{p.number:03d},{p.kind}' for p in disks.pictures()['val']]
  table = tmp_path / 'mine.csv'
  table.write_text('\n'.join(['image,label', *rows[::-1], '999,cat']))
  layout = _find(tmp_path / 's', _TRAIN | _flat('val'), labels=f'val:{table}')
  assert _is_right(layout) and len(layout.splits['val']) == 8
  assert layout.labels == 'mine.csv (val), class folders (train)'
  assert '1 of 9 lines of mine.csv name no image here' in layout.notes
  names = [member.name for member, _ in layout.splits['val']]
  assert names == sorted(names)


def test_a_row_names_the_image_with_most_of_its_path(tmp_path):
  """b/1.jpg is not here, and says nothing about a/1.jpg."""
  data = disks.pictures()['train']
  files = {f'a/{k}.jpg': data[k].data for k in (0, 1, 4)}
  rows = [f'a/{k}.jpg,{data[k].kind}' for k in (0, 1, 4)]
  rows = ['b/0.jpg,wrong', *rows, 'c/0.jpg,wrong']
  layout = _find(
    tmp_path / 's', files | {'labels.csv': '\n'.join(rows)}, val_share=0.5
  )
  assert _is_right(layout) and sum(map(len, layout.splits.values())) == 3


def test_an_image_without_a_row_is_left_out(tmp_path):
  """train/003.jpg has one, which is not of val/003.jpg."""
  rows = [
    f'{split}/{p.number:03d}.jpg,{p.kind}'
    for split in ('train', 'val')
    for p in disks.pictures()[split]
    if (split, p.number) != ('val', 3)
  ]
  files = _flat('train') | _flat('val') | {'labels.csv': '\n'.join(rows)}
  layout = _find(tmp_path / 's', files)
  assert layout.skipped == (('val/003.jpg', 'no label in labels.csv'),)
  assert _is_right(layout) and len(layout.splits['val']) == 7


def test_numbers_are_sorted_as_numbers(tmp_path):
  files = {
    f'{s}/{k}/1.jpg': _JPEG for s in ('train', 'val') for k in (10, 9, 2)
  }
  layout = _find(tmp_path / 's', files)
  assert [info.id for info in layout.classes] == ['2', '9', '10']


def _prepare(layout, output):
  work = run.plan(layout, options=shards.Options(image_size=8))
  return run.prepare(work, output=output, workers=1)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A prepared data set of our classes by WordNet id."""
  folder = tmp_path_factory.mktemp('prepared')
  source = disks.kaggle(folder / 'source')
  _prepare(sources.find_layout(str(source)), folder / 'data')
  return folder / 'data'


@pytest.mark.parametrize('number', [True, False])
def test_classes_of_another_data_set(tmp_path, prepared, number):
  """Folders 0 to 3 as in ImageNet-V2; and a subset by name, as -A and -R."""
  by_wnid = sorted(disks.WNIDS, key=disks.WNIDS.__getitem__)
  back = {disks.WNIDS[kind]: kind for kind in by_wnid}
  if number:
    source = disks.numbers(tmp_path / 's')
    layout = sources.find_layout(str(source), classes_of=str(prepared))
    expect = 8
  else:
    files = {
      'Domestic_Cat/1.jpg': disks.pictures()['val'][3].data,
      'jet/1.jpg': disks.pictures()['val'][0].data,
      'n01503061/1.jpg': disks.pictures()['val'][2].data,
      'owl/1.jpg': _JPEG,
    }
    layout = _find(tmp_path / 's', files, classes_of=str(prepared))
    expect = 3
    assert f"1 images are left out, since {prepared} has no class 'owl'" in (
      layout.notes
    )
  assert layout.classes == metadata.read(prepared).classes
  assert _is_right(layout, back.__getitem__)
  assert {s: len(v) for s, v in layout.splits.items()} == {'val': expect}
  found = _prepare(layout, tmp_path / 'out')
  assert [*found.splits] == ['val']
  data = records.load(str(tmp_path / 'out'), image_size=8)
  mean = np.mean([data.val[i].image for i in range(expect)], axis=0)
  np.testing.assert_allclose(data.mean_image, mean, atol=1e-3)


def test_a_prepared_data_set_is_no_source(prepared):
  with pytest.raises(ValueError, match='is a prepared data set: train with'):
    sources.find_layout(str(prepared))


def test_classes_that_another_data_set_lacks_are_refused(tmp_path, prepared):
  with pytest.raises(ValueError, match=r"has none of the classes 'eel', 'owl'"):
    _find(
      tmp_path / 's',
      {'owl/1.jpg': _JPEG, 'eel/1.jpg': _JPEG},
      classes_of=str(prepared),
    )


def test_a_share_is_split_off_by_names_alone(tmp_path):
  files = {f'{kind}/{k}.jpg': _JPEG for kind in 'ab' for k in range(200)}
  files |= {'c/1.jpg': _JPEG, 'd/1.jpg': _JPEG, 'd/2.jpg': _JPEG}
  layout = _find(tmp_path / 's', files, val_share=0.1)
  held = {m.name for m, _ in layout.splits['val']}
  assert 25 < len(held) < 60 and len(layout.splits['train']) == 403 - len(held)
  by_class = {k: sum(name[0] == k for name in held) for k in 'abcd'}
  assert by_class['a'] and by_class['b']
  assert (by_class['c'], by_class['d']) == (0, 1)
  assert layout.notes[0].startswith(
    f'{len(held)} of 403 images are split off for validation'
  )
  fewer = {k: v for k, v in files.items() if not k.startswith('a/1')}
  again = _find(tmp_path / 'fewer', fewer, val_share=0.1)
  assert {m.name for m, _ in again.splits['val']} == held & fewer.keys()


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
  """chmod stops no root, so the system is made to refuse."""
  source = disks.write(tmp_path / 's', _SPLIT)
  scan = os.scandir

  def refuse(place):
    if str(place).endswith('train/cat'):
      raise PermissionError(13, 'Permission denied', str(place))
    return scan(place)

  monkeypatch.setattr(os, 'scandir', refuse)
  with pytest.raises(PermissionError, match='train/cat'):
    sources.find_layout(str(source))


def test_links(tmp_path):
  source = disks.write(tmp_path / 's', _TRAIN)
  (source / 'val').symlink_to(source / 'train')
  (source / 'train/owl').symlink_to(source / 'train/cat')
  (source / 'train/cat/up').symlink_to(source)
  (source / 'train/cat/self.jpg').symlink_to('self.jpg')
  layout = sources.find_layout(str(source))
  assert [info.id for info in layout.classes] == [*_NAMES, 'owl']
  counts = {s: len(items) for s, items in layout.splits.items()}
  assert counts == {'train': 25, 'val': 25}
  assert any('train and val are the same folder' in n for n in layout.notes)
  assert any('link back' in note for note in layout.notes)
  assert 'train/owl is the same folder as train/cat' in layout.notes
  assert {s.file for s in layout.skipped} == {
    f'{split}/{kind}/self.jpg'
    for split in ('train', 'val')
    for kind in ('cat', 'owl')
  }


def test_official_tars_copied_on_a_mac_with_names_in_jpg(tmp_path):
  clean = sources.find_layout(str(official.write(tmp_path / 'clean')))
  inner: dict[str, dict[str, bytes]] = {}
  for index in range(9):
    wnid, name = official.train_name(index)
    inner.setdefault(wnid, {})[name] = official.png(index)[1]
    inner[wnid]['._' + name] = b'x'
  train = {f'{wnid}.tar': official.tar(v) for wnid, v in inner.items()}
  junk = {'._n01000000.tar': b'x', '.DS_Store': b'x', 'README': b'hello'}
  val = {
    f'val/ILSVRC2012_val_{n:08d}.jpg': official.png(100 + n)[1]
    for n in (1, 2, 4)
  }
  source = official.write(tmp_path / 's')
  (source / 'ILSVRC2012_img_train.tar').write_bytes(official.tar(train | junk))
  (source / 'ILSVRC2012_img_val.tar').write_bytes(official.tar(val | junk))
  layout = sources.find_layout(str(source))
  assert _listed(layout) == _listed(clean)
  assert not layout.skipped
  assert layout.labels == 'devkit meta.mat (ILSVRC2012_devkit_t12.tar.gz)'
  (line,) = layout.notes
  assert line.startswith('passed over 15 that are no images: ')


def test_workers_are_the_cores_that_the_process_may_use():
  program = (
    'from alexnet_jax.data.prepare import workers; print(workers.cores())'
  )
  done = subprocess.run(
    [
      'taskset',
      '-c',
      str(min(os.sched_getaffinity(0))),
      sys.executable,
      '-c',
      program,
    ],
    capture_output=True,
    text=True,
    check=True,
    cwd=pathlib.Path(__file__).parents[1],
  )
  assert done.stdout == '1\n'
  assert workers.cores() == len(os.sched_getaffinity(0))


def test_a_class_whose_images_are_all_damaged_is_told_in_the_end(tmp_path):
  cut = _JPEG[: len(_JPEG) // 2]
  layout = _find(tmp_path / 's', _SPLIT | {'train/owl/1.jpg': cut})
  found = _prepare(layout, tmp_path / 'out')
  left = layouts.without(layout, {s.file for s in found.skipped})
  assert 'no training images of 1 of 5 classes: owl' in layouts.told(left).notes


@pytest.mark.parametrize('flag', ['{}', 'test:{}'])
def test_a_file_of_labels_that_is_of_no_use_is_refused(tmp_path, flag):
  (tmp_path / 'l.csv').write_text('1.jpg,cat\n')
  flag = flag.format(tmp_path / 'l.csv')
  with pytest.raises(ValueError, match='is of no use: the images of train and'):
    _find(tmp_path / 's', _SPLIT, labels=flag)


def test_the_label_minus_one_is_none_unless_one_is_the_other(tmp_path):
  rows = [f'{p.number:03d}.jpg' for p in disks.pictures()['train']]
  for name, others in (('a', '3'), ('b', '1')):
    labels = [('-1', others)[i % 2] for i in range(len(rows))]
    pairs = zip(rows, labels, strict=True)
    text = ''.join(f'{file} {label}\n' for file, label in pairs)
    files = _flat('train') | {'train.txt': text}
    layout = _find(tmp_path / name, files, val_share=0.2)
    found = {info.id for info in layout.classes}
    assert found == ({'3'} if others == '3' else {'-1', '1'})
    assert len(layout.skipped) == (10 if others == '3' else 0)


def test_a_file_of_labels_is_no_list_of_classes(tmp_path):
  text = _lines('train', _NAMES)
  files = {k.replace('train/', 'images/'): v for k, v in _flat('train').items()}
  layout = _find(tmp_path / 's', files | {'labels.txt': text}, val_share=0.2)
  assert [info.id for info in layout.classes] == ['0', '1', '2', '3']
  truth = disks.truth()
  for item in (*layout.splits['train'], *layout.splits['val']):
    assert _NAMES[item.label] == truth[item.member.read()]


@pytest.mark.parametrize('stray', ['x.jpg', 'mine/x.jpg'])
def test_a_stray_image_above_the_class_folders_changes_no_class(
  tmp_path, stray
):
  files = {f'mine/{name}': data for name, data in _ONE.items()}
  layout = _find(tmp_path / 's', files | {stray: _JPEG}, val_share=0.2)
  assert [info.id for info in layout.classes] == sorted(disks.WNIDS)
  assert [tuple(s) for s in layout.skipped] == [(stray, 'not in CLASS/')]


def test_a_class_called_test_is_told(tmp_path):
  layout = _find(tmp_path / 's', _ONE | {'test/1.jpg': _JPEG}, val_share=0.2)
  assert 'test is a class, since class folders lie beside it' in layout.notes
  assert 'test' in [info.id for info in layout.classes]


def test_thumbnails_in_a_class_are_not_told_as_its_folders(tmp_path):
  more = {f'cat/{name}/a.jpg': _JPEG for name in ('thumbs', '_thumb', 'Thumb')}
  layout = _find(tmp_path / 's', _ONE | more, val_share=0.2)
  assert sum(map(len, layout.splits.values())) == len(_ONE)
  assert 'in it' not in ''.join(layout.notes)


def _tar_of(tree, path):
  """A tar of a folder as `tar -C FOLDER -cf PATH .` writes it."""
  with tarfile.open(path, 'w') as archive:
    archive.add(tree, arcname='.')
  return path


@pytest.mark.parametrize(
  'build', [disks.kaggle, disks.tiny_imagenet, disks.caffe]
)
@pytest.mark.parametrize('form', ['a tar of .', 'a folder farther down'])
def test_files_of_labels_and_classes_are_found(tmp_path, build, form):
  tree = build(tmp_path / 'x' / 'data')
  there = tmp_path / 'x'
  if form == 'a tar of .':
    there = _tar_of(tree, tmp_path / 'a.tar')
  layout, plain = map(sources.find_layout, (str(there), str(tree)))
  assert (layout.classes, layout.form) == (plain.classes, plain.form)
  kinds = {wnid: kind for kind, wnid in disks.WNIDS.items()}
  assert _is_right(layout, kinds.__getitem__)
  assert _listed(layout) == _listed(plain)


def test_a_devkit_beside_the_splits_is_found_farther_down(tmp_path):
  disks.unpacked_tars(tmp_path / 'a' / 'b')
  layout = sources.find_layout(str(tmp_path))
  assert layout.form == 'unpacked tars of ILSVRC'
  kinds = {wnid: kind for kind, wnid in disks.WNIDS.items()}
  assert _is_right(layout, kinds.__getitem__)


def test_what_a_list_calls_a_number_is_told(tmp_path):
  files = {
    f'{split}/{n}/1.jpg': _JPEG for split in ('train', 'val') for n in '12'
  }
  lists = {'classes.txt': 'ant\nbee\ncow\n', 'words.txt': 'n00000001\tx\n'}
  layout = _find(tmp_path / 's', files | lists)
  assert [info.id for info in layout.classes] == ['bee', 'cow']
  assert 'classes.txt names the numbers: 1 is bee' in layout.notes
  more = {'train/9/1.jpg': _JPEG}
  with pytest.raises(ValueError, match=r'label 9, which classes\.txt does not'):
    _find(tmp_path / 't', files | lists | more)


def test_folders_numbered_from_one_are_not_taken_from_zero(tmp_path):
  wanted = [dataset.ClassInfo(f'n{i:08d}', 'a', 'a') for i in range(1000)]
  for name, first in (('zero', 0), ('one', 1)):
    files = {f'{i + first}/1.jpg': _JPEG for i in (0, 5, 999)}
    source = disks.write(tmp_path / name, files)
    request = folders.Request(tables={}, pooled=True)
    layout = folders.find_layout(source, request=request)
    if first:
      with pytest.raises(ValueError, match="none of the classes '1', '1000'"):
        classes.mapped(layout, wanted=wanted, of='D')
    else:
      found = classes.mapped(layout, wanted=wanted, of='D')
      assert [item.label for item in found.splits['train']] == [0, 5, 999]


def test_a_class_that_two_folders_hold_counts_once(tmp_path, prepared):
  birds = {f'{name}/1.jpg': _JPEG for name in ('n01503061', 'Bird')}
  layout = _find(tmp_path / 's', birds, classes_of=str(prepared))
  assert layout.notes[0].startswith('1 of the 4 classes of ')
