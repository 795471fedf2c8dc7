"""Binary codes are packed, balanced, repeatable, and keep classes apart."""

import functools

import numpy as np
import pytest

from alexnet_jax.studies.retrieval import codes, neighbours


def _like_features(*, classes=40, rows=600, units=96, seed=0):
  """Rectified features of noisy classes in a 30-dimensional subspace."""
  rng = np.random.default_rng(seed)
  spread = rng.standard_normal((30, units))
  centres = rng.standard_normal((classes, 30))
  labels = rng.integers(0, classes, rows)
  hidden = centres[labels] + 0.6 * rng.standard_normal((rows, 30))
  return np.maximum(hidden @ spread, 0).astype(np.float32), labels


@functools.cache
def _coder(seed=0):
  features, _ = _like_features()
  return codes.train(features[:500], bits=128, seed=seed)


def test_hand_worked_codes():
  coder = codes.Coder(
    mean=np.array([1.0, 2.0], np.float32),
    kernel=np.array([[1.0, 0, 1, -1, 0, 0, 2, 0], [0, 1, 1, 0, -1, 0, 0, 2]],
      np.float32),
    thresholds=np.array([0, 0, 0, 0, 0, 0, 5, -1], np.float32),
  )  # fmt: skip
  # x - mean = (2, -1): values 2 -1 1 -2 1 0 4 -2; bits 1 0 1 0 1 0 0 0
  # x - mean = (0, 0): values all 0; bits 0 0 0 0 0 0 0 1
  found = coder.encode(np.array([[3.0, 1.0], [1.0, 2.0]], np.float32))
  assert found.tolist() == [[0b10101000], [0b00000001]]
  assert neighbours.hamming(found[:1], found, count=2).distances.tolist() == [
    [0, 4]
  ]


def test_each_bit_is_set_in_half_of_the_training_features():
  features, _ = _like_features()
  bits = np.unpackbits(_coder().encode(features[:500]), axis=1)
  assert bits.shape == (500, 128)
  assert (abs(bits.mean(axis=0) - 0.5) <= 0.002).all()


def test_blocks_of_a_file_encode_alike(tmp_path, monkeypatch):
  features, _ = _like_features()
  np.save(tmp_path / 'features.npy', features)
  whole = _coder().encode(features)
  monkeypatch.setattr(codes, '_ROWS', 128)
  mapped = np.load(tmp_path / 'features.npy', mmap_mode='r')
  assert (
    np.bitwise_count(_coder().encode(mapped) ^ whole).sum() <= 2
  )  # rounding


def test_the_seed_decides():
  features, _ = _like_features()
  again = codes.train(features[:500], bits=128, seed=0)
  for mine, theirs in zip(_coder(), again, strict=True):
    np.testing.assert_array_equal(mine, theirs)
  other = codes.train(features[:500], bits=128, seed=1, steps=2)
  assert (other.kernel != again.kernel).any()


def test_128_bits_keep_the_classes_of_exact_neighbours():
  features, labels = _like_features()
  split = {'queries': labels[500:], 'database': labels[:500]}
  exact = neighbours.nearest(features[500:], features[:500], count=6)
  own = _coder().encode(features)
  found = neighbours.hamming(own[500:], own[:500], count=6)
  best = neighbours.precision(exact, **split)
  assert best > 0.9
  assert neighbours.precision(found, **split) > 0.9 * best
  # Better than signs of as many products with random vectors.
  signs = features @ np.random.default_rng(1).standard_normal((96, 128))
  drawn = np.packbits(signs > np.median(signs[:500], axis=0)[None], axis=1)
  by_chance = neighbours.hamming(drawn[500:], drawn[:500], count=6)
  assert (
    neighbours.precision(found, **split)
    > neighbours.precision(by_chance, **split) + 0.03
  )
  assert (
    neighbours.recall(found, exact=exact)
    > neighbours.recall(by_chance, exact=exact) + 0.02
  )


def test_training_on_part_of_a_large_set(monkeypatch):
  monkeypatch.setattr(codes, '_MOST_ROWS', 50)
  features, _ = _like_features()
  coder = codes.train(features, bits=8, steps=3)
  assert coder.encode(features).shape == (600, 1)


@pytest.mark.parametrize('bits', [0, 4, 12, -8])
def test_bits_that_are_no_bytes_are_refused(bits):
  features, _ = _like_features(rows=9)
  with pytest.raises(ValueError, match=f'codes of {bits} bits: use a multiple'):
    codes.train(features, bits=bits)


def test_features_that_are_all_alike_give_codes_all_the_same():
  coder = codes.train(np.ones((9, 4), np.float32), bits=8, steps=2)
  assert coder.encode(np.ones((3, 4), np.float32)).tolist() == [[0]] * 3
  with pytest.raises(ValueError, match='1 features to train codes on'):
    codes.train(np.ones((1, 4), np.float32), bits=8)
