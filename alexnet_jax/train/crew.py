"""What all processes of a run do after the same step, though one has cause to.

A signal, the clock, a full disk and damaged images come to one process; here
its cause waits until all know of it (parallel/ballots.py). With one process
nothing waits: a signal is looked at as it comes, and an error is raised where
it happens. Not in the paper.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence

from jax.sharding import Mesh
from jaxtyping import Array

from alexnet_jax.parallel import ballots, distributed, hosts
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.runtime import signals


class Crew:
  """The processes of a run, as one of them sees the others."""

  def __init__(self, stop: signals.Stop, *, mesh: Mesh, save_seconds: float):
    """Begins with no cause for anything.

    Args:
      stop: told by this process's signals.
      mesh: the run's.
      save_seconds: after which it is time to save; 0: never.
    """
    self._stop = stop
    self._mesh = mesh
    self._several = mesh_lib.spans_processes(mesh)
    self._save_seconds = save_seconds
    self._saved_at = time.monotonic()
    self._heard = ballots.Ballot()
    self._failed: Exception | None = None

  @property
  def stops(self) -> bool:
    """Whether all stop now."""
    return bool(self._heard.stop) if self._several else self._stop.asked

  @property
  def saves(self) -> bool:
    """Whether it is time to save, for all."""
    return bool(self._heard.save) if self._several else self._is_late()

  def saved(self) -> None:
    """Lets the time until the next save begin."""
    self._saved_at = time.monotonic()
    self._heard = self._heard._replace(save=0)

  def _is_late(self) -> bool:
    passed = time.monotonic() - self._saved_at
    return 0 < self._save_seconds <= passed

  def _own(self) -> ballots.Ballot:
    return ballots.Ballot(
      stop=int(self._stop.asked),
      save=int(self._is_late()),
      failed=int(self._failed is not None),
    )

  def ballot(self) -> dict[str, Array]:
    """What goes with a minibatch."""
    if not self._several:
      return {}
    return {ballots.NAME: ballots.put(self._own(), mesh=self._mesh)}

  def hear(self, sums: Sequence[int] | None) -> None:
    """Takes what a step has counted.

    Raises:
      ValueError: if a process has failed; likewise OSError.
    """
    if sums is None:
      return
    self._heard = ballots.Ballot(*map(int, sums))
    if self._heard.failed:
      hosts.tell(self._failed)

  def check(self) -> None:
    """Looks now, between steps: at each minibatch of an evaluation.

    Raises:
      stopping.Stopped: if a process was asked to stop.
      ValueError: if one has failed; likewise OSError.
    """
    self.look()
    if self.stops:
      raise signals.Stopped

  def look(self) -> None:
    """The same, but for signals: they wait until there is time to save."""
    if self._several:
      self.hear(hosts.total(list(self._own())))

  @contextlib.contextmanager
  def held(self) -> Iterator[None]:
    """Inside, what fails in this process alone waits until all can be told."""
    try:
      yield
    except (ValueError, OSError) as error:
      if not self._several:
        raise
      self._failed = self._failed or error

  @contextlib.contextmanager
  def unwinding(self) -> Iterator[None]:
    """Lets an error close what is open, though other processes may be gone."""
    try:
      yield
    except Exception:
      if self._several:
        distributed.hold_aborts()
      raise
