"""The nearest of many vectors: the images that a network finds alike (§6.1).

"If two images produce feature activation vectors with a small Euclidean
separation, we can say that the higher levels of the neural network consider
them to be similar." `nearest` finds them by matrix products,

  |a - b|^2 = |a|^2 - 2 a.b + |b|^2

in float32, block by block, of vectors less the mean of some, which leaves
distances as they are and makes a and b short. Products round: whatever may be
among the nearest within the largest possible error is measured once more, as a
difference in float64, so that the answer is that of a search by hand, equal
distances in the order of the database. Only where more rows of a block than
`_most_measured` lie within the error, about as near as each other to float32,
are no more than those measured that it finds nearest, the first if equal: the
distances are exact still, but a row that is nearer by less than the error may
be missed.

"... this could be made efficient by training an auto-encoder to compress these
vectors to short binary codes": `hamming` searches those of codes.py.
"""

import importlib
import mmap
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import tqdm
from jaxtyping import Bool, Float, Int, Real, UInt, UInt8, UInt64

Index = Literal['exact', 'usearch', 'faiss']
_INSTALL = {'usearch': 'usearch', 'faiss': 'faiss-cpu'}
_MODULES = {'usearch': 'usearch.index', 'faiss': 'faiss'}
_QUERIES = 1000  # that are compared with a block at once
_CODES = 128  # likewise, so that 2048 words of each stay in the cache
_MEAN_OF = 2048  # rows, that lie evenly among all
_VALUES = 2**22  # that are subtracted at once
_SPARE = 4  # an index is asked for that many times the neighbours
_ROUNDING = 2.0**-24  # float32
_MOST = 1e15  # whose square float32 still holds, and the sum of many


class Neighbours(NamedTuple):
  """Of each query, the nearest first.

  Attributes:
    indices: rows of the database.
    distances: Euclidean, or of codes the bits that differ.
  """

  indices: Int[np.ndarray, 'q count']
  distances: Real[np.ndarray, 'q count']


def nearest(
  queries: Real[np.ndarray, 'q d'],
  database: Real[np.ndarray, 'n _'],
  *,
  count: int,
  block_rows: int = 2048,
  index: Index = 'exact',
) -> Neighbours:
  """The `count` rows of the database at the least Euclidean distance.

  Args:
    queries: vectors.
    database: vectors, may be a memory-mapped file of any size: only a block of
      it is in memory, and whatever was read before is given back.
    count: neighbours of each query.
    block_rows: of the database that are read at once.
    index: 'exact', or the library whose graph of neighbours to search: quicker
      for many queries of a large set, of which it holds a copy in memory.
      It misses some neighbours; distances are exact.

  Raises:
    ValueError: if there are fewer rows, they have other units or are not
      finite, or the library is not there.

  >>> nearest(np.array([[0., 1.]]), np.array([[3., 5.], [0., 0.]]), count=2)
  Neighbours(indices=array([[1, 0]]), distances=array([[1., 5.]]))
  """
  check_index(index)
  _check(queries, database, count=count)
  _check_values(queries)
  match index:
    case 'exact':
      squares = _exact(queries, database, count=count, block_rows=block_rows)
    case 'usearch':
      squares = _by_index(_usearch, queries, database, count, block_rows)
    case 'faiss':
      squares = _by_index(_faiss, queries, database, count, block_rows)
  return squares._replace(distances=np.sqrt(squares.distances))


def check_index(index: str) -> None:
  """Refuses what `nearest` cannot search by, before anything takes long.

  Raises:
    ValueError: if the index is not known, or its library is not there.
  """
  if index not in get_args(Index):
    raise ValueError(
      f'index {index!r} is not known: use {" or ".join(get_args(Index))}'
    )
  if index in _MODULES:
    _module(_MODULES[index])


def _check(queries: np.ndarray, database: np.ndarray, *, count: int) -> None:
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
      f'vectors hold a value that is no number below {_MOST:g}: use features '
      'of a network that has not diverged'
    )


def _exact(
  queries: np.ndarray, database: np.ndarray, *, count: int, block_rows: int
) -> Neighbours:
  """Squares of distances; the queries in groups, to bound the products."""
  groups = [
    _float32(queries[start : start + _QUERIES])
    for start in range(0, len(queries), _QUERIES)
  ]
  found = [_nothing(len(group), count=count) for group in groups]
  mean = _mean(database)[None]
  near = [group - mean for group in groups]
  for start, block in blocks(database, rows=block_rows, what='neighbours'):
    less = block - mean
    norms = _norms(less)
    for at, group in enumerate(groups):
      query, row = np.nonzero(
        _candidates(near[at], less, norms=norms, found=found[at])
      )
      squares = _squares(group, block, query=query, row=row)
      found[at] = _merged(found[at], query, start + row, squares)
  return _joined(found, count=count)


def _mean(database: np.ndarray) -> Float[np.ndarray, ' d']:
  """Of some rows: near all of them, which is all that is needed."""
  few = min(len(database), _MEAN_OF)
  rows = _float32(database[np.arange(few) * len(database) // few])
  _give_back(database)
  _check_values(rows)
  return rows.mean(axis=0, dtype=np.float64).astype(np.float32)


def _candidates(
  queries: Float[np.ndarray, 'q d'],
  block: Float[np.ndarray, 'b d'],
  *,
  norms: Float[np.ndarray, ' b'],
  found: Neighbours,
) -> Bool[np.ndarray, 'q b']:
  """Which rows of a block may belong to the nearest, rounding allowed for.

  A float32 product of d terms is wrong by at most d |a| |b| / 2^24, and the
  sum of the three terms by a little more (Higham, 2002, §3.1). That the mean
  was subtracted in float32 adds (|a| + |b|)^2 / 2^23, which is at most four
  times the sum of squares / 2^24. A later row must be nearer than those found.
  """
  count = found.indices.shape[1]
  sums = _norms(queries)[:, None] + norms[None]
  about = sums - 2 * (queries @ block.T)
  error = ((block.shape[1] + 16) * _ROUNDING) * sums
  # The last of those so far is exact.
  least = about - error
  may = least < found.distances[:, -1:]
  if len(block) >= count:
    may &= least <= _smallest(about + error, count=count)
  most = _most_measured(count)
  for query in np.flatnonzero(np.count_nonzero(may, axis=1) > most):
    (rows,) = np.nonzero(may[query])
    order = np.argsort(about[query, rows], kind='stable')
    may[query, rows[order[most:]]] = False
  return may


def _most_measured(count: int) -> int:
  """Rows of a block that are measured exactly for a query, at most."""
  return 4 * count + 64


def _smallest(
  values: Real[np.ndarray, 'q b'], *, count: int
) -> Real[np.ndarray, 'q 1']:
  """The count-th of each row, in ascending order."""
  return np.partition(values, count - 1, axis=1)[:, count - 1, None]


def _squares(
  queries: np.ndarray, block: np.ndarray, *, query: np.ndarray, row: np.ndarray
) -> Float[np.ndarray, ' pairs']:
  """|a - b|^2 of pairs in float64, a few at a time."""
  squares = np.empty(len(query), np.float64)
  step = max(_VALUES // block.shape[1], 1)
  for start in range(0, len(query), step):
    part = slice(start, start + step)
    difference = queries[query[part]].astype(np.float64) - block[row[part]]
    squares[part] = np.square(difference, out=difference).sum(axis=1)
  return squares


def _merged(
  found: Neighbours, query: np.ndarray, index: np.ndarray, distance: np.ndarray
) -> Neighbours:
  """The nearest of those found so far and of more (query, index, distance)."""
  queries, count = found.indices.shape
  query = np.concatenate([np.repeat(np.arange(queries), count), query])
  index = np.concatenate([found.indices.ravel(), index])
  distance = np.concatenate([found.distances.ravel(), distance])
  order = np.lexsort((index, distance, query))
  first = np.searchsorted(query[order], np.arange(queries))
  kept = order[first[:, None] + np.arange(count)[None]]
  return Neighbours(index[kept], distance[kept])


def _nothing(queries: int, *, count: int) -> Neighbours:
  return Neighbours(
    np.full((queries, count), np.iinfo(np.int64).max),
    np.full((queries, count), np.inf),
  )


def _joined(found: list[Neighbours], *, count: int) -> Neighbours:
  parts = found or [_nothing(0, count=count)]
  return Neighbours(*map(np.concatenate, zip(*parts, strict=True)))


def blocks(
  database: np.ndarray, *, rows: int, what: str
) -> Iterator[tuple[int, Float[np.ndarray, 'b d']]]:
  """Where each block of rows begins, and a copy of it as float32.

  Args:
    database: may be memory-mapped: what was read of it is given back.
    rows: of a block.
    what: name of the progress bar, for what takes long.

  Raises:
    ValueError: if a value is not finite, or huge.
  """
  for start in tqdm.trange(
    0, len(database), rows, desc=what, delay=5, leave=False
  ):
    block = _float32(database[start : start + rows])
    _give_back(database)
    _check_values(block)
    yield start, block


def _give_back(array: np.ndarray) -> bool:
  """Lets the system drop what was read of a memory-mapped file; if it can."""
  base: Any = array
  while isinstance(base, np.ndarray):
    base = base.base
  ours = isinstance(base, mmap.mmap) and not array.flags.writeable
  if not ours or not hasattr(mmap, 'MADV_DONTNEED'):
    return False
  base.madvise(mmap.MADV_DONTNEED)
  return True


def _float32(array: np.ndarray) -> Float[np.ndarray, 'n d']:
  """A copy in memory."""
  return np.array(array, np.float32, order='C')


def _norms(rows: Float[np.ndarray, 'n d']) -> Float[np.ndarray, ' n']:
  """|a|^2 of each row, rounded once."""
  squares = np.einsum('nd,nd->n', rows, rows, dtype=np.float64)
  return squares.astype(np.float32)


# Of (block of the database, its first row): adds it to an index. Of (queries,
# count): the rows that it finds near each, -1 where there are none.
_Add = Callable[[np.ndarray, int], None]
_Find = Callable[[np.ndarray, int], np.ndarray]


def _by_index(
  library: Callable[[int], tuple[_Add, _Find]],
  queries: np.ndarray,
  database: np.ndarray,
  count: int,
  block_rows: int,
) -> Neighbours:
  """More rows than are asked for from an index, the nearest of them exactly."""
  add, find = library(database.shape[1])
  for start, block in blocks(database, rows=block_rows, what='index'):
    add(block, start)
  own = _float32(queries)
  near = find(own, min(_SPARE * count, len(database))).astype(np.int64)
  query, at = np.nonzero(near >= 0)
  row = near[query, at]
  squares = _squares(own, database, query=query, row=row)
  _give_back(database)
  found = _merged(_nothing(len(own), count=count), query, row, squares)
  (few,) = np.nonzero(np.isinf(found.distances[:, -1]))
  if len(few):
    rest = _exact(own[few], database, count=count, block_rows=block_rows)
    found.indices[few], found.distances[few] = rest
  return found


def _usearch(units: int) -> tuple[_Add, _Find]:
  """A graph of float16 vectors."""
  index = _module(_MODULES['usearch']).Index(
    ndim=units, metric='l2sq', dtype='f16'
  )

  def add(block: np.ndarray, start: int) -> None:
    index.add(np.arange(start, start + len(block)), block)

  def find(queries: np.ndarray, count: int) -> np.ndarray:
    found = index.search(queries, count)
    rows = found.keys.astype(np.int64).reshape(len(queries), -1)
    # Of one query there is no `counts`: its keys are as many as were found.
    counts = np.reshape(getattr(found, 'counts', rows.shape[1]), (-1, 1))
    return np.where(np.arange(rows.shape[1])[None] < counts, rows, -1)

  return add, find


def _faiss(units: int) -> tuple[_Add, _Find]:
  """A graph of vectors of a byte a unit, scaled as the first block needs."""
  index = _module(_MODULES['faiss']).index_factory(units, 'HNSW32,SQ8')

  def add(block: np.ndarray, start: int) -> None:
    if not index.is_trained:
      index.train(block)
    index.add(block)

  return add, lambda queries, count: index.search(queries, count)[1]


def _module(name: str) -> ModuleType:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    library = name.split('.')[0]
    raise ValueError(
      f'index {library!r} needs a package that is not there ({error}): pip '
      f'install {_INSTALL[library]}, or use exact'
    ) from error


def hamming(
  queries: UInt8[np.ndarray, 'q bytes'],
  database: UInt8[np.ndarray, 'n _'],
  *,
  count: int,
  block_rows: int = 2048,
) -> Neighbours:
  """The `count` codes of the database that differ in the fewest bits.

  Equal distances come in the order of the database.

  Raises:
    ValueError: if there are fewer codes, or they have other lengths.

  >>> codes = np.array([[0b1100], [0b1111], [0b1000]], np.uint8)
  >>> hamming(np.array([[0b1000]], np.uint8), codes, count=2)
  Neighbours(indices=array([[2, 0]]), distances=array([[0, 1]]))
  """
  _check(queries, database, count=count)
  words = _words(queries)
  groups = [words[at : at + _CODES] for at in range(0, len(words), _CODES)]
  found = [_nothing(len(group), count=count) for group in groups]
  for start in tqdm.trange(
    0, len(database), block_rows, desc='codes compared', delay=5, leave=False
  ):
    block = _words(database[start : start + block_rows])
    for at, group in enumerate(groups):
      bits = _bits_that_differ(group, block)
      near = bits < found[at].distances[:, -1:]  # a later row must be nearer
      if len(block) >= count and np.count_nonzero(near) > 8 * len(group):
        near &= bits <= _smallest(bits, count=count)
      query, row = np.nonzero(near)
      found[at] = _merged(found[at], query, start + row, bits[query, row])
  joined = _joined(found, count=count)
  return joined._replace(distances=joined.distances.astype(np.int64))


def _words(
  codes: UInt8[np.ndarray, 'n bytes'],
) -> UInt64[np.ndarray, 'n words']:
  """Eight bytes in one; zeros fill up the last."""
  padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8)))
  return np.ascontiguousarray(padded).view(np.uint64)


def _bits_that_differ(
  a: UInt64[np.ndarray, 'q words'], b: UInt64[np.ndarray, 'b words']
) -> UInt[np.ndarray, 'q b']:
  """In the smallest integers that hold as many."""
  total = np.zeros((len(a), len(b)), np.min_scalar_type(64 * a.shape[1]))
  for mine, theirs in zip(a.T, b.T, strict=True):
    total += np.bitwise_count(mine[:, None] ^ theirs[None])
  return total


def precision(
  found: Neighbours,
  *,
  queries: Int[np.ndarray, ' q'],
  database: Int[np.ndarray, ' n'],
) -> float:
  """The share of all neighbours that have their query's label.

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
  """The share of the exact neighbours that were found.

  >>> recall(Neighbours(np.array([[4, 2]]), np.array([[0., 1.]])),
  ...   exact=Neighbours(np.array([[2, 3]]), np.array([[0., 1.]])))
  0.5
  """
  both = found.indices[:, :, None] == exact.indices[:, None, :]
  return float(both.any(axis=1).mean())
