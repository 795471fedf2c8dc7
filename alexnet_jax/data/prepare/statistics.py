"""Mean image and RGB components of a split, however it is read (§2, §4.1)."""

import concurrent.futures
import functools
import multiprocessing
import os
from collections.abc import Callable
from typing import NamedTuple

from alexnet_jax.data import dataset, stats
from alexnet_jax.data.prepare import workers as workers_lib

_PART_IMAGES = 512  # of a part that one worker sums


class Measured(NamedTuple):
  """Statistics of a split, and what is wrong with images left out of them."""

  statistics: stats.Statistics
  skipped: tuple[str, ...]


def statistics(
  split: dataset.Split,
  *,
  workers: int,
  progress: Callable[[int], object] = lambda images: None,
) -> Measured:
  """Mean image and RGB components of a split, whatever it is read from."""
  starts = range(0, len(split), _PART_IMAGES)
  total, skipped = stats.empty(split.image_size), []
  with concurrent.futures.ProcessPoolExecutor(
    workers,
    multiprocessing.get_context('spawn'),
    initializer=workers_lib.follow,
    initargs=(os.getpid(),),
  ) as pool:
    for part, left_out in pool.map(functools.partial(_sums, split), starts):
      total = stats.merge(total, b=part)
      skipped += left_out
      progress(part.count + len(left_out))
  return Measured(stats.finish(total), tuple(skipped))


def _sums(split: dataset.Split, start: int) -> tuple[stats.Sums, list[str]]:
  """The sums of one part of a split, and what is wrong with the rest."""
  sums, skipped = stats.empty(split.image_size), []
  for index in range(start, min(start + _PART_IMAGES, len(split))):
    (example,) = split.take([index])
    if isinstance(example, dataset.Unreadable):
      skipped.append(str(example))
    else:
      sums = stats.add(sums, image=example.image)
  return sums, skipped
