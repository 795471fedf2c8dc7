"""Maps as RGB pictures, 0 to 255, as large as the image they are of."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from alexnet_jax.studies.explain import explained

Picture = UInt8[np.ndarray, 's s 3']
_FOR = np.array([230, 97, 0], np.float32)  # orange: speaks for the class
_AGAINST = np.array([0, 114, 178], np.float32)  # blue: against it
_HIGH = 99.5  # percentile that has full strength: single pixels do not count


def panels(found: explained.Explained, *, number: int) -> dict[str, Picture]:
  """The image and its maps by name: 'image', 'saliency', 'Grad-CAM' ..."""
  crop = found.crops[number]
  made = {
    'image': crop,
    'saliency': brightness(found.saliency[number]),
    'Grad-CAM': heat(crop, found.grad_cam[number], smooth=True),
  }
  if found.occluded is not None:
    made['occlusion'] = heat(crop, found.occluded.drops[number], smooth=False)
  if found.guided is not None:
    made['guided'] = around_grey(found.guided[number])
  return made


def brightness(map: Float[np.ndarray, 's s']) -> Picture:
  """A map of 0 or more: 0 is black, its highest values white."""
  grey = 255 * np.clip(map / _largest(map), 0, 1)
  return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def around_grey(map: Float[np.ndarray, 's s 3']) -> Picture:
  """A map of RGB values of either sign: 0 is grey."""
  return (127.5 + 127.5 * np.clip(map / _largest(map), -1, 1)).astype(np.uint8)


def heat(
  crop: Picture, map: Float[np.ndarray, 'h w'], *, smooth: bool
) -> Picture:
  """A coarse map over a pale image: orange above 0, blue below.

  The largest absolute value of the map has the full colour.
  """
  how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
  large = Image.fromarray(map.astype(np.float32)).resize(crop.shape[1::-1], how)
  share = np.asarray(large) / (np.abs(map).max() or 1)
  pale = 0.5 * np.repeat(crop.mean(axis=-1, keepdims=True), 3, axis=-1) + 127.5
  weight = 0.85 * np.abs(share)[..., None]
  colour = np.where(share[..., None] > 0, _FOR, _AGAINST)
  return (pale * (1 - weight) + colour * weight).astype(np.uint8)


def _largest(map: Float[np.ndarray, '...']) -> float:
  """A high percentile of the absolute values; 1 of a map of zeros."""
  return float(np.percentile(np.abs(map), _HIGH)) or float(map.max()) or 1.0
