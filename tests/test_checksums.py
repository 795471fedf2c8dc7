"""Digests of arrays and of files: what they see, what they do not depend on."""

import hashlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.checkpoint import checksums
from alexnet_jax.parallel import mesh as mesh_lib


def _fmix32(h):
  """MurmurHash3's last step, from its description, on Python integers."""
  h ^= h >> 16
  h = h * 0x85EBCA6B % 2**32
  h ^= h >> 13
  h = h * 0xC2B2AE35 % 2**32
  return h ^ (h >> 16)


def _by_hand(array):
  """The module's formula, an element at a time."""
  bits = array.ravel().view(np.uint32).tolist()
  kind = hashlib.sha256(f'{array.dtype}{array.shape}'.encode()).digest()
  salt = [int.from_bytes(kind[i : i + 4], 'little') for i in (0, 4)]
  sums = [
    sum(
      _fmix32(b ^ (i * 0x9E3779B1 + seed) % 2**32) for i, b in enumerate(bits)
    )
    for seed in (0x243F6A88, 0xB7E15162)
  ]
  return ''.join(
    f'{s % 2**32 ^ x:08x}' for s, x in zip(sums, salt, strict=True)
  )


def _drawn(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _of(array):
  return checksums.digest({'w': jnp.asarray(array)}).arrays['w']


@pytest.mark.parametrize('shape', [(), (1,), (7,), (3, 5), (2, 3, 4, 5)])
def test_equals_the_formula_by_hand(shape):
  array = np.asarray(_drawn(shape))
  assert _of(array) == _by_hand(array)
  numbers = np.arange(array.size, dtype=np.int32).reshape(shape) - 3
  assert _of(numbers) == _by_hand(numbers)


@pytest.mark.parametrize(('data', 'column'), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_does_not_depend_on_where_the_parts_lie(data, column):
  mesh = mesh_lib.create(data=data, column=column)
  tree = {
    'kernel': _drawn((3, 3, 4, 8)),
    'fc8': _drawn((8, 6)),
    'step': np.int32(7),
  }
  specs = {
    'kernel': P(None, None, None, 'column'),
    'fc8': P('column', None),
    'step': P(),
  }
  placed = {
    name: jax.device_put(array, NamedSharding(mesh, specs[name]))
    for name, array in tree.items()
  }
  expected = {name: _by_hand(np.asarray(a)) for name, a in tree.items()}
  assert checksums.digest(placed).arrays == expected


def test_sees_every_single_bit():
  array = _drawn((4, 3))
  seen = {_of(array)}
  for bit in range(32 * array.size):
    flipped = array.copy().view(np.uint32)
    flipped.ravel()[bit // 32] ^= np.uint32(1 << bit % 32)
    seen.add(_of(flipped.view(np.float32)))
  assert len(seen) == 1 + 32 * array.size


@pytest.mark.parametrize('rate', [2, 100])
def test_sees_elements_that_change_places(rate):
  array = _drawn((rate, 3))
  assert _of(array) != _of(array[::-1].copy())
  assert _of(array) != _of(array.reshape(3, rate))
  assert _of(np.zeros(4, np.float32)) != _of(np.zeros((2, 2), np.float32))
  assert _of(np.zeros(4, np.float32)) != _of(np.zeros(4, np.int32))


@pytest.mark.parametrize(
  'dtype', [jnp.bfloat16, jnp.bool_, jnp.uint8, jnp.int8]
)
def test_takes_narrow_types(dtype):
  one, other = (jnp.array([a, 1], dtype) for a in (0, 1))
  assert _of(one) != _of(other) and len(_of(one)) == 16


def test_names_what_is_not_finite():
  tree = {'a': jnp.ones(3), 'b': jnp.array([1, jnp.nan]), 'c': {'d': jnp.inf}}
  tree['c']['d'] = jnp.array(jnp.inf)
  assert checksums.digest(tree).not_finite == ['b', 'c/d']


def test_one_digest_of_all_depends_on_names_and_values():
  digests = [
    checksums.digest(tree).whole
    for tree in ({'a': jnp.ones(2)}, {'b': jnp.ones(2)}, {'a': jnp.zeros(2)})
  ]
  assert len(set(digests)) == 3 and all(len(d) == 32 for d in digests)


LONG = bytes(range(256)) * 5000  # more than is read at a time


def test_file_sums_are_of_the_files_in_subfolders(tmp_path):
  (tmp_path / 'a' / 'b').mkdir(parents=True)
  (tmp_path / 'a' / 'b' / 'c').write_bytes(b'abc')
  (tmp_path / 'a' / 'empty').write_bytes(b'')
  (tmp_path / 'a' / 'long').write_bytes(LONG)
  (tmp_path / 'top').write_bytes(b'left out')
  sums = checksums.file_sums(tmp_path)
  assert sums['a/b/c'] == '352441c2'
  assert sums['a/long'] == f'{zlib.crc32(LONG):08x}'
  assert set(sums) == {'a/b/c', 'a/empty', 'a/long'}
