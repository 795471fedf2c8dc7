"""Reading checkpoints on host 0, with every checksum compared.

orbax restores flipped bits without an error, hence checksums.py. No pickle is
read: arrays come through tensorstore, the rest is JSON. Host 0 broadcasts what
it reads: the other hosts need not see the folder.
"""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from alexnet_jax.checkpoint import checksums, layout, orbax_quirks
from alexnet_jax.config import schema
from alexnet_jax.data import stats
from alexnet_jax.parallel import distributed, hosts
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.runtime import environment

_NO_JSON = (FileNotFoundError, ValueError, RecursionError)
_ORBAX_METADATA, _ORBAX_DONE = '_CHECKPOINT_METADATA', 'commit_success.txt'
_ORBAX_NUMBERS = ('init_timestamp_nsecs', 'commit_timestamp_nsecs')
_TRIES = 10  # to read a step before its run removes it
_ITEMS = ('state', 'data', 'meta')
_KINDS = {  # types of the fields of layout.Meta that are read
  'config': dict,
  'dataset': str,
  'fingerprint': str,
  'classes': list,
  'versions': dict,
  'digests': dict,
  'top1_error': (float, int, type(None)),
  'evaluation_due': bool,
  'pending': list,
  'skipped': int,
}
T = TypeVar('T')


class DamagedError(ValueError):
  """A checkpoint that cannot be restored."""

  def __init__(self, step: pathlib.Path, reason: str):
    super().__init__(
      f'{step} is damaged: {reason}; use another step of the run, or move it '
      'away'
    )
    self.step = step
    self.reason = reason

  @classmethod
  def on_other_hosts(cls, step: pathlib.Path) -> hosts.MakeError:
    """Returns a function from host 0's message to the same error."""

    def make(message: str) -> DamagedError:
      error = cls(step, message)
      error.args = (message,)
      return error

    return make


def _on_host0(step: pathlib.Path, read: Callable[[], T]) -> T:
  """Runs `read` on host 0; a DamagedError is one on every host."""
  return hosts.from_host0(read, other_error=DamagedError.on_other_hosts(step))


def newest_sound(
  directory: pathlib.Path, *, read: Callable[[pathlib.Path], T]
) -> tuple[T | None, list[DamagedError]]:
  """Applies `read` to the newest step for which it raises no DamagedError.

  Returns what `read` returned (None if no step of WORKDIR/checkpoints is sound)
  and the errors of newer steps. Raises OSError if the disk fails, which says
  nothing of the step. A step that its run removes meanwhile is no error: the
  steps are listed again.
  """

  def look() -> tuple[T | None, list[DamagedError]]:
    damaged = []
    names = _on_host0(
      directory, lambda: [step.name for step in layout.steps(directory)]
    )
    for name in names:
      try:
        return _read_whole(directory / name, read), damaged
      except DamagedError as error:  # try the next older step
        damaged.append(error)
    return None, damaged

  return while_it_is_there(look, path=directory.parent)


class RemovedError(ValueError):
  """A run has removed one of its old steps while it was read."""


def _read_whole(step: pathlib.Path, read: Callable[[pathlib.Path], T]) -> T:
  """Applies `read`; RemovedError if it fails because the step has gone."""
  try:
    return read(step)
  except Exception as error:  # orbax has many
    if hosts.from_host0(lambda: os.path.lexists(step)):  # it leaves as a whole
      raise
    raise RemovedError(str(step)) from error


def while_it_is_there(look: Callable[[], T], *, path: pathlib.Path | str) -> T:
  """Repeats `look` for as long as it raises RemovedError.

  Raises ValueError if that does not end.
  """
  for _ in range(_TRIES):
    try:
      return look()
    except RemovedError:
      continue
  raise ValueError(
    f'{path} is being written, and its run removes checkpoints faster than '
    'they can be read: wait for its end, or give it a larger '
    '--config.checkpoint.keep_newest'
  )


def of_newest(
  path: pathlib.Path | str, *, read: Callable[[pathlib.Path], T]
) -> T:
  """Applies `read` to the newest step of a WORKDIR, or to a step itself.

  `path` is as for layout.find. If a run removes the step meanwhile, the newest
  that there is then is read. Raises what `read` raises, and ValueError if there
  is no step.
  """
  return while_it_is_there(
    lambda: _read_whole(layout.find(str(path)), read), path=path
  )


def read_meta(step: pathlib.Path, *, check: bool = True) -> layout.Meta:
  """Reads a step's metadata; if `check`, compares all checksums first.

  Raises DamagedError if a file is missing or not what was written, or the
  folder was not written by this program.
  """
  return _on_host0(step, lambda: read_meta_here(step, check=check))


def read_meta_here(step: pathlib.Path, *, check: bool = True) -> layout.Meta:
  """Does what read_meta does, for a caller on host 0 alone."""
  if check:  # before anything is parsed
    _check_files(step)
  meta = _read_json(step, 'meta/metadata')
  for field, kind in _KINDS.items():
    if not isinstance(meta.get(field), kind):
      raise DamagedError(step, f'its meta has no {field}')
  if not isinstance(meta.get('environment', {}), dict):
    raise DamagedError(step, 'its meta has no environment')
  if not schema.is_plain(meta['config']):
    raise DamagedError(step, 'its config has names that no field has')
  meta['config'] = schema.upgrade(meta['config'])  # names of today
  return cast(layout.Meta, meta)


def _check_files(step: pathlib.Path) -> None:
  """Compares every file with its checksum."""
  if not step.is_dir():
    raise DamagedError(step, 'it is no folder')
  if not any(step.iterdir()):
    raise DamagedError(step, 'it is empty')
  for path in step.rglob('*'):
    if path.is_symlink():  # it could lead out of the checkpoint
      name = path.relative_to(step)
      raise DamagedError(step, f'its {name} is a link, not a file of its own')
  for item in _ITEMS:
    if not (step / item).is_dir():
      raise DamagedError(step, f'it has no {item}: no step of this program')
  expected, found = _read_json(step, layout.SUMS), checksums.file_sums(step)
  for name in sorted({*expected, *found}):
    if expected.get(name) != found.get(name):
      what = 'is missing' if name not in found else 'is not what was written'
      raise DamagedError(step, f'its file {name} {what}')
  _check_orbax_files(step)


def _check_orbax_files(step: pathlib.Path) -> None:
  """Checks the two files that orbax writes last, after the sums of the others.

  This program uses nothing in them, but orbax reads and prints them.
  """
  items = {path.name for path in step.iterdir() if path.is_dir()}
  found = _read_json(step, _ORBAX_METADATA)
  handlers = found.get('item_handlers')
  if not isinstance(handlers, dict) or set(handlers) != items:
    raise DamagedError(step, f'its {_ORBAX_METADATA} is of other items')
  numbers = [found.get(name) for name in _ORBAX_NUMBERS]
  names = [*map(str, handlers.values())]
  if not all(isinstance(n, int) and n > 0 for n in numbers) or not all(
    name.startswith('orbax.checkpoint.') and name.isprintable()
    for name in names
  ):
    raise DamagedError(step, f'its {_ORBAX_METADATA} is not what was written')
  path = step / _ORBAX_DONE
  text = path.read_bytes()[:4096] if path.is_file() else b''
  if not text.startswith(b'Checkpoint commit was successful to '):
    raise DamagedError(step, f'its {_ORBAX_DONE} is not what was written')


def _read_json(step: pathlib.Path, name: str) -> dict:
  try:
    if (step / name).is_fifo():  # it would keep the reader waiting
      raise FileNotFoundError(errno.ENOENT, 'it is no file')
    content = json.loads((step / name).read_text())
  except (NotADirectoryError, *_NO_JSON) as error:
    reason = error.strerror if isinstance(error, OSError) else error
    raise DamagedError(step, f'its {name} cannot be read ({reason})') from error
  if not isinstance(content, dict):
    raise DamagedError(step, f'its {name} is no JSON object')
  return content


def read_state(
  step: pathlib.Path, *, meta: layout.Meta, state: PyTree
) -> PyTree:
  """Restores the arrays of a step; `state` has shapes, dtypes and shardings.

  Raises DamagedError if they cannot be read, or their digests are not those in
  `meta`.
  """
  restore = _restore_on_host0 if distributed.is_multihost() else _restore
  restored = restore(step, state)
  found = checksums.digest(restored).arrays  # on the devices
  for name in sorted({*meta['digests'], *found}):
    if meta['digests'].get(name) != found.get(name):
      raise DamagedError(
        step, f'its array {name} is not the one that was saved'
      )
  number = restored.get('step')
  if number is not None and int(number) != int(step.name):  # a renamed folder
    raise DamagedError(step, f'its arrays are of step {int(number)}')
  return restored


def read_arrays(
  step: pathlib.Path, *, meta: layout.Meta, device: jax.Device | None = None
) -> PyTree:
  """Like read_state, as dicts and lists on one device, without a config."""
  environment.backend()  # raises if there is no device
  sharding = jax.sharding.SingleDeviceSharding(device or jax.local_devices()[0])
  state = jax.tree.map(
    lambda text: jax.ShapeDtypeStruct(*_parse_shape(text), sharding=sharding),
    _on_host0(step, lambda: _shapes(step)),
  )
  return read_state(step, meta=meta, state=state)


def read_statistics(step: pathlib.Path) -> stats.Statistics | None:
  """Reads the statistics of the training split; None from an old checkpoint.

  Call read_meta first, which compares the files with their checksums. Raises
  DamagedError if they cannot be read.
  """
  if not (step / layout.STATISTICS).is_dir():
    return None
  arrays = _restore(step, None, item=layout.STATISTICS)
  found = {name: np.asarray(array) for name, array in arrays.items()}
  mean_image = found.pop('mean_image')
  return stats.Statistics(mean_image, stats.RgbPca(**found))


def read_iterator(step: pathlib.Path) -> dict[str, Any]:
  """Reads the state of the iterator over minibatches when it was written."""
  found = _on_host0(step, lambda: _read_json(step, f'data/{layout.ITERATOR}'))
  if found != layout.iterator_state(int(step.name)):
    raise DamagedError(step, f'its data position is {found!r:.60}')
  return found


def _shapes(step: pathlib.Path) -> PyTree:
  """The tree of a step's arrays, as texts such as 'float32 11 11 3 96'."""
  with orbax_quirks.quiet(), _unreadable(step, 'state'):
    handler = ocp.StandardCheckpointHandler(  # the shapes, without the arrays
      multiprocessing_options=orbax_quirks.host0_options()
    )
    tree = handler.metadata((step / 'state').absolute()).tree
  return jax.tree.map(lambda a: ' '.join(map(str, (a.dtype, *a.shape))), tree)


def _parse_shape(text: str) -> tuple[tuple[int, ...], np.dtype]:
  dtype, *shape = text.split()
  return tuple(map(int, shape)), np.dtype(dtype)


def _restore_on_host0(step: pathlib.Path, state: PyTree) -> PyTree:
  """Restores on host 0 and shards the arrays over the devices of all hosts."""
  own = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  whole = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=own), state
  )
  read = hosts.run_everywhere(
    lambda: _restore(step, whole) if distributed.is_host0() else whole,
    other_error=DamagedError.on_other_hosts(step),
  )

  def shard(array: Any, spec: jax.ShapeDtypeStruct) -> jax.Array:
    whole = hosts.broadcast_from_host0(  # one array at a time: memory
      array, shape=spec.shape, dtype=spec.dtype
    )
    return mesh_lib.put(whole, sharding=spec.sharding)

  return jax.tree.map(shard, read, state)


def _restore(
  step: pathlib.Path, state: PyTree, *, item: str = 'state'
) -> PyTree:
  with (
    orbax_quirks.quiet(),
    ocp.StandardCheckpointer(
      multiprocessing_options=orbax_quirks.host0_options()
    ) as reader,
    _unreadable(step, item),
  ):
    return reader.restore((step / item).absolute(), state)


@contextlib.contextmanager
def _unreadable(step: pathlib.Path, item: str) -> Iterator[None]:
  """Turns what orbax raises into a DamagedError of one line."""
  try:
    yield
  except OSError:  # says nothing of the checkpoint
    raise
  except Exception as error:  # orbax raises Exception itself
    reason = str(error).split('\n')[0]
    raise DamagedError(step, f'its {item} cannot be read ({reason})') from error
