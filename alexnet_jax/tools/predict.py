"""What trained networks see in images of your own: five labels each (§6.1).

  python -m alexnet_jax.tools.predict --restore=CHECKPOINT[,...] IMAGE...

An image is treated as those of the data set were (§2: shorter side of 256
pixels, the middle) and seen in ten views (§4.1); several checkpoints are
averaged. The data set that a checkpoint was trained on has the mean image and
the names of the classes; --data_dir says where it is now, if it has moved.
Exit code 1 if an image cannot be read; the others are told of still.
"""

import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags
from jaxtyping import Float, UInt8

from alexnet_jax import cli
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.data import dataset, images
from alexnet_jax.evaluate import load, predict, predictions
from alexnet_jax.runtime import compile, paths

_RESTORE = flags.DEFINE_list(
  'restore', [], 'WORKDIRs or their checkpoints/STEP, with commas between.'
)
_VIEWS = flags.DEFINE_enum(
  'views', '10', ['1', '9', '10'], '1: the centre crop; 9: see augment.views.'
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', '', 'The data set of the checkpoint, if it has moved.'
)
_LABELS = 5
_BAR = 30  # characters for a probability of 1


class Given:
  """Images as a split; a dataset.Split."""

  def __init__(self, squares: Sequence[UInt8[np.ndarray, 's s 3']]):
    self._examples = [
      dataset.Example(image, 0, str(i)) for i, image in enumerate(squares)
    ]

  @property
  def image_size(self) -> int:
    return len(self._examples[0].image)

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(self, index: int) -> dataset.Example:
    return self._examples[index]

  def take(self, indices: Sequence[int]) -> list[dataset.Example]:
    return [self._examples[index] for index in indices]


def main() -> int:
  """Prints the labels of each image."""
  names = cli.arguments()
  if not _RESTORE.value:
    raise ValueError('--restore is missing: give a WORKDIR, or checkpoints')
  if not names:
    raise ValueError('no images: give their files after the flags')
  compile.keep_programs()
  networks = list(
    _networks([layout.find(path) for path in _RESTORE.value if path])
  )
  sizes = sorted({n.setup.config.data.image_size for n in networks})
  if len(sizes) > 1:
    raise ValueError(
      f'networks of images of {sizes[0]} and {sizes[-1]} pixels a side cannot '
      'be averaged: use those of one size'
    )
  squares, unread = _read(names, size=sizes[0])
  for name, reason in unread.items():
    print(
      f'error: {cli.printable(name)}: {reason}; give a JPEG, PNG or another '
      'image',
      file=sys.stderr,
    )
  if squares:
    mean = _predict(networks, Given(list(squares.values())))
    classes = [c.name for c in networks[0].setup.dataset.classes]
    rows = dict(zip(squares, mean.probabilities, strict=True))
    for name in filter(rows.__contains__, names):
      print(f'{cli.printable(name)}\n{bars(rows[name], classes=classes)}')
  return 1 if unread else 0


def _networks(steps: Sequence[pathlib.Path]) -> Iterator[load.Network]:
  for step in steps:
    config = load.own_config(restore.read_meta(step))
    config.mesh.data = config.mesh.column = 1
    if _DATA_DIR.value:
      if config.data.source == 'embedded':
        raise ValueError(
          f'--data_dir={_DATA_DIR.value}: {step} was trained on drawn images, '
          'which need no folder: leave it out'
        )
      config.data.dir = _DATA_DIR.value
    yield load.network(step, config=config)


def _read(
  names: Sequence[str], *, size: int
) -> tuple[dict[str, UInt8[np.ndarray, 's s 3']], dict[str, str]]:
  """The images as squares, and why some are not among them."""
  squares, unread = {}, {}
  for name in names:
    try:
      data = paths.expand(name).read_bytes()
      squares[name] = images.square(data, size=size)
    except OSError as error:
      unread[name] = error.strerror or str(error)
    except dataset.Unreadable as error:
      unread[name] = str(error)
  return squares, unread


def _predict(
  networks: Sequence[load.Network], split: Given
) -> predictions.Predictions:
  return predictions.average(
    [
      predict.predict(
        network.setup,
        params=network.params,
        views=int(_VIEWS.value),
        split=split,
      )
      for network in networks
    ]
  )


def bars(
  probabilities: Float[np.ndarray, ' units'], *, classes: Sequence[str]
) -> str:
  """The most probable labels, a line each; units without a class have none.

  >>> print(bars(np.array([0.1, 0.9]), classes=['cat', 'dog']))
    90.0 %  ###########################     dog
    10.0 %  ###                             cat
  """
  best = np.argsort(-probabilities[: len(classes)], kind='stable')[:_LABELS]
  return '\n'.join(
    _bar(float(probabilities[label]), name=classes[label])
    for label in map(int, best)
  )


def _bar(probability: float, *, name: str) -> str:
  bar = '#' * round(_BAR * probability)
  return f'  {100 * probability:>5.1f} %  {bar:{_BAR}}  {cli.printable(name)}'


if __name__ == '__main__':
  cli.run(main, takes_arguments=True)
