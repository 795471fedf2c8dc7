"""Computes the mean image and RGB components of any split (§2, §4.1)."""

import concurrent.futures
import functools
import multiprocessing
import os
from collections.abc import Callable
from typing import NamedTuple

from alexnet_jax.data import dataset, stats
from alexnet_jax.data.prepare import workers as workers_lib

_PART_IMAGES = 512  # images that a worker sums at a time


class Computed(NamedTuple):
  """Statistics of a split, and the reasons why images were left out."""

  statistics: stats.Statistics
  skipped: tuple[str, ...]  # a message per damaged image


def compute(
  split: dataset.Split,
  *,
  workers: int,
  progress: Callable[[int], object] = lambda images: None,
) -> Computed:
  """Computes the mean image and RGB components of a split.

  Args:
    split: the images; damaged ones are left out.
    workers: number of processes; any number gives the same result.
    progress: called with the number of images done since its last call.
  """
  starts = range(0, len(split), _PART_IMAGES)
  total, skipped = stats.empty(split.image_size), []
  with concurrent.futures.ProcessPoolExecutor(
    workers,
    multiprocessing.get_context('spawn'),
    initializer=workers_lib.exit_with_parent,
    initargs=(os.getpid(),),
  ) as pool:
    for part, left_out in pool.map(functools.partial(_sums, split), starts):
      total = stats.merge(total, b=part)
      skipped += left_out
      progress(part.count + len(left_out))
  return Computed(stats.finish(total), tuple(skipped))


def _sums(split: dataset.Split, start: int) -> tuple[stats.Sums, list[str]]:
  """Sums of the images of one part, and messages for the damaged ones."""
  sums, skipped = stats.empty(split.image_size), []
  for index in range(start, min(start + _PART_IMAGES, len(split))):
    (example,) = split.take([index])
    if isinstance(example, dataset.Unreadable):
      skipped.append(str(example))
    else:
      sums = stats.add(sums, image=example.image)
  return sums, skipped
