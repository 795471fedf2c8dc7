"""Writes a net as a StableHLO program that JAX runs without this package."""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float32, Shaped

from alexnet_jax.data import augment
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.steps import preprocess as preprocess_lib

PLATFORMS = ('cpu', 'cuda', 'tpu')


def write(
  net: net_lib.Net, path: pathlib.Path, *, preprocess: bool = False
) -> None:
  """Writes the program with its weights, for any number of images.

  It maps images, what `net.preprocess` gives (float32 [B, S, S, 3]), to
  {'logits', 'probabilities'}: float32 [B, units]. With `preprocess` the images
  are uint8 [B, T, T, 3]: RGB squares as `net.squares` gives, of which the
  centre crop is used. Activations keep the net's dtype.
  """
  program = export.export(
    jax.jit(_program(net, preprocess)), platforms=PLATFORMS
  )
  path.write_bytes(program(_images(net, preprocess)).serialize())


def _program(
  net: net_lib.Net, preprocess: bool
) -> Callable[[Array], dict[str, Array]]:
  data = net.config.data
  params = jax.tree.map(jnp.asarray, net.params)
  mean_image = jnp.asarray(net.statistics.mean_image)
  (centre,) = augment.views(
    1, image_size=data.image_size, crop_size=data.crop_size
  )
  view = preprocess_lib.DeviceView(
    offset=np.array([centre.y, centre.x], np.int32), mirror=np.array(False)
  )

  def run(images: Shaped[Array, 'b t t 3']) -> dict[str, Float32[Array, 'b u']]:
    x = images
    if preprocess:
      x = preprocess_lib.of_view(
        net.config, mean_image=mean_image, images=images, view=view
      )
    logits = net.apply(params, x).astype(jnp.float32)
    return {'logits': logits, 'probabilities': jax.nn.softmax(logits)}

  return run


def _images(net: net_lib.Net, preprocess: bool) -> jax.ShapeDtypeStruct:
  (b,) = export.symbolic_shape('b')
  data = net.config.data
  size = data.image_size if preprocess else data.crop_size
  dtype = jnp.uint8 if preprocess else jnp.float32
  return jax.ShapeDtypeStruct((b, size, size, 3), dtype)
