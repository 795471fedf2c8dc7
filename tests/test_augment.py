"""§4.1: draws, views, and the reference that the device is tested against."""

import doctest
import hashlib

import numpy as np

from alexnet_jax.data import augment, stats

_PCA = stats.RgbPca(
  np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]], np.float32),
  np.array([100, 40, 20], np.float32),
)


def _draw(num_images=1000, *, seed=0, epoch=0, border=32, **settings):
  reshuffle = settings.pop('reshuffle', True)
  return augment.draw_epoch(
    augment.Augment(**settings),
    border=border,
    num_images=num_images,
    pca=_PCA,
    seed=seed,
    epoch=epoch,
    reshuffle=reshuffle,
  )


def test_every_image_once():
  assert sorted(_draw(1000).permutation.tolist()) == list(range(1000))


def test_epochs_and_seeds_differ_and_repeat():
  first = _draw()
  for a, b in zip(first, _draw(), strict=True):
    np.testing.assert_array_equal(a, b)
  for other in (_draw(epoch=1), _draw(seed=1)):
    for a, b in zip(first[:4], other[:4], strict=True):  # all but the scale
      assert not np.array_equal(a, b)


def test_draws_never_change():
  # Recorded: numpy does not promise its streams for ever, and a run resumed on
  # another would see its images in another order.
  digest = hashlib.sha256()
  draws = _draw(50, seed=3, epoch=2)
  for array in draws[:3]:
    digest.update(array.astype('<i4').tobytes())
  assert digest.hexdigest()[:16] == '94ae80cd04fb3cff'
  np.testing.assert_allclose(
    draws.colour[49], [5.9466, 4.3498, -2.6986], atol=1e-3
  )


def test_all_1089_crops_are_equally_likely():
  draws = _draw(33 * 33 * 20)
  counts = np.zeros((33, 33))
  np.add.at(counts, (draws.offset[:, 0], draws.offset[:, 1]), 1)
  # Chi-square of 1088 degrees of freedom: 1088 +- 47.
  assert abs(((counts - 20) ** 2 / 20).sum() - 1088) < 4 * 47


def test_half_are_mirrored_whatever_the_crop():
  draws = _draw(20000)
  assert abs(draws.mirror.mean() - 0.5) < 0.015
  assert abs(np.corrcoef(draws.mirror, draws.offset[:, 1])[0, 1]) < 0.03


def test_colour_shift_has_the_covariance_of_a_tenth_of_the_pixels():
  colour = _draw(40000).colour.astype(np.float64)
  pixels = _PCA.components @ np.diag(_PCA.stddevs**2) @ _PCA.components.T
  np.testing.assert_allclose(np.cov(colour.T), 0.01 * pixels, atol=2)
  np.testing.assert_allclose(colour.mean(axis=0), 0, atol=0.2)


def test_shift_along_each_component_is_a_tenth_of_its_deviation():
  """100,000 draws: variance stddev^2 x 0.01 to 2 %; eigenvalues would not."""
  along = _draw(100_000).colour.astype(np.float64) @ _PCA.components
  expected = np.square(_PCA.stddevs, dtype=np.float64) * 0.01
  np.testing.assert_allclose(along.var(axis=0), expected, rtol=0.02)
  together = np.corrcoef(along.T) - np.eye(3)
  assert np.abs(together).max() < 0.02
  literal = _PCA._replace(stddevs=_PCA.stddevs**2)  # §4.1 as it is printed
  shift = augment._colour(
    np.random.default_rng(0), n=1000, pca=literal, stddev=0.1
  )
  assert (shift @ literal.components).var() > 100 * expected.mean()


def test_switching_one_off_leaves_the_others():
  full = _draw()
  crop, mirror, colour = (
    _draw(random_crop=False),
    _draw(mirror=False),
    _draw(colour_stddev=0.0),
  )
  assert (crop.offset == 16).all()
  assert not mirror.mirror.any()
  assert not colour.colour.any()
  np.testing.assert_array_equal(crop.mirror, full.mirror)
  np.testing.assert_array_equal(mirror.offset, full.offset)
  np.testing.assert_array_equal(colour.permutation, full.permutation)


def test_colours_are_shifted_for_as_many_epochs_as_asked():
  settings = dict(colour_epochs=2, divide_by_colour=True)
  for epoch in (0, 1):
    draws = _draw(epoch=epoch, **settings)
    np.testing.assert_array_equal(draws.colour, _draw(epoch=epoch).colour)
    np.testing.assert_allclose(draws.scale, 1 / 1.1)  # 1 + 0.1
  after = _draw(epoch=2, **settings)
  assert not after.colour.any() and (after.scale == 1).all()
  assert (_draw().scale == 1).all()  # the paper: no division


def test_no_division_where_there_is_no_shift():
  draws = _draw(colour_stddev=0.0, divide_by_colour=True)
  assert (draws.scale == 1).all()


def test_an_order_drawn_once_leaves_the_other_draws_to_their_epoch():
  first, second = _draw(), _draw(epoch=1)
  fixed = _draw(epoch=1, reshuffle=False)
  np.testing.assert_array_equal(fixed.permutation, first.permutation)
  for field in ('offset', 'mirror', 'colour'):
    np.testing.assert_array_equal(getattr(fixed, field), getattr(second, field))


def test_crop_of_the_whole_image():
  assert not _draw(border=0).offset.any()


def test_ten_views_in_the_order_of_2012():
  places = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
  expected = [(y, x, False) for y, x in places]
  expected += [(y, x, True) for y, x in places]
  assert list(augment.views(image_size=256, crop_size=224)) == expected
  centre = augment.views(1, image_size=256, crop_size=224)[0]
  assert centre == (16, 16, False)


def test_nine_views_in_the_order_of_2012_and_the_centre_alone():
  expected = [(y, x, False) for y in (0, 4, 8) for x in (0, 4, 8)]
  assert list(augment.views(9, image_size=32, crop_size=24)) == expected
  assert augment.views(1, image_size=32, crop_size=24) == ((4, 4, False),)


def test_reference_pixel_by_pixel():
  rng = np.random.default_rng(0)
  image = rng.integers(256, size=(9, 9, 3), dtype=np.uint8)
  mean = rng.uniform(0, 255, (9, 9, 3)).astype(np.float32)
  colour = np.array([1.5, -2.0, 0.25], np.float32)
  for mirror in (False, True):
    out = augment.reference(
      image,
      offset=(2, 1),
      mirror=mirror,
      mean_image=mean,
      colour=colour,
      crop_size=6,
    )
    for v in range(6):
      for u in range(6):
        x = 1 + (5 - u if mirror else u)
        expected = image[2 + v, x] - mean[2 + v, x] + colour
        np.testing.assert_allclose(out[v, u], expected, atol=1e-4)


def test_examples():
  assert doctest.testmod(augment).failed == 0
