"""Checkpoints without training: of a config's initial values, but decided."""

import jax
import numpy as np

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import checksums, layout, save


def decided(state, *, seed=0):
  """A state in which images go through all layers, to scores that differ."""

  def drawn(path, old):
    layer, kind = path[-2].key, path[-1].key
    fan_in = old.size // old.shape[-1]
    scale = (2 / fan_in) ** 0.5 * {'conv1': 1 / 60, 'fc8': 8}.get(layer, 1)
    rng = np.random.default_rng((seed, old.size))
    new = scale * rng.normal(size=old.shape) * (kind != 'bias')
    return jax.device_put(new.astype(np.float32), old.sharding)

  return state.replace(
    params=jax.tree_util.tree_map_with_path(drawn, state.params),
    model_state=jax.tree.map(lambda x: x + 1, state.model_state),
    step=jax.device_put(np.int32(7), state.step.sharding),
  )


def checkpoint(workdir, config, *, statistics=False):
  """WORKDIR/checkpoints/7 of a config; its folder."""
  setup = setup_lib.set_up(config)
  state = decided(setup.programs.init(), seed=config.seed)
  directory = workdir / layout.FOLDER
  opened = save.CheckpointSaver(
    directory,
    keep_newest=1,
    statistics=setup.dataset.statistics if statistics else None,
  )
  opened.save(
    7,
    state=state.to_tree(),
    iterator_state=setup_lib.train_batches(setup, total_steps=9).get_state(),
    meta=layout.Meta(
      config=config.to_dict(),
      dataset=setup.dataset.name,
      fingerprint=setup.dataset.fingerprint,
      classes=[c._asdict() for c in setup.dataset.classes],
      versions=layout.versions(),
      digests=checksums.digest(state).arrays,
      top1_error=None,
      evaluation_due=False,
      pending=[],
      skipped=0,
    ),
  )
  opened.close()
  return directory / '7'
