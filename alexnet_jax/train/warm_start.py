"""Starting a run with trained layers of another run: fine-tuning (§6).

The rows with an asterisk in Table 2 are of a network that was first trained on
all of ImageNet. In the last step of 2012 all layers but fc8 were fine-tuned
(layer-params-146-2012-2011.cfg), in the two steps before only the convolutional
layers.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import compatible, restore
from alexnet_jax.config import schema
from alexnet_jax.models import alexnet
from alexnet_jax.parallel import hosts
from alexnet_jax.steps.state import TrainState
from alexnet_jax.train import log

# Value of config.init_from in a config that continues another run.
REQUIRED = 'REQUIRED'
# Fields of the network's input that 'network' takes besides config.model.
_INPUT = (*compatible.INPUT, 'data.image_size', 'data.resize')
_HEAD = ('model.num_classes', 'model.layer.fc8.units')  # not taken
# config.init_layers: which layers are taken.
TAKEN: dict[str, Callable[[str], bool]] = {
  'network': lambda layer: layer != 'fc8',  # see with_network
  'conv': lambda layer: layer.startswith('conv'),
  'all_but_fc8': lambda layer: layer != 'fc8',
  'all': lambda layer: True,
}


def initial_state(setup: setup_lib.Setup) -> TrainState:
  """Builds the state before step 1, with layers of config.init_from.

  Raises ValueError if config.init_from is required and missing, is no
  checkpoint, or has none of these layers, or one of another size, and
  DamagedError if the checkpoint is damaged.
  """
  config, state = setup.config, setup.programs.init()
  _check_given(config)

  def read(step: pathlib.Path) -> tuple[pathlib.Path, PyTree]:
    return step, restore.read_arrays(step, meta=restore.read_meta(step))

  path, arrays = restore.of_newest(config.init_from, read=read)
  theirs = arrays['params']
  asked = TAKEN[config.init_layers]
  taken = [name for name in state.params if name in theirs and asked(name)]
  if not taken:
    raise ValueError(
      f'config.init_layers = {config.init_layers!r}: {path} has no such layer '
      f'of this network; it has {", ".join(theirs)}'
    )
  for name in taken:
    for kind, ours in state.params[name].items():
      _check(ours, theirs[name], name=name, kind=kind, config=config, path=path)
  layers = {
    name: {
      kind: jax.device_put(
        np.asarray(theirs[name][kind], ours.dtype), ours.sharding
      )
      for kind, ours in state.params[name].items()
    }
    for name in taken
  }
  fresh = [n for n in alexnet.layer_names(config.model) if n not in taken]
  print(
    f'{", ".join(sorted(taken))} of {path}; '
    f'{", ".join(fresh) or "nothing"} afresh'
  )
  return dataclasses.replace(state, params=state.params | layers)


def with_network(
  config: schema.Config,
  *,
  workdir: pathlib.Path,
  typed: Collection[str] = (),
) -> schema.Config:
  """The config with the network of config.init_from in place of its own.

  It is that of config.json once the run has begun in `workdir`. The number of
  classes stays the config's, and so do `typed`, fields that the user set by
  name. Nothing changes unless config.init_layers is 'network'. Raises
  ValueError if config.init_from is required and missing, or is no checkpoint.
  """
  if not hosts.from_host0(  # decides for all, whatever their configs say
    lambda: config.init_layers == 'network' and bool(config.init_from)
  ):
    return config

  def begun() -> dict[str, Any]:
    stored = schema.upgrade(log.read_json(workdir / 'config.json'))
    if stored.get('init_layers') == 'network' and schema.is_plain(stored):
      return stored
    _check_given(config)
    return {}

  theirs = hosts.from_host0(begun)
  if not theirs:
    theirs = restore.of_newest(
      config.init_from, read=lambda step: restore.read_meta(step)['config']
    )
  network = dict(schema.leaves(schema.from_json(theirs)))
  made = config.copy_and_resolve_references()
  with made.ignore_type():
    for field, value in network.items():
      ours = field in _HEAD or field in typed or field not in schema.FIELDS
      if not ours and (field.startswith('model.') or field in _INPUT):
        made.update_from_flattened_dict({field: value})
    made.ablations = tuple(
      sorted({*theirs.get('ablations', ()), *config.ablations})
    )
  return made


def _check_given(config: schema.Config) -> None:
  if config.init_from == REQUIRED:
    raise ValueError(
      'config.init_from is missing, and this config continues another run: '
      'add --config.init_from=WORKDIR of that run, or --config.init_from= to '
      'start without one'
    )


def _check(
  ours: jax.Array,
  theirs: Mapping[str, jax.Array | np.ndarray],
  *,
  name: str,
  kind: str,
  config: schema.Config,
  path: pathlib.Path,
) -> None:
  """Raises ValueError if their array has other sizes than ours."""
  shape = theirs[kind].shape if kind in theirs else ()
  if shape == ours.shape:
    return
  was, is_ = (' x '.join(map(str, s)) or 'missing' for s in (shape, ours.shape))
  without = [option for option, asked in TAKEN.items() if not asked(name)]
  fix = 'make this network of the same sizes'
  if without:  # the last of them takes most
    fix = f'use --config.init_layers={without[-1]}, or {fix}'
  raise ValueError(
    f'config.init_layers = {config.init_layers!r}: {name}/{kind} of {path} is '
    f'{was}, here {is_}: {fix}'
  )
