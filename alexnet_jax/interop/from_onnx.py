"""The bvlcalexnet of the ONNX model zoo, and CaffeNet in that form.

Facts: onnx.proto of onnx/onnx, the numbers of the fields; docs/Operators.md,
the attributes and their default values. The zoo's files (operator sets 3 to 12)
read 224 x 224 pixels without padding, which makes 54 windows of 11 in conv1;
the last pixel of each axis is not read. Here that is a crop of 223.
"""

import math
from collections.abc import Iterator
from typing import Any

from alexnet_jax.interop import chain, wire

_FIELDS = """
Model
  int64 ir_version = 1
  Graph graph = 7
Graph
  *Node node = 1
  *Tensor initializer = 5
  *Value input = 11
Node
  *bytes input = 1
  *bytes output = 2
  bytes name = 3
  bytes op_type = 4
  *Attribute attribute = 5
Attribute
  bytes name = 1
  float f = 2
  int64 i = 3
  bytes s = 4
  *int64 ints = 8
Tensor
  *int64 dims = 1
  int32 data_type = 2
  *bytes float_data = 4
  bytes name = 8
  bytes raw_data = 9
  int32 data_location = 14 [0]
Value
  bytes name = 1
  Type type = 2
Type
  TensorType tensor_type = 1
TensorType
  Shape shape = 2
Shape
  *Dim dim = 1
Dim
  int64 dim_value = 1
"""
_START = b'\x08'  # of ir_version, which comes first
_FLOAT = 1  # TensorProto.DataType
_MOST_PIXELS = 256  # of the images that crops are cut from
_KINDS = {
  'Conv': 'conv',
  'Gemm': 'fc',
  'Relu': 'activation',
  'LRN': 'lrn',
  'MaxPool': 'pool',
  'Dropout': 'dropout',
}
_ASIDE = frozenset(('Softmax', 'Reshape', 'Flatten'))
_AXES = dict(kernel_shape=[1, 1], strides=[1, 1], pads=[0] * 4)


def read(content: bytes) -> chain.Fitted | None:
  """Reads an .onnx file; None if these bytes are none.

  Raises ValueError if it is damaged, or another network.
  """
  if not content.startswith(_START):
    return None
  try:
    model = wire.parser('onnx_file', 'Model', _FIELDS)(content)
  except ValueError:
    return None
  if not model.HasField('graph') or not model.graph.node:
    return None
  size = _image_size(model.graph)
  fitted = chain.fit(list(_ops(model.graph, size=size)))
  conv1 = fitted.config.model.layer.conv1
  windows = 1 + (size - conv1.size) // conv1.stride  # 54 of 224 pixels
  fitted.config.data.crop_size = conv1.size + (windows - 1) * conv1.stride
  return fitted


def _image_size(graph: Any) -> int:
  """Height and width of the input; ValueError if it is no RGB image."""
  arrays = {tensor.name for tensor in graph.initializer}
  shapes = [
    [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    for value in graph.input
    if value.name not in arrays
  ]
  shape = shapes[0] if len(shapes) == 1 else []
  square = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3]
  if not square or not 11 <= shape[2] <= _MOST_PIXELS:
    raise ValueError(
      f'its inputs are of the shapes {shapes!r:.80}: use a net that reads '
      f'images of 3 x SIZE x SIZE, at most {_MOST_PIXELS}'
    )
  return shape[2]


def _ops(graph: Any, *, size: int) -> Iterator[chain.Op]:
  """The chain of a graph; raises ValueError if it is no chain."""
  tensors = {tensor.name: tensor for tensor in graph.initializer}
  last = b''
  for node in graph.node:
    name = wire.text(node.name or b''.join(node.output[:1]))
    if last and node.input[:1] != [last]:
      raise ValueError(
        f'its node {name!r:.60} does not read what the one before it gives: '
        'nets with branches cannot be converted'
      )
    last = b''.join(node.output[:1])
    type_ = wire.text(node.op_type)
    if type_ in _ASIDE:
      continue
    kind = _KINDS.get(type_, type_)
    facts = _facts(node, kind, size=size)
    size = facts.pop('windows', size)
    arrays = [tensors.get(one) for one in node.input[1:]]
    if kind not in ('conv', 'fc') or len(arrays) != 2 or None in arrays:
      yield chain.Op(name, kind, facts)
      continue
    kernel, bias = [_array(tensor) for tensor in arrays]
    yield chain.Op(name, kind, facts, kernel, bias.reshape(-1))


def _facts(node: Any, kind: str, *, size: int) -> dict[str, Any]:
  given = {wire.text(one.name): one for one in node.attribute}

  def number(name: str, default: float) -> float:
    return given[name].f if name in given else default

  def whole(name: str, default: int) -> int:
    return given[name].i if name in given else default

  match kind:
    case 'lrn':
      return dict(
        n=whole('size', 0),
        k=number('bias', 1.0),
        alpha=number('alpha', 1e-4),
        beta=number('beta', 0.75),
      )
    case 'fc':
      plain = number('alpha', 1.0) == number('beta', 1.0) == 1.0
      transposed = (whole('transA', 0), whole('transB', 0)) == (0, 1)
      return dict(transpose=not (plain and transposed))
    case 'conv' | 'pool':
      axes = {
        name: [*given[name].ints] if name in given else default
        for name, default in _AXES.items()
      }
      if 'auto_pad' in given and given['auto_pad'].s not in (b'', b'NOTSET'):
        axes['pads'] = [wire.text(given['auto_pad'].s)]
      facts = dict(
        size=_one(axes['kernel_shape']),
        stride=_one(axes['strides']),
        dilation=_one(
          [*given['dilations'].ints] if 'dilations' in given else [1]
        ),
      )
      if kind == 'conv':
        return (
          facts
          | _conv(facts, axes['pads'], size)
          | dict(groups=whole('group', 1))
        )
      up = bool(whole('ceil_mode', 0))
      return facts | _pool(facts, axes['pads'], size, up=up)
    case 'dropout':
      return dict(rate=number('ratio', 0.5))
    case _:
      return {}


def _one(values: list[Any]) -> Any:
  """The value of all axes, or the values if they differ."""
  return values[0] if len({*values}) == 1 else values


def _conv(facts: dict[str, Any], pads: list[Any], size: int) -> dict[str, Any]:
  padding = _one(pads)
  if not all(isinstance(n, int) for n in (padding, *facts.values())):
    return dict(padding=padding)  # refused
  windows = 1 + (size + 2 * padding - facts['size']) // max(facts['stride'], 1)
  return dict(padding=padding, windows=windows)


def _pool(
  facts: dict[str, Any], pads: list[Any], size: int, *, up: bool
) -> dict[str, Any]:
  """Padding behind the last pixel adds windows, and is never the maximum.

  So it stands for sizes that are rounded up.
  """
  plain = all(isinstance(n, int) for n in (*pads, *facts.values()))
  if not plain or len(pads) != 4 or any(pads[:2]) or pads[2] != pads[3]:
    return dict(padding=_one(pads))  # refused, unless 0
  step = max(facts['stride'], 1)
  steps = (size + pads[2] - facts['size']) / step
  windows = 1 + (math.ceil(steps) if up else math.floor(steps))
  whole = 1 + math.ceil((size - facts['size']) / step)
  rounding = 'up' if windows == whole else f'{windows} windows of {size}'
  return dict(padding=0, method='max', rounding=rounding, windows=windows)


def _array(tensor: Any) -> Any:
  name = wire.text(tensor.name)
  if tensor.data_type != _FLOAT or tensor.data_location:
    raise ValueError(
      f'its array {name!r:.60} is not of float32, or is in a file of its own: '
      'use the net with float32 arrays inside'
    )
  raw = [tensor.raw_data] if tensor.raw_data else []
  parts = {'<f4': [*tensor.float_data, *raw]}
  return wire.floats(parts, shape=tensor.dims, name=name)
