"""From an image file to a square of RGB (paper §2).

"We first rescaled the image such that the shorter side was of length 256, and
then cropped out the central 256 x 256 patch from the resulting image."
"""

import io
import re
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError


class Unreadable(Exception):
  """An image file that cannot be decoded; says why, always in one wording."""


def square(data: bytes, *, size: int) -> UInt8[np.ndarray, 's s 3']:
  """The middle of an image whose shorter side is `size`, RGB.

  Grey, palette and CMYK images are converted; smaller ones are enlarged.
  Raises Unreadable for what PIL cannot decode, whatever PIL calls it.
  """
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of damaged EXIF, which is not used
      with Image.open(io.BytesIO(data)) as image:
        return np.asarray(_middle(image.convert('RGB'), size=size))
  except UnidentifiedImageError as error:
    raise Unreadable('no image of a known format') from error
  except Exception as error:  # PIL raises what the decoder at hand raises
    reason = re.sub(r' at 0x[0-9a-f]+', '', str(error))
    raise Unreadable(f'{type(error).__name__}: {reason}') from error


def _middle(image: Image.Image, *, size: int) -> Image.Image:
  # Paper silent: the filter that makes the shorter side 256 pixels (§2).
  # 2012: not in the released program.
  # Here: bicubic, the default of PIL's resize.
  shorter = min(image.size)
  width, height = (round(side * size / shorter) for side in image.size)
  image = image.resize((width, height), Image.Resampling.BICUBIC)
  left, top = (width - size) // 2, (height - size) // 2
  return image.crop((left, top, left + size, top + size))
