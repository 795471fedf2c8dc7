"""The embedded data set is exact, balanced, and learnable after §4.1."""

import hashlib

import numpy as np
import pytest

from alexnet_jax.configs import smoke
from alexnet_jax.data import sources, stats, synthetic

# The paints, written out by hand.
_PAINTS = {
  'white': (1, 1, 1),
  'black': (-1, -1, -1),
  'red': (1, -1, -1),
  'cyan': (-1, 1, 1),
  'green': (-1, 1, -1),
  'magenta': (1, -1, 1),
  'blue': (-1, -1, 1),
  'yellow': (1, 1, -1),
  'orange': (1, 0, -1),
  'azure': (-1, 0, 1),
}


def _load(**kwargs):
  settings = dict(image_size=64, train_images=40, val_images=20, seed=0)
  return synthetic.load(**settings | kwargs)


def _classify(image):
  """Finds the class's id from the pixels alone, as a network has to."""
  mean = image.mean(axis=(0, 1), dtype=np.float64)
  paint = min(
    _PAINTS,
    key=lambda name: np.linalg.norm(
      mean - 127.5 - 70 * np.array(_PAINTS[name])
    ),
  )
  plane = (image - mean) @ np.array(_PAINTS[paint])
  spectrum = np.abs(np.fft.rfft2(plane))
  v, u = np.unravel_index(spectrum.argmax(), spectrum.shape)
  way = 'horizontal' if min(v, len(plane) - v) > u else 'vertical'
  return f'{paint}-{way}'


def test_an_image_depends_on_seed_split_and_index_alone():
  small, large = _load(), _load(train_images=1000)
  np.testing.assert_array_equal(small.train[7].image, large.train[7].image)
  pixels = [
    small.train[7].image,
    small.train[17].image,
    small.val[7].image,
    _load(seed=1).train[7].image,
  ]
  assert len({image.tobytes() for image in pixels}) == len(pixels)


def test_pixels_never_change():
  # A recorded digest; raise synthetic._VERSION when it changes.
  digest = hashlib.sha256()
  split = _load().train
  for index in range(20):
    digest.update(split[index].image.tobytes())
  assert digest.hexdigest()[:16] == '39a7699f8cbb13db'


def test_labels_are_balanced_and_name_the_classes():
  data = _load()
  labels = [data.train[i].label for i in range(len(data.train))]
  assert np.bincount(labels).tolist() == [4] * 10
  assert len({info.id for info in data.classes}) == 10


def test_classes_survive_crop_mirror_and_colour_shift():
  data = _load(image_size=128, train_images=200)
  rng = np.random.default_rng(0)
  for index in range(200):
    image, label, _ = data.train[index]
    y, x = rng.integers(33, size=2)
    seen = image[y : y + 96, x : x + 96].astype(np.float32)
    if rng.integers(2):
      seen = seen[:, ::-1]
    seen = seen + rng.normal(0, 8, 3)  # §4.1: a tenth of stddevs near 80
    assert _classify(seen) == data.classes[label].id


def test_statistics_are_those_of_the_images():
  data = _load(train_images=2000)
  sums = stats.empty(64)
  for index in range(2000):
    sums = stats.add(sums, image=data.train[index].image)
  drawn = stats.finish(sums)
  # One standard error: brightness 20 / sqrt(3) over 2000 images, 0.26.
  np.testing.assert_allclose(
    drawn.mean_image.mean(axis=(0, 1)), [127.5] * 3, atol=1
  )
  np.testing.assert_array_equal(data.mean_image, np.float32(127.5))
  pixels = sums.count * 64 * 64
  mean = sums.image.sum(axis=(0, 1)) / pixels
  measured = sums.outer / pixels - np.outer(mean, mean)
  np.testing.assert_allclose(synthetic.covariance(), measured, atol=60)
  np.testing.assert_allclose(data.pca.stddevs, drawn.pca.stddevs, rtol=0.03)


def test_nothing_clips():
  # The brightest and the darkest value that the parameters allow.
  reach = 70 + max(synthetic.AMPLITUDE) + synthetic.BRIGHTNESS
  assert 120 - reach >= 0 and 120 + reach + 15 <= 255


def test_size_and_range():
  image = _load(image_size=256).train[0].image
  assert image.shape == (256, 256, 3) and image.dtype == np.uint8
  assert int(image.max()) - int(image.min()) > 70


def test_index_out_of_range():
  with pytest.raises(IndexError, match='20 of 20'):
    _load().val[20]


def test_fingerprint_names_every_parameter():
  same = _load().fingerprint
  assert same == _load().fingerprint
  for change in ('image_size', 'train_images', 'val_images', 'seed'):
    assert _load(**{change: 32}).fingerprint != same


def test_sources_load_draws_what_the_config_says():
  data = smoke.get_config().data
  assert data.source == 'embedded'
  data.embedded_classes = (7, 2)
  loaded = sources.load(data, seed=5)
  drawn = synthetic.load(
    image_size=data.image_size,
    train_images=data.embedded_train_images,
    val_images=data.embedded_val_images,
    seed=5,
    classes=(7, 2),
  )
  assert loaded.fingerprint == drawn.fingerprint


def test_chosen_classes_are_numbered_from_0():
  data = _load(classes=(7, 2))
  ids = [c.id for c in data.classes]
  assert ids == [synthetic.CLASSES[7].id, synthetic.CLASSES[2].id]
  for index in range(6):
    image, label, _ = data.val[index]
    assert label == index % 2 and _classify(image) == ids[label]
  assert data.fingerprint != _load().fingerprint != _load(classes=(2,))


@pytest.mark.parametrize('classes', [(10,), (-1,), (1, 1)])
def test_unknown_or_repeated_classes_are_refused(classes):
  with pytest.raises(ValueError, match='use different numbers of 0 to 9'):
    _load(classes=classes)
