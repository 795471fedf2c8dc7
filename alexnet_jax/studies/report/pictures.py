"""The figures of a report: drawn twice, for light and dark pages, and embedded.

matplotlib is imported when a figure is asked for, so that a report can be
written without it. Lines go into the page as SVG, pixels as PNG; the light one
is kept in both forms beside the page.
"""

import base64
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from alexnet_jax.data import dataset
from alexnet_jax.studies.report import gather, markup, statistics

DARK = 'screen and (prefers-color-scheme: dark)'
INSTALL = "pip install 'alexnet-jax[analysis]'"
_TYPES = {'svg': 'image/svg+xml', 'png': 'image/png'}
_EXAMPLES = 8  # in Figure 4, left

Form = Literal['svg', 'png']
Draw = Callable[[], Any]  # -> matplotlib's Figure


class NothingToDrawError(ValueError):
  """Why there is no figure, in a sentence."""


class Album(NamedTuple):
  """Where the figures of a report go."""

  folder: pathlib.Path  # of the page

  def picture(
    self, name: str, draw: Draw, *, form: Form, alt: str, caption: str
  ) -> markup.Markup:
    """A <figure>, or why there is none; writes NAME.png and NAME.svg.

    Args:
      name: of the files.
      draw: makes the figure; imports what it needs.
      form: that the page holds.
      alt: what the figure shows, for those who do not see it.
      caption: what to look at in it.
    """
    try:
      light, dark = self._drawn(name, draw, form=form)
    except ImportError:
      self._remove(name)
      return markup.missing('Pictures need matplotlib.', make=INSTALL)
    except NothingToDrawError as error:
      self._remove(name)
      return markup.missing(str(error))
    return markup.tag(
      'figure',
      markup.tag(
        'picture',
        markup.tag('source', media=DARK, srcset=_data(dark, form=form)),
        markup.tag('img', src=_data(light, form=form), alt=alt),
      ),
      markup.tag('figcaption', caption),
      kind=form,
    )

  def _drawn(self, name: str, draw: Draw, *, form: Form) -> tuple[bytes, bytes]:
    """The picture for a light and for a dark page."""
    from alexnet_jax.studies.figures import style

    makers = {'svg': style.svg, 'png': style.png}
    with style.theme(dark=False):
      figure = draw()
      light = {kind: make(figure) for kind, make in makers.items()}
    for kind, content in light.items():
      replace(self.folder / f'{name}.{kind}', content)
    with style.theme(dark=True):
      return light[form], makers[form](draw())

  def _remove(self, name: str) -> None:
    """Takes away what an earlier report left: it is of another time."""
    for kind in _TYPES:
      (self.folder / f'{name}.{kind}').unlink(missing_ok=True)


def _data(content: bytes, *, form: Form) -> str:
  return f'data:{_TYPES[form]};base64,{base64.b64encode(content).decode()}'


def replace(path: pathlib.Path, content: bytes) -> None:
  """Writes a file as a whole: either the old one is there or the new one."""
  path.parent.mkdir(parents=True, exist_ok=True)
  scratch = path.with_name(f'.{path.name}.tmp')
  try:
    scratch.write_bytes(content)
    scratch.replace(path)
  finally:
    scratch.unlink(missing_ok=True)


def curves(run: gather.Run) -> Any:
  """Loss, errors and rate over the run."""
  from alexnet_jax.studies.figures import curves

  return curves.figure(run.records)


def kernels(run: gather.Run) -> Any:
  """Figure 3: the first layer's kernels."""
  from alexnet_jax.studies.figures import kernels

  assert run.checkpoint
  found = run.checkpoint.params['conv1']['kernel']
  return kernels.figure(found, columns=columns(run))


def columns(run: gather.Run) -> int:
  """Of the network that the checkpoint is of."""
  assert run.checkpoint
  return run.checkpoint.meta['config'].get('model', {}).get('columns', 1)


def layers(run: gather.Run) -> Any:
  """What each layer passes on, and the size of weights and velocities."""
  from alexnet_jax.studies.figures import layers

  found = run.checkpoint
  rows = []
  if found is not None and found.velocities is not None:
    rows = statistics.layer_statistics(found.params, found.velocities)
  return layers.figure(run.health, rows)


def classes(run: gather.Run) -> Any:
  """Errors class by class."""
  from alexnet_jax.studies.figures import classes

  found = run.predictions
  assert found
  return classes.figure(found.labels, found.ranks, classes=class_names(run))


def class_names(run: gather.Run) -> list[str]:
  """Short names by label; ids where the data set is not at hand."""
  known = run.checkpoint.meta['classes'] if run.checkpoint else []
  names = [c.name for c in run.data.classes] if run.data else []
  names = names or [str(c.get('name', '')) for c in known]
  ids = run.predictions.classes if run.predictions else []
  return names or list(ids)


def examples(run: gather.Run) -> Draw:
  """Figure 4, left: images with the five likeliest classes."""
  shown = functools.cache(lambda: _examples(run))  # once for both themes

  def draw() -> Any:
    from alexnet_jax.studies.figures import examples

    return examples.figure(**shown())

  return draw


def _examples(run: gather.Run) -> dict[str, Any]:
  """What the figure shows."""
  found = run.predictions
  assert found
  chosen = _chosen(found.ranks, found.labels)
  places = [(position, _place(run, position)) for position in chosen]
  kept = [(position, image) for position, image in places if image is not None]
  if not kept:
    raise NothingToDrawError('None of the images can be read any more.')
  indices = [position for position, _ in kept]
  return {
    'images': np.stack([image for _, image in kept]),
    'labels': found.labels[indices],
    'probabilities': found.probabilities[indices].astype(np.float32),
    'classes': class_names(run),
  }


def _chosen(ranks: np.ndarray, labels: np.ndarray) -> list[int]:
  """Half of them wrong if there are so many, of other classes where it can be.

  The same for the same predictions, and picked by place in the split, not by
  how good they look.
  """
  wrong = _spread(np.flatnonzero(ranks > 0), labels, count=_EXAMPLES // 2)
  right = _spread(
    np.flatnonzero(ranks == 0), labels, count=_EXAMPLES - len(wrong)
  )
  more = _EXAMPLES - len(right) - len(wrong)
  rest = [i for i in np.flatnonzero(ranks > 0) if i not in wrong][:more]
  return sorted([*right, *wrong, *map(int, rest)])


def _spread(found: np.ndarray, labels: np.ndarray, *, count: int) -> list[int]:
  """Some of those places: new classes first, evenly over the split."""
  firsts = np.unique(labels[found], return_index=True)[1] if len(found) else []
  first = sorted(int(found[i]) for i in firsts)
  others = np.setdiff1d(found, first)  # in order
  pool = first + others[: max(count - len(first), 0)].tolist()
  picked = np.linspace(0, len(pool) - 1, min(count, len(pool))).round()
  return [pool[int(i)] for i in picked]


def _place(run: gather.Run, position: int) -> np.ndarray | None:
  """The image that a row of the predictions is of; None if it is damaged.

  Those that could not be read have no row, so it may lie further on.

  Raises:
    NothingToDrawError: if it is not there.
  """
  assert run.predictions and run.data
  name, split = run.predictions.names[position], run.data.val
  last = min(position + _left_out(run), len(split) - 1)
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


def _left_out(run: gather.Run) -> int:
  """Images of the split that may have no row, at most."""
  assert run.predictions and run.data and run.config
  most = run.config.get('data', {}).get('max_bad_records', 0)
  return min(most, max(len(run.data.val) - len(run.predictions.names), 0))


def _example(split: dataset.Split, index: int) -> dataset.Example | None:
  try:
    return split[index]
  except (dataset.Unreadable, IndexError, OSError):
    return None


def neighbours(run: gather.Run) -> Draw:
  """Figure 4, right: images and those nearest to them in the training set."""
  shown = functools.cache(lambda: _neighbours(run))  # once for both themes

  def draw() -> Any:
    from alexnet_jax.studies.figures import neighbours

    return neighbours.figure(**shown())

  return draw


def _neighbours(run: gather.Run) -> dict[str, Any]:
  """What the figure shows."""
  assert run.retrieval and run.data
  found = run.retrieval['queries'][:5]
  rows = {
    kind: [_nearest(run, q[kind]) for q in found] for kind in ('fc7', 'pixels')
  }
  return {
    'queries': np.stack([_image(run.data.val, q) for q in found]),
    'query_labels': np.array([q['label'] for q in found]),
    'fc7': np.stack([images for images, _ in rows['fc7']]),
    'fc7_labels': np.array([labels for _, labels in rows['fc7']]),
    'pixels': np.stack([images for images, _ in rows['pixels']]),
    'pixel_labels': np.array([labels for _, labels in rows['pixels']]),
    'classes': class_names(run),
  }


def _nearest(
  run: gather.Run, near: Sequence[dict]
) -> tuple[UInt8[np.ndarray, 'k s s 3'], list[int]]:
  assert run.data
  images = np.stack([_image(run.data.train, n) for n in near])
  return images, [n['label'] for n in near]


def _image(split: dataset.Split, named: dict) -> UInt8[np.ndarray, 's s 3']:
  """The image that retrieval.json means.

  Raises:
    NothingToDrawError: if it cannot be read, or is another one.
  """
  example = _example(split, named['index'])
  if example is None:
    raise NothingToDrawError(
      'An image that retrieval.json names cannot be read any more.'
    )
  if example.name != named['name']:
    raise NothingToDrawError(
      'The images are not those that retrieval.json was made from: image '
      f'{named["index"]:,} is {example.name}, not {named["name"]}.'
    )
  return example.image
