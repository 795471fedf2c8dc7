"""Decodes an image file and crops it to a square (paper §2).

Paper silent: images that a camera held sideways, which EXIF tells.
2012: as stored; PIL did not look (convdata_jpeg.py:34).
Here: upright.

Paper silent: transparent pixels.
2012: not in the released program.
Here: over white.

"We first rescaled the image such that the shorter side was of length 256, and
then cropped out the central 256 x 256 patch from the resulting image."
"""

import contextlib
import io
import re
import struct
import warnings
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError, features

from alexnet_jax.data import dataset

# Other formats run other programs: EPS is decoded by Ghostscript.
_FORMATS = ['JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM']
_FORMATS += ['AVIF'] if features.check('avif') else []
_UPRIGHT = {  # by the orientation that EXIF gives
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_UNREAD = {  # formats by how their files begin
  rb'....ftyp(hei|hev|mif1|msf1)': 'HEIC',
  rb'\0\0\0\x0cJXL |\xff\x0a': 'JPEG XL',
  rb'\0\0\0\x0cjP  |\xff\x4f\xff\x51': 'JPEG 2000',
}
if 'AVIF' not in _FORMATS:
  _UNREAD[rb'....ftypavi[fs]'] = 'AVIF, which needs Pillow 11.3 or newer'
_WHOLE = {3: 'H', 4: 'I', 8: 'h', 9: 'i'}  # EXIF types of whole numbers

Resize = Literal['crop', 'warp']


def square(
  data: bytes, *, size: int, resize: Resize = 'crop'
) -> UInt8[np.ndarray, 's s 3']:
  """Decodes an image file and makes a square of it, as `to_square` does.

  EXIF rotations are applied, transparent pixels are put over white, and of
  several frames the first is taken. Raises Unreadable if PIL cannot decode the
  image, or it has more than 179 million pixels (a decompression bomb).
  """
  if not data:
    raise dataset.Unreadable('the file is empty')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # such as for damaged EXIF
      with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        _scale_transparent_colour(image)
        return to_square(image, size=size, resize=resize)
  except UnidentifiedImageError as error:
    raise dataset.Unreadable(_unknown(data)) from error
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
  both sides to `size`, as Caffe does. EXIF rotations are applied. Grey, CMYK,
  YCCK, palette and 16-bit images are converted to 8-bit RGB, and transparent
  pixels put over white; smaller images are enlarged.
  """
  rgb = _rgb(_upright(image))
  if resize == 'warp':
    return np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC))
  return np.asarray(_middle(rgb, size=size))


def _unknown(data: bytes) -> str:
  """Says of what format an image is that cannot be read."""
  for start, name in _UNREAD.items():
    if re.match(start, data, re.DOTALL):
      return f'no image of a known format but {name}: convert it to PNG or JPEG'
  return 'no image of a known format'


def _scale_transparent_colour(image: Image.Image) -> None:
  """Brings a PNG's transparent colour to the 8 bits that PIL makes of others.

  In an RGB image of 16 bits, all colours with its high bytes are transparent.
  """
  key, tile = image.info.get('transparency'), getattr(image, 'tile', None)
  bits = tile[0][3] if tile else None
  if isinstance(key, int) and bits in ('L;2', 'L;4'):
    image.info['transparency'] = key * (85 if bits == 'L;2' else 17)
  elif isinstance(key, tuple) and bits == 'RGB;16B':
    image.info['transparency'] = tuple(value >> 8 for value in key)


def _upright(image: Image.Image) -> Image.Image:
  """Turns an image as EXIF tells; another tag that is damaged does not matter.

  ImageOps.exif_transpose parses them all and writes them back.
  """
  if image.format == 'TIFF':
    _forget_other_tags(image)
  image.load()  # turns a TIFF, and drops the tag
  orientation = _orientation(image)
  turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
  return image if turn is None else image.transpose(turn)


def _forget_other_tags(image: Image.Image) -> None:
  """Removes tags of a TIFF that `load` would parse in vain."""
  if not isinstance(image.info.get('xmp'), bytes):
    image.info.pop('xmp', None)
  with contextlib.suppress(Exception):  # of many types; the tags are no matter
    exif = image.getexif()
    for group in ExifTags.IFD:
      if group in exif:
        del exif[group]


def _orientation(image: Image.Image) -> object:
  """The orientation that EXIF, or XMP without it, gives; it may be damaged."""
  exif = image.info.get('exif')
  found = _orientation_tag(exif) if isinstance(exif, bytes) else None
  with contextlib.suppress(Exception):  # PIL's are of many types
    return found or image.getexif().get(ExifTags.Base.Orientation)
  return None  # damaged, so it tells nothing


def _orientation_tag(exif: bytes) -> int | None:
  """Finds the orientation; PIL stops at the first tag that is damaged."""
  data = re.sub(rb'^(Exif\0\0){1,2}', b'', exif)
  order = '<' if data[:2] == b'II' else '>'
  with contextlib.suppress(struct.error):  # cut short
    (start,) = struct.unpack_from(order + '4xI', data)
    (count,) = struct.unpack_from(order + 'H', data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
      tag, kind, number = struct.unpack_from(order + 'HHI', data, place)
      if tag == ExifTags.Base.Orientation and number == 1 and kind in _WHOLE:
        return struct.unpack_from(order + _WHOLE[kind], data, place + 8)[0]
  return None


def _rgb(image: Image.Image) -> Image.Image:
  """Converts an image to 8-bit RGB, over white."""
  key = image.info.get('transparency')
  if image.mode.startswith('I;16') or image.mode in ('I', 'F'):
    # PIL's own conversion clips 16-bit grey values at 255.
    pixels = np.asarray(image).astype(np.float64)
    scale = 257 if pixels.max() > 255 else 1
    grey = np.clip(np.round(pixels / scale), 0, 255)
    if isinstance(key, int):
      grey[pixels == key] = 255
    image = Image.fromarray(grey.astype(np.uint8))
  if not image.has_transparency_data:
    return image.convert('RGB')
  rgba = image.convert('RGBA')
  alpha = rgba.getchannel('A')
  if image.format == 'BMP' and alpha.getextrema() == (0, 0):
    return rgba.convert('RGB')  # many programs leave the fourth byte 0
  over = Image.new('RGB', rgba.size, 'white')
  over.paste(rgba, mask=alpha)
  return over


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
