"""Numbers behind the figures and tables of a report (§3.5, §6.1).

They need numpy alone, so a report has them without matplotlib as well.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

_Tree = Mapping[str, Mapping[str, np.ndarray]]  # {'conv1': {'kernel', 'bias'}}


def colour_selectivity(
  kernels: Float[np.ndarray, 'h w 3 k'],
) -> Float[np.ndarray, 'k']:
  """How much each kernel responds to colour (Figure 3), 0 to 1.

  The weights (r, g, b) at each position have a grey part, along
  (1, 1, 1) / sqrt(3), and a rest that responds to differences between the
  channels only. The index is the rest's share of the squared weights:

    1 - sum (r + g + b)^2 / 3 / sum (r^2 + g^2 + b^2)

  It is 2/3 for independent weights, as before training, and 0 for a kernel of
  zeros. The paper gives no number: it calls kernels "color-agnostic" and
  "color-specific" by eye.

  >>> grey, red, opponent = [2, 2, 2], [1, 0, 0], [1, -1, 0]
  >>> kernels = np.array([[[grey, red, opponent]]], float).swapaxes(2, 3)
  >>> colour_selectivity(kernels).round(3).tolist()
  [0.0, 0.667, 1.0]
  """
  weights = kernels.astype(np.float64)
  grey = (weights.sum(axis=2) ** 2 / 3).sum(axis=(0, 1))
  energy = (weights**2).sum(axis=(0, 1, 2))
  share = 1 - grey / np.where(energy > 0, energy, 1)
  return np.where(energy > 0, share.clip(0, 1), 0.0)


def noisy(kernels: Float[np.ndarray, 'h w 3 k']) -> Bool[np.ndarray, 'k']:
  """Which kernels are no smoother than random numbers, as before training.

  A kernel's index is the correlation of its weights with those one place to the
  right and one below, in the same channel. Of n independent pairs it is 0 with
  a standard deviation of 1 / sqrt(n), so up to three times that is noise;
  Figure 3's kernels have waves and spots, and an index near 1.

  >>> rng = np.random.default_rng(0)
  >>> waves = np.sin(np.arange(11) / 2)[:, None, None, None]
  >>> both = [rng.normal(size=(11, 11, 3, 3)), waves * np.ones((11, 3, 2))]
  >>> noisy(np.concatenate(both, axis=-1)).tolist()
  [True, True, True, False, False]
  """
  w = kernels.astype(np.float64)
  w = w - w.mean(axis=(0, 1, 2))
  pairs = ((w[1:], w[:-1]), (w[:, 1:], w[:, :-1]))
  count = sum(one[..., 0].size for one, _ in pairs)
  if not count:
    return np.zeros(w.shape[-1], bool)  # a kernel of one pixel has no pairs
  both = sum((one * other).sum(axis=(0, 1, 2)) for one, other in pairs) / count
  index = both / np.maximum((w**2).mean(axis=(0, 1, 2)), 1e-300)
  return index < 3 / np.sqrt(count)


def per_class_error(
  labels: Integer[np.ndarray, 'n'],
  ranks: Integer[np.ndarray, 'n'],
  *,
  num_classes: int,
) -> Float[np.ndarray, 'num_classes']:
  """Top-1 error of each class, 0 to 1; NaN for a class without images.

  `ranks` count the classes scored above the right one, see metrics.ranks.

  >>> per_class_error(np.array([0, 0, 2]), np.array([0, 3, 1]), num_classes=3)
  array([0.5, nan, 1. ])
  """
  images = np.bincount(labels, minlength=num_classes).astype(np.float64)
  wrong = np.bincount(labels[ranks >= 1], minlength=num_classes)
  return wrong / np.where(images > 0, images, np.nan)


def confusion(
  labels: Integer[np.ndarray, 'n'],
  predicted: Integer[np.ndarray, 'n'],
  *,
  num_classes: int,
) -> Integer[np.ndarray, 'num_classes columns']:
  """Images of each class (rows) by what they were taken for (columns).

  A last column counts units that stand for no class, if any was predicted.

  >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 7]), num_classes=2)
  array([[1, 1, 0],
         [0, 0, 1]])
  """
  columns = num_classes + bool((predicted >= num_classes).any())
  counts = np.zeros((num_classes, columns), np.int64)
  np.add.at(counts, (labels, np.minimum(predicted, num_classes)), 1)
  return counts


class Confusion(NamedTuple):
  """Images of one class that the network took for another."""

  label: int
  predicted: int
  count: int  # images
  share: float  # of the label's images, 0 to 1


def most_confused(
  labels: Integer[np.ndarray, 'n'],
  predicted: Integer[np.ndarray, 'n'],
  *,
  count: int,
) -> list[Confusion]:
  """The pairs of classes with most errors, most first; ties by label.

  >>> labels, predicted = np.array([0, 0, 0, 1, 2]), np.array([1, 1, 2, 1, 0])
  >>> most_confused(labels, predicted, count=1)
  [Confusion(label=0, predicted=1, count=2, share=0.6666666666666666)]
  """
  images = np.bincount(labels)
  wrong = np.stack([labels, predicted], axis=1)[labels != predicted]
  pairs, counts = np.unique(wrong, axis=0, return_counts=True)
  most = np.argsort(-counts, kind='stable')[:count]
  return [
    Confusion(int(label), int(other), int(n), float(n / images[label]))
    for (label, other), n in zip(pairs[most], counts[most], strict=True)
  ]


def drops(records: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
  """(step, rate) of each training record with a lower rate than the last.

  A record covers the steps since the last one, so the rate fell at that step or
  a little earlier.

  >>> line = {'split': 'train'}
  >>> drops([
  ...   line | {'step': 10, 'learning_rate': 0.01},
  ...   line | {'step': 20, 'learning_rate': 0.001},
  ...   line | {'step': 30, 'learning_rate': 0.001}])
  [(20, 0.001)]
  """
  train = [r for r in records if r['split'] == 'train']
  return [
    (int(record['step']), float(record['learning_rate']))
    for before, record in itertools.pairwise(train)
    if record['learning_rate'] < before['learning_rate']
  ]


def running_mean(
  values: Num[np.ndarray, 'n'], *, width: int
) -> Float[np.ndarray, 'n']:
  """The mean of `width` values around each (odd); of fewer at the ends.

  >>> running_mean(np.array([0, 3, 6, 9]), width=3).tolist()
  [1.5, 3.0, 6.0, 7.5]
  """
  half, places = width // 2, np.arange(len(values))
  start = np.maximum(places - half, 0)
  end = np.minimum(places + half + 1, len(values))
  # What is not finite would spoil all sums after it.
  finite = np.isfinite(values)
  sums, unknown = (
    np.concatenate([[0.0], np.cumsum(each)])
    for each in (np.where(finite, values, 0.0), ~finite)
  )
  means = (sums[end] - sums[start]) / (end - start)
  return np.where(unknown[end] > unknown[start], np.nan, means)


def layer_statistics(params: _Tree, velocities: _Tree) -> list[dict[str, Any]]:
  """Root mean squares of each layer's kernel and velocity (§5), no biases.

  The velocity is what the next step adds to the kernel, apart from its own
  gradient, so the ratio of the two says how fast a layer changes.

  >>> layer_statistics(
  ...   {'fc6': {'kernel': np.array([[2, 14.0]]), 'bias': np.ones(1)}},
  ...   {'fc6': {'kernel': np.array([[1, 7.0]]), 'bias': np.ones(1)}})
  [{'layer': 'fc6', 'weight_rms': 10.0, 'velocity_rms': 5.0}]
  """
  return [
    {
      'layer': layer,
      'weight_rms': _rms(values['kernel']),
      'velocity_rms': _rms(velocities[layer]['kernel']),
    }
    for layer, values in params.items()
  ]


def _rms(values: np.ndarray) -> float:
  return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
