"""Checkpoints: the training state, the place in the data, and what they are of.

A step is a folder with three orbax items: `state` (TrainState), `data` (the
grain iterator's state) and `meta` (JSON: config, classes, versions). Parameters
are whole arrays whatever mesh wrote them, so any mesh can read them. Not in
the paper.

What a reader may get wrong: orbax with `max_to_keep` and `best_fn` keeps the
best steps and deletes the newest; the policy below keeps both. And without a
`best_fn` it writes no metrics: a resumed run would not know the best step.
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
  """Writes the checkpoints of one run, WORKDIR/checkpoints."""

  def __init__(self, directory: pathlib.Path, *, keep_newest: int):
    """Opens the folder, making it if need be.

    Args:
      directory: WORKDIR/checkpoints.
      keep_newest: how many of the newest steps stay; the one with the lowest
        validation error stays besides.

    Raises:
      ValueError: if a step lies there that cannot be gone on from, which orbax
        would count as the newest.
    """
    by_error = checkpoint_managers.BestN(
      get_metric_fn=_top1_error, reverse=True, n=1
    )
    newest = checkpoint_managers.LatestN(keep_newest)
    self._manager = ocp.CheckpointManager(
      directory.absolute(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(
          [newest, by_error]
        ),
        best_fn=_top1_error,  # not to choose by, but so that errors are kept
        best_mode='min',
      ),
    )
    sound, counted = latest(directory), self._manager.latest_step()
    if counted is not None and (sound is None or counted != int(sound.name)):
      raise ValueError(
        f'{directory / str(counted)} is no complete checkpoint: remove it, or '
        'use another --workdir'
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
    """Writes a step in the background."""
    begun = self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        data=grain.checkpoint.CheckpointSave(batches),
        meta=ocp.args.JsonSave(meta),
      ),
      metrics={'top1_error': top1_error},
    )
    if not begun:
      raise RuntimeError(f'orbax would not save step {step}')

  def close(self) -> None:
    """Waits for what is being written."""
    self._manager.close()


def _top1_error(metrics: dict[str, float]) -> float:
  return metrics['top1_error']


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
  """What a step folder says of itself, without reading its arrays.

  Raises:
    ValueError: if it is damaged.
  """
  try:
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
      return reader.restore((step / 'meta').absolute())
  except (FileNotFoundError, ValueError) as error:
    raise ValueError(
      f'{step} is damaged ({error}): move it away, and the step before it is '
      'used'
    ) from error


def read_state(step: pathlib.Path, *, state: PyTree) -> PyTree:
  """The TrainState of a step folder, laid out as `state` says."""
  with ocp.StandardCheckpointer() as reader:
    return reader.restore((step / 'state').absolute(), state)


def wind(batches: grain.DatasetIterator, *, step: pathlib.Path) -> None:
  """Puts the iterator where it was when the step folder was written."""
  with ocp.Checkpointer(grain.checkpoint.CheckpointHandler()) as reader:
    args = grain.checkpoint.CheckpointRestore(batches)
    reader.restore((step / 'data').absolute(), args=args)


def versions() -> dict[str, str]:
  """The packages that a checkpoint was written with."""
  others = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {'alexnet_jax': alexnet_jax.__version__} | others
