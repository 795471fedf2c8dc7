"""The figures of a report, each drawn for a light and for a dark page.

matplotlib is imported when a figure is drawn, so that a report can be written
without it. The page embeds plots as SVG and pixels as PNG; the light figure is
also written beside the page in both forms.
"""

import base64
import importlib
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from alexnet_jax.checkpoint import compatible
from alexnet_jax.data import dataset
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.studies.explain import explained, views
from alexnet_jax.studies.report import gather, page, statistics

_FIGURES = 'alexnet_jax.studies.figures'
INSTALL = 'pip install matplotlib'
_TYPES = {'svg': 'image/svg+xml', 'png': 'image/png'}
_OF_PIXELS = {'kernels', 'examples', 'neighbours', 'explained', 'exciting'}
_EXAMPLES = 6
_MATRIX = 30  # classes that are all in the matrix of confusions; of more
_PAIRS = 6  # those of the pairs that are confused most
Arguments = Callable[[], dict[str, Any]]  # those of a module's `figure`


class NothingToDrawError(ValueError):
  """There is no figure; the message is a sentence that says why."""


class Picture(NamedTuple):
  """A figure for a light and one for a dark page, or why there is none."""

  form: str = ''  # 'svg' or 'png'
  light: str = ''  # data: address
  dark: str = ''
  missing: str = ''
  install: str = ''  # the command that mends it


class Album(NamedTuple):
  """Draws figures into a folder, which is that of the page."""

  folder: pathlib.Path

  def picture(
    self, name: str, arguments: Arguments, *, module: str = ''
  ) -> Picture:
    """Writes NAME.png and NAME.svg; returns the figure, or why there is none.

    `module` is that of studies/figures, if it is not NAME; `arguments` gives
    those of its `figure`, or raises NothingToDrawError.
    """
    try:
      return self._drawn(name, arguments, module=module or name)
    except ImportError:
      nothing = Picture(missing='Pictures need matplotlib.', install=INSTALL)
    except NothingToDrawError as error:
      nothing = Picture(missing=str(error))
    for kind in _TYPES:  # those of an earlier report would be outdated
      (self.folder / f'{name}.{kind}').unlink(missing_ok=True)
    return nothing

  def _drawn(self, name: str, arguments: Arguments, *, module: str) -> Picture:
    style = importlib.import_module(f'{_FIGURES}.style')
    figures = importlib.import_module(f'{_FIGURES}.{module}')
    makers = {'svg': style.svg, 'png': style.png}
    form = 'png' if module in _OF_PIXELS else 'svg'
    given = arguments()
    with style.theme(dark=False):
      figure = figures.figure(**given)
      light = {kind: make(figure) for kind, make in makers.items()}
    for kind, content in light.items():
      page.write(self.folder / f'{name}.{kind}', content)
    with style.theme(dark=True):
      dark = makers[form](figures.figure(**given))
    return Picture(form, _address(light[form], form), _address(dark, form))


def _address(content: bytes, form: str) -> str:
  return f'data:{_TYPES[form]};base64,{base64.b64encode(content).decode()}'


def draw_run(run: gather.Run, name: str, *, album: Album) -> Picture:
  """Draws a figure of a run: a module of studies/figures that _OF_A_RUN has."""
  module = 'examples' if name == 'worst' else name
  return album.picture(name, lambda: _OF_A_RUN[name](run), module=module)


def _layers(run: gather.Run) -> dict[str, Any]:
  """Activations, and velocities if the newest checkpoint has some."""
  found, rows = run.checkpoint, []
  if found and found.velocities is not None:
    rows = statistics.layer_statistics(found.params, found.velocities)
  return {'health_rows': run.health, 'statistics': rows}


def _examples(run: gather.Run) -> dict[str, Any]:
  """Six images with what is said of them (Figure 4, left)."""
  assert run.predictions
  found = run.predictions
  return _images_and_words(run, _chosen(found.ranks, found.labels))


def worst(run: gather.Run) -> list[int]:
  """Rows of up to six errors, those with the highest loss first."""
  assert run.predictions
  wrong = np.flatnonzero(run.predictions.ranks > 0)
  losses = run.predictions.losses[wrong]
  return wrong[np.argsort(-losses, kind='stable')][:_EXAMPLES].tolist()


def _worst(run: gather.Run) -> dict[str, Any]:
  if not (chosen := worst(run)):
    raise NothingToDrawError('No image is mistaken.')
  return _images_and_words(run, chosen)


def _confusion(run: gather.Run) -> dict[str, Any]:
  assert run.predictions
  names, labels = run.class_names, run.predictions.labels
  predicted = run.predictions.probabilities.argmax(axis=1).astype(labels.dtype)
  counts = statistics.confusion(labels, predicted, num_classes=len(names))
  if len(names) <= _MATRIX:
    return {'counts': counts, 'classes': [*names, 'no class'][: len(counts[0])]}
  pairs = statistics.most_confused(labels, predicted, count=_PAIRS)
  both = [one for pair in pairs for one in (pair.label, pair.predicted)]
  chosen = [one for one in dict.fromkeys(both) if one < len(names)]
  if not chosen:
    raise NothingToDrawError('No image is mistaken.')
  block = counts[np.ix_(chosen, chosen)]
  rest = counts[chosen].sum(axis=1) - block.sum(axis=1)
  return {
    'counts': np.concatenate([block, rest[:, None]], axis=1),
    'classes': [*(names[i] for i in chosen), 'others'],
  }


def _explained(run: gather.Run) -> dict[str, Any]:
  """The images of `_examples` with maps of why, by the newest checkpoint."""
  net, words = _net(run), _examples(run)
  with jax.default_device(gather.cpu()):  # leaves GPUs to those who train
    net = net.replace(params=jax.device_put(net.params))  # once, not each time
    found = explained.explain(net, words['images'], places=0)
  rows = []
  for number, label in enumerate(words['labels']):
    share = page.percent(float(found.probabilities[number]))
    said = f'{found.classes[number]} {share}'
    right = label == found.labels[number]
    said += '' if right else f', is {run.class_name(int(label))}'
    rows.append((said, views.panels(found, number=number)))
  return {'rows': rows}


def _net(run: gather.Run) -> net_lib.Net:
  """The network of the newest checkpoint."""
  assert run.checkpoint and run.data
  found = run.checkpoint
  return net_lib.Net(
    config=compatible.own_config(found.meta),
    params=found.params,
    classes=run.data.classes,
    statistics=run.data.statistics,
    step=found.step,
    model_state=found.model_state,
  )


def _images_and_words(run: gather.Run, chosen: list[int]) -> dict[str, Any]:
  found = run.predictions
  assert found
  images = {position: _image_of_row(run, position) for position in chosen}
  kept = {at: image for at, image in images.items() if image is not None}
  if not kept:
    raise NothingToDrawError('None of the images can be read any more.')
  indices = [*kept]
  return {
    'images': np.stack([*kept.values()]),
    'labels': found.labels[indices],
    'probabilities': found.probabilities[indices].astype(np.float32),
    'classes': run.class_names,
  }


def _chosen(ranks: np.ndarray, labels: np.ndarray) -> list[int]:
  """Rows of six images, half of them errors, of different classes if it can.

  The same predictions give the same images: their place in the split decides.
  """
  errors, others = np.flatnonzero(ranks > 0), np.flatnonzero(ranks == 0)
  wrong = _spread(errors, labels, count=_EXAMPLES // 2)
  right = _spread(others, labels, count=_EXAMPLES - len(wrong))
  more = _EXAMPLES - len(right) - len(wrong)
  rest = [i for i in errors if i not in wrong][:more]
  return sorted([*right, *wrong, *map(int, rest)])


def _spread(found: np.ndarray, labels: np.ndarray, *, count: int) -> list[int]:
  """Picks `count` rows evenly, the first image of each class before others."""
  firsts = np.unique(labels[found], return_index=True)[1] if len(found) else []
  first = sorted(int(found[i]) for i in firsts)
  others = np.setdiff1d(found, first)  # in order
  pool = first + others[: max(count - len(first), 0)].tolist()
  picked = np.linspace(0, len(pool) - 1, min(count, len(pool))).round()
  return [pool[int(i)] for i in picked]


def _image_of_row(run: gather.Run, position: int) -> np.ndarray | None:
  """The image of a row of the predictions; None if it is damaged now.

  Unreadable images have no row, so the image may lie further on in the split.
  """
  assert run.predictions and run.data and run.config
  name, split = run.predictions.names[position], run.data.val
  # At most as many images as this have no row.
  most = run.config.get('data', {}).get('max_bad_records', 0)
  left_out = min(most, max(len(split) - len(run.predictions.names), 0))
  last = min(position + left_out, len(split) - 1)
  damaged = False
  for index in range(position, last + 1):
    example = _example(split, index)
    if example is not None and example.name == name:
      return example.image
    damaged |= example is None
  if damaged:
    return None
  raise NothingToDrawError(
    'The images are not those that predictions.npz was made from: '
    f'{name} is none of the images {position:,} to {last:,} of the split.'
  )


def _example(split: dataset.Split, index: int) -> dataset.Example | None:
  try:
    return split[index]
  except (dataset.Unreadable, IndexError, OSError):
    return None


def _neighbours(run: gather.Run) -> dict[str, Any]:
  """Five queries with their neighbours (Figure 4, right)."""
  assert run.retrieval and run.data
  found = run.retrieval['queries'][:5]
  images = {'queries': np.stack([_named_image(run.data.val, q) for q in found])}
  labels = {'query_labels': np.array([q['label'] for q in found])}
  for kind, name in (('fc7', 'fc7_labels'), ('pixels', 'pixel_labels')):
    images[kind] = np.stack(
      [[_named_image(run.data.train, n) for n in q[kind]] for q in found]
    )
    labels[name] = np.array([[n['label'] for n in q[kind]] for q in found])
  return images | labels | {'classes': run.class_names}


def _named_image(
  split: dataset.Split, entry: dict
) -> UInt8[np.ndarray, 's s 3']:
  """The image that an entry of retrieval.json names."""
  if (example := _example(split, entry['index'])) is None:
    raise NothingToDrawError(
      'An image that retrieval.json names cannot be read any more.'
    )
  if example.name != entry['name']:
    raise NothingToDrawError(
      'The images are not those that retrieval.json was made from: image '
      f'{entry["index"]:,} is {example.name}, not {entry["name"]}.'
    )
  return example.image


# The figures of a run, and the arguments of each.
_OF_A_RUN: dict[str, Callable[[Any], dict[str, Any]]] = {
  'curves': lambda run: {'records': run.records},
  'kernels': lambda run: run.checkpoint.conv1,
  'examples': _examples,
  'explained': _explained,
  'worst': _worst,
  'confusion': _confusion,
  'neighbours': _neighbours,
  'classes': lambda run: {
    'labels': run.predictions.labels,
    'ranks': run.predictions.ranks,
    'classes': run.class_names,
  },
  'layers': _layers,
}
