"""Checkpoints: the training state, the place in the data, and what they are of.

A step is a folder with three orbax items: `state` (TrainState), `data` (the
grain iterator's state) and `meta` (JSON: config, classes, versions). Parameters
are whole arrays whatever mesh wrote them, so any mesh can read them. Not in
the paper.

What a reader may get wrong: orbax with `max_to_keep` and `best_fn` keeps the
best steps and deletes the newest; the policy below keeps both.
"""

import importlib.metadata
import pathlib
from typing import Any

import grain
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

import alexnet_jax

Meta = dict[str, Any]

FOLDER = 'checkpoints'
_PACKAGES = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'grain')


class Store:
  """The checkpoints of one run, WORKDIR/checkpoints."""

  def __init__(self, directory: pathlib.Path, *, keep_newest: int):
    """Opens the folder, making it if need be.

    Args:
      directory: WORKDIR/checkpoints.
      keep_newest: how many of the newest steps stay; the one with the lowest
        validation error stays besides.
    """
    policy = checkpoint_managers.AnyPreservationPolicy(
      [
        checkpoint_managers.LatestN(keep_newest),
        checkpoint_managers.BestN(
          get_metric_fn=lambda m: m['top1_error'], reverse=True, n=1
        ),
      ]
    )
    self._manager = ocp.CheckpointManager(
      directory.absolute(),
      options=ocp.CheckpointManagerOptions(preservation_policy=policy),
    )

  def save(
    self,
    step: int,
    *,
    state: PyTree,
    batches: grain.DatasetIterator,
    meta: Meta,
    top1_error: float,
  ) -> None:
    """Writes a step in the background; a step that is there already stays."""
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        data=grain.checkpoint.CheckpointSave(batches),
        meta=ocp.args.JsonSave(meta),
      ),
      metrics={'top1_error': top1_error},
    )

  def restore(
    self, step: int, *, state: PyTree, batches: grain.DatasetIterator
  ) -> PyTree:
    """The state of a step, laid out as `state` says; winds `batches` to it."""
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(state),
        data=grain.checkpoint.CheckpointRestore(batches),
      ),
    )
    return restored['state']

  def close(self) -> None:
    """Waits for what is being written."""
    self._manager.close()


def latest(directory: pathlib.Path) -> pathlib.Path | None:
  """The newest complete step below WORKDIR/checkpoints, if there is one."""
  if not directory.is_dir():
    return None
  steps = [
    d for d in directory.iterdir() if d.name.isdigit() and (d / 'meta').is_dir()
  ]
  return max(steps, key=lambda d: int(d.name), default=None)


def find(path: str) -> pathlib.Path:
  """The step folder that a user means: itself, or the newest of a run.

  Raises:
    ValueError: if the path is neither a step folder nor a run's.
  """
  given = pathlib.Path(path)
  if given.name.isdigit() and (given / 'meta').is_dir():
    return given
  found = latest(given / FOLDER) or latest(given)
  if found is None:
    what = 'is no checkpoint' if given.exists() else 'does not exist'
    raise ValueError(
      f'{path} {what}: give a WORKDIR with finished epochs, or one of its '
      f'{FOLDER}/STEP folders'
    )
  return found


def read_meta(step: pathlib.Path) -> Meta:
  """What a step folder says of itself, without reading its arrays."""
  with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
    return reader.restore((step / 'meta').absolute())


def read_state(step: pathlib.Path, *, state: PyTree) -> PyTree:
  """The TrainState of a step folder, laid out as `state` says."""
  with ocp.StandardCheckpointer() as reader:
    return reader.restore((step / 'state').absolute(), state)


def versions() -> dict[str, str]:
  """The packages that a checkpoint was written with."""
  others = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {'alexnet_jax': alexnet_jax.__version__} | others
