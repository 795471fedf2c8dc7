"""Bias, ReLU, LRN and max pooling (§3.1, §3.3, §3.4) as one kernel for a GPU.

A second one computes their gradient. XLA needs two and three kernels, each of
which reads the activities again; here a device's memory is read and written
once. What each op means is in ops/lrn.py and ops/pool.py.

A kernel works on tiles of positions x channels of one column. The sum of LRN
over neighbouring channels is a product of the tile with a matrix of 0 and 1, so
a NaN or an infinity reaches all channels of its position and column.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from alexnet_jax.ops import pallas, platform

_TILE = 2048  # elements, where a column's channels leave 16 positions or more
_WARP = 256  # elements of a tile for each warp: with more, registers spill
_STRIP = 8  # rows of a program: the forward kernel computes one more


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
  """The ops after a convolution, as local_response_norm and max_pool take them.

  `relu` is 'first', or 'last': after the pooling, as the 2012 program's conv1.
  """

  relu: str
  n: int
  k: float
  alpha: float
  beta: float
  columns: int
  size: int
  stride: int
  partial_windows: bool

  def pooled(self, length: int) -> int:
    """The number of windows along an axis."""
    rounded = math.ceil if self.partial_windows else math.floor
    return 1 + rounded((length - self.size) / self.stride)

  def __call__(
    self, x: Float[Array, 'b h w c'], *, bias: Float[Array, ' c']
  ) -> Float[Array, 'b i j c']:
    """Adds biases to x, rounds to its dtype, and applies the ops.

    Raises ValueError for more than 256 channels in a column, or 2^31 elements.
    """
    width = x.shape[3] // self.columns
    if width > pallas.MOST_CHANNELS:
      raise ValueError(
        f"config.kernels = 'pallas': {width} channels are normalised together, "
        f"at most {pallas.MOST_CHANNELS} can be: use 'xla'"
      )
    if x.size >= 2**31:
      raise ValueError(
        f"config.kernels = 'pallas': {x.size:,} activities of a layer on a "
        "device are 2^31 or more: use smaller minibatches, or 'xla'"
      )
    return _apply(x, bias, self)

  @property
  def none(self) -> int:
    """The number stored where no element of a window gets its gradient."""
    return self.size**2


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _apply(x, bias, block):
  return _forward(x, bias, block, training=False)[0]


def _apply_forward(x, bias, block):
  y, chosen = _forward(x, bias, block, training=True)
  return y, (x, bias, chosen)


def _apply_backward(block, saved, g):
  return _backward(*saved, g, block)


_apply.defvjp(_apply_forward, _apply_backward)


class _Sizes(NamedTuple):
  """Sizes that both kernels need."""

  block: Block
  height: int
  width: int
  rows: int  # of windows
  places: int  # windows of a row
  channels: int  # of all columns
  dtype: Any

  @property
  def own(self) -> int:
    """Channels of a column."""
    return self.channels // self.block.columns

  @property
  def lanes(self) -> int:
    """Channels of a tile: a power of 2, 16 for a product."""
    return max(16, pl.next_power_of_2(self.own))

  def positions(self, length: int) -> int:
    """Positions of a tile, in rows of so many."""
    most = max(16, _TILE // self.lanes)
    return min(most, max(16, pl.next_power_of_2(length)))

  def warps(self, tile: int) -> int:
    """Warps of a program with so many positions."""
    return max(4, tile * self.lanes // _WARP)


def _sizes(x, block):
  _, h, w, c = x.shape
  return _Sizes(block, h, w, block.pooled(h), block.pooled(w), c, x.dtype)


def _forward(x, bias, block, *, training):
  s = _sizes(x, block)
  tile = s.positions(s.places)
  pooled = (len(x), s.rows, s.places, s.channels)
  results = [_like(x, pooled, x.dtype)]
  if training:
    results.append(_like(x, pooled, np.min_scalar_type(block.none)))
  y, *chosen = _call(
    functools.partial(_forward_kernel, sizes=s, tile=tile),
    grid=_grid(x, block, rows=s.rows, places=s.places, tile=tile),
    results=results,
    name='relu_lrn_pool',
    warps=s.warps(tile),
  )(x, bias)
  return y, *chosen


def _backward(x, bias, chosen, g, block):
  s = _sizes(x, block)
  rows, places = (pl.cdiv(n, block.stride) for n in (s.height, s.width))
  tile = s.positions(places)
  grid = _grid(x, block, rows=rows, places=places, tile=tile)
  parts = (len(x), *grid[1:], s.channels)
  dx, sums = _call(
    functools.partial(_backward_kernel, sizes=s, tile=tile),
    grid=grid,
    results=[_like(x, x.shape, x.dtype), _like(x, parts, jnp.float32)],
    name='relu_lrn_pool_gradient',
    warps=s.warps(tile),
  )(x, bias, chosen, g)
  return dx, sums.sum((0, 1, 2)).astype(bias.dtype)


def _like(x, shape, dtype):
  """A result that varies over the same mesh axes as x."""
  return jax.ShapeDtypeStruct(
    shape, dtype, manual_axis_type=jax.typeof(x).manual_axis_type
  )


def _grid(x, block, *, rows, places, tile):
  """Images and columns, strips of rows, tiles of a row."""
  return (
    len(x) * block.columns,
    pl.cdiv(rows, _STRIP),
    pl.cdiv(places, tile),
  )


def _call(
  kernel: Callable[..., None],
  *,
  grid: tuple[int, ...],
  results: list[jax.ShapeDtypeStruct],
  name: str,
  warps: int,
) -> Callable[..., list[Array]]:
  """A kernel of flat arrays, as a function of arrays of any shape."""

  def call(*operands):
    flat = [r.update(shape=(math.prod(r.shape),)) for r in results]
    found = pl.pallas_call(
      kernel,
      grid=grid,
      out_shape=flat,
      interpret=platform.here() == 'cpu',  # in tests alone
      compiler_params=triton.CompilerParams(num_warps=warps, num_stages=1),
      name=name,
    )(*(operand.reshape(-1) for operand in operands))
    return [f.reshape(r.shape) for f, r in zip(found, results, strict=True)]

  return call


class _Place(NamedTuple):
  """The image, rows, positions and channels that one program computes."""

  image: Array
  row: Array  # the first of its strip
  positions: Array  # [tile] along a row
  own: Array  # [lanes] whether there is such a channel
  channel: Array  # [lanes] its number among all


def _place(sizes, tile):
  columns = sizes.block.columns
  lanes = jnp.arange(sizes.lanes)
  return _Place(
    image=pl.program_id(0) // columns,
    row=pl.program_id(1) * _STRIP,
    positions=pl.program_id(2) * tile + jnp.arange(tile),
    own=lanes < sizes.own,
    channel=pl.program_id(0) % columns * sizes.own + lanes,
  )


class _Map(NamedTuple):
  """A flat array of rows x places x channels of each image."""

  ref: Any
  rows: int
  places: int
  sizes: _Sizes

  def _at(self, place, row, positions):
    first = (place.image * self.rows + row) * self.places
    offset = (first + positions)[:, None] * self.sizes.channels
    inside = (row >= 0) & (row < self.rows)
    inside &= (positions >= 0) & (positions < self.places)
    mask = inside[:, None] & place.own[None]
    return self.ref.at[offset + place.channel[None]], mask

  def load(self, place, row, positions, other):
    """A tile [positions, lanes] of a row; `other` beyond its edges."""
    ref, mask = self._at(place, row, positions)
    return triton.load(ref, mask=mask, other=other)

  def store(self, place, row, positions, value):
    ref, mask = self._at(place, row, positions)
    triton.store(ref, value.astype(self.ref.dtype), mask=mask)

  def inside(self, row, positions):
    """[positions, 1] whether there is such a place."""
    return ((row < self.rows) & (positions < self.places))[:, None]


class _Norm(NamedTuple):
  """The biased and rectified activities of a tile, in float32, and LRN's d."""

  sizes: _Sizes
  place: _Place
  bias: Array  # [1, lanes]
  near: Array  # [lanes, lanes], 1 where two channels share a window

  def activities(self, x):
    """As the convolution and the ReLU return them: rounded to x's dtype."""
    biased = x.astype(jnp.float32) + self.bias
    a = biased.astype(x.dtype).astype(jnp.float32)
    a = jnp.maximum(a, 0) if self.sizes.block.relu == 'first' else a
    return jnp.where(self.place.own[None], a, 0)

  def divisor(self, a):
    """The d of ops/lrn.py."""
    block = self.sizes.block
    return block.k + block.alpha * self.window(a * a)

  def window(self, x):
    """Sums x over the window of each channel.

    In parts that bfloat16 holds exactly: a square of a bfloat16 has two.
    """
    total = jnp.zeros(x.shape, jnp.float32)
    for _ in range(2 if self.sizes.dtype == jnp.bfloat16 else 3):
      bits = lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(0xFFFF0000)
      part = lax.bitcast_convert_type(bits, jnp.float32)
      total += triton.dot(part.astype(jnp.bfloat16), self.near)
      x -= part
    return total


def _norm(sizes, place, bias_ref):
  reach = sizes.block.n // 2
  distance = place.channel[:, None] - place.channel[None]
  bias = triton.load(bias_ref.at[place.channel], mask=place.own, other=0)
  near = (jnp.abs(distance) <= reach).astype(jnp.bfloat16)
  return _Norm(sizes, place, bias.astype(jnp.float32)[None], near)


def _power(d, beta):
  """d^-beta, as in ops/lrn.py."""
  if beta == 0.75:
    root = lax.rsqrt(d)
    return root * jnp.sqrt(root)
  return jnp.exp(-beta * jnp.log(d))


def _forward_kernel(x_ref, bias_ref, y_ref, *chosen_ref, sizes, tile):
  """Pools a strip of windows; rows that two windows share are kept."""
  block, place = sizes.block, _place(sizes, tile)
  norm = _norm(sizes, place, bias_ref)
  x = _Map(x_ref, sizes.height, sizes.width, sizes)
  y = _Map(y_ref, sizes.rows, sizes.places, sizes)
  chosen = [_Map(ref, sizes.rows, sizes.places, sizes) for ref in chosen_ref]

  def row(h):
    """Maxima along row h, and which tap is the first that equals each."""
    return _first_maximum(_along(h), none=block.size)

  def _along(h):
    for tap in range(block.size):
      w = place.positions * block.stride + tap
      a = norm.activities(x.load(place, h, w, 0))
      b = (a * _power(norm.divisor(a), block.beta)).astype(sizes.dtype)
      inside = x.inside(h, w)
      yield tap, jnp.where(inside, b.astype(jnp.float32), -jnp.inf)

  kept = block.size - block.stride

  def window(i, rows):
    first = i * block.stride
    rows = [*rows, *(row(first + n) for n in range(kept, block.size))]
    highest, which = _first_maximum(
      ((n, values) for n, (values, _) in enumerate(rows)), none=block.size
    )
    number = jnp.full(which.shape, block.none)
    for n, (_, tap) in enumerate(rows):
      number = jnp.where(which == n, n * block.size + tap, number)
    if block.relu == 'last':
      number = jnp.where(highest > 0, number, block.none)
      highest = jnp.maximum(highest, 0)
    y.store(place, i, place.positions, highest)
    for one in chosen:
      one.store(place, i, place.positions, number)
    return tuple(rows[block.stride :])

  before = tuple(row(place.row * block.stride + n) for n in range(kept))
  last = jnp.minimum(place.row + _STRIP, sizes.rows)
  lax.fori_loop(place.row, last, window, before)


def _first_maximum(
  numbered: Iterator[tuple[int, Array]], *, none: int
) -> tuple[Array, Array]:
  """The maximum, and the number of the first that equals it; none: NaN."""
  found = list(numbered)
  highest = functools.reduce(jnp.maximum, (values for _, values in found))
  which = jnp.full(highest.shape, none)
  for number, values in reversed(found):
    which = jnp.where(values == highest, number, which)
  return highest, which


def _backward_kernel(
  x_ref, bias_ref, chosen_ref, g_ref, dx_ref, sums_ref, *, sizes, tile
):
  """The gradient of a strip of activities, and its sum for the biases."""
  block, place = sizes.block, _place(sizes, tile)
  norm = _norm(sizes, place, bias_ref)
  x, dx = (
    _Map(ref, sizes.height, sizes.width, sizes) for ref in (x_ref, dx_ref)
  )
  chosen, g = (
    _Map(ref, sizes.rows, sizes.places, sizes) for ref in (chosen_ref, g_ref)
  )

  def share(i, p, q):
    """Sums the gradients of the windows that chose each element.

    Elements are tap (p, q) of the windows [i, positions], tap p + stride of the
    windows a row before, and so on.
    """
    total = jnp.zeros((tile, sizes.lanes), jnp.float32)
    for row in range(p, block.size, block.stride):
      for column in range(q, block.size, block.stride):
        late = row // block.stride, column // block.stride
        at = i - late[0], place.positions - late[1]
        number = chosen.load(place, *at, block.none).astype(jnp.int32)
        gradient = g.load(place, *at, 0).astype(jnp.float32)
        total += jnp.where(number == row * block.size + column, gradient, 0)
    return total

  def elements(i, p, q):
    """Stores the gradient of one phase; its sum over positions, [lanes]."""
    h, w = i * block.stride + p, place.positions * block.stride + q
    a = norm.activities(x.load(place, h, w, 0))
    d, shared = norm.divisor(a), share(i, p, q)
    direct = shared * _power(d, block.beta)
    through_d = norm.window(direct * a / d)
    da = direct - 2 * block.alpha * block.beta * a * through_d
    if block.relu == 'first':
      da = jnp.where(a > 0, da, 0)
    da = jnp.where(x.inside(h, w), da, 0)
    dx.store(place, h, w, da)
    return da.sum(0)

  def body(i, sums):
    for p, q in itertools.product(range(block.stride), repeat=2):
      sums += elements(i, p, q)
    return sums

  last = jnp.minimum(place.row + _STRIP, pl.cdiv(sizes.height, block.stride))
  sums = jnp.zeros(sizes.lanes, jnp.float32)
  sums = lax.fori_loop(place.row, last, body, sums)
  strips = pl.num_programs(1), pl.num_programs(2)
  part = (place.image * strips[0] + pl.program_id(1)) * strips[1]
  offset = (part + pl.program_id(2)) * sizes.channels + place.channel
  triton.store(sums_ref.at[offset], sums, mask=place.own)
