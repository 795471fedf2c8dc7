"""The ten views of images at once, which share their first layer (§4.1).

The five crops of an image overlap. Where their corners lie on the grid of
conv1's outputs, or of the pooling after it, these are computed once for the
whole image, and once for its mirror image. Only the last outputs of a crop, at
its bottom and at its right, differ: windows there read zeros where the image
goes on (conv.ceil_padding). They are computed from strips of the crop. Layers 2
to 5 then take one view after the other, and fully-connected layers all views
together, which reads their weights once.

Of the paper's net this saves a ninth of the arithmetic. For CPUs: on a GPU it
was not measured.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree, UInt8
from ml_collections import config_dict

from alexnet_jax import paper
from alexnet_jax.data import augment
from alexnet_jax.models import alexnet
from alexnet_jax.steps import preprocess


class Shared(NamedTuple):
  """The stages that all ten views share, and the grid of their outputs."""

  stages: int  # how many of alexnet.stages, from the first: conv1 and its ops
  stride: int  # of their outputs, in pixels of the image
  size: int  # outputs of a view along an axis, 27 in the paper


def shared(config: config_dict.ConfigDict) -> Shared | None:
  """Returns what the ten views share; None if they share nothing.

  >>> from alexnet_jax.configs import default
  >>> shared(default.get_config())
  Shared(stages=4, stride=8, size=27)
  """
  model, data = config.model, config.data
  layer, pools = model.layer.conv1, model.layer.conv1.ops.count('pool')
  names = [s for s in alexnet.stages(model) if s.partition('/')[0] == 'conv1']
  if (
    names[:1] != ['conv1']  # conv1 is skipped
    or layer.local  # each position has kernels of its own
    or layer.padding  # zeros at the top and left of a crop, too
    or 'spatial_norm' in layer.ops  # its sums reach over the crop's edge
    or pools > 1  # the strips below are for one
    or data.mean_at != 'crop'  # all have the same mean subtracted
  ):
    return None
  shapes = alexnet.activation_shapes(model, crop_size=data.crop_size)
  size = shapes[names[-1]][0]
  stride = layer.stride * (model.pool.stride if pools else 1)
  if pools:
    end = (size - 1) * model.pool.stride + model.pool.size  # of the last window
    if end > shapes['conv1'][0]:  # it hangs over: a strip would be too short
      return None
  # Corners are at 0, half of the border and all of it, from either side.
  border = data.image_size - data.crop_size
  if size == 1 or border % (2 * stride):
    return None
  return Shared(len(names), stride, size)


def ten_views_step(
  config: config_dict.ConfigDict, *, model: alexnet.AlexNet, share: Shared
) -> Callable[..., Float[Array, 'b classes']]:
  """Returns (variables, mean image, images) -> mean of the probabilities.

  `model` is the module for this device's columns.
  """
  names = alexnet.stages(config.model)
  dense = next(i for i, name in enumerate(names) if name.startswith('fc'))
  sizes = {name: config.data[name] for name in ('image_size', 'crop_size')}
  views = augment.views(paper.VIEWS, **sizes)
  corners = [(view.y, view.x) for view in views if not view.mirror]
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

    def of_crops(mirror: Bool[Array, '']) -> Float[Array, 'v b h w c']:
      """Returns the last maps of the crops of all images, or of their mirrors.

      The crops of a mirrored image are the mirrored crops of the image.
      """
      whole = preprocess.of_whole(
        config,
        mean_image=jnp.where(mirror, mean_image[:, ::-1], mean_image),
        images=jnp.where(mirror, images[:, :, ::-1], images),  # flips W
      )  # [B, 256, 256, 3]
      maps = _first_maps(
        first, whole, corners, size=sizes['crop_size'], share=share
      )
      return lax.map(middle, maps)  # [5, B, 6, 6, C|C/2]

    maps = lax.map(of_crops, jnp.array([False, True]))  # [2, 5, B, ...]
    probabilities = jax.nn.softmax(last(lax.collapse(maps, 0, 3)))
    return probabilities.reshape(len(views), len(images), -1).mean(axis=0)

  return step


def _first_maps(
  first: Callable[[Array], Array],
  whole: Float[Array, 'b t t 3'],
  corners: Sequence[tuple[int, int]],
  *,
  size: int,
  share: Shared,
) -> Float[Array, 'v b _ _ _']:
  """Returns the maps of the shared stages for each crop of whole images."""
  inside = share.size - 1  # outputs that read nothing beyond a crop
  start = share.stride * inside  # where the last one begins to read, 208
  bottoms = jnp.concatenate(  # [5 B, 16, 224, 3]
    [whole[:, y + start : y + size, x : x + size] for y, x in corners]
  )
  rights = jnp.concatenate(  # [5 B, 224, 16, 3]
    [whole[:, y : y + size, x + start : x + size] for y, x in corners]
  )
  maps = first(whole)  # [B, 31, 31, C|C/2]
  crops = []
  for (y, x), bottom, right in zip(
    corners,
    jnp.split(first(bottoms), len(corners)),  # each [B, 1, 27, C|C/2]
    jnp.split(first(rights), len(corners)),  # each [B, 27, 1, C|C/2]
    strict=True,
  ):
    i, j = y // share.stride, x // share.stride
    crop = maps[:, i : i + inside, j : j + inside]  # [B, 26, 26, C|C/2]
    crop = jnp.concatenate([crop, right[:, :inside]], axis=2)
    crops.append(jnp.concatenate([crop, bottom], axis=1))
  return jnp.stack(crops)  # [5, B, 27, 27, C|C/2]
