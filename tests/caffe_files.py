"""Files of Caffe, written byte by byte from the facts of caffe.proto.

Field numbers: src/caffe/proto/caffe.proto of BVLC/caffe. Architectures:
train_val.prototxt of models/bvlc_alexnet and models/bvlc_reference_caffenet.
"""

import struct

import numpy as np

# name: (padding, stride, groups), and what follows the layer's ReLU.
CONVS = {
  'conv1': (0, 4, 1),
  'conv2': (2, 1, 2),
  'conv3': (1, 1, 1),
  'conv4': (1, 1, 2),
  'conv5': (1, 1, 2),
}
BVLC, CAFFENET = ('norm', 'pool'), ('pool', 'norm')
_V1_TYPES = {
  'Data': 5,
  'Convolution': 4,
  'ReLU': 18,
  'LRN': 15,
  'Pooling': 17,
  'InnerProduct': 14,
  'Dropout': 6,
  'SoftmaxWithLoss': 21,
}
_V0_TYPES = {
  'Data': 'data',
  'Convolution': 'conv',
  'ReLU': 'relu',
  'LRN': 'lrn',
  'Pooling': 'pool',
  'InnerProduct': 'innerproduct',
  'Dropout': 'dropout',
  'SoftmaxWithLoss': 'softmax_loss',
}


def varint(number):
  out = bytearray()
  while number > 127:
    out.append(number & 127 | 128)
    number >>= 7
  return bytes([*out, number])


def field(number, value):
  """A field: text, a message or bytes; a whole number; or a float.

  Fields and messages are tuples of bytes, so that arrays are not copied.
  """
  if isinstance(value, float):
    return (varint(number << 3 | 5) + struct.pack('<f', value),)
  if isinstance(value, int):
    return (varint(number << 3) + varint(value),)
  content = (value.encode(),) if isinstance(value, str) else value
  length = sum(map(len, content))
  return (varint(number << 3 | 2) + varint(length), *content)


def joined(fields):
  return tuple(part for one in fields for part in one)


def blob(array, *, legacy=False, shape=None):
  """BlobProto: four numbers, or the shape of newer files."""
  dims = shape or array.shape
  if legacy:
    four = (1,) * (4 - len(dims)) + tuple(dims)
    head = joined(field(i + 1, size) for i, size in enumerate(four))
  else:
    head = field(7, field(1, (b''.join(map(varint, dims)),)))
  numbers = memoryview(np.ascontiguousarray(array, '<f4')).cast('B')
  return head + field(5, (numbers,))


def mean(array):
  return blob(array, legacy=True)


def layers(order, **changes):
  """(name, type, bottom, top, facts) of each layer of the training net."""
  yield 'data', 'Data', [], ['data', 'label'], {}
  last = 'data'
  for number, (name, (pad, stride, group)) in enumerate(CONVS.items(), 1):
    facts = {'pad': pad, 'stride': stride, 'group': group}
    yield name, 'Convolution', [last], [name], facts | changes.get(name, {})
    relu = f'relu{number}'
    yield relu, 'ReLU', [name], [name], changes.get(relu, {})
    last = name
    for op in {1: order, 2: order, 5: ('pool',)}.get(number, ()):
      own = f'{op}{number}'
      if op == 'norm':
        facts = {'n': 5, 'alpha': 1e-4, 'beta': 0.75}
        yield own, 'LRN', [last], [own], facts | changes.get(own, {})
      else:
        facts = {'size': 3, 'stride': 2}
        yield own, 'Pooling', [last], [own], facts | changes.get(own, {})
      last = own
  for number in (6, 7, 8):
    name = f'fc{number}'
    yield name, 'InnerProduct', [last], [name], {}
    if number < 8:
      yield f'relu{number}', 'ReLU', [name], [name], {}
      yield f'drop{number}', 'Dropout', [name], [name], {'ratio': 0.5}
    last = name
  yield 'loss', 'SoftmaxWithLoss', ['fc8', 'label'], ['loss'], {}


def model(
  arrays, *, order=BVLC, version=2, name='AlexNet', keep=None, **changes
):
  """The parts of a .caffemodel, of layer messages of version 0, 1 or 2.

  `keep` says by name and type which layers are written; `changes` are facts by
  layer.
  """
  write = {0: _v0, 1: _v1, 2: _v2}[version]
  parts = [field(1, name)]
  for one in layers(order, **changes):
    if keep is None or keep(one[0], one[1]):
      blobs = [
        blob(arrays[f'{one[0]}/{kind}'], legacy=version < 2)
        for kind in ('kernel', 'bias')
        if f'{one[0]}/{kind}' in arrays
      ]
      parts.append(write(*one, blobs, arrays))
  return joined(parts)


def _parameters(type_, facts, arrays, name):
  """(convolution_param, ..., as its bytes) of a layer of version 1 and 2."""
  match type_:
    case 'Convolution':
      size = arrays[f'{name}/kernel'].shape[-1]
      return 'conv', field(1, len(arrays[f'{name}/bias'])) + field(
        3, facts['pad']
      ) + field(4, facts.get('size', size)) + field(5, facts['group']) + field(
        6, facts['stride']
      )
    case 'InnerProduct':
      return 'fc', field(1, len(arrays[f'{name}/bias']))
    case 'LRN':
      k = field(5, facts['k']) if 'k' in facts else ()
      region = field(4, facts['region']) if 'region' in facts else ()
      return 'lrn', field(1, facts['n']) + field(2, facts['alpha']) + field(
        3, facts['beta']
      ) + region + k
    case 'Pooling':
      return 'pool', field(1, facts.get('pool', 0)) + field(
        2, facts['size']
      ) + field(3, facts['stride'])
    case 'Dropout':
      return 'dropout', field(1, facts['ratio'])
    case _:
      return '', ()


def _v2(name, type_, bottom, top, facts, blobs, arrays):
  numbers = dict(conv=106, dropout=108, fc=117, lrn=118, pool=121)
  kind, parameters = _parameters(type_, facts, arrays, name)
  return field(
    100,
    field(1, name)
    + field(2, facts.get('type', type_))
    + joined(field(3, one) for one in bottom)
    + joined(field(4, one) for one in top)
    + joined(field(7, one) for one in blobs)
    + (field(numbers[kind], parameters) if kind else ()),
  )


def _v1(name, type_, bottom, top, facts, blobs, arrays):
  numbers = dict(conv=10, dropout=12, fc=17, lrn=18, pool=19)
  kind, parameters = _parameters(type_, facts, arrays, name)
  return field(
    2,
    joined(field(2, one) for one in bottom)
    + joined(field(3, one) for one in top)
    + field(4, name)
    + field(5, _V1_TYPES[type_])
    + joined(field(6, one) for one in blobs)
    + (field(numbers[kind], parameters) if kind else ()),
  )


def _v0(name, type_, bottom, top, facts, blobs, arrays):
  """Padding is a layer of its own in front of a convolution."""
  pad = facts.get('pad', 0)
  before = ()
  if pad:
    own = field(1, f'pad_{name}') + field(2, 'padding') + field(7, pad)
    before = field(
      2, field(1, own) + field(2, bottom[0]) + field(3, f'pad_{name}')
    )
    bottom = [f'pad_{name}']
  own = field(1, name) + field(2, _V0_TYPES[type_])
  if type_ == 'Convolution':
    own += (
      field(8, arrays[f'{name}/kernel'].shape[-1])
      + field(9, facts['group'])
      + field(10, facts['stride'])
    )
  if type_ == 'Pooling':
    own += field(8, facts['size']) + field(10, facts['stride'])
  if type_ == 'LRN':
    own += field(13, facts['n']) + field(14, facts['alpha'])
    own += field(15, facts['beta'])
  if type_ == 'Dropout':
    own += field(12, facts['ratio'])
  own += joined(field(50, one) for one in blobs)
  return before + field(
    2,
    field(1, own)
    + joined(field(2, one) for one in bottom)
    + joined(field(3, one) for one in top),
  )
