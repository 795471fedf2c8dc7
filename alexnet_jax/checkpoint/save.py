"""Writing checkpoints in the background; not in the paper.

Of several processes process 0 writes the whole, and the others learn how it
went. What a reader may get wrong: orbax with `max_to_keep` and `best_fn` keeps
the best steps and deletes the newest; the policy below keeps both. And without
a `best_fn` it writes no metrics: a resumed run would not know the best step.
"""

import contextlib
import errno
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

from alexnet_jax.checkpoint import checksums, layout, orbax_quirks, quiet
from alexnet_jax.parallel import distributed, hosts


class SaveError(ValueError):
  """A step could not be written; those before it are as they were."""

  def __init__(self, step: pathlib.Path, reason: str):
    super().__init__(
      f'{step} cannot be written: {reason}; the checkpoints before it are as '
      'they were: make room or mend the disk, and run the same command again'
    )


class Store:
  """Writes the checkpoints of one run, WORKDIR/checkpoints."""

  def __init__(self, directory: pathlib.Path, *, keep_newest: int):
    """Opens the folder, making it if need be; layout.tidy comes first.

    Args:
      directory: WORKDIR/checkpoints.
      keep_newest: how many of the newest steps stay; the one with the lowest
        validation error stays besides.
    """
    self._directory = directory.absolute()
    self._step = -1  # being written
    self._manager: ocp.CheckpointManager | None = None
    if distributed.is_first():
      self._manager = self._open(keep_newest)
    self._quiet = contextlib.ExitStack()
    self._quiet.enter_context(quiet.orbax())

  def _open(self, keep_newest: int) -> ocp.CheckpointManager:
    self._directory.mkdir(parents=True, exist_ok=True)
    together = orbax_quirks.orbax_options()
    by_error = checkpoint_managers.BestN(
      get_metric_fn=_top1_error,
      reverse=True,
      n=1,
    )
    newest = checkpoint_managers.LatestN(keep_newest)
    return ocp.CheckpointManager(
      self._directory,
      item_handlers={
        # Floats of a trained net hardly shrink: compressing them takes 1.7 s of
        # a processor for 12 % of the room, 0.3 s without.
        'state': ocp.PyTreeCheckpointHandler(
          use_compression=False, multiprocessing_options=together
        ),
        'data': ocp.JsonCheckpointHandler(
          layout.ITERATOR, multiprocessing_options=together
        ),
        'meta': ocp.JsonCheckpointHandler(multiprocessing_options=together),
      },
      options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(
          [newest, by_error]
        ),
        best_fn=_top1_error,  # not to choose by, but so that errors are kept
        best_mode='min',
        create=False,
        multiprocessing_options=together,
        # Runs before the folder gets its name: sums are there if the step is.
        async_options=ocp.options.AsyncOptions(
          post_finalization_callback=self._write_sums
        ),
      ),
    )

  def save(
    self,
    step: int,
    *,
    state: PyTree,
    batches: grain.DatasetIterator,
    meta: layout.Meta,
  ) -> None:
    """Writes a step in the background; waits for the one before it.

    All processes call it, each with its part of the state.

    Raises:
      SaveError: if this step, or the one before, cannot be written.
      ElsewhereError: if process 0 cannot write it.
    """
    self.wait()  # from here on `_write_sums` is this step's
    self._step = step
    if distributed.several():
      state = hosts.give_first(state)
    hosts.first_does(
      lambda: self._begin(state, place=batches.get_state(), meta=meta)
    )

  def _begin(
    self, state: PyTree, *, place: dict[str, Any], meta: layout.Meta
  ) -> None:
    """In process 0: what `save` does."""
    assert self._manager
    error = meta['top1_error']
    with self._told():
      self._check_room(sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
      begun = self._manager.save(
        self._step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(state),
          data=ocp.args.JsonSave(place),
          meta=ocp.args.JsonSave(dict(meta)),
        ),
        metrics={} if error is None else {'top1_error': error},
      )
    if not begun:
      raise RuntimeError(f'orbax would not save step {self._step}')

  def wait(self) -> None:
    """Until what was being written is there; all processes call it.

    Raises:
      SaveError: if it cannot be written.
      ElsewhereError: if process 0 cannot write it.
    """
    hosts.first_does(self._wait)

  def _wait(self) -> None:
    assert self._manager
    with self._told():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and ends the threads that write; of this process alone.

    Raises:
      SaveError: if a step cannot be written.
    """
    with self._quiet, self._told():
      if self._manager:
        self._manager.close()
        layout.settle(self._directory)

  def _check_room(self, size: int) -> None:
    if not self._directory.is_dir():  # orbax would make it again
      raise FileNotFoundError(errno.ENOENT, 'its folder was removed')
    free = shutil.disk_usage(self._directory).free
    if free < size:
      what = f'{size / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free'
      raise OSError(errno.ENOSPC, what)

  @contextlib.contextmanager
  def _told(self) -> Iterator[None]:
    """Turns what goes wrong with the disk into a SaveError."""
    try:
      yield
    except Exception as error:
      gone = '' if self._directory.is_dir() else 'its folder was removed'
      reason = gone or _disk_trouble(error)
      if not reason:
        raise
      raise SaveError(self._directory / str(self._step), reason) from error

  def _write_sums(self) -> None:
    being_written = f'{self._step}{layout.BEING_WRITTEN}*'
    (folder,) = self._directory.glob(being_written)
    sums = checksums.file_sums(folder)
    with open(folder / layout.SUMS, 'w') as file:
      file.write(json.dumps(sums, indent=1) + '\n')
      file.flush()
      os.fsync(file.fileno())


def _top1_error(metrics: dict[str, float]) -> float:
  return metrics.get('top1_error', math.inf)


_TROUBLE = (  # what tensorstore and orbax make of an errno is only text
  'No space left',
  'Disk quota exceeded',
  'File too large',
  'Read-only file system',
  'Permission denied',
  'No such file or directory',
  'Input/output error',
  'Stale file handle',
)


def _disk_trouble(error: BaseException | None) -> str:
  """What the system said, if it is the disk that fails; else ''."""
  while error is not None:
    if isinstance(error, OSError) and error.strerror:
      return error.strerror
    for text in _TROUBLE:
      if text in str(error):
        return text
    error = error.__cause__ or error.__context__
  return ''
