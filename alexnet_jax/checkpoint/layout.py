"""The folders of WORKDIR/checkpoints, and the metadata of a checkpoint.

STEP/                          a complete one: renamed when it was written
STEP.orbax-checkpoint-tmp...   one that was still being written
STEP.unevaluated               one that is written again, see `hide_unevaluated`
deleted/STEP                   an old one that is being removed: a step is whole
                               as long as it has its place
../set_aside/STEP              a damaged one, see `quarantine`
"""

import functools
import importlib.metadata
import itertools
import pathlib
import shutil
import zlib
from collections.abc import Collection
from typing import Any, NotRequired, TypedDict

import alexnet_jax
from alexnet_jax.parallel import hosts
from alexnet_jax.runtime import paths

FOLDER = 'checkpoints'
SUMS = 'files.json'  # in a step: the CRC-32 of its files
# In its `data`: grain's name for the iterator state of one process. Ours is the
# same on all hosts.
ITERATOR = 'process_0-of-1.json'
# In a step, from version 0.2 on: the arrays of stats.Statistics of the training
# split.
STATISTICS = 'statistics'
BEING_WRITTEN = '.orbax-checkpoint-tmp'
SET_ASIDE = 'set_aside'
DELETED = 'deleted'
_UNEVALUATED = '.unevaluated'
_PACKAGES = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'grain')


class Meta(TypedDict):
  """The metadata of a checkpoint."""

  config: dict[str, Any]  # every field, as in config.json
  dataset: str
  fingerprint: str  # of the data set
  classes: list[dict[str, str]]  # id, name, words
  versions: dict[str, str]  # of the packages that wrote it
  # environment.RECORDED that were set; checkpoints before 0.2 lack it.
  environment: NotRequired[dict[str, str]]
  digests: dict[str, str]  # of each array, checkpoint/checksums.py
  top1_error: float | None  # centre crop, validation; None between evaluations
  evaluation_due: bool  # stopped before the evaluation that ends this step
  pending: list[dict[str, float]]  # numbers of steps that are not logged yet
  skipped: int  # steps of the run whose update was not applied


def steps(directory: pathlib.Path) -> list[pathlib.Path]:
  """Folders in WORKDIR/checkpoints that look like steps, newest first."""
  if not directory.is_dir():
    return []
  found = [path for path in directory.iterdir() if path.name.isdecimal()]
  return sorted(found, key=lambda path: int(path.name), reverse=True)


def find(path: str) -> pathlib.Path:
  """Finds on host 0 the newest checkpoint of a WORKDIR, or a checkpoints/STEP.

  One on a bucket is downloaded first. Raises ValueError if it is neither.
  """
  return pathlib.Path(hosts.from_host0(lambda: str(_find(path))))


def _find(path: str) -> pathlib.Path:
  if paths.is_remote(path):
    from alexnet_jax.checkpoint import bucket_sync

    return bucket_sync.download_step(path)
  given = paths.expand(path)
  if (
    given.name.isdecimal() and given.is_dir() and not (given / FOLDER).exists()
  ):
    return given
  found = [*steps(given / FOLDER), *steps(given)]
  if not found:
    what = 'is no checkpoint' if given.exists() else 'does not exist'
    raise ValueError(
      f'{path} {what}: give a WORKDIR with finished epochs, or one of its '
      f'{FOLDER}/STEP folders'
    )
  return found[0]  # the newest


def quarantine(step: pathlib.Path) -> pathlib.Path:
  """Moves a damaged step to WORKDIR/set_aside, and returns its new path."""
  folder = step.parent.parent / SET_ASIDE
  folder.mkdir(exist_ok=True)
  taken = {path.name for path in folder.iterdir()}
  return step.rename(folder / free_name(step.name, taken=taken))


def free_name(name: str, *, taken: Collection[str]) -> str:
  """Returns the name, or if it is taken, the name with a number.

  >>> free_name('8', taken={'8', '8-1'})
  '8-2'
  """
  names = (f'{name}-{n}' if n else name for n in itertools.count())
  return next(n for n in names if n not in taken)


def leftovers(directory: pathlib.Path) -> list[pathlib.Path]:
  """Folders in WORKDIR/checkpoints that a killed process left."""
  patterns = (f'*{BEING_WRITTEN}*', f'*{_UNEVALUATED}', DELETED)
  return [path for pattern in patterns for path in directory.glob(pattern)]


def clean_partial(directory: pathlib.Path) -> list[pathlib.Path]:
  """Removes incomplete steps of a killed process, and returns their folders."""
  recover(directory)  # first: it renames steps
  remove_deleted(directory)
  half_written = list(directory.glob(f'*{BEING_WRITTEN}*'))
  for folder in half_written:
    shutil.rmtree(folder)
  return half_written


def remove_deleted(directory: pathlib.Path) -> None:
  """Removes the old steps that were moved to `deleted`, if any."""
  if (directory / DELETED).is_dir():
    shutil.rmtree(directory / DELETED)


def hide_unevaluated(step: pathlib.Path) -> None:
  """Hides a step without its evaluation, so that it can be written again.

  If that does not happen, `recover` gives it its name back.
  """
  step.rename(hidden_path(step))


def hidden_path(step: pathlib.Path) -> pathlib.Path:
  """The path of a step while it is hidden."""
  return step.with_name(step.name + _UNEVALUATED)


def recover(directory: pathlib.Path) -> None:
  """Removes hidden steps that were written again, and restores the others."""
  for path in directory.glob(f'*{_UNEVALUATED}'):
    if path.with_suffix('').exists():  # written again, and complete
      shutil.rmtree(path)
    else:
      path.rename(path.with_suffix(''))


def iterator_state(step: int) -> dict[str, int]:
  """The state of data/pipeline.py's iterator after `step` minibatches."""
  return {'next_index': step}


def versions() -> dict[str, str]:
  """Returns the versions of this and other packages, for the metadata."""
  others = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {'alexnet_jax': alexnet_jax.__version__} | others


@functools.cache
def program() -> str:
  """A digest of the sources of this package."""
  folder = pathlib.Path(alexnet_jax.__file__).parent
  crc = 0
  for path in sorted(folder.rglob('*.py')):
    crc = zlib.crc32(path.read_bytes(), crc)  # one sum over all files
  return f'{crc:08x}'
