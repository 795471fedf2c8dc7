"""Evaluating a network on another data set than it was trained on.

Classes are matched by id, then by name, never by their place. Images of classes
that the network does not know are left out. ImageNet-A and -R have 200 of the
1000 classes: their authors compare those 200 scores alone (Hendrycks et al.
2021, arXiv:1907.07174 and arXiv:2006.16241), which is classes='data' here.

Reassessed labels (Beyer et al. 2020, arXiv:2006.07159) give each validation
image of ILSVRC-2012 a list of right classes: a prediction is right if it is any
of them, and images with an empty list are left out.
"""

import collections
import dataclasses
import json
import pathlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from alexnet_jax.data import dataset
from alexnet_jax.evaluate import predictions

_SHOWN = 3  # names in a message
_WORDNET = re.compile(r'n\d{8}')
_VAL_IMAGE = re.compile(r'ILSVRC2012_val_(\d{8})')
_NUM_CLASSES = 1000  # that reassessed labels are numbers of
_MOST_BYTES = 2**26  # of a file of reassessed labels; the published one: 2**20
RealLabels = list[list[int]]


class Asked(NamedTuple):
  """What --mode=eval is asked to evaluate on."""

  data: str = ''  # prepared data, or images to prepare; '': config.data
  classes: str = 'all'  # 'data': scores of the classes of the data alone
  real_labels: str = ''  # a file of reassessed labels; '': none


NOTHING = Asked()


class Match(NamedTuple):
  """The units that classes of a data set stand for."""

  units: Int[np.ndarray, ' classes']  # by label of the data; -1: none
  unknown: list[str]  # names of the classes that no unit stands for
  numbers: bool = False  # whether numbers are all that the classes share


def match(
  theirs: Sequence[dataset.ClassInfo], *, known: Sequence[dataset.ClassInfo]
) -> Match:
  """Finds the units for the classes of a data set, by id and then by name.

  Names are compared without regard to case, _ or composed letters; one that two
  classes share tells nothing. Each unit stands for one class at most.

  >>> cat, dog = (dataset.ClassInfo(n, n, n) for n in ('cat', 'dog'))
  >>> known = [dataset.ClassInfo('n02123045', 'Cat', 'Cat'), dog]
  >>> match([dog, cat, cat._replace(id='x', name='x')], known=known)
  Match(units=array([ 1,  0, -1]), unknown=['x'], numbers=False)
  """
  ids = {c.id: unit for unit, c in enumerate(known)}
  units = [ids.get(c.id, -1) for c in theirs]
  names = _unique(known)
  own = _unique(theirs)
  taken = {*units}
  for label, c in enumerate(theirs):
    unit = names.get(_plain(c.name), -1)
    if units[label] < 0 and unit not in taken and _plain(c.name) in own:
      units[label] = unit
      taken.add(unit)
  unknown = [c.name for c, u in zip(theirs, units, strict=True) if u < 0]
  shared = [c.name for c, u in zip(theirs, units, strict=True) if u >= 0]
  numbers = bool(shared) and all(name.isdecimal() for name in shared)
  return Match(np.array(units), unknown, numbers)


def _plain(name: str) -> str:
  composed = unicodedata.normalize('NFKC', name).casefold()
  return ' '.join(composed.replace('_', ' ').split())


def _unique(classes: Sequence[dataset.ClassInfo]) -> dict[str, int]:
  """Names that one class alone has -> its place."""
  plain = [_plain(c.name) for c in classes]
  counts = collections.Counter(plain)
  return {name: i for i, name in enumerate(plain) if counts[name] == 1}


@dataclasses.dataclass(frozen=True, eq=False)
class Relabelled:
  """A split whose labels are units of a network; -1: no unit stands for it."""

  split: dataset.Split
  units: Int[np.ndarray, ' classes']

  @property
  def image_size(self) -> int:
    return self.split.image_size

  def __len__(self) -> int:
    return len(self.split)

  __getitem__ = dataset.get_by_take

  def take(
    self, indices: Sequence[int]
  ) -> list[dataset.Example | dataset.Unreadable]:
    return [
      e._replace(label=int(self.units[e.label]))
      if isinstance(e, dataset.Example)
      else e
      for e in self.split.take(indices)
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class Both:
  """One split after another."""

  first: dataset.Split
  second: dataset.Split

  @property
  def image_size(self) -> int:
    return self.first.image_size

  def __len__(self) -> int:
    return len(self.first) + len(self.second)

  __getitem__ = dataset.get_by_take

  def take(
    self, indices: Sequence[int]
  ) -> list[dataset.Example | dataset.Unreadable]:
    size = len(self.first)
    early = iter(self.first.take([i for i in indices if i < size]))
    late = iter(self.second.take([i - size for i in indices if i >= size]))
    return [next(early if i < size else late) for i in indices]


def adapt(
  data: dataset.Dataset,
  *,
  known: Sequence[dataset.ClassInfo],
  mean_image: np.ndarray,
  network: str,
  whole: bool = False,
) -> tuple[dataset.Dataset, Match]:
  """The data set with the classes and the mean image of a network.

  `whole` joins the training split to the validation split. Raises ValueError if
  the network, which `network` names, knows none of the classes.
  """
  found = match(data.classes, known=known)
  if (found.units < 0).all():
    raise ValueError(
      f'--eval_data: {data.name} has the classes {_few(found.unknown)}, and '
      f'{network} knows {_few([c.name for c in known])}: none is the same, by '
      'id or by name; give data with classes of the network'
    )

  def relabelled(split: dataset.Split) -> dataset.Split:
    return Relabelled(split, found.units)

  return dataclasses.replace(
    data,
    classes=tuple(known),
    mean_image=mean_image,
    train=relabelled(data.train),
    val=relabelled(Both(data.train, data.val) if whole else data.val),
    test=relabelled(data.test) if data.test is not None else None,
  ), found


def describe(found: Match, *, data: str) -> str:
  """Says in a line which classes of the data stand for units."""
  known = len(found.units) - len(found.unknown)
  line = f'{known:,} of the {len(found.units):,} classes of {data} are known'
  if found.unknown:
    line += f', not {_few(found.unknown)}'
  if found.numbers:
    line += ', by numbers alone, which may stand for other classes'
  return line


def _few(names: Sequence[str]) -> str:
  more = f' and {len(names) - _SHOWN:,} more' if len(names) > _SHOWN else ''
  return ', '.join(names[:_SHOWN]) + more


def restricted(
  found: predictions.Predictions, *, units: Sequence[int]
) -> predictions.Predictions:
  """The predictions among some units alone: probabilities that sum to 1.

  The softmax of some logits is that of all, divided by its sum over them.
  """
  kept = sorted(set(units))
  p = found.probabilities[:, kept]
  labels = np.searchsorted(kept, found.labels).astype(found.labels.dtype)
  ranks = predictions.ranks(p, labels=labels)
  return _rated(
    found._replace(
      labels=labels,
      probabilities=p / np.maximum(p.sum(axis=1, keepdims=True), _TINY),
      classes=[found.classes[unit] for unit in kept],
    ),
    ranks=ranks,
  )


_TINY = np.finfo(np.float32).tiny


def _rated(
  found: predictions.Predictions, *, ranks: np.ndarray
) -> predictions.Predictions:
  own = np.take_along_axis(found.probabilities, found.labels[:, None], axis=1)
  losses = -np.log(np.maximum(own[:, 0].astype(np.float64), _TINY))
  return found._replace(losses=losses, ranks=ranks)


def read_real_labels(path: pathlib.Path) -> RealLabels:
  """Reads reassessed labels: a JSON list with a list of classes for each image.

  Raises ValueError if the file is no such list.
  """
  size = path.stat().st_size
  if size > _MOST_BYTES:
    raise ValueError(
      f'--real_labels={path} has {size:,} bytes, more than {_MOST_BYTES:,}: '
      'give the real.json of arXiv:2006.07159'
    )
  try:
    rows = json.loads(path.read_text())
  except (ValueError, RecursionError) as error:
    raise _no_labels(path, str(error)) from error
  if not isinstance(rows, list) or not rows:
    raise _no_labels(path, 'no list of images')
  for number, row in enumerate(rows, start=1):
    if not isinstance(row, list) or not all(map(_is_class, row)):
      raise _no_labels(path, f'image {number} has {row!r:.40}')
  return rows


def _is_class(label: Any) -> bool:
  return type(label) is int and 0 <= label < _NUM_CLASSES


def _no_labels(path: pathlib.Path, reason: str) -> ValueError:
  return ValueError(
    f'--real_labels={path} holds no reassessed labels ({reason}): give a JSON '
    'list that has, for each validation image of ILSVRC-2012 in order, a list '
    f'of classes 0 to {_NUM_CLASSES - 1}'
  )


def reassessed(
  found: predictions.Predictions, *, labels: RealLabels, path: str
) -> predictions.Predictions:
  """Predictions with the best of an image's right classes as its label.

  Images without a right class are left out. Classes of the labels are numbers
  in the order of the WordNet ids. Raises ValueError if the network has others,
  or an image is not of the validation set of ILSVRC-2012.
  """
  order = sorted(found.classes)
  if len(order) != _NUM_CLASSES or not all(map(_WORDNET.fullmatch, order)):
    raise ValueError(
      f'--real_labels={path} is of the {_NUM_CLASSES:,} classes of ILSVRC-2012 '
      f'by WordNet id, and this network has {len(order):,} classes such as '
      f'{order[0]}: leave it out'
    )
  places = {name: unit for unit, name in enumerate(found.classes)}
  units = [places[name] for name in order]  # by class of the labels
  right = [
    sorted(units[label] for label in labels[_number(name, labels, path=path)])
    for name in found.names
  ]
  rows = [row for row, classes in enumerate(right) if classes]
  if not rows:
    raise ValueError(
      f'--real_labels={path}: no image that was evaluated has a label in it'
    )
  p = found.probabilities[rows]
  best = [
    classes[int(np.argmax(scores[classes]))]
    for scores, classes in zip(p, (right[row] for row in rows), strict=True)
  ]
  kept = found._replace(
    names=[found.names[row] for row in rows],
    labels=np.array(best, found.labels.dtype),
    probabilities=p,
  )
  return _rated(kept, ranks=predictions.ranks(p, labels=kept.labels))


def _number(name: str, labels: RealLabels, *, path: str) -> int:
  """The place of an image of the validation set among the labels."""
  number = _VAL_IMAGE.search(name)
  if not number or not 0 < int(number[1]) <= len(labels):
    raise ValueError(
      f'--real_labels={path} has labels of {len(labels):,} images in the order '
      f'of ILSVRC2012_val_00000001, and {name} is none of them: evaluate the '
      'validation set of ILSVRC-2012'
    )
  return int(number[1]) - 1
