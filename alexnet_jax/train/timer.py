"""How fast training goes and how long it waits for input; not in the paper."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Rates(NamedTuple):
  """Means since the last reading."""

  images_per_second: float
  input_wait_fraction: float  # of the time, 0 to 1


class Clock:
  """Measures stretches of training, with evaluation and saving left out."""

  def __init__(self, now: Callable[[], float] = time.perf_counter):
    self._now = now
    self.restart()

  def restart(self) -> None:
    """Begins a stretch."""
    self._start = self._now()
    self._waited = 0.0

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves the time inside out of the stretch."""
    start = self._now()
    yield
    self._start += self._now() - start

  @contextlib.contextmanager
  def waiting(self) -> Iterator[None]:
    """Counts the time inside as waiting for input."""
    start = self._now()
    yield
    self._waited += self._now() - start

  def read(self, *, images: int) -> Rates:
    """The rates of this stretch, in which so many images passed; begins one."""
    elapsed = max(self._now() - self._start, 1e-9)
    rates = Rates(
      images_per_second=images / elapsed,
      input_wait_fraction=min(self._waited / elapsed, 1.0),
    )
    self.restart()
    return rates
