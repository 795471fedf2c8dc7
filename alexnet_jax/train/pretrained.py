"""Beginning a run with layers of another (§6).

The rows with an asterisk in Table 2 are of a network that was trained on all of
ImageNet first, and then fine-tuned: "all but fc8" of it in 2012
(layer-params-146-2012-2011.cfg), only the convolutional layers in the two steps
before (SOURCE_2012.md section 7).
"""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from alexnet_jax import run as run_lib
from alexnet_jax import steps
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.models import alexnet

# Of config.init_layers: which layers are taken.
_TAKEN: dict[str, Callable[[str], bool]] = {
  'conv': lambda layer: layer.startswith('conv'),
  'all_but_fc8': lambda layer: layer != 'fc8',
  'all': lambda layer: True,
}


def begin(setup: run_lib.Setup) -> steps.TrainState:
  """The state before step 1, with layers of config.init_from if it is given.

  Raises:
    ValueError: if there is no such checkpoint, none of its layers is asked for
      and in this network, or one that is has other sizes.
    DamagedError: if it is not what was written.
  """
  config, state = setup.config, setup.programs.init()
  if not config.init_from:
    return state
  path = layout.find(config.init_from)
  theirs = restore.read_arrays(path, meta=restore.read_meta(path))['params']
  asked = _TAKEN[config.init_layers]
  taken = [name for name in state.params if name in theirs and asked(name)]
  if not taken:
    raise ValueError(
      f'config.init_layers = {config.init_layers!r}: {path} has no such layer '
      f'of this network; it has {", ".join(theirs)}'
    )
  fresh = [n for n in alexnet.layer_names(config.model) if n not in taken]
  print(
    f'{", ".join(sorted(taken))} of {path}; '
    f'{", ".join(fresh) or "nothing"} afresh'
  )
  layers = {
    name: {
      kind: _as(ours, theirs[name][kind], what=f'{name}/{kind}', path=path)
      for kind, ours in state.params[name].items()
    }
    for name in taken
  }
  return dataclasses.replace(state, params=state.params | layers)


def _as(
  ours: jax.Array, theirs: jax.Array, *, what: str, path: pathlib.Path
) -> jax.Array:
  """Their array, laid out as ours."""
  if theirs.shape != ours.shape:
    was, is_ = (' x '.join(map(str, a.shape)) for a in (theirs, ours))
    raise ValueError(
      f'{what} of {path} is {was}, here {is_}: use --config.init_layers=conv, '
      'or the same sizes'
    )
  return jax.device_put(np.asarray(theirs, ours.dtype), ours.sharding)
