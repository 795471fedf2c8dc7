"""Random crops, mirrors and colours, and the ten views (paper §4.1).

All random numbers of an epoch are drawn at once. They depend on the seed, the
epoch and the number of images alone: not on the batch size, the number of hosts
or threads, nor where a run was resumed.

The host cuts the crops and passes the draws on; the device subtracts the mean
image, mirrors and shifts the colours (steps/preprocess.py). `reference` does
all of that in numpy.

To add an augmentation: draw its numbers in `draw_epoch`, list them in `DRAWS`,
apply them in steps/preprocess.py, and give it a field in configs/default.py.
"""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int32, UInt8

from alexnet_jax.data import stats

_STREAM = 0xA06  # keeps these draws apart from other uses of the seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
  """The random changes to training images; the defaults are the paper's."""

  random_crop: bool = True  # any of the crops (§4.1); else the centre one
  mirror: bool = True  # with probability 1/2 (§4.1)
  images_per_draw: int = 1  # images in a row that share a crop and a mirror bit
  colour_stddev: float = 0.1  # of alpha (§4.1); 0: no colour shift
  colour_epochs: int | None = None  # epochs with a colour shift; None: all
  # Whether crops that may be shifted are then divided by 1 + colour_stddev.
  divide_by_colour: bool = False

  def colour_stddev_in(self, epoch: int) -> float:
    """Standard deviation of alpha in an epoch, counted from 0."""
    over = self.colour_epochs is not None and epoch >= self.colour_epochs
    return 0.0 if over else self.colour_stddev


class EpochDraws(NamedTuple):
  """The draws of one epoch; entry i belongs to the i-th image *seen*."""

  permutation: Int32[np.ndarray, 'n']  # index of that image in the split
  offset: Int16[np.ndarray, 'n 2']  # (y, x), each 0..image_size - crop_size
  mirror: Bool[np.ndarray, 'n']  # whether it is mirrored
  colour: Float32[np.ndarray, 'n 3']  # RGB shift in grey levels
  scale: Float32[np.ndarray, 'n']  # what the shifted crop is multiplied by


class DrawSpec(NamedTuple):
  """Shape and type of one kind of draw in a minibatch."""

  shape: tuple[int, ...]  # of one image's entry
  dtype: type[np.generic]
  neutral: float = 0  # the value that changes nothing
  per_group: bool = False  # whether Augment.images_per_draw images share it


# The fields of EpochDraws that travel with a minibatch to the device.
DRAWS: dict[str, DrawSpec] = {
  'offset': DrawSpec((2,), np.int32, per_group=True),  # (y, x)
  'mirror': DrawSpec((), np.bool_, per_group=True),
  'colour': DrawSpec((3,), np.float32),  # RGB, grey levels
  'scale': DrawSpec((), np.float32, neutral=1),
}


def batch_spec(*, crop_size: int) -> dict[str, tuple[tuple[int, ...], Any]]:
  """Returns (shape of one image's entry, dtype) of each field of a batch.

  This and `DRAWS` alone define the fields.

  >>> batch_spec(crop_size=224)['image']
  ((224, 224, 3), <class 'numpy.uint8'>)
  """
  draws = {name: (draw.shape, draw.dtype) for name, draw in DRAWS.items()}
  return {
    'image': ((crop_size, crop_size, 3), np.uint8),  # not mirrored yet
    'label': ((), np.int32),  # 0 to classes - 1
    **draws,
  }


class View(NamedTuple):
  """A crop's top left corner, and whether it is mirrored afterwards."""

  y: int
  x: int
  mirror: bool


def draw_epoch(
  augment: Augment,
  *,
  border: int,
  num_images: int,
  pca: stats.RgbPca,
  seed: int,
  epoch: int,
  reshuffle: bool = True,
) -> EpochDraws:
  """Draws the random numbers of an epoch.

  Each kind has a stream of its own: the others do not change when one is off.

  Args:
    border: image_size - crop_size, 32 pixels in the paper.
    num_images: in the training split.
    pca: of the training split's RGB values.
    epoch: counted from 0.
    reshuffle: whether each epoch has a new order; else it is that of epoch 0.

  >>> pca = stats.pca(np.diag([9.0, 4.0, 1.0]))
  >>> draws = draw_epoch(Augment(colour_stddev=0.0), border=32, num_images=5,
  ...   pca=pca, seed=0, epoch=0)
  >>> sorted(draws.permutation.tolist())
  [0, 1, 2, 3, 4]
  >>> draws.offset.shape, bool(draws.offset.max() <= 32), draws.colour.any()
  ((5, 2), True, np.False_)
  """
  n = num_images
  crop, flip, colour = (_generator(seed, epoch, k) for k in (1, 2, 3))
  order = _generator(seed, epoch if reshuffle else 0, 0)  # 2012: one order
  stddev = augment.colour_stddev_in(epoch)  # 0.1 in the paper
  scale = 1 / (1 + stddev) if augment.divide_by_colour else 1.0
  # Paper differs from code: crops and mirrors are "a factor of 2048", 32 x 32
  # x 2 (§4.1).
  # 2012: 256 - 224 = 32 allows offsets 0 to 32, so 33 x 33 x 2 = 2178
  # (convdata_jpeg.py:239-246).
  # Here: 2178.
  centre = np.full((n, 2), border // 2, np.int16)  # (16, 16)
  return EpochDraws(
    permutation=order.permutation(n).astype(np.int32),  # each image once
    offset=crop.integers(border + 1, size=(n, 2), dtype=np.int16)
    if augment.random_crop
    else centre,
    mirror=flip.integers(2, size=n, dtype=np.int8).astype(bool)
    if augment.mirror
    else np.zeros(n, bool),
    colour=_colour(colour, n=n, pca=pca, stddev=stddev),
    scale=np.full(n, scale, np.float32),
  )


def _generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
  key = np.random.SeedSequence([_STREAM, seed, epoch, stream])
  return np.random.Generator(np.random.PCG64(key))


def _colour(
  rng: np.random.Generator, *, n: int, pca: stats.RgbPca, stddev: float
) -> Float32[np.ndarray, 'n 3']:
  """Draws shifts [p1 p2 p3] [alpha1 l1, alpha2 l2, alpha3 l3]^T (§4.1)."""
  alpha = np.float32(stddev) * rng.standard_normal((n, 3), np.float32)
  return (alpha * pca.stddevs) @ pca.components.T  # [N, 3] RGB


@functools.lru_cache(maxsize=8)
def views(
  number: Literal[1, 9, 10] = 10, *, image_size: int, crop_size: int
) -> tuple[View, ...]:
  """Returns the ten views of §4.1 in the order of convdata_jpeg.py:221.

  Nine are those of the 2012 CIFAR-10 nets: three by three places row by row,
  none mirrored (convdata_cifar.py:83). One is the centre.

  >>> views(image_size=256, crop_size=224)[2]
  View(y=16, x=16, mirror=False)
  >>> [(view.y, view.x) for view in views(9, image_size=32, crop_size=24)[:4]]
  [(0, 0), (0, 4), (0, 8), (4, 0)]
  """
  end, middle = image_size - crop_size, (image_size - crop_size) // 2
  if number == 1:
    return (View(middle, middle, False),)
  if number == 9:
    places = (0, middle, end)
    return tuple(View(y, x, False) for y in places for x in places)
  corners = ((0, 0), (0, end), (middle, middle), (end, 0), (end, end))  # (y, x)
  return tuple(View(y, x, m) for m in (False, True) for y, x in corners)


def reference(
  image: UInt8[np.ndarray, 's s 3'],
  *,
  offset: tuple[int, int],
  mirror: bool,
  mean_image: Float32[np.ndarray, 's s 3'],
  colour: Float32[np.ndarray, '3'],
  crop_size: int,
  scale: float = 1.0,
  mean_at: Literal['crop', 'centre'] = 'crop',
) -> Float32[np.ndarray, 'c c 3']:
  """Applies §4.1 to one image: crop - mean, mirror, + colour, times scale.

  The mean is the part of the mean image that the crop covers, or its centre.

  >>> image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
  >>> out = reference(image, offset=(1, 0), mirror=True, crop_size=2,
  ...   mean_image=np.ones((3, 3, 3), np.float32),
  ...   colour=np.array([0, 0, 10], np.float32))
  >>> out[0].tolist()  # pixel (1, 1), then (1, 0): 12, 13, 14 and 9, 10, 11
  [[11.0, 12.0, 23.0], [8.0, 9.0, 20.0]]
  """
  y, x = offset
  middle = (image.shape[0] - crop_size) // 2
  v, u = offset if mean_at == 'crop' else (middle, middle)  # (y, x)
  crop = image[y : y + crop_size, x : x + crop_size].astype(np.float32)
  crop = crop - mean_image[v : v + crop_size, u : u + crop_size]
  turned = crop[:, ::-1] if mirror else crop  # [S, S, 3]
  return (turned + colour) * np.float32(scale)  # grey levels around 0
