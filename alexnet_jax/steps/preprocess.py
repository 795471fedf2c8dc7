"""Turns uint8 images into the network's input, on the device (§4.1).

Training sends crops, evaluation whole images, both uint8: a quarter of the
bytes of float32. Each device subtracts the mean, mirrors and shifts the colours
of its own images. `reference` in data/augment.py does the same in numpy.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree, UInt8
from ml_collections import config_dict


class DeviceView(NamedTuple):
  """A view of an image at test time (§4.1), as arrays on the device."""

  offset: PyTree  # int32 [2], (y, x) of the crop in the whole image
  mirror: PyTree  # bool []


def normalise(
  images: UInt8[Array, 'b s s 3'],
  *,
  mean_image: Float[Array, 't t 3'],
  offset: Int[Array, 'b 2'],
  mirror: Array,
  colour: Float[Array, 'b 3'],
  scale: Float[Array, ' b'],
  stddevs: Sequence[float] = (),
) -> Float[Array, 'b s s 3']:
  """Subtracts the mean of crops, mirrors them and shifts colours (§4.1).

  Args:
    images: crops, RGB 0-255, not yet mirrored.
    mean_image: of the training set, T x T pixels (256 in the paper), 0-255.
    offset: (y, x) of the part of the mean image that is subtracted from a crop.
    mirror: bool [B], which crops are turned left to right.
    colour: RGB, 0-255, added to every pixel of a crop.
    scale: by which each crop is multiplied; 1 in the paper.
    stddevs: RGB, by which all crops are divided at last; (): by nothing.
  """
  size = images.shape[1:]  # (224, 224, 3)

  def mean_at(yx: Int[Array, ' 2']) -> Float[Array, 's s 3']:
    return lax.dynamic_slice(mean_image, (*yx, jnp.zeros_like(yx[0])), size)

  x = images.astype(jnp.float32) - jax.vmap(mean_at)(offset)  # [B, 224, 224, 3]
  x = jnp.where(mirror[:, None, None, None], x[:, :, ::-1], x)  # flips W
  x = (x + colour[:, None, None]) * scale[:, None, None, None]
  return _divide(x, stddevs)


def _divide(
  x: Float[Array, 'b s s 3'], stddevs: Sequence[float]
) -> Float[Array, 'b s s 3']:
  if not stddevs:
    return x
  return x / jnp.array(tuple(stddevs), jnp.float32)[None, None, None]


def of_batch(
  config: config_dict.ConfigDict, *, mean_image: Array, batch: dict[str, Array]
) -> Float[Array, 'b s s 3']:
  """Turns a training batch into the network's input."""
  return normalise(
    batch['image'],
    mean_image=mean_image,
    offset=_mean_offset(batch['offset'], config=config),
    stddevs=config.data.channel_stddevs,
    **{name: batch[name] for name in ('mirror', 'colour', 'scale')},
  )


def _mean_offset(
  offset: Int[Array, '*b 2'], *, config: config_dict.ConfigDict
) -> Int[Array, '*b 2']:
  """Returns (y, x) of the part of the mean image for crops at `offset`."""
  if config.data.mean_at == 'crop':
    return offset  # the part that the crop covers
  middle = (config.data.image_size - config.data.crop_size) // 2
  return jnp.full_like(offset, middle)  # 2012: the centre


def of_whole(
  config: config_dict.ConfigDict,
  *,
  mean_image: Float[Array, 't t 3'],
  images: UInt8[Array, 'b t t 3'],
) -> Float[Array, 'b t t 3']:
  """Subtracts the mean image of whole images."""
  x = images.astype(jnp.float32) - mean_image[None]
  return _divide(x, config.data.channel_stddevs)


def of_view(
  config: config_dict.ConfigDict,
  *,
  mean_image: Float[Array, 't t 3'],
  images: UInt8[Array, 'b t t 3'],
  view: DeviceView,
) -> Float[Array, 'b s s 3']:
  """Cuts one view out of whole images and subtracts its mean."""
  size = config.data.crop_size  # 224
  offset = jnp.asarray(view.offset)
  zero = jnp.zeros_like(offset[0])  # of its dtype, with JAX_ENABLE_X64 too
  crops = lax.dynamic_slice(
    images,
    (zero, offset[0], offset[1], zero),
    (images.shape[0], size, size, 3),
  )
  middle = _mean_offset(offset, config=config)
  mean = lax.dynamic_slice(
    mean_image, (middle[0], middle[1], zero), (size, size, 3)
  )
  crops, mean = lax.cond(  # mirrors before the cast: bytes are quicker to move
    jnp.asarray(view.mirror),
    lambda crops, mean: (crops[:, :, ::-1], mean[:, ::-1]),
    lambda crops, mean: (crops, mean),
    crops,
    mean,
  )
  x = crops.astype(jnp.float32) - mean[None]  # [B, 224, 224, 3]
  return _divide(x, config.data.channel_stddevs)
