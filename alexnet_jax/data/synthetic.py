"""The embedded data set: coloured gratings in ten classes (not in the paper).

Drawn, not downloaded, so that training runs and visibly learns anywhere. A
class is a paint, in stripes that run across or down: both survive the crop,
the mirror and the colour shift of §4.1. Image `index` of a split is a function
of (seed, split, index) alone:

  x(v, u) = 120 + b + d (o + a sin(2 pi (u cos t + v sin t) / w + p)) + noise

with d the paint's direction in RGB and o its strength, t the direction of the
wave with up to 10 degrees of jitter, wavelength w, phase p, amplitude a and
brightness b drawn for each image, and noise for each value. Nothing clips:
o + a + |b| <= 120, and noise is 0..15.

So the statistics are known and need no pass over images. The phase is uniform:
sin has mean 0 and mean square 1/2 at every pixel, the paints' d add up to
zero, and

  mean image = 120 + E[noise] = 127.5
  covariance = (o^2 + E[a^2] / 2) mean(d d^T) + var(b) 1 1^T + var(noise) I

Paints are as far apart as they can be, on purpose: with the paper's initial
N(0, 0.01) little of the image reaches the last layers of a fresh network.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from alexnet_jax.data import dataset, stats

# Direction in RGB: the corners of the colour cube and two between.
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
# Angle of the wave; paints take them in turn.
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
BRIGHTNESS = 10.0  # grey levels, uniform in plus or minus
NOISE = 16  # uniform integers 0..15
JITTER = np.deg2rad(10)  # uniform in plus or minus
_BASE = (255 - (NOISE - 1)) / 2
_STREAM = 0x5EED
_VERSION = 3  # counts changes of the pixels


def load(
  *,
  image_size: int,
  train_images: int,
  val_images: int,
  seed: int,
  classes: Sequence[int] = (),
) -> dataset.Dataset:
  """The embedded set. Training and validation images never coincide.

  Args:
    image_size: pixels a side.
    train_images: to draw.
    val_images: likewise.
    seed: of the drawing.
    classes: numbers of some of CLASSES; all if none are given.

  Raises:
    ValueError: if `classes` are others, or one comes twice.
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
  """Covariance of the RGB values of the whole set, as derived above.

  Rounding to whole grey levels adds the variance of a unit interval, 1/12.
  """
  low, high = AMPLITUDE
  axes = np.array(list(PAINTS.values()))
  square = (low**2 + low * high + high**2) / 3  # E[a^2]
  stripes = (STRENGTH**2 + square / 2) * (axes.T @ axes) / len(axes)
  brightness = BRIGHTNESS**2 / 3 * np.ones((3, 3))
  noise = (NOISE**2 - 1) / 12 + 1 / 12
  return stripes + brightness + noise * np.eye(3)


@dataclasses.dataclass(frozen=True)
class Gratings:
  """One split, drawn on demand. Labels go round: 0, 1, ... and from 0 again."""

  split: Literal['train', 'val']
  num_images: int
  image_size: int
  seed: int
  classes: tuple[int, ...]  # of each label, its number in CLASSES

  def __len__(self) -> int:
    return self.num_images

  def take(self, indices: Sequence[int]) -> list[dataset.Example]:
    return [self[index] for index in indices]

  def __getitem__(self, index: int) -> dataset.Example:
    if not 0 <= index < self.num_images:
      raise IndexError(f'{self.split} image {index} of {self.num_images}')
    part = ('train', 'val').index(self.split)
    key = np.random.SeedSequence([_STREAM, self.seed, part, index])
    rng = np.random.Generator(np.random.PCG64(key))
    label = index % len(self.classes)
    image = draw(rng, kind=self.classes[label], image_size=self.image_size)
    return dataset.Example(image, label, f'embedded-{self.split}-{index:06d}')


def draw(
  rng: np.random.Generator, *, kind: int, image_size: int
) -> UInt8[np.ndarray, 's s 3']:
  """One image of a class, given by its number in CLASSES.

  The sine of a sum is two products of a row and a column, so a plane costs no
  sine. Products and sums stay separate float32 operations, each of them
  rounded the one way IEEE allows, to give every machine the same bits: a
  matrix product here would not.
  """
  paint = tuple(PAINTS.values())[kind]
  angle = tuple(DIRECTIONS.values())[kind % len(DIRECTIONS)]
  angle += rng.uniform(-JITTER, JITTER)
  wave = 2 * np.pi / rng.uniform(*WAVELENGTH)
  phase = rng.uniform(0, 2 * np.pi)
  amplitude = rng.uniform(*AMPLITUDE)
  brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS)

  pixels = np.arange(image_size)
  across = _sine_cosine(wave * np.cos(angle) * pixels + phase)
  down = _sine_cosine(wave * np.sin(angle) * pixels)
  plane = across[0] * down[1][:, None] + across[1] * down[0][:, None]  # [s, s]

  plane = np.float32(STRENGTH) + np.float32(amplitude) * plane
  image = np.empty((image_size, image_size, 3), np.uint8)
  for channel in range(3):
    values = plane * np.float32(paint[channel])
    values += np.float32(_BASE + brightness + 0.5)  # + 0.5: rounds, not floors
    image[..., channel] = values.astype(np.uint8)
  image += _noise(rng, image.size).reshape(image.shape)
  return image


def _noise(rng: np.random.Generator, size: int) -> UInt8[np.ndarray, 'n']:
  """Uniform 0..15, four bits of every random byte: 4x faster than integers."""
  words = rng.bit_generator.random_raw(-(-size // 8)).astype('<u8')
  return words.view(np.uint8)[:size] & np.uint8(NOISE - 1)


def _sine_cosine(
  angles: Float64[np.ndarray, 's'],
) -> Float32[np.ndarray, '2 s']:
  return np.stack([np.sin(angles), np.cos(angles)]).astype(np.float32)
