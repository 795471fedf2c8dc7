"""Averages of what several networks say, and the files that keep it."""

import numpy as np
import pytest

from alexnet_jax.evaluate import predictions

CLASSES = [f'n{i}' for i in range(7)]


def _drawn(seed, *, images=40):
  """Probabilities as of a softmax, with ranks and losses worked out here."""
  rng = np.random.default_rng(seed)
  scores = np.exp(3 * rng.normal(size=(images, 7)))
  p = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
  labels = np.random.default_rng(1).integers(0, 7, images).astype(np.int32)
  own = p[np.arange(images), labels]
  return predictions.Predictions(
    names=[f'{i}.jpg' for i in range(images)],
    labels=labels,
    probabilities=p,
    losses=-np.log(own),
    ranks=(p > own[:, None]).sum(axis=1).astype(np.int32),
    views=10,
    classes=CLASSES,
  )


def _error(p, labels, *, k):
  """By sorting, the lower class first; 'wrong' as §2 has it."""
  best = np.argsort(-p, axis=1, kind='stable')[:, :k]
  return np.mean((best != labels[:, None]).all(axis=1))


@pytest.mark.parametrize('weights', [None, [2.0, 1.0, 0.5]])
def test_an_average_errs_as_numpy_finds_from_the_files(tmp_path, weights):
  members = [_drawn(seed) for seed in range(3)]
  for i, member in enumerate(members):
    predictions.save(member, tmp_path / f'{i}.npz')
  stored = [np.load(tmp_path / f'{i}.npz') for i in range(3)]
  assert all(file['probabilities'].dtype == np.float16 for file in stored)
  p = np.average(
    [file['probabilities'].astype(np.float64) for file in stored],
    axis=0,
    weights=weights,
  )
  ours = predictions.average(members, weights=weights)
  again = [predictions.load(tmp_path / f'{i}.npz') for i in range(3)]
  from_files = predictions.average(again, weights=weights)
  labels = stored[0]['labels']
  for mean in (ours, from_files):
    assert mean.errors.top1_error == _error(p, labels, k=1)
    assert mean.errors.top5_error == _error(p, labels, k=5)
    loss = -np.log(p[np.arange(40), labels]).mean()
    np.testing.assert_allclose(mean.errors.loss, loss, rtol=1e-12)
  assert 0.3 < ours.errors.top1_error < 1  # else the test says little


def test_averaging_with_weight_0_leaves_a_network_out():
  one, other = _drawn(0), _drawn(1)
  mean = predictions.average([one, other], weights=[1.0, 0.0])
  alone = predictions.average([one])
  np.testing.assert_array_equal(mean.probabilities, alone.probabilities)


def test_files_give_back_all_but_rounding(tmp_path):
  found = _drawn(0)._replace(names=[f'Ä {i}' for i in range(40)])
  predictions.save(found, tmp_path / 'new' / 'p.npz')
  again = predictions.load(tmp_path / 'new' / 'p.npz')
  assert again.names == found.names and again.classes == CLASSES
  assert again.errors == found.errors and again.views == 10
  np.testing.assert_allclose(
    again.probabilities, found.probabilities, rtol=2**-11, atol=3e-8
  )
  assert [p.name for p in (tmp_path / 'new').iterdir()] == ['p.npz']


def _other_labels(found):
  return found._replace(labels=(found.labels + 1) % 7)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda p: p._replace(names=['x', *p.names[1:]]), '0.jpg is where x is'),
    (lambda p: _drawn(0, images=39), '40 and 39 images'),
    (_other_labels, 'other labels'),
    (lambda p: p._replace(classes=CLASSES[:6]), '7 and 6 classes'),
    (
      lambda p: p._replace(probabilities=np.ones((40, 9))),
      'networks of 7 and 9 classes',
    ),
  ],
)
def test_other_images_have_no_average(change, message):
  found = _drawn(0)
  with pytest.raises(ValueError, match=message) as error:
    predictions.average([found, change(found)])
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('weights', 'message'),
  [
    ([1.0], '1 weights for 2 networks'),
    ([1.0, -1.0], 'use numbers of 0 or more'),
    ([0.0, 0.0], 'one at least above 0'),
    ([1.0, float('nan')], 'use numbers of 0 or more'),
    ([1.0, float('inf')], 'use numbers of 0 or more'),
  ],
)
def test_weights_that_make_no_average(weights, message):
  with pytest.raises(ValueError, match=message):
    predictions.average([_drawn(0), _drawn(1)], weights=weights)


class _Program:
  """Runs when it is unpickled."""

  def __reduce__(self):
    return print, ('a pickle was loaded',)


def _without(path, name):
  with np.load(path) as file:
    arrays = dict(file)
  del arrays[name]
  np.savez(path, **arrays)


def _with(path, name, array):
  with np.load(path) as file:
    arrays = dict(file) | {name: array}
  np.savez(path, **arrays)


def _one_array(path):
  with path.open('wb') as file:
    np.save(file, np.zeros(3))


@pytest.mark.parametrize(
  'damage',
  [
    lambda path: path.write_bytes(b''),
    lambda path: path.write_bytes(b'no zip'),
    lambda path: path.write_bytes(path.read_bytes()[:300]),
    lambda path: _without(path, 'labels'),
    lambda path: _with(path, 'labels', np.full(40, 7)),
    lambda path: _with(path, 'labels', np.full(40, -1)),
    lambda path: _with(path, 'ranks', np.zeros(39, np.int32)),
    lambda path: _with(path, 'ranks', np.full(40, -3, np.int32)),
    lambda path: _with(path, 'losses', np.full(40, np.nan)),
    lambda path: _with(path, 'probabilities', np.full((40, 7), np.nan)),
    lambda path: _with(path, 'probabilities', np.full((40, 7), 1.5)),
    lambda path: _with(path, 'views', np.array(['ten'])),
    lambda path: _with(path, 'names', np.array([_Program()] * 40)),
    _one_array,
  ],
)
def test_what_holds_no_predictions_is_refused_in_a_line(
  tmp_path, damage, capsys
):
  path = tmp_path / 'p.npz'
  predictions.save(_drawn(0), path)
  damage(path)
  with pytest.raises(ValueError, match=r'p\.npz holds no predictions') as error:
    predictions.load(path)
  assert '\n' not in str(error.value) and not capsys.readouterr().out
