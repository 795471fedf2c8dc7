"""Predictions for each image of a split, in files, and their averages (§6).

The paper averages the probabilities of five and of seven "similar" networks,
which err on different images. Probabilities are kept in files, so an average
needs no network.

Averages use float16 probabilities, as files hold them (11 bits; below 0.00006
in steps of 0.00000006): networks and their files then give the same error rates
to the last digit. steps/metrics.py ranks classes that rounding makes equal.
"""

import errno
import pathlib
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from alexnet_jax.runtime import paths
from alexnet_jax.steps import metrics

SUFFIX = '.npz'
OF_A_RUN = 'predictions.npz'  # in a workdir: from its final evaluation
_TINY = np.finfo(np.float32).tiny  # a probability may round to zero


class Predictions(NamedTuple):
  """Predictions for the N readable images of a split, in its order.

  Losses and ranks are computed before any rounding of the probabilities.
  """

  names: list[str]  # where each image came from
  labels: Int[np.ndarray, 'n']  # the right classes
  probabilities: Float[np.ndarray, 'n units']  # 0 to 1, averaged over views
  losses: Float[np.ndarray, 'n']  # -log of the right class's probability
  ranks: Int[np.ndarray, 'n']  # number of classes ahead of the right one
  views: int  # 1, the centre crop; 10; or 9
  classes: list[str]  # ids, by label; the network may have more units
  step: int = -1  # training steps; -1: an average of different steps

  @property
  def errors(self) -> metrics.Errors:
    """Returns mean loss and error rates."""
    return metrics.errors(
      losses=self.losses, ranks=self.ranks, classes=len(self.classes)
    )

  def as_saved(self) -> 'Predictions':
    """Rounds the probabilities to float16, as a file holds them."""
    return self._replace(probabilities=self.probabilities.astype(np.float16))


def average(
  members: Sequence[Predictions], *, weights: Sequence[float] | None = None
) -> Predictions:
  """Averages the probabilities of several networks for the same images.

  There is a weight of 0 or more for each member; None: equal. Raises ValueError
  if images, their order or classes differ, or the weights cannot be used.

  >>> one = Predictions(['a'], np.array([1]), np.array([[0.75, 0.25]]),
  ...   np.array([1.4]), np.array([1]), 10, ['cat', 'dog'])
  >>> other = one._replace(probabilities=np.array([[0.125, 0.875]]))
  >>> average([one, other]).probabilities.tolist()
  [[0.4375, 0.5625]]
  """
  first = members[0]
  for other in members[1:]:
    _check_same_images(first, other)
  parts = shares(weights, members=len(members))
  total = np.zeros(first.probabilities.shape, np.float64)
  for part, member in zip(parts, members, strict=True):
    total += part * member.probabilities.astype(np.float16)
  own = np.take_along_axis(total, first.labels[:, None], axis=1)[:, 0]
  return first._replace(
    step=first.step if len({m.step for m in members}) == 1 else -1,
    probabilities=total,
    losses=-np.log(np.maximum(own, _TINY)),  # finite for 0, too
    ranks=ranks(total, labels=first.labels),
  )


def ranks(
  scores: Float[np.ndarray, 'n units'], *, labels: Int[np.ndarray, 'n']
) -> Int[np.ndarray, 'n']:
  """Computes metrics.ranks in numpy, in float64."""
  own = np.take_along_axis(scores, labels[:, None], axis=1)  # [N, 1]
  later = np.arange(scores.shape[1])[None] >= labels[:, None]
  return (~((scores < own) | ((scores == own) & later))).sum(axis=1)


def shares(
  weights: Sequence[float] | None, *, members: int
) -> Float[np.ndarray, ' members']:
  """Scales weights to a sum of 1.

  Raises ValueError unless each member has one, 0 or more, and one is above 0.
  """
  given = np.ones(members) if weights is None else np.array(weights, float)
  if len(given) != members:
    raise ValueError(
      f'{len(given)} weights for {members} networks: give one for each'
    )
  if not (given >= 0).all() or not 0 < given.sum() < np.inf:
    raise ValueError(
      f'weights {", ".join(f"{w:g}" for w in given)}: use numbers of 0 or '
      'more, one at least above 0'
    )
  return given / given.sum()


def _check_same_images(one: Predictions, other: Predictions) -> None:
  if one.classes != other.classes:
    raise ValueError(
      f'predictions for {len(one.classes)} and {len(other.classes)} classes, '
      'or others, have no average: use the same data set for all'
    )
  if one.probabilities.shape[1] != other.probabilities.shape[1]:
    units = (one.probabilities.shape[1], other.probabilities.shape[1])
    raise ValueError(
      f'predictions of networks of {units[0]} and {units[1]} classes have no '
      'average: use networks with the same config.model.num_classes'
    )
  for mine, theirs in zip(one.names, other.names, strict=False):
    if mine != theirs:
      raise ValueError(
        f'predictions for other images: {mine} is where {theirs} is; use the '
        'same split for all'
      )
  if len(one.names) != len(other.names):
    raise ValueError(
      f'predictions for {len(one.names)} and {len(other.names)} images have '
      'no average: use the same split for all'
    )
  if (one.labels != other.labels).any():
    raise ValueError(
      'predictions for the same images with other labels have no average: use '
      'the same data set for all'
    )


_KINDS = {  # of the arrays in a file: numpy's kind, axes
  'names': ('U', 1),
  'labels': ('i', 1),
  'probabilities': ('f', 2),
  'losses': ('f', 1),
  'ranks': ('i', 1),
  'views': ('i', 0),
  'classes': ('U', 1),
  'step': ('i', 0),
}


def save(found: Predictions, path: pathlib.Path) -> None:
  """Writes an .npz; `probabilities` is float16, the rest is exact.

  On an OSError the old file is unchanged.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  with paths.replacing(path) as file:
    np.savez_compressed(
      file,
      names=np.array(found.names, dtype=np.str_),
      labels=found.labels.astype(np.int32),
      probabilities=found.as_saved().probabilities,
      losses=found.losses.astype(np.float32),
      ranks=found.ranks.astype(np.int32),
      views=np.int32(found.views),
      classes=np.array(found.classes, dtype=np.str_),
      step=np.int64(found.step),
    )


def probe(path: pathlib.Path) -> None:
  """Raises ValueError if a file cannot be written, before a long evaluation."""
  try:
    if path.is_dir():
      raise IsADirectoryError(errno.EISDIR, 'it is a folder')
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
      pass
  except OSError as error:
    raise ValueError(
      f'{path} cannot be written ({error.strerror}): give another place'
    ) from error


def load(path: pathlib.Path) -> Predictions:
  """Reads a file of `save`, executing nothing in it; else raises ValueError."""
  try:
    with open(path, 'rb') as opened:
      file = np.load(opened, allow_pickle=False)  # a pickle could run code
      arrays = {name: file[name] for name in _KINDS}
  except Exception as error:  # numpy, zipfile, zlib, tokenize have their own
    if isinstance(error, OSError) and error.errno != errno.EINVAL:
      raise  # of the system; a bad offset in the file is EINVAL
    raise _not_predictions(path, type(error).__name__) from error
  for name, (kind, axes) in _KINDS.items():
    if arrays[name].dtype.kind != kind or arrays[name].ndim != axes:
      raise _not_predictions(path, f'its {name} is of another kind')
  images, units = arrays['probabilities'].shape  # N, classes
  per_image = ('names', 'labels', 'losses', 'ranks')
  if any(len(arrays[name]) != images for name in per_image):
    raise _not_predictions(path, 'its arrays are of different lengths')
  labels = arrays['labels']
  if not images or labels.min() < 0 or labels.max() >= units:
    raise _not_predictions(path, 'its labels are not those of its classes')
  p, ranks = arrays['probabilities'], arrays['ranks']
  sound = np.isfinite(arrays['losses']).all() and ((0 <= p) & (p <= 1)).all()
  if not sound or ranks.min() < 0 or ranks.max() >= units:
    raise _not_predictions(path, 'its values are out of range')
  plain = ('names', 'views', 'classes', 'step')  # lists and numbers
  return Predictions(**arrays | {name: arrays[name].tolist() for name in plain})


def _not_predictions(path: pathlib.Path, reason: str) -> ValueError:
  return ValueError(
    f'{path} holds no predictions ({reason}): give a file that --mode=eval '
    '--save_predictions wrote'
  )
