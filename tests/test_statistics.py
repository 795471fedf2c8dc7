"""Numbers behind a report's figures equal those worked out by hand."""

import doctest
import subprocess
import sys

import numpy as np
import pytest

from alexnet_jax.studies.report import statistics


def test_examples():
  assert doctest.testmod(statistics).failed == 0


def test_numbers_need_no_matplotlib():
  code = (
    'import sys\n'
    'sys.modules["matplotlib"] = None\n'
    'from alexnet_jax.studies.report import statistics\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def _kernels(*weights):
  """Kernels [1, n, 3, k] from k lists of n colours."""
  return np.moveaxis(np.array(weights, np.float32), 0, -1)[None]


def test_colour_selectivity_by_hand():
  kernels = _kernels(
    [[1, 1, 1], [-2, -2, -2]],  # grey at either place
    [[2, -1, -1], [0, 3, -3]],  # colour differences alone
    [[1, 1, 1], [1, -1, 0]],  # grey energy 3 of 5
    [[0, 0, 0], [0, 0, 0]],
  )
  index = statistics.colour_selectivity(kernels)
  np.testing.assert_allclose(index, [0, 1, 0.4, 0], atol=1e-7)


def test_colour_selectivity_ignores_strength_and_sign():
  kernels = np.random.default_rng(0).normal(size=(11, 11, 3, 4))
  index = statistics.colour_selectivity(kernels)
  np.testing.assert_allclose(statistics.colour_selectivity(-7 * kernels), index)
  np.testing.assert_allclose(index, 2 / 3, atol=0.1)  # as before training


def test_per_class_error_by_hand():
  errors = statistics.per_class_error(
    np.array([0, 0, 0, 0, 2, 2, 3]),
    np.array([0, 1, 7, 0, 0, 0, 5]),
    num_classes=5,
  )
  np.testing.assert_array_equal(errors, [0.5, np.nan, 0, 1, np.nan])


def test_most_confused_by_hand():
  labels = np.array([3, 3, 3, 0, 0, 1, 2, 2])
  predicted = np.array([1, 1, 3, 2, 1, 1, 0, 0])
  assert statistics.most_confused(labels, predicted, count=3) == [
    (2, 0, 2, 1.0),  # as many as the next, and first by label
    (3, 1, 2, 2 / 3),
    (0, 1, 1, 0.5),
  ]
  assert len(statistics.most_confused(labels, predicted, count=99)) == 4


@pytest.mark.parametrize('labels', [[], [0, 1]])
def test_none_confused(labels):
  labels = np.array(labels, int)
  assert statistics.most_confused(labels, labels, count=5) == []


def _train(*rates):
  return [
    {'step': 10 * i, 'split': 'train', 'learning_rate': rate}
    for i, rate in enumerate(rates, start=1)
  ]


def test_drops_are_falls_of_the_rate_in_training():
  records = _train(0.01, 0.01, 0.001, 0.001, 0.01, 0.005, 0)
  records.insert(2, {'step': 20, 'split': 'val', 'loss': 1.0})
  expected = [(30, 0.001), (60, 0.005), (70, 0.0)]
  assert statistics.drops(records) == expected
  assert statistics.drops(_train(0.01)) == statistics.drops([]) == []


def test_running_mean_by_hand():
  mean = statistics.running_mean(np.array([1, 2, 6, 3, 9]), width=3)
  np.testing.assert_allclose(mean, [1.5, 3, 11 / 3, 6, 6])
  np.testing.assert_allclose(
    statistics.running_mean(np.array([4.0, 8.0]), width=9), [6, 6]
  )


def test_layer_statistics_are_of_kernels_in_order():
  ones = {'kernel': np.ones((2, 2, 3, 4), np.float32), 'bias': np.full(4, 9.0)}
  halves = {'kernel': np.full((5, 2), -0.5, np.float32), 'bias': np.zeros(2)}
  rows = statistics.layer_statistics(
    {'conv1': ones, 'fc6': halves}, {'fc6': halves, 'conv1': ones}
  )
  assert rows == [
    {'layer': 'conv1', 'weight_rms': 1.0, 'velocity_rms': 1.0},
    {'layer': 'fc6', 'weight_rms': 0.5, 'velocity_rms': 0.5},
  ]
