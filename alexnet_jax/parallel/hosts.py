"""What the processes of a run tell each other besides the steps themselves.

Everything here is called by all of them at the same place of the program, and
with one process none of it does anything. Not in the paper.
"""

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from alexnet_jax.parallel import distributed

T = TypeVar('T')
_PAGE = 4096  # bytes


class ElsewhereError(ValueError):
  """Another process failed, with what it said."""


def gather(text: str) -> list[str]:
  """What each process says, in their order."""
  if not distributed.several():
    return [text]
  own = np.frombuffer(text.encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(own), np.int32))
  padded = np.zeros(int(sizes.max()), np.uint8)
  padded[: len(own)] = own
  rows = multihost_utils.process_allgather(padded)
  rows = rows.reshape(len(sizes), -1)
  return [
    row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)
  ]


def total(numbers: list[int]) -> list[int]:
  """The sums over processes."""
  if not distributed.several():
    return numbers
  rows = multihost_utils.process_allgather(np.array(numbers, np.int32))
  return rows.reshape(-1, len(numbers)).sum(axis=0).tolist()


def together(
  action: Callable[[], T],
  *,
  elsewhere: Callable[[str], Exception] = ElsewhereError,
) -> T:
  """Does something in every process; if it fails in one, it fails in all.

  Args:
    action: must not itself need the other processes.
    elsewhere: makes the error of those in which it did not fail, from
      'process 2: ' and what the ValueError of that one says. Of an OSError,
      which is of that one's disk, they get an ElsewhereError.

  Raises:
    ValueError: if it fails.
    OSError: likewise.
  """
  if not distributed.several():
    return action()
  try:
    result = action()
  except (ValueError, OSError) as error:
    tell(error, elsewhere=elsewhere)
    raise
  tell(None, elsewhere=elsewhere)
  return result


def tell(
  failed: Exception | None,
  *,
  elsewhere: Callable[[str], Exception] = ElsewhereError,
) -> None:
  """Raises what failed, in every process, if something did in one."""
  said = gather(json.dumps(_describe(failed) if failed else None))
  if failed:
    raise failed
  for process, text in enumerate(said):
    if failure := json.loads(text):
      raise _error_of(process, failure, elsewhere=elsewhere)


def _describe(error: Exception) -> dict[str, Any]:
  text = str(error) or type(error).__name__
  return {'said': text, 'disk': isinstance(error, OSError)}


def _error_of(
  process: int,
  failure: dict[str, Any],
  *,
  elsewhere: Callable[[str], Exception],
) -> Exception:
  make = ElsewhereError if failure['disk'] else elsewhere
  return make(f'process {process}: {failure["said"]}')


def of_first(
  action: Callable[[], T],
  *,
  elsewhere: Callable[[str], Exception] = ElsewhereError,
) -> T:
  """What process 0 makes of it; the others wait, and get it or fail with it.

  Args:
    action: must not itself need the other processes. What it gives must come
      through JSON as it is.
    elsewhere: as of `together`.

  Raises:
    ValueError: if it fails.
    OSError: likewise.
  """
  if not distributed.several():
    return action()
  failed: Exception | None = None
  told: dict[str, Any] = {}
  if distributed.is_first():
    try:
      told['value'] = action()
    except (ValueError, OSError) as error:
      told['failure'], failed = _describe(error), error
  told = json.loads(_text_of_first(json.dumps(told)))
  if failed:
    raise failed
  if 'failure' in told:
    raise _error_of(0, told['failure'], elsewhere=elsewhere)
  return told['value']


def _text_of_first(text: str) -> str:
  # JAX compiles a program for each length: there are to be few.
  padded = text.encode() + b' ' * (-len(text.encode()) % _PAGE)
  size = multihost_utils.broadcast_one_to_all(np.array(len(padded), np.int32))
  array = array_of_first(
    np.frombuffer(padded, np.uint8), shape=(int(size),), dtype=np.uint8
  )
  return array.tobytes().decode()


def array_of_first(
  array: Any, *, shape: tuple[int, ...], dtype: Any
) -> np.ndarray:
  """An array of process 0, to the bit; whatever the others give is not seen.

  JAX sums up zeros and the array, which would make 0 of its -0: so it goes as
  whole numbers.
  """
  dtype = np.dtype(dtype)
  size = math.prod(shape) * dtype.itemsize
  words = np.zeros(-(-size // 4), np.uint32)
  if distributed.is_first():
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    words.view(np.uint8)[:size] = flat
  words = multihost_utils.broadcast_one_to_all(words)
  return words.view(np.uint8)[:size].view(dtype).reshape(shape)


def first_does(action: Callable[[], object]) -> None:
  """Does something in process 0 alone; all wait for it, or fail with it."""

  def do() -> None:
    action()  # what it gives is of process 0

  of_first(do)


def agree(facts: dict[str, str]) -> None:
  """Refuses to run where a fact is not the same in every process.

  Raises:
    ValueError: naming those that differ, with the values.
  """
  lines = [f'{name} = {value}' for name, value in sorted(facts.items())]
  said = [text.split('\n') for text in gather('\n'.join(lines))]
  for process, theirs in enumerate(said):
    ours = set(said[0])
    if set(theirs) != ours:
      other = sorted(set(theirs) - ours), sorted(ours - set(theirs))
      there, here = (', '.join(part) or 'nothing of it' for part in other)
      raise ValueError(
        f'process {process} has {there}; process 0 has {here}: start all '
        'processes with the same flags, program and data'
      )


def fetch(tree: PyTree) -> Any:
  """The arrays of a tree on the host, also those that others have parts of."""
  return jax.tree.map(_fetch, tree)


def give_first(tree: PyTree) -> Any:
  """The same in process 0 alone; the others give their parts, and get Nones."""

  def give(array: jax.Array) -> np.ndarray | None:
    if _is_here(array) and not distributed.is_first():
      return None
    whole = _fetch(array)
    return whole if distributed.is_first() else None

  return jax.tree.map(give, tree)


def _fetch(array: jax.Array) -> np.ndarray:
  if _is_here(array):
    return jax.device_get(array)
  return multihost_utils.process_allgather(array, tiled=True)


def _is_here(array: jax.Array) -> bool:
  return array.is_fully_addressable or array.is_fully_replicated
