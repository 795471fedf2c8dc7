"""The nearest of many vectors: images that a network finds alike (§6.1).

"If two images produce feature activation vectors with a small Euclidean
separation, we can say that the higher levels of the neural network consider
them to be similar." `nearest` ranks the database by

  |a - b|^2 - |a|^2 = |b|^2 - 2 a.b

as float32 products on the default device, block by block, and keeps more rows
than were asked for. It then measures those in float64 and sorts them, which
corrects what float32 rounds. A neighbour is missed only if more than
`_spare` rows lie within float32 rounding of it.

"... it could be made efficient by training an auto-encoder to compress these
vectors to short binary codes": `hamming` searches those of codes.py.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Array, Float, Int, Real, UInt8

_QUERIES = 1000  # that are compared with a block at once
_MEAN_OF = 2048  # rows, evenly spaced in the database
_MOST = 1e15  # float32 holds the sum of a million such squares


class Neighbours(NamedTuple):
  """The neighbours of each query, nearest first."""

  indices: Int[np.ndarray, 'q count']  # rows of the database
  distances: Real[np.ndarray, 'q count']  # or bits that differ


# The best rows of the database so far: (scores, rows), both [q, count].
_Best = tuple[Float[Array, 'q count'], Int[Array, 'q count']]
_Blocks = Iterable[tuple[int, Float[np.ndarray, 'b d']]]


def nearest(
  queries: Real[np.ndarray, 'q d'],
  database: Real[np.ndarray, 'n _'],
  *,
  count: int,
  block_rows: int = 2048,
) -> Neighbours:
  """The `count` rows of the database at the least Euclidean distance.

  Equal distances come in the order of the database, which may be a
  memory-mapped file larger than memory. Raises ValueError if the database has
  fewer than `count` rows or another number of columns, or a value is not
  finite, or is 1e15 or more.

  >>> nearest(np.array([[0., 1.]]), np.array([[3., 5.], [0., 0.]]), count=2)
  Neighbours(indices=array([[1, 0]]), distances=array([[1., 5.]]))
  """
  _check_shapes(queries, database, count=count)
  _check_values(queries)
  # Distances stay the same, and short vectors lose less to rounding.
  mean = _mean(database)[None]
  parts = blocks(database, rows=block_rows, what='neighbours')
  centred = ((start, block - mean) for start, block in parts)
  spare = _spare(count, of=len(database))
  _, rows = _search(_float32(queries) - mean, centred, count=spare)
  return _measured(queries, database, rows=rows, count=count)


def hamming(
  queries: UInt8[np.ndarray, 'q bytes'],
  database: UInt8[np.ndarray, 'n _'],
  *,
  count: int,
  block_rows: int = 2048,
) -> Neighbours:
  """The `count` codes of the database that differ in the fewest bits.

  Equal distances come in the order of the database. Of vectors of zeros and
  ones |a - b|^2 is the number of bits that differ, and exact in float32. Raises
  ValueError if the database has fewer than `count` codes, or their length is
  not that of the queries.

  >>> codes = np.array([[0b1100], [0b1111], [0b1000]], np.uint8)
  >>> hamming(np.array([[0b1000]], np.uint8), codes, count=2)
  Neighbours(indices=array([[2, 0]]), distances=array([[0, 1]]))
  """
  _check_shapes(queries, database, count=count)
  starts = tqdm.trange(
    0, len(database), block_rows, desc='codes compared', delay=5, leave=False
  )
  bits = _bits(queries)
  parts = ((at, _bits(database[at : at + block_rows])) for at in starts)
  scores, rows = _search(bits, parts, count=count)
  return Neighbours(rows, (bits.sum(axis=1)[:, None] - scores).astype(np.int64))


def _bits(codes: UInt8[np.ndarray, 'n bytes']) -> Float[np.ndarray, 'n bits']:
  return np.unpackbits(codes, axis=1).astype(np.float32)


def _search(
  queries: Float[np.ndarray, 'q d'], database: _Blocks, *, count: int
) -> tuple[Float[np.ndarray, 'q count'], Int[np.ndarray, 'q count']]:
  """(scores, rows) of the highest 2 a.b - |b|^2, of equal ones the first."""
  starts = range(0, len(queries), _QUERIES)
  groups = [jnp.asarray(queries[start : start + _QUERIES]) for start in starts]
  shapes = ((len(group), count) for group in groups)
  none = [  # of numpy: JAX would compile two programs for each shape
    (np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int32))
    for shape in shapes
  ]
  best: list[_Best] = jax.device_put(none)
  for start, block in database:
    rows = jnp.asarray(block)
    for at, group in enumerate(groups):
      best[at] = _merge(best[at], group, rows, start)
  scores, found = zip(*jax.device_get(best), strict=True)
  return np.concatenate(scores), np.concatenate(found).astype(np.int64)


@jax.jit
def _merge(
  best: _Best,
  queries: Float[Array, 'q d'],
  block: Float[Array, 'b d'],
  start: Int[Array, ''] | int,
) -> _Best:
  """The best of those so far and of a block that begins at row `start`."""
  product = jnp.dot(queries, block.T, precision=jax.lax.Precision.HIGHEST)
  scores = 2 * product - jnp.square(block).sum(axis=1)[None]  # [q, b]
  rows = jnp.broadcast_to(start + jnp.arange(len(block)), scores.shape)
  scores = jnp.concatenate([best[0], scores], axis=1)
  rows = jnp.concatenate([best[1], rows], axis=1)
  # Of equal scores top_k takes the first: those of earlier rows.
  scores, places = jax.lax.top_k(scores, best[0].shape[1])
  return scores, jnp.take_along_axis(rows, places, axis=1)


def _measured(
  queries: Real[np.ndarray, 'q d'],
  database: Real[np.ndarray, 'n d'],
  *,
  rows: Int[np.ndarray, 'q spare'],
  count: int,
) -> Neighbours:
  """The nearest `count` of each query's rows, by their distance in float64."""
  indices = np.empty((len(queries), count), np.int64)
  distances = np.empty((len(queries), count), np.float64)
  for at, (query, own) in enumerate(zip(queries, np.sort(rows), strict=True)):
    difference = database[own].astype(np.float64)
    difference -= query.astype(np.float64)[None]
    squares = np.square(difference, out=difference).sum(axis=1)
    order = np.argsort(squares, kind='stable')[:count]
    indices[at], distances[at] = own[order], np.sqrt(squares[order])
  return Neighbours(indices, distances)


def _spare(count: int, *, of: int) -> int:
  """How many rows of the database to measure for `count` neighbours."""
  return min(4 * count + 64, of)


def _check_shapes(
  queries: np.ndarray, database: np.ndarray, *, count: int
) -> None:
  if queries.shape[1] != database.shape[1]:
    raise ValueError(
      f'queries of {queries.shape[1]} values, a database of '
      f'{database.shape[1]}: use vectors of one network for both'
    )
  if not 1 <= count <= len(database):
    raise ValueError(
      f'{count} neighbours in a database of {len(database)}: ask for 1 to '
      f'{len(database)}, or use a larger database'
    )


def _check_values(rows: np.ndarray) -> None:
  if not (np.abs(rows) < _MOST).all():
    raise ValueError(
      f'vectors hold a value that is not finite, or not below {_MOST:g}: use '
      'features of a network that has not diverged'
    )


def _mean(database: np.ndarray) -> Float[np.ndarray, ' d']:
  """The mean of some rows, which is near enough to all of them."""
  few = min(len(database), _MEAN_OF)
  rows = _float32(database[np.arange(few) * len(database) // few])
  _check_values(rows)
  return rows.mean(axis=0, dtype=np.float64).astype(np.float32)


def blocks(
  database: np.ndarray, *, rows: int, what: str
) -> Iterator[tuple[int, Float[np.ndarray, 'b d']]]:
  """Yields (first row, copy as float32) for each block of the database.

  `what` names the progress bar. Raises ValueError if a value is not finite, or
  is 1e15 or more.
  """
  for start in tqdm.trange(
    0, len(database), rows, desc=what, delay=5, leave=False
  ):
    block = _float32(database[start : start + rows])
    _check_values(block)
    yield start, block


def _float32(array: np.ndarray) -> Float[np.ndarray, 'n d']:
  return np.array(array, np.float32, order='C')  # a copy in memory


def precision(
  found: Neighbours,
  *,
  queries: Int[np.ndarray, ' q'],
  database: Int[np.ndarray, ' n'],
) -> float:
  """The share of neighbours, 0 to 1, that have their query's label.

  >>> precision(Neighbours(np.array([[0, 2]]), np.array([[0., 1.]])),
  ...   queries=np.array([7]), database=np.array([7, 7, 8]))
  0.5
  """
  return float(np.mean(database[found.indices] == queries[:, None]))


def chance(
  *, queries: Int[np.ndarray, ' q'], database: Int[np.ndarray, ' n']
) -> float:
  """The precision of neighbours drawn at random.

  >>> chance(queries=np.array([0, 1]), database=np.array([0, 0, 0, 2]))
  0.375
  """
  counts = np.bincount(database, minlength=int(queries.max()) + 1)
  return float(np.mean(counts[queries]) / len(database))


def recall(found: Neighbours, *, exact: Neighbours) -> float:
  """The share of the exact neighbours, 0 to 1, that were found.

  >>> recall(Neighbours(np.array([[4, 2]]), np.array([[0., 1.]])),
  ...   exact=Neighbours(np.array([[2, 3]]), np.array([[0., 1.]])))
  0.5
  """
  both = found.indices[:, :, None] == exact.indices[:, None, :]
  return float(both.any(axis=1).mean())
