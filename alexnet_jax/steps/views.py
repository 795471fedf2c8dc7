"""The ten views of images at once, which share their first layer (§4.1).

The five crops of an image overlap. Where their corners are multiples of conv1's
stride times that of the pooling after it, conv1 and its ops are computed once
for the whole image, and once for its mirror image. Only a view's last row and
column differ: windows there read zeros where the image goes on
(conv.ceil_padding). They are computed from the end of the view alone. Layers 2
to 5 then take one view after the other, and fully-connected layers all views
together, which reads their weights once.

Of the paper's net this saves a ninth of the arithmetic.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree, UInt8
from ml_collections import config_dict

from alexnet_jax.data import augment
from alexnet_jax.models import alexnet
from alexnet_jax.steps import preprocess

VIEWS = 10


class Shared(NamedTuple):
  """What the views of an image have in common."""

  stages: int  # the first of alexnet.stages: conv1 and its ops
  pixels: int  # between the places of two neighbouring outputs of these
  size: int  # outputs of a view along an axis, 27 in the paper


def shared(config: config_dict.ConfigDict) -> Shared | None:
  """Returns what the ten views share; None if they share nothing.

  >>> from alexnet_jax.configs import default
  >>> shared(default.get_config())
  Shared(stages=4, pixels=8, size=27)
  """
  model, data = config.model, config.data
  layer, pools = model.layer.conv1, model.layer.conv1.ops.count('pool')
  names = [s for s in alexnet.stages(model) if s.partition('/')[0] == 'conv1']
  if (
    names[:1] != ['conv1']  # it is skipped
    or layer.local
    or layer.padding
    or 'spatial_norm' in layer.ops
    or pools > 1
    or data.mean_at != 'crop'
  ):
    return None
  shapes = alexnet.activation_shapes(model, crop_size=data.crop_size)
  size = shapes[names[-1]][0]
  pixels = layer.stride * (model.pool.stride if pools else 1)
  border = data.image_size - data.crop_size
  last = (size - 1) * model.pool.stride + model.pool.size  # window's end
  hangs = pools and last > shapes['conv1'][0]  # over the end of conv1
  if size == 1 or hangs or border % pixels or border // 2 % pixels:
    return None
  return Shared(len(names), pixels, size)


def ten_views_step(
  config: config_dict.ConfigDict, *, model: alexnet.AlexNet, share: Shared
) -> Callable[..., Float[Array, 'b classes']]:
  """Returns (variables, mean image, images) -> mean of the probabilities.

  `model` is the module for this device's columns.
  """
  names = alexnet.stages(config.model)
  dense = next(i for i, name in enumerate(names) if name.startswith('fc'))
  sizes = {name: config.data[name] for name in ('image_size', 'crop_size')}
  corners = [
    (view.y, view.x)
    for view in augment.views(VIEWS, **sizes)
    if not view.mirror
  ]
  parts = slice(share.stages), slice(share.stages, dense), slice(dense, None)

  def step(
    variables: PyTree,
    mean_image: Float[Array, 't t 3'],  # 256 x 256
    images: UInt8[Array, 'b t t 3'],
  ) -> Float[Array, 'b classes']:
    first, middle, last = (
      lambda x, part=part: model.apply(variables, x, part=part)[0]
      for part in parts
    )
    whole = preprocess.of_whole(config, mean_image=mean_image, images=images)

    def views(mirror: Bool[Array, '']) -> Float[Array, 'v b h w c']:
      """Returns the last maps of the crops of all images, or of their mirrors.

      The crops of a mirrored image are the mirrored crops of the image.
      """
      x = jnp.where(mirror, whole[:, :, ::-1], whole)  # flips W
      maps = _of_crops(first, x, corners, size=sizes['crop_size'], share=share)
      return lax.map(middle, maps)  # [5, B, 6, 6, C|C/2]

    maps = lax.map(views, jnp.array([False, True]))  # [2, 5, B, ...]
    maps = lax.collapse(maps, 0, 3)
    probabilities = jax.nn.softmax(last(maps))  # [10 B, classes]
    return probabilities.reshape(VIEWS, len(images), -1).mean(axis=0)

  return step


def _of_crops(
  first: Callable[[Array], Array],
  x: Float[Array, 'b t t 3'],
  corners: Sequence[tuple[int, int]],
  *,
  size: int,
  share: Shared,
) -> Float[Array, 'v b _ _ _']:
  """Applies the shared layers to whole images, and cuts their crops out."""
  inside = share.size - 1  # outputs that do not depend on what is beyond a crop
  end = share.pixels * inside  # where the last ones begin to read
  rows = jnp.concatenate(
    [x[:, top + end : top + size, left : left + size] for top, left in corners]
  )
  columns = jnp.concatenate(
    [x[:, top : top + size, left + end : left + size] for top, left in corners]
  )
  maps = first(x)  # [B, 31, 31, C|C/2]
  found = []
  for (top, left), row, column in zip(
    corners,
    jnp.split(first(rows), len(corners)),  # [B, 1, 27, C|C/2] each
    jnp.split(first(columns), len(corners)),  # [B, 27, 1, C|C/2]
    strict=True,
  ):
    i, j = top // share.pixels, left // share.pixels
    crop = maps[:, i : i + inside, j : j + inside]
    crop = jnp.concatenate([crop, column[:, :inside]], axis=2)
    found.append(jnp.concatenate([crop, row], axis=1))
  return jnp.stack(found)  # [5, B, 27, 27, C|C/2]
