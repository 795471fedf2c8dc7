"""The images that excite a unit most, with the patches that it sees.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV
2014, Figure 2, show nine for each unit, and beside each what the deconvnet
projects back from it.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, PyTree, UInt8

from alexnet_jax.data import dataset
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.runtime import compile
from alexnet_jax.studies.explain import backward, fields

Named = tuple[str, UInt8[np.ndarray, 's s 3']]


class Patch(NamedTuple):
  """An image, where in it a unit is most excited, and what the unit sees."""

  name: str
  number: int  # of the image among those given, from 0
  value: float  # of the unit
  unit: tuple[int, ...]  # (row, column, channel), or (unit,)
  crop: UInt8[np.ndarray, 's s 3']  # the centre crop, 0-255
  rows: fields.Field  # of the crop, that the unit sees
  columns: fields.Field
  projection: Float32[np.ndarray, 's s 3']  # of the deconvnet, or gradient

  @property
  def seen(self) -> UInt8[np.ndarray, 'h w 3']:
    """The pixels that the unit sees."""
    return self.crop[slice(*self.rows), slice(*self.columns)]


class _Peak(NamedTuple):
  """The largest value of a unit's map in an image."""

  value: float
  place: int  # in the flattened map
  name: str
  number: int
  square: UInt8[np.ndarray, 's s 3']


def strongest(
  net: net_lib.Net,
  given: net_lib.Input | dataset.Split,
  *,
  layer: str,
  unit: int,
  count: int = 9,
  batch_size: int = 64,
) -> list[Patch]:
  """The images that excite a unit most, the strongest first; ties in order.

  Args:
    given: files, folders, images or arrays, or a split of a data set, of which
      images that cannot be read are left out. Only `count` are in memory.
    layer: of net.layers.
    unit: the channel of a convolutional layer: each image counts with the place
      at which it is largest; else the unit.

  Raises ValueError if there is no such unit, or no image.
  """
  shape = backward.layer_shape(net, layer)
  if not 0 <= unit < shape[-1]:
    raise ValueError(
      f'no unit {unit} in {layer}: it has {shape[-1]}, counted from 0'
    )
  if count < 1 or batch_size < 1:
    raise ValueError(
      f'count = {count}, batch_size = {batch_size}: use 1 or more'
    )
  best: list[_Peak] = []
  images = enumerate(_named(net, given))
  while part := list(itertools.islice(images, batch_size)):
    best += _peaks(net, part, layer=layer, unit=unit, size=batch_size)
    best = sorted(best, key=lambda peak: -peak.value)[:count]  # stable
  if not best:
    raise ValueError('no images: give files, or a folder with some')
  return _patches(net, best, layer=layer, unit=unit, shape=shape)


def _named(
  net: net_lib.Net, given: net_lib.Input | dataset.Split
) -> Iterator[Named]:
  """The images as squares, read as they are needed."""
  if isinstance(given, dataset.Split):
    for start in range(0, len(given), 64):
      for one in given.take(range(start, min(start + 64, len(given)))):
        if isinstance(one, dataset.Example):
          yield one.name, net.squares(one.image)[1][0]
    return
  if isinstance(given, str):
    given = net_lib.files(given)
  alone = hasattr(given, 'shape') or not isinstance(given, Iterable)
  for one in [given] if alone else given:
    yield from zip(*net.squares(one), strict=True)


def _peaks(
  net: net_lib.Net,
  part: list[tuple[int, Named]],
  *,
  layer: str,
  unit: int,
  size: int,
) -> list[_Peak]:
  """The peak of the unit in each image of a minibatch."""
  squares = np.stack([square for _, (_, square) in part])
  filled = squares[np.minimum(np.arange(size), len(squares) - 1)]
  values, places = jax.device_get(
    _program(backward.fields(net), layer)(
      net.variables, net.preprocess(filled), unit
    )
  )
  return [
    _Peak(float(value), int(place), name, number, square)
    for (number, (name, square)), value, place in zip(
      part, values, places, strict=False
    )
  ]


@functools.lru_cache(maxsize=32)
def _program(fields: str, layer: str) -> Callable[..., Any]:
  """Compiles (variables, x, unit) -> largest values, and their places."""

  def run(
    variables: PyTree, x: Float[Array, 'b s s 3'], unit: Int[Any, '']
  ) -> tuple[Float[Array, 'b'], Int[Array, 'b']]:
    found = backward.activations(fields, variables, x)[layer]
    values = found[..., unit].astype(jnp.float32).reshape(len(x), -1)
    return values.max(axis=1), values.argmax(axis=1)

  return compile.jit(run)


def _patches(
  net: net_lib.Net,
  best: list[_Peak],
  *,
  layer: str,
  unit: int,
  shape: tuple[int, ...],
) -> list[Patch]:
  relu = net.config.model.activation == 'relu'
  units = [
    (*map(int, np.unravel_index(peak.place, shape[:-1] or (1,))), unit)
    for peak in best
  ]
  units = [one[-len(shape) :] for one in units]
  squares = np.stack([peak.square for peak in best])
  projected = backward.of_units(
    net,
    x=net.preprocess(squares),
    layer=layer,
    units=np.array(units),
    rule='deconvnet' if relu else 'gradient',
  ).gradients
  crops = centre(net, squares)

  def seen(place: int) -> fields.Field:
    size = net.config.data.crop_size
    return fields.field(
      net.config.model, crop_size=size, layer=layer, place=place
    )

  return [
    Patch(
      peak.name,
      peak.number,
      peak.value,
      one,
      crop,
      *map(seen, one[:-1] or (0, 0)),
      projection,
    )
    for peak, one, crop, projection in zip(
      best, units, crops, np.asarray(projected), strict=True
    )
  ]


def centre(
  net: net_lib.Net, squares: UInt8[np.ndarray, 'n t t 3']
) -> UInt8[np.ndarray, 'n s s 3']:
  """The centre crops that net.preprocess takes, as RGB 0-255."""
  size = net.config.data.crop_size
  first = (squares.shape[1] - size) // 2
  return squares[:, first : first + size, first : first + size]
