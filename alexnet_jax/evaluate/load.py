"""A trained network from its checkpoint, ready to evaluate images.

The network is the checkpoint's own, so that one command can compare different
presets; data and devices are those of a config.
"""

import pathlib
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, PyTree

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import compatible, layout, restore
from alexnet_jax.config import schema
from alexnet_jax.data import dataset
from alexnet_jax.evaluate import other
from alexnet_jax.parallel import distributed, hosts
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
  match: other.Match | None = (
    None  # of its units with the classes of --eval_data
  )

  @property
  def epoch(self) -> float | None:
    """Passes over the training split; None if the data set is another."""
    if self.meta['fingerprint'] != self.setup.dataset.fingerprint:
      return None
    images = self.step * self.meta['config']['batch_size']  # seen in training
    return images / self.setup.plan.images_per_epoch


def network(
  path: pathlib.Path | str,
  *,
  config: schema.Config,
  typed: Collection[str] = (),
  eval_data: str = '',
) -> Network:
  """Restores a checkpoint and builds its network.

  `path` is a WORKDIR or a step, as for layout.find. `config` gives the data and
  the devices; its network is ignored, but `typed`, fields that the user set by
  name, must be as in the checkpoint. `eval_data` is a data set of other classes
  or images to evaluate on, see other.adapt; '': that of the config. Raises
  DamagedError if the checkpoint is not what was written, and ValueError if the
  data set or the machine do not fit the network.
  """
  made: dict[str, setup_lib.Setup] = {}  # by config: takes seconds

  def read(step: pathlib.Path) -> Network:
    meta = restore.read_meta(step)
    ours = _with_network(config, meta, typed=typed, path=step)
    if config.init_layers == 'network':  # so was its training
      ours.data.resize = meta['config']['data']['resize']
    if eval_data:
      return _on_other_data(ours, meta, step=step, eval_data=eval_data)
    ours = setup_lib.with_prepared_data(ours)
    key = str(ours)

    def check(data: dataset.Dataset) -> dataset.Dataset:
      compatible.check_classes(meta, data, path=step)  # before their number
      return data

    setup = made[key] = made.get(key) or setup_lib.set_up(ours, adapt=check)
    check(setup.dataset)
    return _restored(setup, meta, step=step)

  return restore.of_newest(path, read=read)


def _restored(
  setup: setup_lib.Setup, meta: layout.Meta, *, step: pathlib.Path
) -> Network:
  tree = setup.programs.state.to_tree()  # shapes, dtypes and shardings
  state = TrainState(**restore.read_state(step, meta=meta, state=tree))
  return Network(step, int(step.name), meta, setup, state.variables)


def _on_other_data(
  config: schema.Config,
  meta: layout.Meta,
  *,
  step: pathlib.Path,
  eval_data: str,
) -> Network:
  """A network on another data set, which is prepared first if need be."""
  matches = []

  def adapt(data: dataset.Dataset) -> dataset.Dataset:
    adapted, match = other.adapt(
      data,
      known=[dataset.ClassInfo(**c) for c in meta['classes']],
      mean_image=mean_image,
      network=str(step),
      whole=whole,
    )
    matches.append(match)
    return adapted

  config.data.source, config.data.tfds = 'prepared', ''
  config.data.dir = eval_data
  config.data.resize = meta['config']['data']['resize']
  config = setup_lib.with_prepared_data(config, flag='--eval_data')
  whole = setup_lib.is_divided(config)
  mean_image = _mean_image(step, size=config.data.image_size)
  setup = setup_lib.set_up(config, adapt=adapt)
  return _restored(setup, meta, step=step)._replace(match=matches[0])


def _mean_image(
  step: pathlib.Path, *, size: int
) -> Float32[np.ndarray, 's s 3']:
  """The mean image of a checkpoint, read on host 0 for all hosts."""
  found = hosts.run_everywhere(
    lambda: restore.read_statistics(step) if distributed.is_host0() else None
  )
  if not hosts.from_host0(lambda: found is not None):
    raise ValueError(
      f'{step} holds no mean image, since a version before 0.2 wrote it: it '
      'cannot be evaluated on other data; leave out --eval_data'
    )
  if not distributed.is_multihost():
    assert found
    return found.mean_image
  return hosts.broadcast_from_host0(
    found and found.mean_image, shape=(size, size, 3), dtype=np.float32
  )


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
    for name in schema.FORMS:  # as the run evaluates itself
      if ours[name] is None:
        ours[name] = theirs.get(name)
  # A net of one column, or with windows across them, uses one device for all.
  most = 1 if ours.model.lrn.across_columns else ours.model.columns
  ours.mesh.column = min(ours.mesh.column, most)
  return ours
