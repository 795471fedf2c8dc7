"""Image files of every kind become RGB squares, or give a reason."""

import io

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import dataset, images


def _save(image, kind, **options):
  stream = io.BytesIO()
  image.save(stream, kind, **options)
  return stream.getvalue()


def _square(data, *, size=8):
  return images.square(data, size=size)


def test_16_bit_grey_keeps_its_brightness():
  grey = np.full((8, 8), 0x8000, np.uint16)  # half of full brightness
  out = _square(_save(Image.fromarray(grey), 'PNG'))
  np.testing.assert_array_equal(out, 128)
  dark = np.full((8, 8), 100, np.uint16)  # 8-bit values in 16 bits
  np.testing.assert_array_equal(
    _square(_save(Image.fromarray(dark), 'PNG')), 100
  )


def test_floats_are_taken_as_grey_levels():
  levels = np.full((8, 8), 200.4, np.float32)
  out = _square(_save(Image.fromarray(levels), 'TIFF'))
  np.testing.assert_array_equal(out, 200)


@pytest.mark.parametrize('mode', ['CMYK', 'YCbCr', 'L', 'P', 'RGBA', 'LA', '1'])
def test_colours_survive_the_mode(mode):
  red = Image.new('RGB', (8, 8), (255, 255, 255)).convert(mode)
  kind = {'CMYK': 'JPEG', 'YCbCr': 'JPEG'}.get(mode, 'PNG')
  out = _square(_save(red, kind))
  assert out.shape == (8, 8, 3) and out.min() > 250


def test_cmyk_jpeg_has_its_colours():
  red = Image.new('RGB', (8, 8), (250, 10, 10)).convert('CMYK')
  out = _square(_save(red, 'JPEG', quality=100))
  assert out[..., 0].min() > 220 and out[..., 1:].max() < 40


def test_exif_turns_an_image_upright():
  array = np.zeros((8, 8, 3), np.uint8)
  array[:4] = 255  # white above
  exif = Image.Exif()
  exif[0x0112] = 3  # stored upside down
  turned = Image.fromarray(array[::-1, ::-1].copy())
  out = _square(_save(turned, 'PNG', exif=exif))
  assert out[0].min() == 255 and out[-1].max() == 0


def _photo():
  rng = np.random.default_rng(0)
  return Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize(
  ('data', 'reason'),
  [
    (b'', 'the file is empty'),
    (b'not an image\n', 'no image of a known format'),
    (_save(_photo(), 'JPEG')[:700], 'truncated'),
    (_save(_photo(), 'PNG')[:700], 'OSError|SyntaxError'),
  ],
)
def test_unreadable_images_give_the_reason(data, reason):
  with pytest.raises(dataset.Unreadable, match=reason):
    _square(data)


def test_a_decompression_bomb_is_refused():
  bomb = _save(Image.new('1', (20_000, 10_000)), 'PNG')  # 200 million pixels
  assert len(bomb) < 100_000
  with pytest.raises(
    dataset.Unreadable, match=r'refused: .*decompression bomb'
  ):
    _square(bomb)


def test_an_extreme_aspect_ratio_is_refused():
  thread = _save(Image.new('L', (1, 20_000)), 'PNG')
  with pytest.raises(dataset.Unreadable, match='refused: 1 x 20000 pixels'):
    _square(thread, size=256)


def test_formats_that_start_other_programs_are_not_read():
  eps = _save(Image.new('RGB', (9, 9)), 'EPS')
  with pytest.raises(dataset.Unreadable, match='no image of a known format'):
    _square(eps)
