"""The embedded data set: coloured gratings in ten classes (not in the paper).

The images are drawn, so training runs and visibly learns without a download.
A class is a colour ("paint") in horizontal or vertical stripes: both survive
the crop, the mirror and the colour shift of §4.1. Image `index` of a split
depends only on (seed, split, index):

  x(v, u) = 120 + b + d (o + a sin(2 pi (u cos t + v sin t) / w + p)) + noise

d is the paint's direction in RGB and o its strength; t is the direction of the
wave with up to 10 degrees of jitter. Wavelength w, phase p, amplitude a and
brightness b are drawn for each image, the noise for each value. Nothing clips:
o + a + |b| <= 120, and the noise is 0..15.

The statistics follow without a pass over the images. The phase is uniform, so
sin has mean 0 and mean square 1/2 at every pixel, and the directions d sum to
zero:

  mean image = 120 + E[noise] = 127.5
  covariance = (o^2 + E[a^2] / 2) mean(d d^T) + var(b) 1 1^T + var(noise) I

The paints are as far apart as possible on purpose: with the paper's initial
N(0, 0.01) little of the image reaches the last layers of a fresh network.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8

from alexnet_jax.data import dataset, stats

# Direction in RGB: the corners of the colour cube and two in between.
PAINTS = {
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
# Angle of the wave; the paints alternate between the two.
DIRECTIONS = {'horizontal': np.pi / 2, 'vertical': 0.0}
CLASSES = tuple(
  dataset.ClassInfo(
    f'{paint}-{way}', f'{paint} {way}', f'{paint} {way} stripes'
  )
  for paint, way in zip(PAINTS, itertools.cycle(DIRECTIONS), strict=False)
)

STRENGTH = 70.0  # grey levels, of a paint
AMPLITUDE = (30.0, 40.0)  # grey levels, uniform
WAVELENGTH = (9.0, 12.0)  # pixels, uniform; conv1's kernels span 11
BRIGHTNESS = 10.0  # grey levels, uniform in -10..10
NOISE = 16  # uniform integers 0..15
JITTER = np.deg2rad(10)  # uniform in -10..10 degrees
_BASE = (255 - (NOISE - 1)) / 2
_STREAM = 0x5EED
_VERSION = 3  # raised whenever the pixels change


def load(
  *,
  image_size: int,
  train_images: int,
  val_images: int,
  seed: int,
  classes: Sequence[int] = (),
) -> dataset.Dataset:
  """Opens the embedded data set; its splits share no image.

  `classes` are different indices in CLASSES, () for all ten; `seed` is >= 0.
  """
  if len({*classes} & {*range(len(CLASSES))}) < len(classes):
    raise ValueError(
      f'config.data.embedded_classes = {tuple(classes)!r}: use different '
      f'numbers of 0 to {len(CLASSES) - 1}'
    )
  chosen = tuple(classes) or tuple(range(len(CLASSES)))
  parameters = (_VERSION, image_size, train_images, val_images, seed, *classes)
  digest = hashlib.sha256(repr(('synthetic', *parameters)).encode())
  return dataset.Dataset(
    name='embedded',
    image_size=image_size,
    classes=tuple(CLASSES[number] for number in chosen),
    train=Gratings('train', train_images, image_size, seed, chosen),
    val=Gratings('val', val_images, image_size, seed, chosen),
    mean_image=np.full((image_size, image_size, 3), 127.5, np.float32),
    pca=stats.pca(covariance()),
    fingerprint=digest.hexdigest(),
  )


def covariance() -> Float64[np.ndarray, '3 3']:
  """Covariance of the RGB values of all images, as derived above.

  Rounding to whole grey levels adds 1/12, the variance of a unit interval.
  """
  low, high = AMPLITUDE
  axes = np.array(list(PAINTS.values()))  # [10, 3]
  square = (low**2 + low * high + high**2) / 3  # E[a^2]
  stripes = (STRENGTH**2 + square / 2) * (axes.T @ axes) / len(axes)
  brightness = BRIGHTNESS**2 / 3 * np.ones((3, 3))
  noise = (NOISE**2 - 1) / 12 + 1 / 12
  return stripes + brightness + noise * np.eye(3)


@dataclasses.dataclass(frozen=True)
class Gratings:
  """One split, drawn on demand. Image `i` has the label i mod classes."""

  split: Literal['train', 'val']
  num_images: int
  image_size: int
  seed: int
  classes: tuple[int, ...]  # label -> index in CLASSES

  def __len__(self) -> int:
    return self.num_images

  __getitem__ = dataset.get_by_take

  def take(self, indices: Sequence[int]) -> list[dataset.Example]:
    """Draws several images."""
    return [self._draw(index) for index in indices]

  def _draw(self, index: int) -> dataset.Example:
    part = ('train', 'val').index(self.split)
    key = np.random.SeedSequence([_STREAM, self.seed, part, index])
    rng = np.random.Generator(np.random.PCG64(key))
    label = index % len(self.classes)
    image = draw(rng, kind=self.classes[label], image_size=self.image_size)
    return dataset.Example(image, label, f'embedded-{self.split}-{index:06d}')


def draw(
  rng: np.random.Generator, *, kind: int, image_size: int
) -> UInt8[np.ndarray, 's s 3']:
  """Draws one image of class `kind`, an index in CLASSES.

  sin(x + y) = sin x cos y + cos x sin y, so a plane needs sines of its rows and
  columns only. The products and sums are separate float32 operations, which
  IEEE rounds to the same bits on every machine; a matrix product is not.
  """
  paint = tuple(PAINTS.values())[kind]
  angle = tuple(DIRECTIONS.values())[kind % len(DIRECTIONS)]
  angle += rng.uniform(-JITTER, JITTER)
  wave = 2 * np.pi / rng.uniform(*WAVELENGTH)
  phase = rng.uniform(0, 2 * np.pi)
  amplitude = rng.uniform(*AMPLITUDE)
  brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS)

  pixels = np.arange(image_size)
  across = wave * np.cos(angle) * pixels + phase
  down = wave * np.sin(angle) * pixels[:, None]
  sines, cosines = (
    [function(angles).astype(np.float32) for angles in (across, down)]
    for function in (np.sin, np.cos)
  )
  plane = sines[0] * cosines[1] + cosines[0] * sines[1]  # [s, s]

  plane = np.float32(STRENGTH) + np.float32(amplitude) * plane
  image = np.empty((image_size, image_size, 3), np.uint8)
  for channel, direction in enumerate(paint):
    values = plane * np.float32(direction)
    values += np.float32(_BASE + brightness + 0.5)  # + 0.5: round, not floor
    image[..., channel] = values.astype(np.uint8)
  # Noise: the low bits of random bytes, 4x faster than integers().
  words = rng.bit_generator.random_raw(-(-image.size // 8)).astype('<u8')
  noise = words.view(np.uint8)[: image.size] & np.uint8(NOISE - 1)
  image += noise.reshape(image.shape)
  return image
