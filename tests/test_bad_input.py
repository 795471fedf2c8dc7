"""Whatever a user may get wrong: one line with the fix, and nothing changed.

Each row: what is done to a good folder, what is typed, the exit code, and what
the line must name. A row's files lie in {tmp}: `data`, a prepared data set of
80 x 80 images, `step`, a checkpoint of smoke.py, `pictures`, class folders.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest
from array_record.python import array_record_module

from alexnet_jax.data import dataset, records
from tests import commands, official

SMOKE = '--config=configs/smoke.py'
SIZE = 80


@pytest.fixture(scope='module')
def server():
  """Runs commands."""
  server = commands.Server()
  yield server
  server.close()


@pytest.fixture(scope='module')
def good(server, tmp_path_factory):
  """What the rows spoil."""
  folder = tmp_path_factory.mktemp('good')
  _write_data(folder / 'data')
  for split in ('train', 'val'):
    for name in ('ant', 'bee'):
      place = folder / 'pictures' / split / name
      place.mkdir(parents=True)
      (place / '1.png').write_bytes(official.png(1)[1])
  args = (SMOKE, f'--workdir={folder}/run', '--config.total_steps=1')
  done = server.run('alexnet_jax.main', *args)
  assert done.returncode == 0, done.stderr
  shutil.move(folder / 'run' / 'checkpoints' / '1', folder / 'step')
  shutil.rmtree(folder / 'run')
  return folder


def _write_data(folder):
  folder.mkdir()
  names = {
    'train': 'train-00000-of-00001.array_record',
    'val': 'val-00000-of-00001.array_record',
  }
  for name in names.values():
    _write_records(folder / name, labels=range(3))
  np.save(folder / 'mean_image.npy', np.full((SIZE, SIZE, 3), 9, np.float32))
  eye = np.eye(3, dtype=np.float32)
  np.savez(folder / 'rgb_pca.npz', components=eye, stddevs=eye[0])
  metadata = {
    'name': 'tiny',
    'format_version': 1,
    'image_size': SIZE,
    'encoding': 'raw',
    'splits': {k: {'num_images': 3, 'shards': [v]} for k, v in names.items()},
    'classes': [{'id': c, 'name': c, 'words': c} for c in 'abc'],
    'skipped': [],
    'checksums': {},
  }
  (folder / 'metadata.json').write_text(json.dumps(metadata))


def _write_records(path, *, labels, encoding='raw'):
  writer = array_record_module.ArrayRecordWriter(
    str(path), records.WRITER_OPTIONS
  )
  image = np.zeros((SIZE, SIZE, 3), np.uint8)
  for label in labels:
    example = dataset.Example(image, label, f'{label}.png')
    writer.write(records.encode(example, encoding=encoding))
  writer.close()


def _nothing(folder):
  """The good folder as it is."""


def _text(path, text):
  return lambda folder: (folder / path).write_text(text)


def _field(path, value):
  """Sets a field of metadata.json; ... removes it."""

  def spoil(folder):
    file = folder / 'data' / 'metadata.json'
    content = json.loads(file.read_text())
    *parents, last = path
    inner = content
    for key in parents:
      inner = inner[key]
    inner[last] = value
    if value is ...:
      del inner[last]
    file.write_text(json.dumps(content))

  return spoil


def _shard(**what):
  return lambda folder: _write_records(
    folder / 'data' / 'train-00000-of-00001.array_record', **what
  )


def _array(name, array, **options):
  return lambda folder: np.save(folder / 'data' / name, array, **options)


def _pca(**arrays):
  return lambda folder: np.savez(folder / 'data' / 'rgb_pca.npz', **arrays)


def _cut(path, length):
  def spoil(folder):
    data = (folder / path).read_bytes()
    (folder / path).write_bytes(data[:length])

  return spoil


def _remove(path):
  def spoil(folder):
    path_ = folder / path
    shutil.rmtree(path_) if path_.is_dir() else path_.unlink()

  return spoil


def _only(path):
  def spoil(folder):
    shutil.rmtree(folder / path)
    (folder / path).mkdir()

  return spoil


def _fresh_sums(spoil):
  """A step whose sums were made after it was spoilt."""

  def both(folder):
    from alexnet_jax import integrity

    spoil(folder)
    sums = integrity.file_sums(folder / 'step')
    (folder / 'step' / 'files.json').write_text(json.dumps(sums))

  return both


def _tar(files, *, cut=None, name='pictures.tar'):
  data = official.tar(files)[:cut]
  return lambda folder: (folder / name).write_bytes(data)


def _train(*args):
  return ['alexnet_jax.main', SMOKE, '--workdir={tmp}/run', *args]


def _data(*args):
  return _train('--config.data.source=prepared', '--config.data.dir={tmp}/data',
                '--config.batch_size=2', '--config.total_steps=2', *args)  # fmt: skip


def _evaluate(path, *args):
  mode = ('--mode=eval', f'--restore={path}')
  return ['alexnet_jax.main', SMOKE, *mode, *args]


def _prepare(source, *args, output='{tmp}/out'):
  flags = (f'--source={source}', f'--output={output}')
  return ['alexnet_jax.tools.prepare', *flags, '--workers=1', *args]


def _checkpoint(*args):
  return ['alexnet_jax.tools.checkpoint', *args]


BAD_JPEG = {'train/a/1.jpg': b'no image', 'val/a/1.jpg': b'no image'}
OBJECTS = np.array([print], dtype=object)
NAN = np.full((SIZE, SIZE, 3), np.nan, np.float32)
EYE = np.eye(3, dtype=np.float32)
MODEL = '--config.model'

ROWS = {
  'flags': [
    (_nothing, ['alexnet_jax.main'], 1, '--config=configs/default.py'),
    (_nothing, ['alexnet_jax.main', '--config=configs/nosuch.py'], 1, 'configs/nosuch.py'),
    (_nothing, ['alexnet_jax.main', '--config=README.md'], 1, 'README.md is no Python file'),
    (_nothing, ['alexnet_jax.main', SMOKE, '--mode=evil'], 2, 'train|eval|summary'),
    (_nothing, _train('--wrkdir=x'), 2, 'wrkdir'),
    (_nothing, _train('train'), 2, "'train' is no flag"),
    (_nothing, _train('--restore={tmp}/step'), 1, 'goes with --mode=eval'),
    (_nothing, _train('--ablation=no_lnr'), 1, 'there is no_lrn'),
    (_nothing, _train('--ablation=tanh', '--ablation=tanh'), 1, 'is given twice'),
    (_nothing, _train('--ablation=ungrouped', '--ablation=no_exchange'), 1, 'cannot be made together'),
    (_nothing, _train('--ablation=no_dropout', '--config.model.dropout_rate=0.3'), 1, 'sets it to 0.0'),
    (_nothing, _train("--config.ablations=('tanh',)"), 1, 'use --ablation=NAME'),
    (_nothing, _checkpoint(), 1, '--dir is missing'),
    (_nothing, _prepare('', output=''), 1, '--source is missing'),
    (_nothing, _prepare('{tmp}/pictures', '--image_size=0'), 2, 'image_size'),
    (_nothing, _prepare('{tmp}/pictures', '--encoding=png'), 2, 'raw|jpeg'),
  ],
  'configs': [
    (_nothing, _train('--config.batchsize=3'), 1, 'there is batch_size'),
    (_nothing, _train('--config.batch_size=many'), 2, 'many'),
    (_nothing, _train('--config.batch_size=0'), 1, 'use 1 or more'),
    (_nothing, _train('--config.batch_size=17', '--config.mesh.data=2'), 1, 'such as 16'),
    (_nothing, _train('--config.mesh.column=3'), 1, 'use --config.mesh.column=1'),
    (_nothing, _train('--config.optim.learning_rate=-1.0'), 1, 'use 0.0 or more'),
    (_nothing, _train('--config.optim.learning_rate=nan'), 1, 'learning_rate = nan'),
    (_nothing, _train('--config.optim.learning_rate=inf'), 1, 'learning_rate = inf'),
    (_nothing, _train('--config.checkpoint.every_minutes=-1.0'), 1, 'use 0.0 or more'),
    (_nothing, _train('--config.guard.max_skipped_steps=-1'), 1, 'use 0 or more'),
    (_nothing, _train('--config.schedule.kernel=((1.0,1.0),)'), 1, 'times that begin with 0'),
    (_nothing, _train(f'{MODEL}.activation=relo'), 1, "'relu' or 'tanh'"),
    (_nothing, _train(f'{MODEL}.layer.conv2.stddev=inf'), 1, 'stddev = inf'),
    (_nothing, _train(f'{MODEL}.lrn.alpha=nan'), 1, 'alpha = nan'),
    (_nothing, _train(f'{MODEL}.num_classes=5'), 1, '--config.model.num_classes=10'),
    (_nothing, _train('--config.data.crop_size=99'), 1, 'is larger than'),
    (_nothing, _train('--config.data.dir={tmp}/data'), 1, '--config.data.source=prepared'),
    (_nothing, _train('--config.data.source=tfds'), 1, '--config.data.tfds='),
  ],
  'folders': [
    (_nothing, _train('--config.data.source=prepared'), 1, 'tools.prepare'),
    (_remove('data'), _data(), 1, 'it has no metadata.json'),
    (_text('run', 'a file'), _train(), 1, 'run is a file'),
    (_text('file', ''), _train('--workdir={tmp}/file/run'), 1, '{tmp}/file/run'),
    (_text('file', ''), _data('--config.data.dir={tmp}/file'), 1, 'no prepared data set'),
  ],
  'metadata': [
    (_cut('data/metadata.json', 99), _data(), 1, 'metadata.json is damaged'),
    (_text('data/metadata.json', '\x00\xff'), _data(), 1, 'metadata.json is damaged'),
    (_text('data/metadata.json', '[]'), _data(), 1, 'metadata.json is damaged'),
    (_field(['splits'], ...), _data(), 1, "KeyError: 'splits'"),
    (_field(['splits'], []), _data(), 1, 'metadata.json is damaged'),
    (_field(['splits', 'train'], ...), _data(), 1, 'lacks a split'),
    (_field(['format_version'], 7), _data(), 1, 'format_version 7'),
    (_field(['encoding'], 'png'), _data(), 1, "encoding 'png'"),
    (_field(['image_size'], '80'), _data(), 1, 'metadata.json is damaged'),
    (_field(['image_size'], 96), _data(), 1, '--config.data.image_size=96'),
    (_field(['splits', 'train', 'num_images'], 4), _data(), 1, 'says 4'),
    (_field(['splits', 'train', 'num_images'], -3), _data(), 1, 'says -3'),
    (_field(['splits', 'train', 'shards'], ['../data/val-00000-of-00001.array_record']), _data(), 1, 'leads out of the folder'),
    (_field(['splits', 'train', 'shards'], ['/etc/passwd']), _data(), 1, 'leads out of the folder'),
    (_field(['splits', 'train', 'shards'], ['gone.array_record']), _data(), 1, 'gone.array_record'),
    (_field(['splits', 'train', 'shards'], 'train-00000-of-00001.array_record'), _data(), 1, 'metadata.json is damaged'),
    (_field(['classes'], []), _data(), 1, 'no classes'),
    (_field(['classes', 0, 'id'], 'b'), _data(), 1, "class 'b' twice"),
    (_field(['classes', 0, 'id'], 7), _data(), 1, 'metadata.json is damaged'),
    (_field(['checksums'], None), _data(), 1, 'metadata.json is damaged'),
    (_field(['name'], '\x1b[2Jtiny'), _data('--config.model.num_classes=2'), 1, '\\x1b[2Jtiny has 3 classes'),
  ],
  'statistics': [
    (_array('mean_image.npy', OBJECTS, allow_pickle=True), _data(), 1, 'cannot read the statistics'),
    (_array('mean_image.npy', np.zeros((3, 3))), _data(), 1, 'has shape (3, 3)'),
    (_array('mean_image.npy', NAN), _data(), 1, 'not finite'),
    (_cut('data/mean_image.npy', 200), _data(), 1, 'cannot read the statistics'),
    (_cut('data/rgb_pca.npz', 100), _data(), 1, 'cannot read the statistics'),
    (_pca(components=EYE), _data(), 1, 'cannot read the statistics'),
    (_pca(components=EYE[0], stddevs=EYE[0]), _data(), 1, 'rgb_pca.npz has shapes'),
    (_remove('data/rgb_pca.npz'), _data(), 1, 'cannot read the statistics'),
  ],
  'records': [
    (_cut('data/train-00000-of-00001.array_record', 0), _data(), 1, 'is damaged'),
    (_text('data/train-00000-of-00001.array_record', 'x' * 999), _data(), 1, 'is damaged'),
    (_shard(labels=[]), _data(), 1, 'holds 0 train images'),
  ],
  'checkpoints': [
    (_nothing, _evaluate('/no/such'), 1, '/no/such does not exist'),
    (_nothing, _evaluate('configs'), 1, 'configs is no checkpoint'),
    (_nothing, _checkpoint('--dir=/no/such'), 1, '/no/such does not exist'),
    (lambda folder: _as_step(folder, _only), _evaluate('{tmp}/1'), 1, 'it is empty'),
    (lambda folder: _as_step(folder, _remove, 'meta'), _evaluate('{tmp}/1'), 1, 'it has no meta'),
    (lambda folder: _as_step(folder, _cut, 'meta/metadata', 50), _evaluate('{tmp}/1'), 1, 'is not what was written'),
    (lambda folder: _as_step(folder, _cut, 'files.json', 50), _evaluate('{tmp}/1'), 1, 'files.json cannot be read'),
    (lambda folder: _as_step(folder, _only), _checkpoint('--dir={tmp}/1', '--show_config'), 1, 'cannot be read'),
    (lambda folder: _as_step(folder), _evaluate('{tmp}/1', f'{MODEL}.layer.conv3.kernels=50'), 1, 'conv3.kernels was 48, is 50'),
    (lambda folder: _as_step(folder), _evaluate('{tmp}/1', f'{MODEL}.num_classes=11'), 1, 'fc8.units was 10, is 11'),
    (lambda folder: _as_step(folder), _evaluate('{tmp}/1', '--ablation=tanh'), 1, 'of a run with no --ablation'),
  ],
  'sources': [
    (_nothing, _prepare('/no/such'), 1, '/no/such'),
    (_only('pictures'), _prepare('{tmp}/pictures'), 1, '{tmp}/pictures'),
    (_text('text', 'hello'), _prepare('{tmp}/text'), 1, '{tmp}/text'),
    (_tar(BAD_JPEG, cut=700), _prepare('{tmp}/pictures.tar'), 1, 'pictures.tar'),
    (_nothing, _prepare('{tmp}/pictures', output='{tmp}/data'), 1, 'exists'),
    (_text('file', ''), _prepare('{tmp}/pictures', output='{tmp}/file'), 1, '{tmp}/file'),
    (_nothing, _prepare('tfds:no_such_set'), 1, "no data set 'no_such_set'"),
  ],
}  # fmt: skip


def _as_step(folder, spoil=None, path='', *args):
  """The step under the name of one, spoilt."""
  (folder / 'step').rename(folder / '1')
  if spoil:
    spoil(pathlib.Path('1', path), *args)(folder)


CASES = [
  pytest.param(*row, id=f'{group}-{number}')
  for group, rows in ROWS.items()
  for number, row in enumerate(rows, start=1)
]


def test_there_are_sixty_of_them():
  assert len(CASES) >= 60


def _snapshot(folder):
  """Every name, with the time and size of what has it."""
  found = {path: path.lstat() for path in folder.rglob('*')}
  return {path: (s.st_mtime_ns, s.st_size) for path, s in found.items()}


@pytest.mark.parametrize(('spoil', 'args', 'code', 'named'), CASES)
def test_one_line_with_the_fix_and_nothing_changed(
  good, server, tmp_path, spoil, args, code, named
):
  folder = tmp_path / 'x'
  shutil.copytree(good, folder)
  spoil(folder)
  before = _snapshot(folder)
  done = server.run(*(arg.replace('{tmp}', str(folder)) for arg in args))
  assert done.returncode == code, done.stderr
  assert done.stderr.startswith('error: '), done.stderr
  assert done.stderr.count('\n') == 1, done.stderr
  assert named.replace('{tmp}', str(folder)) in done.stderr
  assert '\x1b' not in done.stderr
  assert _snapshot(folder) == before


@pytest.mark.parametrize('label', [-1, 3])
def test_labels_beyond_the_classes_are_damage(good, server, tmp_path, label):
  """Told of like other damaged records; too many of them end the run."""
  shutil.copytree(good, tmp_path / 'x')
  _shard(labels=[0, label, label])(tmp_path / 'x')
  args = [a.replace('{tmp}', str(tmp_path / 'x')) for a in _data()]
  done = server.run(*args, '--config.data.max_bad_records=1')
  assert done.returncode == 1, done.stderr
  assert done.stderr.startswith('error: 2 images are damaged')
  assert f'label {label}' in done.stderr and done.stderr.count('\n') == 1
