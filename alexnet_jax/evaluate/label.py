"""The most probable labels of image files, from trained networks (§6.1).

Images are scaled and cropped like the data set (§2) and predicted from ten
views (§4.1); the predictions of several networks are averaged.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from alexnet_jax.checkpoint import restore
from alexnet_jax.data import dataset, images
from alexnet_jax.evaluate import load, predict, predictions
from alexnet_jax.runtime import paths

Image = UInt8[np.ndarray, 's s 3']
_LABELS = 5  # for each image, as in Figure 4


class ImageSplit:
  """Images without labels, as a dataset.Split."""

  def __init__(self, squares: Sequence[Image]):
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


def load_networks(
  steps: Sequence[pathlib.Path], *, data_dir: str
) -> list[load.Network]:
  """Loads the networks of checkpoints, each on one device.

  `steps` are folders, as layout.find gives them; `data_dir` is the data set's,
  if it has moved; '': as in the checkpoint. Raises ValueError if they are of
  different image sizes, or data_dir is given for embedded data.
  """
  networks = []
  for step in steps:
    config = load.own_config(restore.read_meta(step))
    config.mesh.data = config.mesh.column = 1  # any machine will do
    if data_dir and config.data.source == 'embedded':
      raise ValueError(
        f'--data_dir={data_dir}: {step} was trained on drawn images, which '
        'need no folder: leave it out'
      )
    config.data.dir = data_dir or config.data.dir
    networks.append(load.network(step, config=config))
  sizes = sorted({n.setup.config.data.image_size for n in networks})
  if len(sizes) > 1:
    raise ValueError(
      f'networks of images of {sizes[0]} and {sizes[-1]} pixels a side cannot '
      'be averaged: use those of one size'
    )
  return networks


def read_images(
  names: Sequence[str], *, size: int
) -> tuple[dict[str, Image], dict[str, str]]:
  """Reads files as squares of `size` pixels; returns {name: error}, too."""
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


def label(
  networks: Sequence[load.Network],
  squares: Mapping[str, Image],
  *,
  views: int,
) -> dict[str, list[tuple[str, float]]]:
  """Returns the most probable (class, probability)s of each image by name."""
  split = ImageSplit(list(squares.values()))
  found = [
    predict.predict(n.setup, variables=n.variables, views=views, split=split)
    for n in networks
  ]
  mean = predictions.average(found)  # [N, classes]
  classes = [c.name for c in networks[0].setup.dataset.classes]
  rows = zip(squares, mean.probabilities, strict=True)
  return {name: _best(row, classes=classes) for name, row in rows}


def _best(
  probabilities: Float[np.ndarray, ' units'], *, classes: Sequence[str]
) -> list[tuple[str, float]]:
  """The five highest among the units that have a class; fc8 may have more."""
  order = np.argsort(-probabilities[: len(classes)], kind='stable')
  best = [int(index) for index in order[:_LABELS]]
  return [(classes[index], float(probabilities[index])) for index in best]
