"""Exchanges between the hosts of a run, beside the compiled steps.

All hosts call each of these functions at the same place of the program. With
one host they move nothing. A host is one process of the run, with its devices;
host 0 alone reads and writes the run's workdir.
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
MakeError = Callable[[str], Exception]
_PAGE = 4096  # bytes


class OtherHostError(ValueError):
  """Another host failed; the message is 'process N: ' and its error."""


def gather_text(text: str) -> list[str]:
  """Returns the texts of all hosts, by host."""
  if not distributed.is_multihost():
    return [text]
  own = np.frombuffer(text.encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(own), np.int32))
  size = _whole_pages(int(sizes.max()))  # all must send one size
  padded = np.zeros(size, np.uint8)
  padded[: len(own)] = own
  rows = multihost_utils.process_allgather(padded)
  rows = rows.reshape(len(sizes), -1)  # [hosts, bytes]
  return [
    row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)
  ]


def gather_rows(arrays: dict[str, Any], *, first: int) -> dict[str, Any]:
  """Joins the hosts' rows of a batch, in the order of the batch.

  `arrays` are numpy arrays or lists of this host's rows, by name; `first` is
  the position of its first row. Hosts may hold the same rows.
  """
  plain = {name: np.asarray(part).tolist() for name, part in arrays.items()}
  rows: dict[int, list[Any]] = {}  # by position: columns hold the same rows
  for text in gather_text(json.dumps([first, plain])):
    start, theirs = json.loads(text)
    for row, values in enumerate(zip(*theirs.values(), strict=True), start):
      rows[row] = list(values)
  columns = zip(*(rows[row] for row in range(len(rows))), strict=True)
  whole = dict(zip(plain, columns, strict=True))
  dtypes = {name: getattr(part, 'dtype', None) for name, part in arrays.items()}
  return {
    name: np.array(values, dtypes[name]) if dtypes[name] else list(values)
    for name, values in whole.items()
  }


def all_sum(numbers: list[int]) -> list[int]:
  """Sums each number over the hosts."""
  if not distributed.is_multihost():
    return numbers
  rows = multihost_utils.process_allgather(np.array(numbers, np.int32))
  return rows.reshape(-1, len(numbers)).sum(axis=0).tolist()  # [numbers]


def run_everywhere(
  action: Callable[[], T], *, other_error: MakeError = OtherHostError
) -> T:
  """Runs `action` on every host; if it fails on one, it fails on all.

  `action` must not itself exchange anything with other hosts. A host raises its
  own ValueError or OSError; the others raise what `other_error` makes of
  'process 2: ' and the message of host 2's ValueError, and an OtherHostError
  for an OSError, which concerns that host's disk.
  """
  if not distributed.is_multihost():
    return action()
  try:
    result = action()
  except (ValueError, OSError) as error:
    raise_everywhere(error, other_error=other_error)
    raise
  raise_everywhere(None, other_error=other_error)
  return result


def raise_everywhere(
  error: Exception | None, *, other_error: MakeError = OtherHostError
) -> None:
  """Raises an error on all hosts if any host passes one; else does nothing."""
  described = json.dumps(_describe(error) if error else None)
  texts = gather_text(described)
  if error:
    raise error
  for host, text in enumerate(texts):
    if failure := json.loads(text):
      raise _error_of(host, failure, other_error=other_error)


def _describe(error: Exception) -> dict[str, Any]:
  message = str(error) or type(error).__name__
  return {'message': message, 'disk': isinstance(error, OSError)}


def _error_of(
  host: int, failure: dict[str, Any], *, other_error: MakeError
) -> Exception:
  make = OtherHostError if failure['disk'] else other_error
  return make(f'process {host}: {failure["message"]}')


def from_host0(
  action: Callable[[], T], *, other_error: MakeError = OtherHostError
) -> T:
  """Runs `action` on host 0 and broadcasts its result or its error.

  `action` must not itself exchange anything with other hosts, and its result
  must come through JSON unchanged. Errors are those of `run_everywhere`.
  """
  if not distributed.is_multihost():
    return action()
  error: Exception | None = None
  outcome: dict[str, Any] = {}
  if distributed.is_host0():
    try:
      outcome['result'] = action()
    except (ValueError, OSError) as caught:
      outcome['failure'], error = _describe(caught), caught
  outcome = json.loads(_broadcast_text(json.dumps(outcome)))
  if error:
    raise error
  if 'failure' in outcome:
    raise _error_of(0, outcome['failure'], other_error=other_error)
  return outcome['result']


def on_host0(action: Callable[[], object]) -> None:
  """Runs `action` on host 0; all hosts wait for it, and fail if it fails."""

  def run() -> None:
    action()  # its result stays on host 0

  from_host0(run)


def _whole_pages(size: int) -> int:
  # JAX compiles a program for each length of a text: padding keeps them few.
  return -(-size // _PAGE) * _PAGE


def _broadcast_text(text: str) -> str:
  padded = text.encode().ljust(_whole_pages(len(text.encode())))
  size = multihost_utils.broadcast_one_to_all(np.array(len(padded), np.int32))
  array = broadcast_from_host0(
    np.frombuffer(padded, np.uint8), shape=(int(size),), dtype=np.uint8
  )
  return array.tobytes().decode()


def broadcast_from_host0(
  array: Any, *, shape: tuple[int, ...], dtype: Any
) -> np.ndarray:
  """Returns host 0's array, bit for bit; those of the other hosts are ignored.

  JAX broadcasts by summing the array and zeros, which would turn -0.0 into 0.0:
  so the bytes travel as integers.
  """
  dtype = np.dtype(dtype)
  size = math.prod(shape) * dtype.itemsize
  words = np.zeros(-(-size // 4), np.uint32)  # rounded up to whole words
  if distributed.is_host0():
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    words.view(np.uint8)[:size] = flat
  words = multihost_utils.broadcast_one_to_all(words)
  return words.view(np.uint8)[:size].view(dtype).reshape(shape)


def assert_equal(facts: dict[str, str]) -> None:
  """Raises ValueError, with the values, if a fact differs between hosts."""
  lines = [f'{name} = {value}' for name, value in sorted(facts.items())]
  texts = [text.split('\n') for text in gather_text('\n'.join(lines))]
  for host, theirs in enumerate(texts):
    ours = set(texts[0])  # host 0's
    if set(theirs) != ours:
      other = sorted(set(theirs) - ours), sorted(ours - set(theirs))
      there, here = (', '.join(part) or 'nothing of it' for part in other)
      raise ValueError(
        f'process {host} has {there}; process 0 has {here}: start all '
        'processes with the same flags, program and data'
      )


def to_host(tree: PyTree) -> Any:
  """Copies whole arrays to every host, also those that span hosts."""
  return jax.tree.map(_to_host, tree)


def gather_to_host0(tree: PyTree) -> Any:
  """Copies whole arrays to host 0; the other hosts send theirs, get None."""

  def gather(array: jax.Array) -> np.ndarray | None:
    if _is_local(array) and not distributed.is_host0():
      return None
    whole = _to_host(array)
    return whole if distributed.is_host0() else None

  return jax.tree.map(gather, tree)


def _to_host(array: jax.Array) -> np.ndarray:
  if _is_local(array):
    return jax.device_get(array)
  return multihost_utils.process_allgather(array, tiled=True)


def _is_local(array: jax.Array) -> bool:
  return array.is_fully_addressable or array.is_fully_replicated
