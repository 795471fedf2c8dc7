"""A trained network from its checkpoint, ready to evaluate images.

The network is the checkpoint's own, so that one command can compare different
presets; data and devices are those of a config.
"""

import pathlib
from collections.abc import Collection
from typing import NamedTuple

from jaxtyping import PyTree

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import compatible, layout, restore
from alexnet_jax.config import schema
from alexnet_jax.data import dataset
from alexnet_jax.steps.state import TrainState

# Fields of the network's input, besides config.model. Views are cut from images
# of the size that the network was trained on.
_INPUT = (*compatible.INPUT, 'data.image_size')


class Network(NamedTuple):
  """A network and what it is evaluated on."""

  path: pathlib.Path  # folder of the checkpoint
  step: int  # minibatches that it was trained for
  meta: layout.Meta  # of the checkpoint
  setup: setup_lib.Setup  # data, mesh and programs
  variables: PyTree  # on the mesh: TrainState.variables

  @property
  def epoch(self) -> float:
    """Passes over a training split as long as that of the data at hand."""
    images = self.step * self.meta['config']['batch_size']  # seen in training
    return images / self.setup.plan.images_per_epoch


def network(
  path: pathlib.Path | str,
  *,
  config: schema.Config,
  typed: Collection[str] = (),
) -> Network:
  """Restores a checkpoint and builds its network.

  `path` is a WORKDIR or a step, as for layout.find. `config` gives the data and
  the devices; its network is ignored, but `typed`, fields that the user set by
  name, must be as in the checkpoint. Raises DamagedError if the checkpoint is
  not what was written, and ValueError if the data set or the machine do not fit
  the network.
  """
  made: dict[str, setup_lib.Setup] = {}  # by config: takes seconds

  def read(step: pathlib.Path) -> Network:
    meta = restore.read_meta(step)
    ours = _with_network(config, meta, typed=typed, path=step)
    key = str(ours)

    def check(data: dataset.Dataset) -> None:  # before the number of classes
      compatible.check_classes(meta, data, path=step)

    setup = made[key] = made.get(key) or setup_lib.set_up(ours, check=check)
    check(setup.dataset)
    tree = setup.programs.state.to_tree()  # shapes, dtypes and shardings
    state = TrainState(**restore.read_state(step, meta=meta, state=tree))
    return Network(step, int(step.name), meta, setup, state.variables)

  return restore.of_newest(path, read=read)


def _with_network(
  config: schema.Config,
  meta: layout.Meta,
  *,
  typed: Collection[str],
  path: pathlib.Path,
) -> schema.Config:
  """The config with the checkpoint's network in place of its own."""
  theirs = schema.Config(schema.from_json(meta['config']))
  missing = [f for f in ('model', 'data') if f not in theirs]
  if missing:
    raise ValueError(
      f'the config of {path} has no {missing[0]}: it was not written by this '
      'program, use another checkpoint'
    )
  for field, value in schema.leaves(theirs):
    if not (field.startswith('model.') or field in _INPUT):
      continue
    if field in typed and schema.get(config, field) != value:
      raise ValueError(
        f'config.{field} = {schema.get(config, field)!r}, but {path} was '
        f'trained with {value!r}: leave it out, or use another checkpoint'
      )
  ours = config.copy_and_resolve_references()
  with ours.unlocked():
    ours.model = theirs.model
    ours.ablations = theirs.ablations  # made in its network
    for field in _INPUT:
      name = field.removeprefix('data.')
      ours.data[name] = theirs.data[name]
  # A net of one column, or with windows across them, uses one device for all.
  most = 1 if ours.model.lrn.across_columns else ours.model.columns
  ours.mesh.column = min(ours.mesh.column, most)
  return ours
