"""Occlusion: which part of an image the net cannot do without.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV
2014, §4.2: a grey square hides one part of the image after another, and the
probability of the class is noted for each. The square is what the net reads as
zero, the mean image.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Integer, PyTree

from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.runtime import compile
from alexnet_jax.studies.explain import backward


class Occluded(NamedTuple):
  """Probabilities of a class, 0 to 1."""

  whole: Float32[np.ndarray, 'b']  # of each image with nothing hidden
  hidden: Float32[np.ndarray, 'b n n']  # with the square at each place
  corners: Int[np.ndarray, 'n']  # tops, or left edges, of the squares; pixels
  side: int  # of a square, pixels

  @property
  def drops(self) -> Float32[np.ndarray, 'b n n']:
    """What the class loses when a place is hidden; negative: it gains."""
    return self.whole[:, None, None] - self.hidden


def occlude(
  net: net_lib.Net,
  *,
  x: Float[Array, 'b s s 3'],
  labels: Integer[Any, 'b'],
  places: int = 13,
  side: int = 0,
  batch_size: int = 32,
) -> Occluded:
  """Hides a square at places x places positions of each image in turn.

  Args:
    x: images as the net reads them, from net.preprocess.
    labels: the class of each image, a unit of fc8.
    places: along each axis, evenly from edge to edge.
    side: of the square in pixels; 0: a fifth of the image, rounded.
    batch_size: images that the net reads at once.

  Raises ValueError if a number cannot work, or there is no such class.
  """
  size = x.shape[1]
  side = side or round(size / 5)
  if not (places >= 1 and batch_size >= 1 and 1 <= side <= size):
    raise ValueError(
      f'places = {places}, side = {side}, batch_size = {batch_size}: use 1 or '
      f'more, and a side of at most {size} pixels'
    )
  shape = backward.layer_shape(net, 'fc8')
  labels = np.asarray(labels, np.int32)
  backward.check_units(labels[:, None], layer='fc8', shape=shape)
  corners = np.linspace(0, size - side, places).round().astype(np.int32)
  squares = np.stack(np.meshgrid(corners, corners, indexing='ij'), axis=-1)
  # The first hides nothing: it begins below the image.
  every = np.concatenate([[[size, size]], squares.reshape(-1, 2)])
  program = _program(backward.fields(net), side)
  found = []
  for image, label in zip(x, labels, strict=True):
    parts = []
    for start in range(0, len(every), batch_size):
      part = every[start : start + batch_size]
      filled = np.resize(part, (min(batch_size, len(every)), 2))  # one shape
      rows = program(net.variables, image, filled, label)
      parts.append(np.asarray(rows)[: len(part)])
    found.append(np.concatenate(parts))
  every_image = np.stack(found)  # [B, 1 + places^2]
  hidden = every_image[:, 1:].reshape(-1, places, places)
  return Occluded(every_image[:, 0], hidden, corners, side)


@functools.lru_cache(maxsize=32)
def _program(fields: str, side: int) -> Callable[..., Any]:
  """Compiles (variables, image, corners, label) -> a probability each."""

  def run(
    variables: PyTree,
    image: Float[Array, 's s 3'],
    corners: Int[Array, 'n 2'],
    label: Int[Array, ''],
  ) -> Float[Array, 'n']:
    pixels = jnp.arange(len(image))[None, None]
    at = pixels - corners[..., None]  # [N, 2, S], from the corners
    inside = (at >= 0) & (at < side)
    hidden = inside[:, 0, :, None] & inside[:, 1, None, :]  # [N, S, S]
    x = jnp.where(hidden[..., None], 0, image[None])
    logits = backward.activations(fields, variables, x)['fc8']
    return jax.nn.softmax(logits)[:, label]

  return compile.jit(run)
