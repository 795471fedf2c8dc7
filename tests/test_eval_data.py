"""Evaluating on another data set, and on reassessed labels."""

import json
import re
import unicodedata

import numpy as np
import pytest

from alexnet_jax.data import records
from alexnet_jax.data.dataset import ClassInfo
from alexnet_jax.data.prepare import run, shards, sources
from alexnet_jax.evaluate import ensemble, net, other, predictions
from tests import nets, official, saved

MAIN = 'alexnet_jax.main'
_LEFT_OUT = 3  # images of a class that the network does not know


def _info(id_, name=''):
  return ClassInfo(id_, name or id_, name or id_)


@pytest.mark.parametrize(
  ('theirs', 'units'),
  [
    ([_info('b'), _info('a')], [1, 0]),  # never by place
    ([_info('0', 'Sea lion'), _info('1', 'b')], [2, 1]),  # by name
    ([_info('x', 'sea_LION')], [2]),
    ([_info('x', unicodedata.normalize('NFD', 'bär'))], [3]),
    ([_info('x', 'crane')], [-1]),  # two of the network's have this name
    ([_info('x', 'b'), _info('y', 'b')], [-1, -1]),  # so have two of the data's
    ([_info('b'), _info('x', 'b')], [1, -1]),  # it is taken by its id
    ([_info('d', 'a')], [4]),  # the id counts
  ],
)
def test_classes_are_found_by_id_and_then_by_name(theirs, units):
  known = [
    _info('a'),
    _info('b'),
    _info('n3', 'sea lion'),
    _info('n4', 'bär'),
    _info('d', 'crane'),
    _info('e', 'crane'),
  ]
  found = other.match(theirs, known=known)
  assert found.units.tolist() == units
  unknown = [c.name for c, u in zip(theirs, units, strict=True) if u < 0]
  assert found.unknown == unknown


def test_classes_that_share_numbers_alone_are_told():
  numbers = [_info(str(i)) for i in range(3)]
  said = other.describe(other.match(numbers[1:], known=numbers), data='D')
  assert said.startswith('2 of the 2 classes of D are known, by numbers alone')
  named = [_info('0', 'cat'), _info('1', 'dog')]
  for theirs, known in (
    (named, named),
    (named, numbers),
    ([_info('a')], named),
  ):
    found = other.match(theirs, known=known)
    assert 'by numbers' not in other.describe(found, data='D')


@pytest.fixture(scope='module')
def steps(tmp_path_factory):
  """Checkpoints of two networks of the ten drawn classes."""
  made = []
  for seed in (0, 1):
    config = nets.config(short=True)
    config.seed = seed
    folder = tmp_path_factory.mktemp('runs') / str(seed)
    made.append(saved.checkpoint(folder, config, statistics=True))
  return made


@pytest.fixture(scope='module')
def data(steps, tmp_path_factory):
  """(prepared data of six known classes, another; images by class name)."""
  folder = tmp_path_factory.mktemp('other')
  known = [c.name for c in net.from_checkpoint(steps[0]).classes]
  # By name, in another order than the network's, and one that it lacks.
  names = [*sorted(known[2:8], reverse=True), 'unheard of']
  images = {}
  for split in ('train', 'val'):
    for number, name in enumerate(names):
      for i in range(_LEFT_OUT):
        path = folder / 'set' / split / name / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = 100 * number + i
        array, content = official.png(seed, width=80, height=80)
        path.write_bytes(content)
        if split == 'val':
          images.setdefault(name, []).append(array)
  layout = sources.find_layout(str(folder / 'set'))
  work = run.plan(layout, options=shards.Options(image_size=80))
  run.prepare(work, output=folder / 'data', workers=1)
  return folder / 'data', images


def _evaluate(steps, folder, tmp_path, capsys, **asked):
  config = nets.config(short=True)
  ensemble.evaluate(
    [str(step) for step in steps],
    config=config,
    save_predictions=str(tmp_path / 'kept'),
    asked=other.Asked(data=str(folder), **asked),
  )
  files = sorted((tmp_path / 'kept').iterdir())
  return capsys.readouterr().out, [predictions.load(file) for file in files]


def _oracle(step, images):
  """(names of the classes, labels, probabilities) by another way through."""
  found = net.from_checkpoint(step)
  names = [c.name for c in found.classes]
  known = {name: arrays for name, arrays in images.items() if name in names}
  labels = np.array([names.index(n) for n, a in known.items() for _ in a])
  every = np.stack([one for arrays in known.values() for one in arrays])
  return names, labels, found.predict(every).probabilities


def _top1(p, labels):
  return f'top-1 error {100 * np.mean(p.argmax(axis=1) != labels):.2f} %'


def test_errors_and_files_are_those_of_the_networks_by_hand(
  steps, data, tmp_path, capsys
):
  folder, images = data
  said, files = _evaluate(steps, folder, tmp_path, capsys)
  assert '6 of the 7 classes of set are known, not unheard of; 3 of 21' in said
  lines = [line for line in said.splitlines() if line.endswith('10 views')]
  mean = 0
  for line, file, step in zip(lines, files, steps, strict=False):
    names, labels, p = _oracle(step, images)
    right = {name: label for label, name in enumerate(names)}
    of_file = [name.split('/')[-2] for name in file.names]
    assert [right[name] for name in of_file] == file.labels.tolist()
    order = np.argsort(labels, kind='stable')
    ours = np.argsort(file.labels, kind='stable')
    np.testing.assert_allclose(
      file.probabilities[ours], p[order], atol=2e-3, rtol=0
    )
    assert _top1(p, labels) in line and 'of 18)' in line
    mean = mean + p / 2
  assert len(lines) == 3 and _top1(mean, labels) in lines[-1]


def test_among_the_classes_of_the_data_alone(steps, data, tmp_path, capsys):
  folder, images = data
  said, (file,) = _evaluate(steps[:1], folder, tmp_path, capsys, classes='data')
  names, labels, p = _oracle(steps[0], images)
  kept = [i for i, name in enumerate(names) if name in images]
  assert len(kept) == 6 and file.probabilities.shape == (18, 6)
  part = p[:, kept] / p[:, kept].sum(axis=1, keepdims=True)
  own = np.array([kept.index(label) for label in labels])
  assert _top1(part, own) in said.splitlines()[-2]
  loss = -np.log(part[np.arange(18), own]).mean()
  assert abs(float(re.findall(r'loss (\S+),', said)[-1]) - loss) < 2e-3
  assert 'among its classes' in said and re.search(r'top-5 error \d', said)


def test_where_nothing_is_known_it_is_refused(data):
  folder, _ = data
  known = [_info('x'), _info('y')]
  found = records.load(str(folder), image_size=80)
  with pytest.raises(
    ValueError, match='none is the same, by id or by'
  ) as error:
    other.adapt(found, known=known, mean_image=found.mean_image, network='W')
  assert '\n' not in str(error.value) and 'W knows x, y' in str(error.value)


_WNIDS = [f'n{i:08d}' for i in range(1000)]


def _predicted(units, *, order=None, numbers=None):
  """Predictions of 1000 classes: the i-th image is taken for units[i]."""
  numbers = numbers or range(1, len(units) + 1)
  p = np.full((len(units), 1000), 1e-4)
  p[np.arange(len(units)), units] = 0.9
  return predictions.Predictions(
    names=[f'val/ILSVRC2012_val_{n:08d}.JPEG' for n in numbers],
    labels=np.zeros(len(units), np.int32),
    probabilities=p,
    losses=np.zeros(len(units)),
    ranks=np.zeros(len(units), np.int32),
    views=1,
    classes=order or _WNIDS,
  )


def test_any_of_the_reassessed_labels_is_right_and_none_is_left_out():
  labels = [[3], [5, 9, 2], [], [7, 8], [1]]
  taken = [3, 9, 4, 6, 0]
  found = other.reassessed(_predicted(taken), labels=labels, path='F')
  assert found.errors.num_images == 4 and len(found.names) == 4
  right = [u in of for u, of in zip(taken, labels, strict=True) if of]
  assert found.errors.top1_error == 1 - np.mean(right)
  assert found.labels.tolist() == [3, 9, 7, 1]  # the likeliest of them
  np.testing.assert_allclose(found.losses, -np.log([0.9, 0.9, 1e-4, 1e-4]))


def test_reassessed_labels_follow_ids_and_names_not_places():
  order = [*_WNIDS[::-1]]  # of a network whose units are the other way round
  found = other.reassessed(
    _predicted([996, 0], order=order, numbers=[2, 1]),
    labels=[[999], [3]],
    path='F',
  )
  assert found.errors.top1_error == 0.0


@pytest.mark.parametrize(
  ('made', 'message'),
  [
    (_predicted([1], numbers=[7]), r'labels of 2 images .*00000007.* none of'),
    (_predicted([1])._replace(names=['cat.jpg']), r'cat\.jpg is none of them'),
    (
      _predicted([1])._replace(classes=['a', 'b']),
      'this network has 2 classes',
    ),
    (_predicted([1]), 'no image that was evaluated has a label'),
  ],
)
def test_reassessed_labels_of_other_images_are_refused(made, message):
  with pytest.raises(ValueError, match=message):
    other.reassessed(made, labels=[[], [1]], path='F')


@pytest.mark.parametrize(
  'text', ['', '{}', '[]', '[[1], 2]', '[[1000]]', '[[true]]', '[[-1]]']
)
def test_a_file_that_holds_no_reassessed_labels(text, tmp_path):
  path = tmp_path / 'real.json'
  path.write_text(text)
  with pytest.raises(ValueError, match='holds no reassessed labels') as error:
    other.read_real_labels(path)
  assert '\n' not in str(error.value)
  path.write_text(json.dumps([[1, 2], []]))
  assert other.read_real_labels(path) == [[1, 2], []]


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--eval_data=x'], '--eval_data goes with --mode=eval'),
    (['--real_labels=x'], '--real_labels goes with --mode=eval'),
    (['--eval_classes=data'], '--eval_classes=data goes with --eval_data'),
    (
      ['--mode=eval', '--restore=RUN', '--eval_data=nowhere'],
      "no prepared data set at 'nowhere', which does not exist: give another",
    ),
    (
      ['--mode=eval', '--restore=RUN', '--real_labels=/nowhere'],
      "No such file or directory: '/nowhere'",
    ),
  ],
)
def test_flags_that_cannot_be_used_are_refused_in_a_line(
  command, steps, flags, message
):
  flags = [flag.replace('RUN', str(steps[0])) for flag in flags]
  done = command(MAIN, '--config=smoke', *flags)
  assert done.returncode == 1 and message in done.stderr
  assert done.stderr.count('\n') == 1, done.stderr
