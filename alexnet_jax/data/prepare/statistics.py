"""Computes the mean image and RGB components of any split (§2, §4.1)."""

import functools

from alexnet_jax.data import dataset, stats
from alexnet_jax.data.prepare import workers as workers_lib

_PART_IMAGES = 512  # images that a worker sums at a time


def compute(
  split: dataset.Split,
  *,
  workers: int,
  progress: workers_lib.Progress = lambda images: None,
) -> tuple[stats.Statistics, list[str]]:
  """Computes a split's mean image and RGB components.

  Returns them, and a message for each damaged image, which is left out. Any
  number of `workers` gives the same result.
  """
  starts = range(0, len(split), _PART_IMAGES)
  sum_part = functools.partial(_sums, split)
  parts = workers_lib.run(sum_part, starts, workers=workers, progress=progress)
  total, skipped = stats.empty(split.image_size), []
  for part, left_out in parts:
    total = stats.merge(total, b=part)
    skipped += left_out
  return stats.finish(total), skipped


def _sums(
  split: dataset.Split, start: int, *, progress: workers_lib.Progress
) -> tuple[stats.Sums, list[str]]:
  """Sums of the images of one part, and messages for the damaged ones."""
  sums, skipped = stats.empty(split.image_size), []
  for index in range(start, min(start + _PART_IMAGES, len(split))):
    (example,) = split.take([index])
    if isinstance(example, dataset.Unreadable):
      skipped.append(str(example))
    else:
      sums = stats.add(sums, image=example.image)
    progress(1)
  return sums, skipped
