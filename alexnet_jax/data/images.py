"""From an image file to a square of RGB (paper §2).

Paper silent: images that a camera held sideways, which EXIF tells.
2012: as stored; PIL did not look (convdata_jpeg.py:34).
Here: upright.

"We first rescaled the image such that the shorter side was of length 256, and
then cropped out the central 256 x 256 patch from the resulting image."
"""

import io
import re
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from alexnet_jax.data import dataset

# Others hand the file to programs of their own, as EPS does to Ghostscript.
_FORMATS = ('JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM')


def square(data: bytes, *, size: int) -> UInt8[np.ndarray, 's s 3']:
  """The middle of an image whose shorter side is `size`, RGB.

  Grey, palette, CMYK, YCCK and 16-bit images are converted, those that EXIF
  says are turned are turned upright, smaller ones are enlarged.

  Raises:
    Unreadable: for what PIL cannot decode, whatever PIL calls it, and for
      images of more than 179 million pixels, which PIL refuses as bombs.
  """
  if not data:
    raise dataset.Unreadable('the file is empty')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of damaged EXIF, say
      with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        upright = ImageOps.exif_transpose(image)
        return np.asarray(_middle(_rgb(upright), size=size))
  except UnidentifiedImageError as error:
    raise dataset.Unreadable('no image of a known format') from error
  except Image.DecompressionBombError as error:
    raise dataset.Unreadable(f'refused: {error}') from error
  except Exception as error:  # PIL raises what the decoder at hand raises
    reason = re.sub(r' at 0x[0-9a-f]+', '', str(error))
    raise dataset.Unreadable(f'{type(error).__name__}: {reason}') from error


def _rgb(image: Image.Image) -> Image.Image:
  """Eight bits of red, green and blue."""
  if image.mode.startswith('I;16') or image.mode in ('I', 'F'):
    # PIL would cut off at 255 what a 16-bit grey image has above it.
    pixels = np.asarray(image).astype(np.float64)
    scale = 257 if pixels.max() > 255 else 1
    grey = np.clip(np.round(pixels / scale), 0, 255).astype(np.uint8)
    image = Image.fromarray(grey)
  return image.convert('RGB')


def _middle(image: Image.Image, *, size: int) -> Image.Image:
  # Paper silent: the filter that makes the shorter side 256 pixels (§2).
  # 2012: not in the released program.
  # Here: bicubic, the default of PIL's resize.
  shorter = min(image.size)
  width, height = (round(side * size / shorter) for side in image.size)
  most = 2 * (Image.MAX_IMAGE_PIXELS or 2**30)
  if width * height > most:  # 1 x 65,000 pixels, say
    raise Image.DecompressionBombError(
      f'{image.size[0]} x {image.size[1]} pixels would become {width} x '
      f'{height}, more than {most:,} in all'
    )
  image = image.resize((width, height), Image.Resampling.BICUBIC)
  left, top = (width - size) // 2, (height - size) // 2
  return image.crop((left, top, left + size, top + size))
