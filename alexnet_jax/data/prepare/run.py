"""Prepares a data set: squares, records, mean image and RGB components (§2).

The shards are planned before any image is read. Each depends on its own images
alone, and the statistics are sums of integers, so any number of workers writes
the same bytes. Training images are shuffled once over all shards, as the 2012
program did when it wrote its batches.

The shards are written to OUTPUT.partial, which is renamed to OUTPUT at the end.
The next run with the same source and options keeps the finished shards.
"""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.data import records, stats
from alexnet_jax.data.prepare import layouts, shards, statistics, unpacked
from alexnet_jax.data.prepare import workers as workers_lib
from alexnet_jax.runtime import locks, paths

_SHUFFLE_SEED = 2012
_SHARD_IMAGES = 4096  # at most; 805 MB of raw images
_PLAN = 'plan'  # a file that holds the digest of what is prepared
_OWN_FILES = ('.lock', _PLAN)  # of a run; removed last, in this order
_OPAQUE = ('.jpg', '.jpeg')  # how names of images without transparency end
_VERSION = 1  # raised whenever the same source and options give other bytes
# Per worker, for the printed estimate: 177 ILSVRC2012 images of 47 kB took
# 1/163 s each as raw and 1/138 s as JPEG (best of 3, one busy AVX-512 core).
IMAGES_PER_SECOND = 140
_JPEG_BYTES = 0.4  # per pixel; 0.28 for those 177 small images at quality 90


class Plan(NamedTuple):
  """The shards to write, known before any image is read."""

  layout: layouts.Layout
  options: shards.Options
  shards: tuple[shards.Shard, ...]

  @property
  def num_images(self) -> int:
    """Images of all splits."""
    return sum(len(shard.items) for shard in self.shards)

  @property
  def num_bytes(self) -> int:
    """Size of the result: exact to 0.1 % for raw, an estimate for JPEG."""
    pixels = self.options.image_size**2
    each = {'raw': 3 * pixels, 'jpeg': _JPEG_BYTES * pixels}
    return int(self.num_images * each[self.options.encoding])

  @property
  def digest(self) -> str:
    """SHA-256; equal for plans that give the same files."""
    content = (_VERSION, self.options, self.layout.classes, self.shards)
    if self.options.resize != 'crop':
      content += (self.options.resize,)
    if not all(name.lower().endswith(_OPAQUE) for name in self._names()):
      content += ('over white',)  # up to 0.2.0 alpha was dropped
    return hashlib.sha256(repr(content).encode()).hexdigest()

  def _names(self) -> Iterator[str]:
    return (item.member.name for s in self.shards for item in s.items)


def plan(layout: layouts.Layout, *, options: shards.Options) -> Plan:
  """Divides the images of each split into shards; shuffles the training split.

  Raises ValueError if a split has no images.
  """
  divided = []
  for split, items in layout.splits.items():
    if not items:
      raise ValueError(f'the source has no {split} images: check --source')
    if split == 'train':
      order = np.random.Generator(np.random.PCG64(_SHUFFLE_SEED))
      items = [items[i] for i in order.permutation(len(items))]
    divided += _divide(items, split=split)
  return Plan(layout, options, tuple(divided))


def _divide(
  items: Sequence[layouts.Labelled], *, split: str
) -> list[shards.Shard]:
  # Small data sets get up to eight shards, so that eight workers are busy.
  count = max(-(-len(items) // _SHARD_IMAGES), min(8, -(-len(items) // 64)))
  spans = itertools.pairwise(len(items) * i // count for i in range(count + 1))
  files = [f'{split}-{i:05d}-of-{count:05d}.array_record' for i in range(count)]
  return [
    shards.Shard(split, file, tuple(items[start:end]))
    for file, (start, end) in zip(files, spans, strict=True)
  ]


def prepare(
  work: Plan,
  *,
  output: pathlib.Path,
  workers: int,
  max_skipped: int | None = None,
  progress: workers_lib.Progress = lambda images: None,
) -> metadata_lib.Metadata:
  """Writes OUTPUT; continues where an earlier run of the same plan stopped.

  One worker is this process. `max_skipped` files may be left out, or any number
  of them. Returns the metadata of OUTPUT. Raises ValueError if OUTPUT exists,
  the disk is too small, OUTPUT.partial belongs to another plan, or more than
  `max_skipped` files cannot be used.
  """
  check_output(output)
  if (output / metadata_lib.FILE).is_file():
    return _finish(output, digest=work.digest)
  partial = _partial(output)
  plan_file, metadata_file = partial / _PLAN, partial / metadata_lib.FILE
  _check_plan(partial, digest=work.digest)
  _check_disk_space(work, folder=partial)  # before anything is written
  with locks.locked(partial, fix='give another --output'):
    if not plan_file.is_file():
      with paths.replacing(plan_file) as file:
        file.write(work.digest.encode())
    _remove(partial, f'{shards.WRITING}*')
    if not metadata_file.is_file():  # else it was killed just before the end
      _write(
        work,
        folder=partial,
        workers=workers,
        max_skipped=max_skipped,
        progress=progress,
      )
    # The last worker of a killed run may have written since.
    _remove(partial, f'{shards.WRITING}*', f'*{shards.NOTE}')
    partial.rename(output)
    items = itertools.chain(*work.layout.splits.values())
    unpacked.remove(item.member for item in items)
    return _finish(output, digest=work.digest)


def _finish(output: pathlib.Path, *, digest: str) -> metadata_lib.Metadata:
  """Removes what only an unfinished run needs; ValueError if of another plan.

  A run that was killed after its folder was renamed is finished by the next.
  """
  if (output / _PLAN).read_text() != digest:
    raise _complete(output)
  _remove(output, *_OWN_FILES)
  return metadata_lib.read(output)


def _remove(folder: pathlib.Path, *patterns: str) -> None:
  """Removes files of an unfinished run; a worker still writing one fails."""
  for pattern in patterns:
    for path in folder.glob(pattern):
      path.unlink(missing_ok=True)


def check_output(output: pathlib.Path) -> None:
  """Raises ValueError if OUTPUT exists or cannot be created."""
  if (output / metadata_lib.FILE).is_file():
    if not (output / _PLAN).is_file():  # else see _finish
      raise _complete(output)
    return
  if output.exists() and (not output.is_dir() or any(output.iterdir())):
    raise ValueError(
      f'{output} exists and is no prepared data set: give another --output'
    )
  # Also raises for a name that is too long.
  there = next(p for p in (_partial(output), *output.parents) if p.exists())
  if not there.is_dir():
    raise ValueError(
      f'{output} cannot be created, since {there} is no folder: give another '
      '--output'
    )


def _complete(output: pathlib.Path) -> ValueError:
  return ValueError(
    f'{output} exists and is complete: use it, remove it, or give another '
    '--output'
  )


def _partial(output: pathlib.Path) -> pathlib.Path:
  """The name of OUTPUT until it is complete."""
  return output.with_name(output.name + '.partial')


def _check_plan(partial: pathlib.Path, *, digest: str) -> None:
  """Raises ValueError if OUTPUT.partial belongs to another plan or program."""
  note = partial / _PLAN
  if note.is_file():
    if note.read_text() != digest:
      raise ValueError(
        f'{partial} holds an unfinished run of another source or other '
        'options: repeat those, remove it, or give another --output'
      )
  elif any(path.name != '.lock' for path in partial.glob('*')):
    raise ValueError(
      f'{partial} was not made by prepare: move it away, or give another '
      '--output'
    )


def _check_disk_space(work: Plan, *, folder: pathlib.Path) -> None:
  """Raises ValueError unless the files still to be written fit on the disk."""
  left = [s for s in work.shards if not (folder / s.file).is_file()]
  need = work._replace(shards=tuple(left)).num_bytes
  free = paths.free_bytes(folder)
  if need > free:
    raise ValueError(
      f'{folder.parent} has {paths.size_text(free)} free, '
      f'{paths.size_text(need)} are needed: give another --output, or '
      '--encoding=jpeg'
    )


def _write(
  work: Plan,
  *,
  folder: pathlib.Path,
  workers: int,
  max_skipped: int | None,
  progress: workers_lib.Progress,
) -> None:
  """Writes the unfinished shards, then the statistics and metadata.json."""
  skipped = list(work.layout.skipped)
  _check_skipped(skipped, most=max_skipped)
  write = functools.partial(shards.write, folder=folder, options=work.options)
  splits = dict.fromkeys(work.layout.splits, metadata_lib.SplitInfo(0, ()))
  sums, checksums = stats.empty(work.options.image_size), {}
  run = workers_lib.run(write, work.shards, workers=workers, progress=progress)
  for shard, result in zip(work.shards, run, strict=True):
    skipped += result.skipped
    _check_skipped(skipped, most=max_skipped)
    count, files = splits[shard.split]
    count, files = count + result.num_images, (*files, shard.file)
    splits[shard.split] = metadata_lib.SplitInfo(count, files)
    sums = stats.merge(sums, b=result.sums)
    checksums[shard.file] = result.checksum
  for split, info in splits.items():
    if not info.num_images:
      raise ValueError(f'no {split} image could be read: check --source')
  metadata = metadata_lib.Metadata(
    name=work.layout.name,
    image_size=work.options.image_size,
    encoding=work.options.encoding,
    splits=splits,
    classes=work.layout.classes,
    skipped=tuple(skipped),
    checksums=checksums,
    resize=work.options.resize,
    samples={
      shard.file: metadata_lib.sample(folder / shard.file)
      for shard in work.shards
    },
  )
  if 'train' in splits:
    computed = stats.finish(sums)
  else:  # made to evaluate on
    val = records.PreparedSplit(folder, metadata=metadata, split='val')
    computed, _ = statistics.compute(val, workers=1)
  sums_of_files = records.write_statistics(folder, statistics=computed)
  checksums = {**checksums, **sums_of_files}
  metadata = dataclasses.replace(metadata, checksums=checksums)
  metadata_lib.write(folder, metadata=metadata)


def _check_skipped(
  skipped: Sequence[metadata_lib.Skipped], *, most: int | None
) -> None:
  if most is not None and len(skipped) > most:
    last = skipped[-1]
    raise ValueError(
      f'{len(skipped)} files cannot be used, more than --max_skipped={most}; '
      f'the last: {last.file}, {last.reason}. Finished shards are kept: repair '
      'the source, or run again with a higher --max_skipped'
    )
