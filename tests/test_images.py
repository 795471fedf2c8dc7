"""Image files of every kind become RGB squares, or give a reason."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, features

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


# EXIF: of a photo with damaged tags the orientation is still read.

_SIDEWAYS = 6  # to be turned by a quarter, clockwise
_EXIF_IFD, _GPS_IFD, _WIDTH, _DPI = 0x8769, 0x8825, 0x0100, 0x011A


def _tag(number, *, kind, count, value):
  return struct.pack('<HHI4s', number, kind, count, value)


def _short(value):
  return struct.pack('<HH', value, 0)


def _exif(*tags, end=b'\0\0\0\0'):
  head = b'Exif\0\0II*\0\x08\0\0\0' + struct.pack('<H', len(tags))
  return head + b''.join(sorted(tags)) + end


def _orientation(value, *, kind=3):
  return _tag(0x0112, kind=kind, count=1, value=value)


DAMAGED = {
  'an Exif IFD that is text': _tag(_EXIF_IFD, kind=2, count=4, value=b'abc\0'),
  'an Exif IFD out of the file': _tag(
    _EXIF_IFD, kind=4, count=1, value=b'\xff\xff\xff\x7f'
  ),
  'a GPS IFD of floats': _tag(_GPS_IFD, kind=11, count=1, value=b'\0\0\0\0'),
  'a short out of range': _tag(_DPI, kind=9, count=1, value=b'\xff' * 4),
  'a width of 4 GB': _tag(_WIDTH, kind=12, count=2**29, value=b'\0\0\0\1'),
  'an unknown type': _tag(0x9286, kind=99, count=7, value=b'1234'),
  'a rational by zero': _tag(_DPI, kind=5, count=1, value=_short(8)),
}


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('damage', DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_tag_of_exif_does_not_matter(kind, damage):
  """The image is used, and turned: 40 x 60 as on the photographer's screen."""
  if kind == 'TIFF' and damage == DAMAGED['a width of 4 GB']:
    return  # a TIFF is made of such tags: this one is of the image itself
  exif = _exif(_orientation(_short(_SIDEWAYS)), damage)
  options = {'lossless': True} if kind == 'WEBP' else {}
  if kind == 'TIFF':
    data = _tiff(damage)
  else:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      data = _save(_photo(), kind, exif=exif, **options)
  with Image.open(io.BytesIO(_save(_photo(), kind, **options))) as stored:
    upright = np.rot90(np.asarray(stored.convert('RGB')), 3)  # lossy JPEG
  direct = Image.fromarray(upright).resize((40, 60), Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(
    _square(data, size=40), np.asarray(direct)[10:50]
  )


def _tiff(tag):
  """A TIFF with an orientation of 6 and another tag in its own directory."""
  data = bytearray(_save(_photo(), 'TIFF'))
  (start,) = struct.unpack_from('<I', data, 4)
  (count,) = struct.unpack_from('<H', data, start)
  tags = [data[start + 2 + 12 * k :][:12] for k in range(count)]
  tags += [_orientation(_short(_SIDEWAYS)), tag]
  by_number = {bytes(t[:2]): bytes(t) for t in tags}
  tags = sorted(by_number.values(), key=lambda t: struct.unpack('<H', t[:2]))
  struct.pack_into('<I', data, 4, len(data))
  return bytes(data) + struct.pack('<H', len(tags)) + b''.join(tags) + bytes(4)


@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('order', ['<', '>'])
def test_every_orientation_is_turned_as_pil_does(turn, order):
  exif = Image.Exif()
  exif.endian = order
  exif[0x0112] = turn
  data = _save(_photo(), 'PNG', exif=exif)
  with Image.open(io.BytesIO(data)) as image:
    upright = ImageOps.exif_transpose(image)
  size = min(upright.size)
  whole = images.to_square(upright, size=size)
  np.testing.assert_array_equal(_square(data, size=size), whole)
  with Image.open(io.BytesIO(data)) as image:  # as users of net.predict do
    opened = images.to_square(image, size=size)
  np.testing.assert_array_equal(opened, whole)


@pytest.mark.parametrize(
  'tag',
  [
    _orientation(_short(0)),
    _orientation(_short(9)),
    _orientation(b'6\0\0\0', kind=2),  # text
    _orientation(struct.pack('<f', 6), kind=11),
    _orientation(b'\6\0\0\0', kind=7),  # bytes
    _tag(0x0112, kind=3, count=2**31, value=_short(6)),
  ],
)
def test_an_orientation_that_is_none_is_ignored(tag):
  data = _save(_photo(), 'PNG', exif=_exif(tag))
  plain = _square(_save(_photo(), 'PNG'), size=40)
  np.testing.assert_array_equal(_square(data, size=40), plain)


def test_exif_that_is_cut_short_is_ignored():
  whole = _exif(_orientation(_short(_SIDEWAYS)))
  plain = _square(_save(_photo(), 'PNG'), size=40)
  for length in range(6, len(whole) - 12):
    data = _save(_photo(), 'PNG', exif=whole[:length])
    np.testing.assert_array_equal(_square(data, size=40), plain)


# Transparent pixels are put over white.


def _logo(mode):
  """Black, opaque on the left, half in the middle, transparent on the right."""
  rgba = np.zeros((6, 6, 4), np.uint8)
  rgba[:, :2, 3], rgba[:, 2:4, 3] = 255, 128
  return Image.fromarray(rgba).convert(mode)


@pytest.mark.parametrize(
  ('mode', 'kind'),
  [
    ('RGBA', 'PNG'), ('LA', 'PNG'), ('RGBA', 'TIFF'), ('LA', 'TIFF'),
    ('RGBA', 'WEBP'), ('RGBA', 'AVIF'),
  ],
)  # fmt: skip
def test_alpha_is_put_over_white(mode, kind):
  if kind == 'AVIF' and not features.check('avif'):
    pytest.skip('this Pillow reads no AVIF')
  options = {'lossless': True, 'exact': True} if kind == 'WEBP' else {}
  options = {'quality': 100} if kind == 'AVIF' else options
  out = _square(_save(_logo(mode), kind, **options), size=6)
  # 255 - 128 = 127 of white over black.
  expected = np.repeat([0, 0, 127, 127, 255, 255], 3).reshape(1, 6, 3)
  np.testing.assert_allclose(out, np.broadcast_to(expected, out.shape), atol=1)


def test_a_palette_with_transparency_is_put_over_white():
  image = Image.new('P', (6, 6))
  image.putpalette([0, 0, 0, 200, 0, 0, 0, 0, 0])
  image.putdata([0, 0, 1, 1, 2, 2] * 6)
  black, red, white = [[0, 0, 0]] * 2, [[200, 0, 0]] * 2, [[255] * 3] * 2
  out = _square(_save(image, 'GIF', transparency=2), size=6)
  assert out[0].tolist() == black + red + white
  alphas = bytes([255, 128, 0])
  out = _square(_save(image, 'PNG', transparency=alphas), size=6)
  half = [[227, 127, 127]] * 2
  np.testing.assert_allclose(out[0], black + half + white, atol=1)
  pair = Image.new('PA', (6, 6))
  pair.putpalette([0, 0, 0, 200, 0, 0])
  pair.putalpha(Image.new('L', (6, 6), 0))
  assert (images.to_square(pair, size=6) == 255).all()


def _png(rows, *, depth, colour, transparent):
  """A PNG of 4 x 4 pixels with a transparent colour, which PIL cannot write."""

  def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', crc)

  head = struct.pack('>IIBBBBB', 4, 4, depth, colour, 0, 0, 0)
  key = struct.pack(f'>{len(transparent)}H', *transparent)
  return (
    b'\x89PNG\r\n\x1a\n'
    + chunk(b'IHDR', head)
    + chunk(b'tRNS', key)
    + chunk(b'IDAT', zlib.compress((b'\0' + rows) * 4))
    + chunk(b'IEND', b'')
  )


@pytest.mark.parametrize(
  ('depth', 'row', 'key', 'grey'),
  [
    (1, b'\x50', 0, [255, 255, 255, 255]),
    (2, b'\x1b', 0, [255, 85, 170, 255]),
    (2, b'\x1b', 1, [0, 255, 170, 255]),
    (4, b'\x0f\x12', 1, [0, 255, 255, 34]),
    (8, b'\0\1\2\3', 2, [0, 1, 255, 3]),
    (16, struct.pack('>4H', 0, 257, 514, 65535), 0, [255, 1, 2, 255]),
    (16, struct.pack('>4H', 0, 258, 514, 65535), 258, [0, 255, 2, 255]),
  ],
)
def test_the_transparent_grey_of_any_depth(depth, row, key, grey):
  data = _png(row, depth=depth, colour=0, transparent=[key])
  assert _square(data, size=4)[0, :, 1].tolist() == grey


@pytest.mark.parametrize('depth', [8, 16])
def test_the_transparent_colour(depth):
  kind, factor = ('B', 1) if depth == 8 else ('H', 257)
  colours = [(0, 0, 0), (1, 2, 3), (200, 0, 0), (0, 200, 0)]
  flat = [value * factor for colour in colours for value in colour]
  row = struct.pack(f'>12{kind}', *flat)
  data = _png(row, depth=depth, colour=2, transparent=flat[3:6])
  found = _square(data, size=4)[0].tolist()
  assert found == [[0, 0, 0], [255] * 3, [200, 0, 0], [0, 200, 0]]


def test_opaque_images_have_the_pixels_that_they_had():
  """So that the records of data without transparency stay as they are."""
  photo = np.asarray(_photo())
  alpha = np.full((*photo.shape[:2], 1), 255, np.uint8)
  data = _save(Image.fromarray(np.concatenate([photo, alpha], -1)), 'PNG')
  np.testing.assert_array_equal(_square(data, size=40), photo[:, 10:50])


def _bmp(alpha):
  """A bitmap of 4 x 4 red pixels whose header has a mask for alpha."""
  masks = struct.pack('<4I', 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
  head = struct.pack('<IiiHHIIiiII', 108, 4, 4, 1, 32, 3, 64, 0, 0, 0, 0)
  head += masks + bytes(108 - len(head) - len(masks))
  start = 14 + len(head)
  return (
    b'BM'
    + struct.pack('<IHHI', start + 64, 0, 0, start)
    + head
    + bytes([0, 0, 255, alpha]) * 16
  )


def test_a_bitmap_whose_fourth_byte_is_unused_is_opaque():
  with Image.open(io.BytesIO(_bmp(0))) as image:
    assert image.mode == 'RGBA'
  for alpha, green in ((0, 0), (255, 0), (55, 200)):
    out = _square(_bmp(alpha), size=4)
    np.testing.assert_array_equal(out, [[[255, green, green]] * 4] * 4)


# Files with several frames, and of other formats.


@pytest.mark.parametrize('kind', ['GIF', 'TIFF', 'MPO', 'WEBP', 'PNG'])
def test_of_several_frames_the_first_is_taken(kind):
  first, second = (Image.new('RGB', (8, 8), (k, k, k)) for k in (200, 10))
  data = _save(first, kind, save_all=True, append_images=[second, second])
  with Image.open(io.BytesIO(data)) as image:
    assert image.n_frames > 1
  np.testing.assert_allclose(_square(data), 200, atol=2)


def test_avif_is_read_where_pillow_does():
  if not features.check('avif'):
    pytest.skip('this Pillow reads no AVIF')
  out = _square(_save(Image.new('RGB', (8, 8), (250, 10, 10)), 'AVIF'))
  assert out[..., 0].min() > 220 and out[..., 1:].max() < 40


@pytest.mark.parametrize(
  ('data', 'name'),
  [
    (b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'HEIC'),
    (b'\0\0\0\x0cJXL \r\n\x87\n', 'JPEG XL'),
    (b'\0\0\0\x0cjP  \r\n\x87\n', 'JPEG 2000'),
  ],
)
def test_formats_that_are_not_read_are_named(data, name):
  said = f'no image of a known format but {name}: convert it to PNG or JPEG'
  with pytest.raises(dataset.Unreadable, match=said):
    _square(data + bytes(100))
