"""Fine-tuning on one's own images in one command (§6)."""

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import compatible
from alexnet_jax.config import of_data, presets, schema, validate
from alexnet_jax.data import own, records
from alexnet_jax.data.prepare import archives
from alexnet_jax.evaluate import predictions
from alexnet_jax.studies.report import advice, gather, settings, statistics
from alexnet_jax.train import warm_start
from tests import nets, official, saved

MAIN = 'alexnet_jax.main'
_CLASSES = ('cat', 'dog', 'owl')
_EACH = 8  # images of a class


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  """A folder of three folders of images, with what a desktop leaves there."""
  folder = tmp_path_factory.mktemp('own') / 'My photos'
  for label, kind in enumerate(_CLASSES):
    for i in range(_EACH):
      path = folder / kind / f'{i}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(official.png(10 * label + i)[1])
  (folder / '.DS_Store').write_bytes(b'x')
  return folder


@pytest.fixture(scope='module')
def step(tmp_path_factory):
  """A checkpoint of a narrow network of ten classes."""
  config = nets.config(column=2)
  config.model.activation = 'tanh'  # unlike the paper's
  folder = tmp_path_factory.mktemp('run')
  return saved.checkpoint(folder, config, statistics=True)


@pytest.fixture(scope='module')
def tuned(command, photos, step, tmp_path_factory):
  """(run, what the command said, a function that runs it again)."""
  folder = tmp_path_factory.mktemp('tuned')
  cache = {'ALEXNET_JAX_CACHE': str(folder / 'cache')}

  def again(*flags, data=photos):
    return command(
      MAIN,
      '--config=finetune',
      f'--config.data.dir={data}',
      f'--config.init_from={step}',
      f'--workdir={folder}/run',
      '--config.num_epochs=1',
      '--config.report.at_end=False',
      '--config.health.min_signal=0.0',
      *flags,
      **cache,
    )

  done = again()
  assert done.returncode == 0, done.stderr
  return folder / 'run', done.stdout, again


def test_the_command_tells_what_it_found_and_took(tuned, photos, step):
  _, said, _ = tuned
  lines = said.splitlines()
  assert lines[0] == (
    f'{photos} is no prepared data set: preparing its 24 files, once'
  )
  found = next(line for line in lines if line.startswith('My photos: 3 '))
  assert '3 classes (cat, dog, owl); images: ' in found
  assert f'conv1, conv2, conv3, conv4, conv5, fc6, fc7 of {step}' in said
  assert 'fc8 afresh' in said and 'top-5 error -' in said


def test_config_checkpoint_and_log_hold_what_the_data_decided(tuned):
  run, _, _ = tuned
  config = json.loads((run / 'config.json').read_text())
  (meta,) = run.glob('checkpoints/*/meta/metadata')
  stored = json.loads(meta.read_text())['config']
  for found in (config, stored):
    assert found['model']['num_classes'] == 3
    assert found['model']['layer']['fc8']['units'] == 3
    assert found['model']['activation'] == 'tanh'  # the other run's network
    assert found['data']['image_size'] == nets.IMAGE
    assert found['batch_size'] == 4
  data = pathlib.Path(config['data']['dir'])
  prepared = records.load(str(data), image_size=nets.IMAGE)
  names = [e.name for e in prepared.train.take(range(len(prepared.train)))]
  held = [e.name for e in prepared.val.take(range(len(prepared.val)))]
  every = {f'{kind}/{i}.png' for kind in _CLASSES for i in range(_EACH)}
  assert {*names, *held} == every and not {*names} & {*held}
  assert {name.split('/')[0] for name in held} == {*_CLASSES}
  log = (run / 'metrics.jsonl').read_text().splitlines()
  assert all(json.loads(line)['top5_error'] is None for line in log)
  assert gather.read_outline(run).evaluations  # the report reads them


def test_the_next_start_takes_the_cache_and_more_photos_are_other_data(
  tuned, photos, tmp_path
):
  _, _, again = tuned
  done = again()
  assert done.returncode == 0, done.stderr
  assert 'as prepared before' in done.stdout and 'once' not in done.stdout
  assert 'done already' in done.stdout
  more = tmp_path / photos.name
  shutil.copytree(photos, more)
  shutil.copytree(more / 'owl', more / 'ant')
  done = again(data=more)
  assert done.returncode == 1
  assert 'knows the 3 classes of' in done.stderr, done.stderr
  assert 'not the 4 of' in done.stderr


def test_all_photos_count_where_no_split_is_theirs(tuned, photos):
  run, _, again = tuned
  flags = ('--mode=eval', f'--restore={run}')
  done = again(*flags, f'--eval_data={photos}')
  assert done.returncode == 0, done.stderr
  assert '3 of the 3 classes of' in done.stdout and 'of 24)' in done.stdout
  done = again(*flags)
  assert done.returncode == 0 and 'of 24)' not in done.stdout, done.stderr


def test_a_run_is_not_written_among_the_classes(tuned, photos):
  _, _, again = tuned
  before = sorted(photos.rglob('*'))
  for workdir in (photos, photos / 'run'):
    done = again(f'--workdir={workdir}')
    assert done.returncode == 1
    line = f'error: the workdir {workdir} lies in --config.data.dir={photos}, '
    assert done.stderr.startswith(line) and done.stderr.count('\n') == 1
  assert sorted(photos.rglob('*')) == before


def test_a_folder_that_is_not_there_is_told_so(tuned, photos):
  _, _, again = tuned
  done = again(data=f'{photos}s')
  assert done.returncode == 1 and 'which does not exist: give' in done.stderr


def test_a_class_in_place_of_the_folder_above_is_told_so(tuned, photos):
  _, _, again = tuned
  done = again(data=photos / _CLASSES[0])
  assert done.returncode == 1
  assert 'give the folder that holds a folder for each class' in done.stderr


def test_the_report_says_whose_layers_a_run_began_with(tuned, step):
  run, _, _ = tuned
  config = schema.Config(
    schema.from_json(json.loads((run / 'config.json').read_text()))
  )
  rows = {
    row.what: row.here
    for row in settings.paper_settings(config, train_images=1)
  }
  taken = 'conv1, conv2, conv3, conv4, conv5, fc6, fc7'
  assert rows['Initial kernels'] == f'{taken} of {step}; N(0, 0.01) in fc8'
  assert rows['Learning rate'] == '0.001 for 32 images, linear'


def _look(folder):
  return own._look(folder, flag='--x')


def test_the_key_is_of_names_sizes_and_times(photos, tmp_path):
  copy = tmp_path / 'elsewhere'
  shutil.copytree(photos, copy)  # with the times
  assert _look(copy).digest == _look(photos).digest
  (copy / 'cat' / '.DS_Store').write_bytes(b'y')
  assert _look(copy).digest == _look(photos).digest
  os.utime(copy / 'cat' / '0.png', (1, 1))
  touched = _look(copy).digest
  (copy / 'cat' / '0.png').rename(copy / 'dog' / '00.png')
  moved = _look(copy).digest
  assert len({touched, moved, _look(photos).digest}) == 3


def test_very_large_sources_and_empty_ones_are_not_prepared(
  photos, tmp_path, monkeypatch
):
  with pytest.raises(ValueError, match='has no files: give a folder'):
    _look(tmp_path)
  monkeypatch.setattr(own, '_MOST_FILES', 23)
  with pytest.raises(ValueError, match='more than 23 files') as error:
    _look(photos)
  assert f"tools.prepare --source='{photos}' --output=DATA" in str(error.value)


def test_prepared_data_and_addresses_are_no_sources(tmp_path):
  lost = tmp_path / 'lost'  # its metadata.json
  lost.mkdir()
  for path in (tmp_path / 'metadata.json', lost / 'mean_image.npy'):
    path.write_text('{}')
  file = tmp_path / 'metadata.json'
  for given in (tmp_path, lost, file, 'gs://bucket/a', '', 'nowhere'):
    assert not own.is_source(str(given))
  (tmp_path / 'a.zip').write_bytes(b'')
  assert own.is_source(str(tmp_path / 'a.zip'))


def _finetune(**fields):
  config = presets.load('finetune')
  config.init_from = fields.pop('init_from', 'REQUIRED')
  config.update_from_flattened_dict(fields)
  return config.copy_and_resolve_references()


@pytest.mark.parametrize(
  'ending', 'tar zip tgz tbz2 txz tar.gz tar.bz2 tar.xz parquet jpg bin'.split()
)
def test_a_file_is_a_source_if_preparing_reads_it(tmp_path, ending):
  (path := tmp_path / f'a.{ending}').write_bytes(b'')
  read = archives.is_archive(path) or ending == 'parquet'
  assert own.is_source(str(path)) == read


def test_none_is_what_the_data_decide():
  config = _finetune()
  with pytest.raises(ValueError, match='num_classes = None: the data set'):
    validate.check(config)
  validate.check(config, before_data=True)
  filled = of_data.fill(config, classes=7, train_images=108)
  validate.check(filled)
  assert (filled.model.num_classes, filled.model.layer.fc8.units) == (7, 7)
  assert (filled.batch_size, filled.num_epochs) == (16, 19)
  assert config.model.num_classes is None  # a copy was filled
  given = _finetune(batch_size=5, num_epochs=2, **{'model.num_classes': 9})
  given.model.layer.fc8.units = 9
  assert of_data.fill(given, classes=7, train_images=108) == given
  with pytest.raises(ValueError, match='the data have 1 class: there is'):
    of_data.fill(config, classes=1, train_images=108)


@pytest.mark.parametrize('images', [1, 2, 5, 30, 127, 128, 10**6])
def test_a_minibatch_is_no_larger_than_the_data(images):
  size = of_data.batch_size(images)
  assert 1 <= size <= min(images, 32)
  assert images < 16 or images // size >= 4  # steps an epoch
  assert of_data.batch_size(images, multiple_of=6) % 6 == 0


def test_none_as_a_flag(command, photos):
  done = command(
    MAIN,
    '--config=smoke',
    '--mode=summary',
    '--config.model.num_classes=None',
  )
  assert done.returncode == 1
  assert done.stderr.count('\n') == 1, done.stderr
  assert 'config.model.num_classes = None: the data set' in done.stderr


def test_the_network_is_that_of_the_other_run(step, tmp_path):
  config = _finetune(init_from=str(step), **{'model.dropout_rate': 0.25})
  made = warm_start.with_network(
    config, workdir=tmp_path, typed={'model.dropout_rate'}
  )
  theirs = nets.config(column=2)
  assert made.model.layer.conv2 == theirs.model.layer.conv2
  assert (made.model.activation, made.model.dropout_rate) == ('tanh', 0.25)
  assert made.model.num_classes is made.model.layer.fc8.units is None
  assert (made.data.image_size, made.data.crop_size) == (80, 67)
  assert made.optim == config.optim and config.model.activation == 'relu'
  with pytest.raises(ValueError, match=r'config\.init_from is missing'):
    warm_start.with_network(_finetune(), workdir=tmp_path)
  # Once the run has begun, the other is not needed any more.
  stored = json.dumps(made.to_dict())
  (tmp_path / 'config.json').write_text(stored)
  gone = _finetune(init_from='gone')
  again = warm_start.with_network(gone, workdir=tmp_path)
  assert again.model.layer.conv2 == theirs.model.layer.conv2


def test_the_matrix_counts_each_image_once():
  rng = np.random.default_rng(0)
  labels, predicted = rng.integers(0, 4, 50), rng.integers(0, 6, 50)
  counts = statistics.confusion(labels, predicted, num_classes=4)
  pairs = [*zip(labels.tolist(), predicted.tolist(), strict=True)]
  for row in range(4):
    for column in range(5):
      of = {column} if column < 4 else {4, 5}
      same = [p for p in pairs if p[0] == row and p[1] in of]
      assert counts[row, column] == len(same)


def _run(*, training, wrong, images=100, classes=4):
  """A run with so many wrong validation images, all of class 0 for 1."""
  labels = np.arange(images) % classes
  best = np.where(np.arange(images) < wrong, (labels + 1) % classes, labels)
  p = np.full((images, classes), 0.1)
  p[np.arange(images), best] = 1 - 0.1 * (classes - 1)
  line = {'split': 'train', 'epoch': 4.0, 'top1_error': training}
  return gather.Run(
    workdir=pathlib.Path('w'),
    config=schema.Config({'num_epochs': 5, 'optim': {'learning_rate': 0.01}}),
    history=[],
    records=[line | {'epoch': 1.0, 'top1_error': 1.0}, line],
    health=[],
    probed=0,
    predictions=predictions.Predictions(
      names=[str(i) for i in range(images)],
      labels=labels,
      probabilities=p,
      losses=-np.log(p[np.arange(images), labels]),
      ranks=(best != labels).astype(int),
      views=1,
      classes=[f'c{i}' for i in range(classes)],
    ),
  )


@pytest.mark.parametrize(
  ('numbers', 'first'),
  [
    ({'training': 0.02, 'wrong': 40}, 'It knows the training images better'),
    ({'training': 0.75, 'wrong': 70}, 'No better than guessing among 4'),
    ({'training': 0.4, 'wrong': 40}, 'It has not learned the training images'),
    ({'training': 0.0, 'wrong': 1, 'images': 12}, '12 validation images tell'),
  ],
)
def test_advice_follows_from_the_numbers(numbers, first):
  said = advice.lines(_run(**numbers))
  assert said[0].startswith(first), said
  assert len(said) <= 3


def test_advice_is_silent_where_all_is_well():
  assert advice.lines(_run(training=0.0, wrong=0, images=400)) == []


def test_classes_of_another_number_are_told_as_classes(step, tuned):
  run, _, _ = tuned
  (meta,) = run.glob('checkpoints/*/meta/metadata')
  config = json.loads((run / 'config.json').read_text())
  config.pop('history')
  now = schema.Config(schema.from_json(config))
  now.model.num_classes = now.model.layer.fc8.units = 4
  data = setup_lib.load_data(now)
  data = dataclasses.replace(data, classes=(*data.classes, data.classes[0]))
  with pytest.raises(ValueError, match=r'knows the 3 classes of .* not the 4'):
    compatible.check_resumable(
      json.loads(meta.read_text()), now, dataset=data, path=run
    )


def test_a_class_of_another_name_is_told(tuned):
  run, _, _ = tuned
  (meta,) = run.glob('checkpoints/*/meta/metadata')
  meta = json.loads(meta.read_text())
  data = setup_lib.load_data(compatible.own_config(meta))
  first, second, third = data.classes
  second = second._replace(id='sh\x1bip')
  data = dataclasses.replace(data, classes=(first, second, third))
  said = r"class 1 is 'dog' there and 'sh\\x1bip' in .* in metadata\.json\)"
  with pytest.raises(ValueError, match=said):
    compatible.check_classes(meta, data, path=run)
