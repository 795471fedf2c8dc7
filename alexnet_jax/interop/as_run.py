"""Writing a net as the workdir of a run at step 0."""

import pathlib
import shutil

import jax
import jax.numpy as jnp

from alexnet_jax.checkpoint import checksums, layout
from alexnet_jax.checkpoint import save as save_lib
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.optim import plateau, sgd
from alexnet_jax.runtime import paths
from alexnet_jax.steps import state as state_lib
from alexnet_jax.train import log


def check(output: str) -> pathlib.Path:
  """Returns the folder to write; ValueError if there is something already."""
  path = paths.expand(output)
  if path.exists() or path.is_symlink():
    raise ValueError(f'--output={output} exists: give a folder that does not')
  return path


def write(net: net_lib.Net, output: str, *, name: str) -> pathlib.Path:
  """Writes OUTPUT/config.json and OUTPUT/checkpoints/0, whole or not at all.

  Velocities are zero, so that training can continue from it. `name` is that of
  the data that the net was trained on. Returns the checkpoint's folder. Raises
  ValueError if there is something in its place, and SaveError if the disk
  cannot be written.
  """
  target = check(output).absolute()
  target.parent.mkdir(parents=True, exist_ok=True)
  scratch = target.with_name(f'.{target.name}.tmp')
  shutil.rmtree(scratch, ignore_errors=True)  # of a killed process
  scratch.mkdir()
  try:
    log.write_json(
      scratch / 'config.json', net.config.to_dict() | {'history': []}
    )
    _save(net, scratch / layout.FOLDER, name=name)
    check(output)  # a rename would replace an empty folder
    scratch.rename(target)
  finally:
    shutil.rmtree(scratch, ignore_errors=True)
  return target / layout.FOLDER / '0'


def _save(net: net_lib.Net, directory: pathlib.Path, *, name: str) -> None:
  state = _state(net)
  saver = save_lib.CheckpointSaver(
    directory, keep_newest=1, statistics=net.statistics
  )
  try:
    saver.save(
      0,
      state=state.to_tree(),
      iterator_state=layout.iterator_state(0),
      meta=layout.Meta(
        config=net.config.to_dict(),
        dataset=name,
        fingerprint='',  # of no data set that is known here
        classes=[c._asdict() for c in net.classes],
        versions=layout.versions(),
        digests=checksums.digest(state).arrays,
        top1_error=None,
        evaluation_due=False,
        pending=[],
        skipped=0,
      ),
    )
    saver.wait()
  finally:
    saver.close()


def _state(net: net_lib.Net) -> state_lib.TrainState:
  config = net.config
  rule = sgd.from_config(config.optim, scaling=config.batch_scaling)
  params = jax.tree.map(jnp.asarray, net.params)
  return state_lib.TrainState(
    step=jnp.int32(0),
    params=params,
    opt_state=rule.init(params),  # velocities of zero
    plateau=plateau.init(),
    model_state=jax.tree.map(jnp.asarray, dict(net.model_state)),
  )
