"""Counts the damaged images of a run, and ends it when there are too many.

The 2012 program skipped images that it could not decode, too.
"""

import threading

from alexnet_jax.data import dataset


class BadRecords:
  """Counts damaged images, of which there may be `most`; thread-safe."""

  def __init__(self, *, most: int):
    self._most = most
    self._seen: set[str] = set()
    self._new: list[str] = []
    self._lock = threading.Lock()

  def add(self, bad: dataset.Unreadable) -> None:
    """Counts a damaged image once; ValueError for more than `most` of them."""
    with self._lock:
      if str(bad) in self._seen:
        return
      self._seen.add(str(bad))
      self._new.append(str(bad))
      if len(self._seen) > self._most:
        raise ValueError(
          f'{len(self._seen)} images are damaged, more than '
          f'config.data.max_bad_records = {self._most}; the last: {bad}. '
          'Prepare the data again, or raise config.data.max_bad_records'
        )

  def drain(self) -> list[str]:
    """Returns the messages added since the last call."""
    with self._lock:
      new, self._new = self._new, []
    return new
