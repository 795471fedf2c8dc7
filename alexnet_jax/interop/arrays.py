"""From arrays with channels first, as Caffe and PyTorch have them, to a net."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float32, PyTree

from alexnet_jax.config import schema, validate
from alexnet_jax.data import dataset, stats
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.models import alexnet

MeanImage = Float32[np.ndarray, 's s 3']  # RGB from 0 to 255
Arrays = Mapping[str, Float32[np.ndarray, '...']]  # 'conv1/kernel', ...


def expected(config: schema.Config) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a network's variables: 'conv1/kernel', 'batch_stats/...'."""
  shapes = jax.eval_shape(
    lambda key: alexnet.init_variables(
      config.model, key, crop_size=config.data.crop_size
    ),
    jax.random.key(0),
  )  # takes no memory, whatever the config says
  return flat(shapes)


def layers(config: schema.Config) -> tuple[str, ...]:
  """Names of the layers, which are those of a network's params."""
  return alexnet.layer_names(config.model)


def flat(variables: Mapping[str, PyTree]) -> dict[str, Any]:
  """Names variables: of params 'conv1/kernel', else 'batch_stats/...'."""
  others = {k: v for k, v in variables.items() if k != 'params'}
  return traverse_util.flatten_dict({**variables['params'], **others}, sep='/')


def tree(arrays: Arrays) -> dict[str, Any]:
  """Undoes `flat`, but for the place of params; on JAX's default device."""
  placed = {name: jnp.asarray(array) for name, array in arrays.items()}
  return traverse_util.unflatten_dict(placed, sep='/')


def channels_last(
  arrays: Arrays, *, bgr: bool = False
) -> dict[str, Float32[np.ndarray, '...']]:
  """Turns OIHW and [out, in] into our layouts: HWIO and [in, out].

  The arrays are in the order of the layers. The first fully-connected layer
  reads maps channel by channel there, and position by position here.
  `bgr`: conv1 reads blue, green and red there.
  """
  found, channels = {}, 0  # of maps; 0 behind the first fully-connected layer
  for name, array in arrays.items():
    if array.ndim == 4:  # [O, I, H, W] -> [H, W, I, O]
      own = array if channels or not bgr else array[:, ::-1]  # conv1
      channels = len(array)
      array = own.transpose(2, 3, 1, 0)
    elif array.ndim == 2:  # [O, D] -> [D, O]
      if channels:  # D is C H W there, H W C here
        maps = array.reshape(len(array), channels, -1).swapaxes(1, 2)
        array, channels = maps.reshape(len(array), -1), 0
      array = array.T
    found[name] = array
  return found


def make(
  config: schema.Config,
  arrays: Arrays,
  *,
  classes: Sequence[dataset.ClassInfo],
  mean_image: MeanImage,
) -> net_lib.Net:
  """Makes a net of arrays in our layouts.

  The classes are as many as the units of fc8. Raises ValueError if the arrays
  are not finite.
  """
  config.model.num_classes = config.model.layer.fc8.units = len(classes)
  validate.check(config)
  for name, array in {**arrays, 'the mean image': mean_image}.items():
    if not np.isfinite(array).all():
      raise ValueError(f'its array {name} has values that are not finite')
  for name, spec in expected(config).items():
    shape = arrays[name].shape if name in arrays else None
    assert shape == spec.shape, (name, shape, spec.shape)  # checked by readers
  return net_lib.Net(
    config=config,
    params=tree(arrays),
    classes=tuple(classes),
    statistics=stats.Statistics(mean_image, stats.pca(np.zeros((3, 3)))),
  )


def pixel(colour: Sequence[float], *, config: schema.Config) -> MeanImage:
  """A mean image of one colour: red, green and blue from 0 to 255."""
  size = config.data.image_size
  return np.tile(np.array(colour, np.float32), (size, size, 1))
