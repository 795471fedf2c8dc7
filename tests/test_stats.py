"""data/stats compared with numpy on all pixels at once."""

import doctest

import numpy as np
import pytest

from alexnet_jax.data import stats


def _images(count, *, size=6, seed=0):
  rng = np.random.default_rng(seed)
  mix = np.array([[1.0, 0.5, 0.2], [0.0, 0.8, 0.3], [0.0, 0.0, 0.4]])
  values = 120 + 25 * rng.standard_normal((count, size, size, 3)) @ mix
  return values.clip(0, 255).astype(np.uint8)


def _sum(images):
  sums = stats.empty(images.shape[1])
  for image in images:
    sums = stats.add(sums, image=image)
  return sums


def test_mean_image_and_covariance_are_those_of_numpy():
  images = _images(50)
  result = stats.finish(_sum(images))
  np.testing.assert_allclose(
    result.mean_image, images.astype(np.float64).mean(axis=0), rtol=1e-6
  )
  covariance = np.cov(images.reshape(-1, 3).T.astype(np.float64), bias=True)
  p, s = (np.asarray(a, np.float64) for a in result.pca)
  np.testing.assert_allclose(p @ np.diag(s**2) @ p.T, covariance, rtol=1e-4)
  np.testing.assert_allclose(p.T @ p, np.eye(3), atol=1e-6)


def test_standard_deviations_not_eigenvalues():
  # Pixels black or white along red alone: variance 127.5^2, so 127.5.
  images = np.zeros((2, 4, 4, 3), np.uint8)
  images[1, ..., 0] = 255
  pca = stats.finish(_sum(images)).pca
  np.testing.assert_allclose(pca.stddevs, [127.5, 0, 0], atol=1e-3)
  np.testing.assert_allclose(pca.components[:, 0], [1, 0, 0], atol=1e-6)


def test_sums_merge_in_any_order_to_the_same_integers():
  images = _images(30)
  parts = [_sum(images[:7]), _sum(images[7:8]), _sum(images[8:])]
  whole = _sum(images)
  for order in ([0, 1, 2], [2, 0, 1]):
    merged = stats.empty(6)
    for part in order:
      merged = stats.merge(merged, b=parts[part])
    assert merged.count == whole.count == 30
    np.testing.assert_array_equal(merged.image, whole.image)
    np.testing.assert_array_equal(merged.outer, whole.outer)


def test_sums_are_exact_at_the_extreme():
  white = np.full((256, 256, 3), 255, np.uint8)
  sums = stats.add(stats.add(stats.empty(256), image=white), image=white)
  assert sums.outer.tolist() == [[2 * 256 * 256 * 255 * 255] * 3] * 3
  pca = stats.finish(sums).pca
  np.testing.assert_allclose(pca.stddevs, 0, atol=1e-3)


def test_signs_of_components_are_fixed():
  rng = np.random.default_rng(3)
  for _ in range(20):
    square = rng.standard_normal((3, 3))
    p = stats.pca(square @ square.T).components
    assert (p[np.abs(p).argmax(axis=0), np.arange(3)] > 0).all()


def test_signs_of_components_with_equal_entries_are_fixed():
  for error in (-1e-12, 1e-12):
    covariance = np.array([[2 + error, -1, 0], [-1, 2 - error, 0], [0, 0, 9]])
    p = stats.pca(covariance).components
    np.testing.assert_allclose(p[:, 1] * 2**0.5, [1, -1, 0], atol=1e-6)


def test_no_images_is_an_error():
  with pytest.raises(ValueError, match='training split is empty'):
    stats.finish(stats.empty(4))


def test_examples():
  assert doctest.testmod(stats).failed == 0
