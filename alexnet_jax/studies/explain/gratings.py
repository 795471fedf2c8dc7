"""How much of a saliency map repeats as the drawn stripes do.

A grating of data/synthetic.py is a wave of one period and direction, so a net
that tells classes by their stripes should depend on pixels in that rhythm: the
power spectrum of its gradient should be highest at the wave's own frequency.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from alexnet_jax.data import synthetic
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.studies.explain import explained

_RADIUS = 2.0  # cycles a crop, around the wave's frequency
_STREAM = 0xE6


class Shares(NamedTuple):
  """Shares of the power of an image's gradient, 0 to 1, each [images]."""

  own: Float[np.ndarray, 'n']  # near the frequency of the image's own wave
  turned: Float[np.ndarray, 'n']  # of the same period, across the wave
  chance: float  # of a gradient that is noise


def measure(net: net_lib.Net, *, images: int, seed: int = 0) -> Shares:
  """Measures `images` gratings that no split holds, class after class."""
  own, turned = [], []
  for number in range(images):
    kind = number % len(synthetic.CLASSES)
    key = np.random.SeedSequence([_STREAM, seed, number])
    rng, again = (np.random.Generator(np.random.PCG64(key)) for _ in range(2))
    size = net.config.data.image_size
    image = synthetic.draw(rng, kind=kind, image_size=size)
    wave = _wave(again, kind=kind)
    (gradient,) = explained.explain(net, image, places=0).gradient
    own.append(share(gradient, wave=wave))
    turned.append(share(gradient, wave=np.array([-wave[1], wave[0]])))
  crop = net.config.data.crop_size
  chance = float(np.mean(_near(crop, wave=wave)))
  return Shares(np.array(own), np.array(turned), chance)


def _wave(rng: np.random.Generator, *, kind: int) -> Float[np.ndarray, '2']:
  """Cycles a pixel (down, across) of what `synthetic.draw` draws with rng."""
  directions = tuple(synthetic.DIRECTIONS.values())
  angle = directions[kind % len(directions)]
  angle += rng.uniform(-synthetic.JITTER, synthetic.JITTER)
  return np.array([np.sin(angle), np.cos(angle)]) / rng.uniform(
    *synthetic.WAVELENGTH
  )


def share(
  gradient: Float32[np.ndarray, 's s 3'], *, wave: Float[np.ndarray, '2']
) -> float:
  """The share of a map's power within two cycles a crop of a frequency.

  The power is that of all channels without their mean, of a constant map 0;
  `wave` is in cycles a pixel, down and across.

  >>> rows = np.arange(64)[:, None, None]
  >>> stripes = np.sin(2 * np.pi * rows / 8) * np.ones((64, 64, 3))
  >>> share(stripes.astype(np.float32), wave=np.array([1 / 8, 0])) > 0.99
  True
  """
  power = (np.abs(np.fft.fft2(gradient, axes=(0, 1))) ** 2).sum(axis=-1)
  power[0, 0] = 0
  near = _near(len(gradient), wave=wave)
  total = float(power.sum())
  return float(power[near].sum()) / total if total else 0.0


def _near(size: int, *, wave: Float[np.ndarray, '2']) -> np.ndarray:
  """Which places of a spectrum are near a frequency or its negative."""
  each = np.fft.fftfreq(size) * size  # cycles a crop
  at = wave * size
  return (
    np.minimum(
      np.hypot(each[:, None] - at[0], each - at[1]),
      np.hypot(each[:, None] + at[0], each + at[1]),
    )
    <= _RADIUS
  )
