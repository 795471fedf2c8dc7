"""Decodes an image file and crops it to a square (paper §2).

Paper silent: images that a camera held sideways, which EXIF tells.
2012: as stored; PIL did not look (convdata_jpeg.py:34).
Here: upright.

"We first rescaled the image such that the shorter side was of length 256, and
then cropped out the central 256 x 256 patch from the resulting image."
"""

import io
import re
import warnings
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from alexnet_jax.data import dataset

# Other formats run other programs: EPS is decoded by Ghostscript.
_FORMATS = ('JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM')


Resize = Literal['crop', 'warp']


def square(
  data: bytes, *, size: int, resize: Resize = 'crop'
) -> UInt8[np.ndarray, 's s 3']:
  """Decodes an image file and makes a square of it, as `to_square` does.

  EXIF rotations are applied. Raises Unreadable if PIL cannot decode the image,
  or it has more than 179 million pixels (a decompression bomb).
  """
  if not data:
    raise dataset.Unreadable('the file is empty')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # such as for damaged EXIF
      with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        upright = ImageOps.exif_transpose(image)
        return to_square(upright, size=size, resize=resize)
  except UnidentifiedImageError as error:
    raise dataset.Unreadable('no image of a known format') from error
  except Image.DecompressionBombError as error:
    raise dataset.Unreadable(f'refused: {error}') from error
  except Exception as error:  # each of PIL's decoders raises its own types
    reason = re.sub(r' at 0x[0-9a-f]+', '', str(error))
    raise dataset.Unreadable(f'{type(error).__name__}: {reason}') from error


def to_square(
  image: Image.Image, *, size: int, resize: Resize = 'crop'
) -> UInt8[np.ndarray, 's s 3']:
  """Makes an RGB square of `size` x `size` pixels of an image (§2).

  'crop' scales the shorter side to `size` and takes the middle, 'warp' scales
  both sides to `size`, as Caffe does. Grey, palette, CMYK, YCCK and 16-bit
  images are converted to 8-bit RGB; smaller images are enlarged.
  """
  rgb = _rgb(image)
  if resize == 'warp':
    return np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC))
  return np.asarray(_middle(rgb, size=size))


def _rgb(image: Image.Image) -> Image.Image:
  """Converts an image to 8-bit RGB."""
  if image.mode.startswith('I;16') or image.mode in ('I', 'F'):
    # PIL's own conversion clips 16-bit grey values at 255.
    pixels = np.asarray(image).astype(np.float64)
    scale = 257 if pixels.max() > 255 else 1
    grey = np.clip(np.round(pixels / scale), 0, 255)
    image = Image.fromarray(grey.astype(np.uint8))
  return image.convert('RGB')


def _middle(image: Image.Image, *, size: int) -> Image.Image:
  """Scales the shorter side to `size` pixels and crops the centre square."""
  # Paper silent: the filter that makes the shorter side 256 pixels (§2).
  # 2012: not in the released program.
  # Here: bicubic, the default of PIL's resize.
  shorter = min(image.size)
  width, height = (round(side * size / shorter) for side in image.size)
  most = 2 * (Image.MAX_IMAGE_PIXELS or 2**30)
  if width * height > most:  # such as from 1 x 65,000 pixels
    raise Image.DecompressionBombError(
      f'{image.size[0]} x {image.size[1]} pixels would become {width} x '
      f'{height}, more than {most:,} in all'
    )
  image = image.resize((width, height), Image.Resampling.BICUBIC)
  left, top = (width - size) // 2, (height - size) // 2
  return image.crop((left, top, left + size, top + size))
