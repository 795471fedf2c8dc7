"""Decisions that all hosts of a run take after the same training step.

If any process gets a signal, runs out of disk or meets a bad image, all stop
after the same step; likewise they save by the clock. Every host adds its flags
to its part of a minibatch, the compiled step sums them over the mesh, and all
hosts read the same sums of step n. With one host nothing waits: a signal is
seen as it comes, and an error is raised where it happens.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

from alexnet_jax.parallel import distributed, hosts
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.runtime import signals

FLAGS = 'flags'  # the key in a batch, and in the outputs of a step
_AXES = (mesh_lib.DATA, mesh_lib.COLUMN)  # one sum over all devices
FLAGS_SPEC = P(_AXES)  # a row a device


class Flags(NamedTuple):
  """The flags of one host (0 or 1), or their sums over all devices."""

  stop: int = 0  # a signal asked it to stop
  save: int = 0  # a checkpoint is due
  failed: int = 0  # it holds an error that the others do not know of yet


def put_flags(flags: Flags, *, mesh: Mesh) -> Int[Array, 'devices 3']:
  """Puts this host's flags on each of its devices: one row a device."""
  row = np.array([flags], np.int32)  # [1, 3]
  return jax.make_array_from_callback(
    (mesh.size, len(flags)), NamedSharding(mesh, FLAGS_SPEC), lambda _: row
  )


def psum_flags(flags: Int[Array, '1 3']) -> Int[Array, ' 3']:
  """Sums the flags over all devices; call it inside `shard_map`."""
  return lax.psum(flags[0], _AXES)  # [3]; > 0 if any device has 1


def stop_before_step_1(stop: signals.Stop) -> None:
  """Raises signals.Stopped on all hosts, if there are several, after a signal.

  One host alone ends by its handler.
  """
  if distributed.is_multihost() and any(hosts.all_sum([int(stop.asked)])):
    print('stopped before the first step: run the same command again')
    raise signals.Stopped


class HostConsensus:
  """The latest flags of all hosts, and the errors that this host holds back."""

  def __init__(self, stop: signals.Stop, *, mesh: Mesh, save_seconds: float):
    """Starts with no flag raised; `stop` is set by this host's signals.

    With `save_seconds` = 0 no checkpoint is due by the clock.
    """
    self._stop = stop
    self._mesh = mesh
    self._multihost = mesh_lib.spans_hosts(mesh)
    self._save_seconds = save_seconds
    self._saved_at = time.monotonic()  # not the wall clock: it can jump
    self._sums = Flags()  # of the newest step that was read
    self._error: Exception | None = None  # held until all hosts raise

  @property
  def stop_requested(self) -> bool:
    """Whether all hosts stop now."""
    return bool(self._sums.stop) if self._multihost else self._stop.asked

  @property
  def save_due(self) -> bool:
    """Whether all hosts save now, by the clock."""
    return bool(self._sums.save) if self._multihost else self._is_late()

  def mark_saved(self) -> None:
    """Restarts the clock of `save_due`."""
    self._saved_at = time.monotonic()
    self._sums = self._sums._replace(save=0)  # until the next sums

  def _is_late(self) -> bool:
    passed = time.monotonic() - self._saved_at
    return 0 < self._save_seconds <= passed  # 0: never

  def _own_flags(self) -> Flags:
    return Flags(
      stop=int(self._stop.asked),
      save=int(self._is_late()),
      failed=int(self._error is not None),
    )

  def batch_fields(self) -> dict[str, Array]:
    """The flags as a field of the next minibatch; {} with one host."""
    if not self._multihost:
      return {}
    return {FLAGS: put_flags(self._own_flags(), mesh=self._mesh)}

  def update(self, sums: Sequence[int] | None) -> None:
    """Takes the flags that a training step has summed; None: it had none.

    Raises the ValueError or OSError of the host that failed.
    """
    if sums is None:
      return
    self._sums = Flags(*map(int, sums))
    if self._sums.failed:
      hosts.raise_everywhere(self._error)

  def poll(self) -> None:
    """Exchanges flags now, between steps; a stop waits for the next save.

    Raises the ValueError or OSError of the host that failed.
    """
    if self._multihost:
      self.update(hosts.all_sum(list(self._own_flags())))  # a collective

  def poll_and_stop(self) -> None:
    """Exchanges flags now and stops, as between batches of an evaluation.

    Raises signals.Stopped if a host was asked to stop, else as `poll` does.
    """
    self.poll()
    if self.stop_requested:
      raise signals.Stopped

  @contextlib.contextmanager
  def defer_errors(self) -> Iterator[None]:
    """Keeps an error of this host until all hosts learn of it together."""
    try:
      yield
    except (ValueError, OSError) as error:
      if not self._multihost:
        raise
      self._error = self._error or error  # the first is the cause

  @contextlib.contextmanager
  def close_on_error(self) -> Iterator[None]:
    """Lets cleanup run after an error, even if other hosts have ended."""
    try:
      yield
    except Exception:
      if self._multihost:
        distributed.defer_aborts()
      raise
