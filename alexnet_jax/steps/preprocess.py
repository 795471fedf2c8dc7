"""What the network sees of minibatches and of views, on the device (§4.1).

Images arrive as uint8, crops in training and whole ones in evaluation. Here
they lose their mean, are mirrored, and take the colour shift; each device does
so for its own rows. data/augment.py has the same in numpy, as the reference.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree, UInt8
from ml_collections import config_dict


class View(NamedTuple):
  """One of the views of an image at test time (§4.1)."""

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
) -> Float[Array, 'b s s 3']:
  """What the network sees of crops: less the mean, mirrored, shifted (§4.1).

  Args:
    images: crops, RGB 0-255, not yet mirrored.
    mean_image: of the training set at full size, 0-255.
    offset: (y, x) in the mean image of what each crop loses.
    mirror: bool [b], which crops are turned left to right.
    colour: RGB, 0-255, what is added to every pixel of each crop.
    scale: what each crop is multiplied by in the end.
  """
  size = images.shape[1:]

  def mean_at(yx: Int[Array, ' 2']) -> Float[Array, 's s 3']:
    return lax.dynamic_slice(mean_image, (yx[0], yx[1], 0), size)

  x = images.astype(jnp.float32) - jax.vmap(mean_at)(offset)
  x = jnp.where(mirror[:, None, None, None], x[:, :, ::-1], x)
  return (x + colour[:, None, None]) * scale[:, None, None, None]


def of_batch(
  config: config_dict.ConfigDict, *, mean_image: Array, batch: dict[str, Array]
) -> Float[Array, 'b s s 3']:
  """A training batch as the network sees it."""
  return normalise(
    batch['image'],
    mean_image=mean_image,
    offset=_mean_offset(batch['offset'], config=config),
    mirror=batch['mirror'],
    colour=batch['colour'],
    scale=batch['scale'],
  )


def _mean_offset(
  offset: Int[Array, '*b 2'], *, config: config_dict.ConfigDict
) -> Int[Array, '*b 2']:
  """Where in the mean image crops taken at `offset` lose their mean."""
  if config.data.mean_at == 'crop':
    return offset
  middle = (config.data.image_size - config.data.crop_size) // 2
  return jnp.full_like(offset, middle)


def of_view(
  config: config_dict.ConfigDict,
  *,
  mean_image: Float[Array, 't t 3'],
  images: UInt8[Array, 'b t t 3'],
  view: View,
) -> Float[Array, 'b s s 3']:
  """One view of whole images as the network sees it."""
  size = config.data.crop_size
  offset = jnp.asarray(view.offset)
  crops = lax.dynamic_slice(
    images, (0, offset[0], offset[1], 0), (len(images), size, size, 3)
  )
  middle = _mean_offset(offset, config=config)
  mean = lax.dynamic_slice(
    mean_image, (middle[0], middle[1], 0), (size, size, 3)
  )
  crops, mean = lax.cond(  # here, where pixels are bytes yet
    jnp.asarray(view.mirror),
    lambda crops, mean: (crops[:, :, ::-1], mean[:, ::-1]),
    lambda crops, mean: (crops, mean),
    crops,
    mean,
  )
  return crops.astype(jnp.float32) - mean[None]
