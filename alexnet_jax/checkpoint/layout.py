"""What lies where in WORKDIR/checkpoints; not in the paper.

STEP/                          a whole checkpoint: it has its name from a rename
STEP.orbax-checkpoint-tmp...   one that was being written
STEP.unevaluated               see `make_way`
../set_aside/STEP              one that could not be gone on from
"""

import functools
import importlib.metadata
import itertools
import pathlib
import shutil
import zlib
from collections.abc import Collection, Sequence
from typing import Any, TypedDict

import alexnet_jax
from alexnet_jax.parallel import hosts
from alexnet_jax.runtime import bucket, locks, paths

FOLDER = 'checkpoints'
SUMS = 'files.json'  # in a step: the CRC-32 of its files
# In its `data`: as grain calls the state of one process's iterator. Ours is the
# same in all processes.
ITERATOR = 'process_0-of-1.json'
BEING_WRITTEN = '.orbax-checkpoint-tmp'
SET_ASIDE = 'set_aside'
_UNEVALUATED = '.unevaluated'
_PACKAGES = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'grain')


class Meta(TypedDict):
  """What a step folder says of itself."""

  config: dict[str, Any]  # every field, as in config.json
  dataset: str
  fingerprint: str  # of the data set
  classes: list[dict[str, str]]  # id, name, words
  versions: dict[str, str]  # of the packages that wrote it
  digests: dict[str, str]  # of each array, checkpoint/checksums.py
  top1_error: float | None  # centre crop, validation; None between evaluations
  evaluation_due: bool  # stopped before the evaluation that ends this step
  pending: list[dict[str, float]]  # steps whose line is still to be written
  skipped: int  # steps so far whose update was not applied


def steps(directory: pathlib.Path) -> list[pathlib.Path]:
  """What looks like a step below WORKDIR/checkpoints, the newest first."""
  if not directory.is_dir():
    return []
  found = [path for path in directory.iterdir() if path.name.isdecimal()]
  return sorted(found, key=lambda path: int(path.name), reverse=True)


def find(path: str) -> pathlib.Path:
  """The step folder that a user means: itself, or the newest of a run.

  What lies on a bucket is copied to a folder of this machine first. Of several
  processes it is process 0 that looks: checkpoints are read there.

  Raises:
    ValueError: if the path is neither a step folder nor a run's.
  """
  return pathlib.Path(hosts.from_host0(lambda: str(_find(path))))


def _find(path: str) -> pathlib.Path:
  if paths.is_remote(path):
    return _fetch(path)
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
  return found[0]


def _fetch(url: str) -> pathlib.Path:
  """A copy of the newest step that is whole; one made before, if the same."""
  source = bucket.Folder(url)
  sizes = source.sizes()
  whole = [name.removesuffix(SUMS) for name in sizes if ends_a_step(name)]
  own = pathlib.PurePosixPath(source.url).name  # of STEP itself, if it is one
  found = ([''] if own.isdecimal() and SUMS in sizes else []) or sorted(
    whole, key=lambda name: int(pathlib.PurePosixPath(name).name)
  )
  if not found:
    raise ValueError(
      f'{url} is no checkpoint, or does not exist: give a WORKDIR on a bucket '
      f'with finished epochs, or one of its {FOLDER}/STEP'
    )
  prefix = found[-1]
  step = pathlib.PurePosixPath(prefix).name or own
  run = source.url.removesuffix(f'/{step}').removesuffix(f'/{FOLDER}')
  place = bucket.cache_folder('checkpoints') / bucket.copy_name(run) / FOLDER
  names = [name for name in sizes if name.startswith(prefix)]
  with locks.locked(place, fix='', waits=True):
    return fetch_step(source, names, prefix=prefix, to=place / step)


def ends_a_step(name: str) -> bool:
  """Whether that is the object of a folder, which makes a step on it whole.

  >>> ends_a_step('checkpoints/8/files.json'), ends_a_step('8/files.json')
  (True, True)
  """
  *above, step, file = ('', *name.split('/'))
  return file == SUMS and step.isdecimal() and above in (['', FOLDER], [''])


def fetch_step(
  source: bucket.Folder,
  names: Sequence[str],
  *,
  prefix: str,
  to: pathlib.Path,
) -> pathlib.Path:
  """Copies a step from a bucket, unless it is there already; its folder.

  Whether its files are what was written is for restore.py to see.

  Args:
    source: a folder on a bucket.
    names: of the step's objects in it.
    prefix: what they begin with and its files do not.
    to: the step's folder.
  """
  sums = source.read(prefix + SUMS)
  if (to / SUMS).is_file() and (to / SUMS).read_bytes() == sums:
    return to
  scratch = to.with_name(f'{to.name}{BEING_WRITTEN}')
  for old in (scratch, to):
    shutil.rmtree(old, ignore_errors=True)
  bucket.run_parallel(
    lambda name: source.get(name, to=scratch / name.removeprefix(prefix)), names
  )
  return scratch.rename(to)


def quarantine(step: pathlib.Path) -> pathlib.Path:
  """Moves a damaged step out of the way, to WORKDIR/set_aside; where to."""
  folder = step.parent.parent / SET_ASIDE
  folder.mkdir(exist_ok=True)
  taken = {path.name for path in folder.iterdir()}
  return step.rename(folder / free_name(step.name, taken=taken))


def free_name(name: str, *, taken: Collection[str]) -> str:
  """The name, or with a number after it if it is taken.

  >>> free_name('8', taken={'8', '8-1'})
  '8-2'
  """
  names = (f'{name}-{n}' if n else name for n in itertools.count())
  return next(n for n in names if n not in taken)


def clean_partial(directory: pathlib.Path) -> list[pathlib.Path]:
  """Undoes what a killed process left half done; the folders it removed.

  A step that was being written has no name of a step yet: nothing knows of it.
  """
  recover(directory)
  half_written = list(directory.glob(f'*{BEING_WRITTEN}*'))
  for folder in half_written:
    shutil.rmtree(folder)
  return half_written


def hide_unevaluated(step: pathlib.Path) -> None:
  """Lets a step that lacks its evaluation be written again, with it.

  Until that is done it lies under another name, from where `settle` fetches it.
  """
  step.rename(hidden_path(step))


def hidden_path(step: pathlib.Path) -> pathlib.Path:
  """What a step is called that makes way for another."""
  return step.with_name(step.name + _UNEVALUATED)


def recover(directory: pathlib.Path) -> None:
  """Removes a step that made way, or fetches it back if it came to nothing."""
  for path in directory.glob(f'*{_UNEVALUATED}'):
    if path.with_suffix('').exists():
      shutil.rmtree(path)
    else:
      path.rename(path.with_suffix(''))


def versions() -> dict[str, str]:
  """The packages that a checkpoint was written with."""
  others = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {'alexnet_jax': alexnet_jax.__version__} | others


@functools.cache
def program() -> str:
  """A digest of the sources of this package."""
  folder = pathlib.Path(alexnet_jax.__file__).parent
  crc = 0
  for path in sorted(folder.rglob('*.py')):
    crc = zlib.crc32(path.read_bytes(), crc)
  return f'{crc:08x}'
