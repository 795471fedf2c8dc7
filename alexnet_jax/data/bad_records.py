"""Damaged images in the middle of a run: counted, told of, and not too many.

Not in the paper. The 2012 program skipped what it could not decode, too.
"""

import threading

from alexnet_jax.data import dataset


class Faults:
  """Counts damaged images, and gives up when there are too many.

  Threads share one; a message for each image is kept until it is told.
  """

  def __init__(self, *, most: int):
    """Allows for that many."""
    self._most = most
    self._seen: set[str] = set()
    self._untold: list[str] = []
    self._lock = threading.Lock()

  def add(self, fault: dataset.Unreadable) -> None:
    """Counts an image, once however often it comes up.

    Raises:
      ValueError: if it is one too many.
    """
    with self._lock:
      if str(fault) in self._seen:
        return
      self._seen.add(str(fault))
      self._untold.append(str(fault))
      if len(self._seen) > self._most:
        raise ValueError(
          f'{len(self._seen)} images are damaged, more than '
          f'config.data.max_bad_records = {self._most}; the last: {fault}. '
          'Prepare the data again, or allow for more'
        )

  def untold(self) -> list[str]:
    """What has come up since the last call."""
    with self._lock:
      told, self._untold = self._untold, []
    return told
