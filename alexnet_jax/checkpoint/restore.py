"""Reading checkpoints, with every sum checked; not in the paper.

orbax restores flipped bits without a word, hence checkpoint/checksums.py. No pickle is
read: arrays by tensorstore, the rest as JSON. Of several processes process 0
reads, and gives the others what it read: they need not see the folder.
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from alexnet_jax.checkpoint import checksums, layout, orbax_quirks, quiet
from alexnet_jax.parallel import distributed, hosts, placement

_ITEMS = ('state', 'data', 'meta')
_KINDS = {  # of the fields of layout.Meta that are looked at
  'config': dict,
  'dataset': str,
  'fingerprint': str,
  'classes': list,
  'digests': dict,
  'top1_error': (float, int, type(None)),
  'evaluation_due': bool,
  'pending': list,
  'skipped': int,
}
T = TypeVar('T')


class DamagedError(ValueError):
  """A step folder that cannot be gone on from."""

  def __init__(self, step: pathlib.Path, reason: str):
    super().__init__(
      f'{step} is damaged: {reason}; use another step of the run, or move it '
      'away'
    )
    self.step = step
    self.reason = reason

  @classmethod
  def elsewhere(cls, step: pathlib.Path) -> Callable[[str], 'DamagedError']:
    """Makes the same of what process 0 said of a step that it cannot use."""

    def make(said: str) -> DamagedError:
      error = cls(step, said)
      error.args = (said,)
      return error

    return make


def newest_sound(
  directory: pathlib.Path, *, read: Callable[[pathlib.Path], T]
) -> tuple[T | None, list[DamagedError]]:
  """What `read` makes of the newest step that it can read, and why not others.

  Raises:
    OSError: if the disk fails: that says nothing of the step.
  """
  damaged = []
  for name in hosts.of_first(lambda: _names(directory)):
    try:
      return read(directory / name), damaged
    except DamagedError as error:
      damaged.append(error)
  return None, damaged


def _names(directory: pathlib.Path) -> list[str]:
  return [step.name for step in layout.steps(directory)]


def read_meta(step: pathlib.Path, *, check: bool = True) -> layout.Meta:
  """What a step folder says of itself.

  Args:
    step: the folder.
    check: whether to compare each of its files with its sum first.

  Raises:
    DamagedError: if a file is missing or not what was written, or if it was
      not written by this program.
  """
  return hosts.of_first(
    lambda: _read_meta(step, check=check),
    elsewhere=DamagedError.elsewhere(step),
  )


def _read_meta(step: pathlib.Path, *, check: bool) -> layout.Meta:
  if check:
    _check_files(step)
  meta = _read_json(step, 'meta/metadata')
  for field, kind in _KINDS.items():
    if not isinstance(meta.get(field), kind):
      raise DamagedError(step, f'its meta has no {field}')
  return cast(layout.Meta, meta)


def _check_files(step: pathlib.Path) -> None:
  """Compares every file with its sum."""
  if not step.is_dir():
    raise DamagedError(step, 'it is no folder')
  if not any(step.iterdir()):
    raise DamagedError(step, 'it is empty')
  for item in _ITEMS:
    if not (step / item).is_dir():
      raise DamagedError(step, f'it has no {item}: no step of this program')
  expected, found = _read_json(step, layout.SUMS), checksums.file_sums(step)
  for name in sorted({*expected, *found}):
    if expected.get(name) != found.get(name):
      what = 'is missing' if name not in found else 'is not what was written'
      raise DamagedError(step, f'its file {name} {what}')


def _read_json(step: pathlib.Path, name: str) -> dict:
  try:
    content = json.loads((step / name).read_text())
  except (FileNotFoundError, NotADirectoryError, ValueError) as error:
    reason = error.strerror if isinstance(error, OSError) else error
    raise DamagedError(step, f'its {name} cannot be read ({reason})') from error
  if not isinstance(content, dict):
    raise DamagedError(step, f'its {name} is no JSON object')
  return content


def read_state(
  step: pathlib.Path, *, meta: layout.Meta, state: PyTree
) -> PyTree:
  """The TrainState of a step folder, laid out as `state` says.

  Raises:
    DamagedError: if it cannot be read, or its digests are not those in `meta`.
  """
  if distributed.several():
    restored = _restore_in_first(step, state)
  else:
    restored = _restore(step, state)
  found = checksums.digest(restored).arrays
  for name in sorted({*meta['digests'], *found}):
    if meta['digests'].get(name) != found.get(name):
      raise DamagedError(
        step, f'its array {name} is not the one that was saved'
      )
  return restored


def read_arrays(
  step: pathlib.Path, *, meta: layout.Meta, device: jax.Device | None = None
) -> PyTree:
  """The same on one device and without a config: a tree of dicts and lists.

  Args:
    step: the folder.
    meta: what it says of itself.
    device: which; the first of all if not given.

  Raises:
    DamagedError: as `read_state` does.
  """
  place = jax.sharding.SingleDeviceSharding(device or jax.local_devices()[0])
  shapes = hosts.of_first(
    lambda: _shapes(step), elsewhere=DamagedError.elsewhere(step)
  )
  state = jax.tree.map(
    lambda text: jax.ShapeDtypeStruct(*_parse_shape(text), sharding=place),
    shapes,
  )
  return read_state(step, meta=meta, state=state)


def _shapes(step: pathlib.Path) -> PyTree:
  """The tree of a step's arrays, as texts such as 'float32 11 11 3 96'."""
  with quiet.orbax():
    handler = ocp.StandardCheckpointHandler(
      multiprocessing_options=orbax_quirks.orbax_options()
    )
    tree = handler.metadata((step / 'state').absolute()).tree
  return jax.tree.map(lambda a: ' '.join(map(str, (a.dtype, *a.shape))), tree)


def _parse_shape(text: str) -> tuple[tuple[int, ...], np.dtype]:
  dtype, *shape = text.split()
  return tuple(map(int, shape)), np.dtype(dtype)


def _restore_in_first(step: pathlib.Path, state: PyTree) -> PyTree:
  """What process 0 restores, laid out over the devices of all."""
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  whole = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), state
  )
  read = hosts.together(
    lambda: _restore(step, whole) if distributed.is_first() else whole,
    elsewhere=DamagedError.elsewhere(step),
  )

  def place(ours: Any, spec: jax.ShapeDtypeStruct) -> jax.Array:
    array = hosts.array_of_first(ours, shape=spec.shape, dtype=spec.dtype)
    return placement.put(array, sharding=spec.sharding)

  return jax.tree.map(place, read, state)


def _restore(step: pathlib.Path, state: PyTree) -> PyTree:
  with (
    quiet.orbax(),
    ocp.StandardCheckpointer(
      multiprocessing_options=orbax_quirks.orbax_options()
    ) as reader,
  ):
    try:
      return reader.restore((step / 'state').absolute(), state)
    except OSError:
      raise
    except Exception as error:  # orbax raises Exception itself
      reason = str(error).splitlines()[0]
      raise DamagedError(
        step, f'its state cannot be read ({reason})'
      ) from error


def wind(batches: grain.DatasetIterator, *, step: pathlib.Path) -> None:
  """Puts the iterator where it was when the step folder was written."""
  place = hosts.of_first(
    lambda: _read_json(step, f'data/{layout.ITERATOR}'),
    elsewhere=DamagedError.elsewhere(step),
  )
  batches.set_state(place)
  batches.start_prefetch()
