"""A trained network from its checkpoint, ready to be shown images.

The checkpoint says which network it is of, so that checkpoints of different
presets can be looked at side by side; a config says the rest: which data, on
which devices. Not in the paper.
"""

import pathlib
from collections.abc import Collection
from typing import NamedTuple

from jaxtyping import PyTree
from ml_collections import config_dict

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.config import validate

Config = config_dict.ConfigDict
# Besides config.model: what the network sees of an image.
_OF_THE_NETWORK = ('data.crop_size', 'data.mean_at', 'data.image_size')


class Network(NamedTuple):
  """What `network` gives.

  Attributes:
    path: the step's folder.
    step: minibatches that it was trained for.
    meta: what the checkpoint says of itself.
    setup: data, mesh and programs.
    params: on the mesh.
  """

  path: pathlib.Path
  step: int
  meta: layout.Meta
  setup: setup_lib.Setup
  params: PyTree

  @property
  def epoch(self) -> float:
    """Passes over a training set as long as that of the data at hand."""
    images = self.step * self.meta['config']['batch_size']
    return images / self.setup.plan.images_per_epoch


def network(
  path: pathlib.Path, *, config: Config, typed: Collection[str] = ()
) -> Network:
  """Reads a checkpoint and builds its network.

  Args:
    path: the step's folder, as layout.find gives it.
    config: which data and devices; its network is not looked at, but for
      `typed`.
    typed: fields that the user set by name: they must be as in the checkpoint.

  Raises:
    DamagedError: if the checkpoint is not what was written.
    ValueError: if the data set or the machine do not fit the network.
  """
  meta = restore.read_meta(path)
  setup = setup_lib.set_up(_with_network(config, meta, typed=typed, path=path))
  setup_lib.check_same_classes(meta, setup, path=path)
  state = restore.read_state(path, meta=meta, state=setup.programs.state)
  return Network(path, int(path.name), meta, setup, state.params)


def own_config(meta: layout.Meta) -> Config:
  """The config that a checkpoint was trained with, data set and all.

  Raises:
    ValueError: if this version of the program cannot work with it.
  """
  config = Config(setup_lib.from_json(meta['config']))
  try:
    validate.check(config)
  except ValueError as error:
    wrote = meta['versions'].get('alexnet_jax')
    raise ValueError(
      f'a checkpoint of alexnet_jax {wrote} cannot be used by this one '
      f'({error}): use the version that wrote it'
    ) from error
  return config


def _with_network(
  config: Config,
  meta: layout.Meta,
  *,
  typed: Collection[str],
  path: pathlib.Path,
) -> Config:
  """The config with the checkpoint's network in place of its own."""
  theirs = Config(setup_lib.from_json(meta['config']))
  for field, value in validate.leaves(theirs):
    of_it = field.startswith('model.') or field in _OF_THE_NETWORK
    if of_it and field in typed and validate.get(config, field) != value:
      raise ValueError(
        f'config.{field} = {validate.get(config, field)!r}, but {path} was '
        f'trained with {value!r}: leave it out, or use another checkpoint'
      )
  ours = config.copy_and_resolve_references()
  with ours.unlocked():
    ours.model = theirs.model
    ours.ablations = theirs.ablations
    for name in ('crop_size', 'mean_at', 'image_size'):
      ours.data[name] = theirs.data[name]
  # A net of one column runs where one of two does.
  ours.mesh.column = min(ours.mesh.column, ours.model.columns)
  return ours
