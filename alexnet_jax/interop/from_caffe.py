"""Caffe's bvlc_alexnet and CaffeNet from a .caffemodel (BVLC/caffe).

Facts: src/caffe/proto/caffe.proto, the numbers of the fields, their types and
default values; src/caffe/util/upgrade_proto.cpp, what older layers mean. A
`layer` is today's, a `layers` of version 1 (types are numbers), and one with a
`layer` of its own of version 0 (no parameter messages; padding is a layer).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32

from alexnet_jax.interop import chain, wire

_FIELDS = """
NetParameter
  bytes name = 1
  *Layers layers = 2
  *bytes input = 3
  *Layer layer = 100
Layer
  bytes name = 1
  bytes type = 2
  *bytes bottom = 3
  *bytes top = 4
  *Blob blobs = 7
  Conv convolution_param = 106
  Dropout dropout_param = 108
  Dense inner_product_param = 117
  Lrn lrn_param = 118
  Pool pooling_param = 121
  Relu relu_param = 123
Layers
  Layer0 layer = 1
  *bytes bottom = 2
  *bytes top = 3
  bytes name = 4
  int32 type = 5
  *Blob blobs = 6
  Conv convolution_param = 10
  Dropout dropout_param = 12
  Dense inner_product_param = 17
  Lrn lrn_param = 18
  Pool pooling_param = 19
  Relu relu_param = 30
Layer0
  bytes name = 1
  bytes type = 2
  uint32 pad = 7 [0]
  uint32 kernelsize = 8
  uint32 group = 9 [1]
  uint32 stride = 10 [1]
  int32 pool = 11 [0]
  float dropout_ratio = 12 [0.5]
  uint32 local_size = 13 [5]
  float alpha = 14 [1]
  float beta = 15 [0.75]
  float k = 22 [1]
  *Blob blobs = 50
Blob
  int32 num = 1 [0]
  int32 channels = 2 [0]
  int32 height = 3 [0]
  int32 width = 4 [0]
  *bytes data = 5
  Shape shape = 7
  *bytes double_data = 8
Shape
  *int64 dim = 1
Conv
  *uint32 pad = 3
  *uint32 kernel_size = 4
  uint32 group = 5 [1]
  *uint32 stride = 6
  uint32 pad_h = 9
  uint32 pad_w = 10
  uint32 kernel_h = 11
  uint32 kernel_w = 12
  uint32 stride_h = 13
  uint32 stride_w = 14
  *uint32 dilation = 18
Dense
  bool transpose = 6
Dropout
  float dropout_ratio = 1 [0.5]
Lrn
  uint32 local_size = 1 [5]
  float alpha = 2 [1]
  float beta = 3 [0.75]
  int32 norm_region = 4 [0]
  float k = 5 [1]
Pool
  int32 pool = 1 [0]
  uint32 kernel_size = 2
  uint32 stride = 3 [1]
  uint32 pad = 4 [0]
  uint32 kernel_h = 5
  uint32 kernel_w = 6
  uint32 stride_h = 7
  uint32 stride_w = 8
  uint32 pad_h = 9
  uint32 pad_w = 10
  bool global_pooling = 12
  int32 round_mode = 13 [0]
Relu
  float negative_slope = 1 [0]
"""
_KINDS: dict[str | int, str] = {  # of all versions
  **{'Convolution': 'conv', 4: 'conv', 'conv': 'conv'},
  **{'InnerProduct': 'fc', 14: 'fc', 'innerproduct': 'fc'},
  **{'ReLU': 'activation', 18: 'activation', 'relu': 'activation'},
  **{'LRN': 'lrn', 15: 'lrn', 'lrn': 'lrn'},
  **{'Pooling': 'pool', 17: 'pool', 'pool': 'pool'},
  **{'Dropout': 'dropout', 6: 'dropout', 'dropout': 'dropout'},
}
_ASIDE: frozenset[str | int] = frozenset(  # data, losses and copies
  'Data ImageData HDF5Data WindowData MemoryData DummyData Input HDF5Output '
  'Softmax SoftmaxWithLoss Accuracy Silence Split data images hdf5_data '
  'window_data softmax softmax_loss accuracy split'.split()
) | {5, 12, 10, 24, 29, 32, 11, 20, 21, 1, 36, 22}
_METHODS = {0: 'max', 1: 'average', 2: 'stochastic'}


def read(content: bytes) -> chain.Fitted | None:
  """Reads a .caffemodel; None if these bytes are none.

  Raises ValueError if it is damaged, or another network.
  """
  try:
    net = wire.parser('caffe', 'NetParameter', _FIELDS)(content)
  except ValueError:
    return None
  if not net.layer and not net.layers:
    return None
  ops = list(_ops(net))
  return chain.fit(ops, name=wire.text(net.name))


def read_mean(content: bytes) -> Float32[np.ndarray, 's s 3']:
  """Reads a mean image, .binaryproto, as RGB from 0 to 255.

  Raises ValueError if it is none of 256 x 256 pixels.
  """
  try:
    blob = wire.parser('caffe', 'Blob', _FIELDS)(content)
  except ValueError as error:
    raise ValueError('it is no .binaryproto of Caffe, or is cut off') from error
  shape = _shape(blob)
  if [*shape[-3:]] != [3, 256, 256] or any(size != 1 for size in shape[:-3]):
    sizes = ' x '.join(map(str, shape)) or 'none'
    raise ValueError(
      f'it holds {sizes} numbers: use the mean of images of 3 x 256 x 256'
    )
  bgr = _array(blob, name='the mean image').reshape(3, 256, 256)
  return np.ascontiguousarray(bgr[::-1].transpose(1, 2, 0))  # [H, W, RGB]


def _ops(net: Any) -> Iterator[chain.Op]:
  """The chain of a net; raises ValueError if it is no chain.

  Files of nothing but layers with arrays have gaps, which are no error.
  """
  whole = any(_KINDS.get(_type(layer)) == 'lrn' for layer in _layers(net))
  ready = {wire.text(name) for name in net.input}  # what a layer may read
  last, padding = '', 0
  for layer in _layers(net):
    own, kind = _own(layer), _type(layer)
    name = wire.text(own.name)
    reads, makes = [
      [wire.text(one) for one in names] for names in (layer.bottom, layer.top)
    ]
    if kind in _ASIDE:
      if ready.issuperset(reads):  # copies of what is there, or data
        ready |= {*makes}
      continue
    if (
      whole
      and last
      and reads
      and not (len(reads) == 1 and ready.issuperset(reads))
    ):
      raise ValueError(
        f'its layer {name!r:.60} reads {", ".join(reads)!r:.60}, not what '
        f'{last!r:.60} gives: nets with branches cannot be converted'
      )
    last, ready = name, {*makes}
    if kind == 'padding':  # of the convolution behind it
      padding = own.pad
      continue
    yield _op(own, name, _KINDS.get(kind, str(kind)), padding)
    padding = 0


def _layers(net: Any) -> Any:
  return net.layer or net.layers


def _own(layer: Any) -> Any:
  """The message with a layer's parameters: of version 0, one inside."""
  has_one = 'layer' in layer.DESCRIPTOR.fields_by_name
  return layer.layer if has_one and layer.HasField('layer') else layer


def _type(layer: Any) -> str | int:
  own = _own(layer)
  return own.type if isinstance(own.type, int) else wire.text(own.type)


def _op(own: Any, name: str, kind: str, padding: int) -> chain.Op:
  old = own.DESCRIPTOR.name == 'Layer0'
  facts = _facts0(own, kind, padding) if old else _facts(own, kind)
  if kind not in ('conv', 'fc') or len(own.blobs) != 2:
    return chain.Op(name, kind, facts)
  kernel = _array(own.blobs[0], name=f'{name}/kernel')
  if kind == 'fc' and kernel.shape[:-2] == (1,) * (kernel.ndim - 2):
    kernel = kernel.reshape(kernel.shape[-2:])  # [1, 1, out, in] of old
  bias = _array(own.blobs[1], name=f'{name}/bias').reshape(-1)
  return chain.Op(name, kind, facts, kernel, bias)


def _facts(own: Any, kind: str) -> dict[str, Any]:
  match kind:
    case 'conv':
      c = own.convolution_param
      return dict(
        # Weights alone do not say how large kernels are: the arrays do.
        **_sides(c, 'kernel', [*c.kernel_size], as_='size'),
        stride=_side(c, 'stride', [*c.stride] or [1]),
        padding=_side(c, 'pad', [*c.pad] or [0]),
        groups=c.group,
        dilation=_side(c, 'dilation', [*c.dilation] or [1]),
      )
    case 'pool':
      c = own.pooling_param
      return dict(
        size=_side(c, 'kernel', [c.kernel_size]),
        stride=_side(c, 'stride', [c.stride]),
        padding=_side(c, 'pad', [c.pad]),
        method='global' if c.global_pooling else _METHODS.get(c.pool, c.pool),
        rounding='up' if c.round_mode == 0 else 'down',
      )
    case 'lrn':
      c = own.lrn_param
      return _lrn(c) | dict(across=c.norm_region == 0)
    case 'dropout':
      return dict(rate=own.dropout_param.dropout_ratio)
    case 'activation':
      return dict(slope=own.relu_param.negative_slope)
    case 'fc':
      return dict(transpose=own.inner_product_param.transpose)
    case _:
      return {}


def _facts0(own: Any, kind: str, padding: int) -> dict[str, Any]:
  sizes = dict(size=own.kernelsize, stride=own.stride)
  match kind:
    case 'conv':
      return sizes | dict(padding=own.pad + padding, groups=own.group)
    case 'pool':
      method = _METHODS.get(own.pool, own.pool)
      return sizes | dict(padding=own.pad, method=method)
    case 'lrn':
      return _lrn(own)
    case 'dropout':
      return dict(rate=own.dropout_ratio)
    case _:
      return {}


def _lrn(c: Any) -> dict[str, Any]:
  return dict(n=c.local_size, k=c.k, alpha=c.alpha, beta=c.beta)


def _sides(
  c: Any, field: str, both: list[int], *, as_: str
) -> dict[str, int | list[int]]:
  """A size by the name `as_`, if the message has one."""
  there = both or c.HasField(f'{field}_h')
  return {as_: _side(c, field, both)} if there else {}


def _side(c: Any, field: str, both: list[int]) -> int | list[int]:
  """A size of both axes, or of each if they differ."""
  names = c.DESCRIPTOR.fields_by_name
  own = [f for f in (f'{field}_h', f'{field}_w') if f in names]
  if any(c.HasField(f) for f in own):
    both = [getattr(c, f) for f in own]
  return both[0] if len({*both}) == 1 else both


def _shape(blob: Any) -> tuple[int, ...]:
  """The shape of a blob; of old ones, four numbers."""
  if blob.HasField('shape'):
    return tuple(blob.shape.dim)
  return (blob.num, blob.channels, blob.height, blob.width)


def _array(blob: Any, *, name: str) -> Float32[np.ndarray, '...']:
  parts = {'<f4': blob.data, '<f8': blob.double_data}
  return wire.floats(parts, shape=_shape(blob), name=name)
