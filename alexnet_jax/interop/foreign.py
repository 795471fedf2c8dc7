"""Nets of other programs, told by what is in their files."""

import pathlib
from typing import NamedTuple

from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import (
  arrays,
  chain,
  classes,
  from_caffe,
  from_onnx,
  from_torchvision,
  native,
  tensors,
)
from alexnet_jax.runtime import paths

_MOST_BYTES = 2**31 - 1  # of a message of protobuf
# Of Caffe's prototxt: blue, green and red of ILSVRC-2012's mean, whole.
_CAFFE_MEAN = (123.0, 117.0, 104.0)  # R, G and B
_KNOWN = (
  'a .caffemodel of bvlc_alexnet or CaffeNet, a .safetensors file of '
  "torchvision's alexnet or of alexnet_jax, or the model zoo's bvlcalexnet.onnx"
)
_TORCH = (
  'it is pickled, and could run any program when it is read; convert it in '
  "PyTorch: state = torch.load('alexnet.pth', weights_only=True); "
  "safetensors.torch.save_file(state, 'alexnet.safetensors')"
)
_FOREIGN = {  # first bytes of files that are often there instead
  b'PK\x03\x04': f'a zip archive; if it is a .pth or .pt of PyTorch, {_TORCH}',
  b'\x80\x02': f'a pickle, such as a .pth of PyTorch; {_TORCH}',
  b'\x80\x03': f'a pickle; {_TORCH}',
  b'\x80\x04': f'a pickle; {_TORCH}',
  b'\x80\x05': f'a pickle; {_TORCH}',
  b'\x89HDF\r\n\x1a\n': 'an HDF5 file; of Caffe, give its .caffemodel',
  b'\xff\xd8\xff': 'a JPEG image',
  b'\x89PNG': 'a PNG image',
  b'\x1f\x8b': 'compressed by gzip; unpack it',
  b'\x93NUMPY': 'an array of NumPy',
}


class Converted(NamedTuple):
  """A net, and what it was."""

  net: net_lib.Net
  what: str  # such as "bvlc_alexnet of Caffe"
  notes: tuple[str, ...]  # what was assumed


def read(given: str, *, mean: str = '', names: str = '') -> Converted:
  """Reads a net from the file of another program, or from one of ours.

  Args:
    mean: a .binaryproto with the mean image, for nets of Caffe.
    names: a file with a line for each class, see classes.py.

  Raises ValueError of one line if it is none of those that can be read, or is
  damaged.
  """
  path = paths.expand(given)
  content = _content(path)
  try:
    if content is not None:
      return _of_caffe(content, mean=mean, names=names)
    if mean:
      raise ValueError(f'it has a mean of its own: leave out --mean={mean}')
    with tensors.opened(path) as file:
      if from_torchvision.is_one(file):
        return _of_torchvision(from_torchvision.read(file), names=names)
      if not native.is_one(file):
        raise ValueError(f'it holds another network: use {_KNOWN}')
      if names:
        raise ValueError(
          f'it has classes of its own: leave out --classes={names}'
        )
      net = native.from_open(file, path=given)
      return Converted(net, 'a net of alexnet_jax', ())
  except ValueError as error:
    raise ValueError(f'--from={given} cannot be converted: {error}') from error


def _content(path: pathlib.Path) -> bytes | None:
  """The bytes of a file; None if it is .safetensors, which is read in parts.

  Raises ValueError if it is too large, or of a kind that cannot be read.
  """
  if path.is_dir():
    raise ValueError(f'--from={path} is a folder: give {_KNOWN}')
  size = path.stat().st_size
  with path.open('rb') as file:
    head = file.read(9)
    if not size:
      raise ValueError(f'--from={path} is empty: get it again')
    for start, what in _FOREIGN.items():
      if head.startswith(start):
        raise ValueError(
          f'--from={path} is {what}. This command reads {_KNOWN}'
        )
    if tensors.is_one(path):
      return None
    if size > _MOST_BYTES:
      raise ValueError(
        f'--from={path} has {size / 1e9:,.1f} GB, but nets of Caffe and ONNX '
        f'have at most {_MOST_BYTES / 1e9:,.1f}: use {_KNOWN}'
      )
    file.seek(0)
    return file.read()


def _of_caffe(content: bytes, *, mean: str, names: str) -> Converted:
  onnx = from_onnx.read(content)
  fitted = onnx or from_caffe.read(content)
  if fitted is None:
    raise ValueError(f'it is cut off, or it is none that can be read: {_KNOWN}')
  notes = []
  if mean:
    image = mean_image(mean)
  else:
    image = arrays.pixel(_CAFFE_MEAN, config=fitted.config)
    red, green, blue = _CAFFE_MEAN
    notes = [
      f'without --mean=FILE.binaryproto the mean is one colour, blue {blue:g}, '
      f'green {green:g} and red {red:g}'
    ]
  program = 'ONNX' if onnx else 'Caffe'
  return _made(
    fitted,
    f'{fitted.name} of {program}',
    mean_image=image,
    names=names,
    notes=notes,
    bgr=True,
  )


def mean_image(given: str) -> arrays.MeanImage:
  """Reads a .binaryproto; ValueError of one line if it is none."""
  path = paths.expand(given)
  try:
    if path.is_file() and path.stat().st_size > 10**8:
      raise ValueError('it is too large for a mean image')
    return from_caffe.read_mean(path.read_bytes())
  except ValueError as error:
    raise ValueError(f'--mean={given}: {error}') from error


def _of_torchvision(fitted: chain.Fitted, *, names: str) -> Converted:
  return _made(
    fitted,
    fitted.name,
    mean_image=arrays.pixel(from_torchvision.MEAN, config=fitted.config),
    names=names,
  )


def _made(
  fitted: chain.Fitted,
  what: str,
  *,
  mean_image: arrays.MeanImage,
  names: str,
  notes: list[str] | tuple[str, ...] = (),
  bgr: bool = False,
) -> Converted:
  units = len(fitted.arrays['fc8/bias'])
  named = classes.of_units(units, file=names)
  if not names and units != 1000:
    notes = [*notes, f'the {units} classes have no names: see --classes']
  net = arrays.make(
    fitted.config,
    arrays.channels_last(fitted.arrays, bgr=bgr),
    classes=named,
    mean_image=mean_image,
  )
  return Converted(net, what, tuple(notes))
