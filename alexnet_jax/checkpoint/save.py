"""Writing checkpoints in the background, on host 0.

With `max_to_keep` and `best_fn` orbax keeps the best steps and deletes the
newest; the policy below keeps both. Without a `best_fn` it writes no metrics,
and a resumed run would not know the best step.
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

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

from alexnet_jax.checkpoint import checksums, layout, orbax_quirks
from alexnet_jax.data import stats
from alexnet_jax.parallel import distributed, hosts


class SaveError(ValueError):
  """A checkpoint could not be written; those before it are unchanged."""

  def __init__(self, step: pathlib.Path, reason: str):
    super().__init__(
      f'{step} cannot be written: {reason}; the checkpoints before it are '
      'unchanged: make room or check the disk, and run the same command again'
    )


class CheckpointSaver:
  """Writes the checkpoints of one run, WORKDIR/checkpoints."""

  def __init__(
    self,
    directory: pathlib.Path,
    *,
    keep_newest: int,
    statistics: stats.Statistics | None = None,
  ):
    """Opens the folder, made if need be; call layout.clean_partial first.

    The `keep_newest` newest steps stay; the one with the lowest validation
    error stays besides. `statistics` are those of the training split, which a
    net needs to read images; without them it needs its data set.
    """
    self._statistics = statistics
    self._directory = directory.absolute()
    self._step = -1  # being written
    self._inode = -1  # of the folder
    self._manager: ocp.CheckpointManager | None = None
    if distributed.is_host0():
      self._manager = self._open(keep_newest)
    self._quiet = contextlib.ExitStack()
    self._quiet.enter_context(orbax_quirks.quiet())

  def _open(self, keep_newest: int) -> ocp.CheckpointManager:
    self._directory.mkdir(parents=True, exist_ok=True)
    self._inode = self._directory.stat().st_ino
    options = orbax_quirks.host0_options()
    by_error = checkpoint_managers.BestN(
      get_metric_fn=_top1_error,
      reverse=True,  # the lowest error is best
      n=1,  # besides the newest
    )
    newest = checkpoint_managers.LatestN(keep_newest)
    return ocp.CheckpointManager(
      self._directory,
      item_handlers={
        # Floats of a trained net hardly compress: 1.7 s of a processor for
        # 12 % less space, against 0.3 s uncompressed.
        'state': ocp.PyTreeCheckpointHandler(
          use_compression=False, multiprocessing_options=options
        ),
        'data': ocp.JsonCheckpointHandler(
          layout.ITERATOR, multiprocessing_options=options
        ),
        'meta': ocp.JsonCheckpointHandler(multiprocessing_options=options),
        layout.STATISTICS: ocp.PyTreeCheckpointHandler(
          use_compression=False, multiprocessing_options=options
        ),
      },
      options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(
          [newest, by_error]
        ),
        best_fn=_top1_error,  # so that orbax stores the errors
        best_mode='min',
        create=False,
        # A rename: a step that is being removed is never taken for a damaged
        # one. `_wait` removes it.
        todelete_subdir=layout.DELETED,
        multiprocessing_options=options,
        # Runs before the folder is renamed: a complete step has its sums.
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
    iterator_state: dict[str, Any],
    meta: layout.Meta,
  ) -> None:
    """Writes a step in the background; waits for the one before it first.

    All hosts call it, each with its shards of the state; `iterator_state` is
    that of the minibatches (data/pipeline.py), `meta` describes the rest. If
    this step or the one before cannot be written, host 0 raises SaveError and
    the other hosts OtherHostError.
    """
    self.wait()  # from here on `_write_sums` is this step's
    self._step = step
    if distributed.is_multihost():
      state = hosts.gather_to_host0(state)  # None on the others
    hosts.on_host0(
      lambda: self._begin(state, iterator_state=iterator_state, meta=meta)
    )

  def _begin(
    self, state: PyTree, *, iterator_state: dict[str, Any], meta: layout.Meta
  ) -> None:
    """Starts to write a step; host 0 only."""
    assert self._manager
    error = meta['top1_error']
    with self._save_errors():
      self._check_room(sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
      begun = self._manager.save(
        self._step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(state),
          data=ocp.args.JsonSave(iterator_state),
          meta=ocp.args.JsonSave(dict(meta)),
          **self._statistics_args(),
        ),
        metrics={} if error is None else {'top1_error': error},
      )
    if not begun:  # orbax may decline without an error
      raise RuntimeError(f'orbax would not save step {self._step}')

  def _statistics_args(self) -> dict[str, ocp.args.PyTreeSave]:
    if self._statistics is None:
      return {}
    mean_image, pca = self._statistics
    arrays = {'mean_image': mean_image, **pca._asdict()}
    return {layout.STATISTICS: ocp.args.PyTreeSave(arrays)}

  def wait(self) -> None:
    """Waits on all hosts until the step is complete; raises as `save` does."""
    hosts.on_host0(self._wait)

  def _wait(self) -> None:
    assert self._manager
    with self._save_errors():
      self._manager.wait_until_finished()
      layout.remove_deleted(self._directory)

  def close(self) -> None:
    """Waits, and ends the threads of this host that write; else SaveError."""
    with self._save_errors():
      if self._manager:
        self._manager.close()
        layout.remove_deleted(self._directory)
        layout.recover(self._directory)
    self._quiet.close()  # not after an error, of which orbax may log more

  def _check_room(self, size: int) -> None:
    if not self._is_there():
      raise FileNotFoundError(errno.ENOENT, 'its folder was removed')
    free = shutil.disk_usage(self._directory).free  # bytes
    if free < size:
      what = f'{size / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free'
      raise OSError(errno.ENOSPC, what)

  def _is_there(self) -> bool:
    """Whether the folder is the one that was opened; orbax may make another."""
    try:
      return self._directory.stat().st_ino == self._inode
    except FileNotFoundError:
      return False

  @contextlib.contextmanager
  def _save_errors(self) -> Iterator[None]:
    """Turns an error of the disk inside into a SaveError."""
    try:
      yield
    except Exception as error:
      orbax_quirks.silence_threads()
      gone = '' if self._is_there() else 'its folder was removed'
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
      os.fsync(file.fileno())  # before orbax renames the folder


def _top1_error(metrics: dict[str, float]) -> float:
  return metrics.get('top1_error', math.inf)  # not evaluated: never the best


_TROUBLE = (  # tensorstore and orbax pass on an errno as text only
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
  """The message of the operating system, if the disk fails; else ''."""
  while error is not None:
    if isinstance(error, OSError) and error.strerror:
      return error.strerror
    for text in _TROUBLE:
      if text in str(error):
        return text
    error = error.__cause__ or error.__context__  # orbax wraps errors
  return ''
