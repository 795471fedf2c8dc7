"""Training speed, and the share of time spent waiting for input."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Rates(NamedTuple):
  """Means over a stretch of training."""

  images_per_second: float
  input_wait_fraction: float  # of the time, 0 to 1


class Clock:
  """Measures stretches of training, without evaluation and saving."""

  def __init__(self, now: Callable[[], float] = time.perf_counter):
    self._now = now
    self.restart()

  def restart(self) -> None:
    """Starts a stretch."""
    self._start = self._now()  # moves forward by each pause
    self._waited = 0.0  # seconds

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Excludes the time inside from the stretch."""
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
    """Returns the rates of the stretch, of `images` images; starts the next."""
    elapsed = max(self._now() - self._start, 1e-9)  # seconds, never 0
    rates = Rates(
      images_per_second=images / elapsed,
      input_wait_fraction=min(self._waited / elapsed, 1.0),
    )
    self.restart()
    return rates
