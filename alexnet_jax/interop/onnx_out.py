"""Writes a net as an ONNX graph, node by node, from its config.

Input 'images': float32 [N, 3, S, S], what `net.preprocess` gives with channels
first; or with the preprocessing in the graph, uint8 [N, T, T, 3]: RGB squares
as `net.squares` gives, of which the centre crop is used. Outputs 'logits' and
'probabilities': float32 [N, units]. N is any number. Every activation bears its
name in `net.layers`, but for 'fc8', the logits. Arithmetic is float32, also
that of nets trained in bfloat16.

The operators are those of https://onnx.ai/onnx/operators, opset 17.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from ml_collections import config_dict
from onnx import helper, numpy_helper

import alexnet_jax
from alexnet_jax.data import augment
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import channels_first
from alexnet_jax.models import alexnet
from alexnet_jax.ops import conv

OPSET, IR_VERSION = 17, 8  # both of ONNX 1.12 (2022)
MAX_BYTES = 2**31 - 1  # of a file of protobuf
_ACTIVATIONS = {'relu': 'Relu', 'tanh': 'Tanh', 'logistic': 'Sigmoid'}


def write(
  net: net_lib.Net, path: pathlib.Path, *, preprocess: bool = False
) -> None:
  """Writes a net to a new file, once ONNX's checker has passed it.

  Raises ValueError if ONNX cannot say what the net does, or a file cannot be so
  large.
  """
  check(net)
  model = build(net, preprocess=preprocess)
  onnx.checker.check_model(model, full_check=True)
  path.write_bytes(model.SerializeToString())


def check(net: net_lib.Net) -> None:
  """Raises ValueError if ONNX cannot say what the net does."""
  for name in alexnet.layer_names(net.config.model):
    if net.config.model.layer[name].get('local', False):
      raise ValueError(
        f'config.model.layer.{name}.local = True: ONNX has no kernels of their '
        'own for each position; use --to=stablehlo or --to=safetensors'
      )
  if net.model_state:
    raise ValueError(
      f'the net has {", ".join(net.model_state)} besides its parameters, which '
      'an ONNX file of this program has no place for: use --to=stablehlo'
    )
  size = sum(
    4 * a.size for layer in net.params.values() for a in layer.values()
  )
  if size > MAX_BYTES - 2**20:  # leaves room for the graph
    raise ValueError(
      f'{size:,} bytes of parameters: an ONNX file holds at most '
      f'{MAX_BYTES:,}; use --to=safetensors'
    )


def build(net: net_lib.Net, *, preprocess: bool = False) -> onnx.ModelProto:
  """Returns the graph of a net, with its weights."""
  model, data = net.config.model, net.config.data
  shapes = alexnet.activation_shapes(model, crop_size=data.crop_size)
  graph = _Graph()
  if preprocess:
    size, kind = data.image_size, onnx.TensorProto.UINT8
    given = helper.make_tensor_value_info('images', kind, ['N', size, size, 3])
    x = _preprocess(graph, net)
  else:
    size, kind = data.crop_size, onnx.TensorProto.FLOAT
    given = helper.make_tensor_value_info('images', kind, ['N', 3, size, size])
    x = 'images'
  shape = (data.crop_size, data.crop_size, 3)
  for stage, after in shapes.items():
    name, _, op = stage.partition('/')
    out = 'logits' if stage == 'fc8' else stage
    if op:
      x = _op(graph, op, x, out=out, model=model, shape=shape)
    elif name.startswith('conv'):
      x = _conv(graph, name, x, net=net, shape=shape)
    else:
      x = _dense(graph, name, x, out=out, net=net, shape=shape)
    shape = after
  graph.add('Softmax', ['logits'], out='probabilities', axis=1)
  return _model(graph, given, net=net, units=shapes['fc8'][0])


@dataclasses.dataclass
class _Graph:
  """Nodes and constants of a graph."""

  nodes: list[Any] = dataclasses.field(default_factory=list)
  constants: list[Any] = dataclasses.field(default_factory=list)

  def add(
    self,
    kind: str,
    inputs: Sequence[str],
    *,
    out: str | Sequence[str],
    **attributes: Any,
  ) -> str:
    """Adds a node, and returns the name of its first output."""
    outs = [out] if isinstance(out, str) else list(out)
    self.nodes.append(
      helper.make_node(kind, inputs, outs, name=outs[0], **attributes)
    )
    return outs[0]

  def constant(self, value: Any, *, name: str) -> str:
    """Adds an array, and returns its name."""
    self.constants.append(numpy_helper.from_array(np.asarray(value), name))
    return name

  def scalar(self, value: float, *, name: str) -> str:
    return self.constant(np.float32(value), name=name)


def _preprocess(graph: _Graph, net: net_lib.Net) -> str:
  """Cuts the centre out of squares, and subtracts its mean (§4.1)."""
  data = net.config.data
  size = data.crop_size
  (view,) = augment.views(1, image_size=data.image_size, crop_size=size)
  # The mean's centre is subtracted from it, whatever config.data.mean_at says.
  rows, columns = slice(view.y, view.y + size), slice(view.x, view.x + size)
  mean = np.asarray(net.statistics.mean_image)[rows, columns]
  ends = [
    graph.constant(np.array(value, np.int64), name=f'input/{name}')
    for name, value in (
      ('starts', [view.y, view.x]),
      ('ends', [rows.stop, columns.stop]),
      ('axes', [1, 2]),
    )
  ]
  x = graph.add('Slice', ['images', *ends], out='input/crop')
  x = graph.add('Cast', [x], out='input/float', to=onnx.TensorProto.FLOAT)
  x = graph.add(
    'Sub', [x, graph.constant(mean, name='input/mean_image')], out='input/mean'
  )
  if data.channel_stddevs:
    stddevs = np.array(data.channel_stddevs, np.float32)  # of the last axis
    divisor = graph.constant(stddevs, name='input/stddevs')
    x = graph.add('Div', [x, divisor], out='input/scaled')
  return graph.add('Transpose', [x], out='input', perm=[0, 3, 1, 2])


def _groups(layer: config_dict.ConfigDict, *, columns: int) -> int:
  """Columns that each read only their own maps or units."""
  return 1 if layer.inputs in ('image', 'both_columns') else columns


def _conv(
  graph: _Graph,
  name: str,
  x: str,
  *,
  net: net_lib.Net,
  shape: tuple[int, ...],
) -> str:
  model = net.config.model
  layer = model.layer[name]
  zeros = [  # (top, bottom), (left, right)
    (layer.padding, layer.padding)
    if model.rounding == 'down'
    else conv.ceil_padding(
      size, layer.size, layer.stride, padding=layer.padding
    )
    for size in shape[:2]
  ]
  kernel = channels_first.conv(np.asarray(net.params[name]['kernel']))
  weights = [
    graph.constant(kernel, name=f'{name}.weight'),
    graph.constant(net.params[name]['bias'], name=f'{name}.bias'),
  ]
  return graph.add(
    'Conv',
    [x, *weights],
    out=name,
    kernel_shape=[layer.size, layer.size],
    strides=[layer.stride, layer.stride],
    pads=[before for before, _ in zeros] + [after for _, after in zeros],
    group=_groups(layer, columns=model.columns),
  )


def _dense(
  graph: _Graph,
  name: str,
  x: str,
  *,
  out: str,
  net: net_lib.Net,
  shape: tuple[int, ...],
) -> str:
  """One Gemm, or one for each column that reads only its own units."""
  model = net.config.model
  layer, params = model.layer[name], net.params[name]
  # Height and width of what the layer reads, in front of fc6.
  maps = (shape[0], shape[1]) if len(shape) == 3 else (1, 1)
  summed = layer.inputs == 'summed'  # columns one after another
  weights = channels_first.dense(
    np.asarray(params['kernel']),
    maps=maps,
    blocks=model.columns if summed else 1,
  )
  bias = np.asarray(params['bias'])
  groups = 1 if summed else _groups(layer, columns=model.columns)
  if len(shape) > 1:
    x = graph.add('Flatten', [x], out=f'{name}/flat')  # [N, C H W]

  def gemm(x: str, out: str, weights: np.ndarray, bias: np.ndarray) -> str:
    inputs = [
      graph.constant(weights, name=f'{out}.weight'),
      graph.constant(bias, name=f'{out}.bias'),
    ]
    return graph.add('Gemm', [x, *inputs], out=out, transB=1)

  if groups == 1:
    return gemm(x, out, weights, bias)
  parts = [f'{name}/column{i}/inputs' for i in range(groups)]
  graph.add('Split', [x], out=parts, axis=1)
  found = [
    gemm(part, f'{name}/column{i}', *own)
    for i, (part, *own) in enumerate(
      zip(
        parts,
        np.split(weights, groups),
        np.split(bias, groups),
        strict=True,
      )
    )
  ]
  return graph.add('Concat', found, out=out, axis=1)


def _op(
  graph: _Graph,
  op: str,
  x: str,
  *,
  out: str,
  model: config_dict.ConfigDict,
  shape: tuple[int, ...],
) -> str:
  """One op of a layer's `ops`."""
  match op:
    case 'activation':
      return graph.add(_ACTIVATIONS[model.activation], [x], out=out)
    case 'lrn':
      return _lrn(graph, x, out=out, model=model)
    case 'spatial_norm':
      return _spatial_norm(graph, x, out=out, config=model.spatial_norm)
    case 'pool':
      size, stride = model.pool.size, model.pool.stride
      up = model.rounding == 'up'  # the last window may hang over the end
      after = [(size - length) % stride if up else 0 for length in shape[:2]]
      return graph.add(
        'MaxPool',
        [x],
        out=out,
        kernel_shape=[size, size],
        strides=[stride, stride],
        pads=[0, 0, *after],
      )
    case 'dropout' if model.dropout_scaling == 'test':
      kept = graph.scalar(1 - model.dropout_rate, name=f'{out}/kept')
      return graph.add('Mul', [x, kept], out=out)
    case 'dropout':
      return graph.add('Identity', [x], out=out)
    case _:
      raise ValueError(f'config.model.layer...ops holds {op!r}: ONNX has none')


def _lrn(
  graph: _Graph, x: str, *, out: str, model: config_dict.ConfigDict
) -> str:
  """LRN within each column (§3.3); ONNX divides alpha by the window itself."""
  c = model.lrn
  alpha = c.alpha if c.alpha_of == 'mean' else c.alpha * c.n
  fields = dict(size=c.n, bias=c.k, alpha=alpha, beta=c.beta)
  if c.across_columns or model.columns == 1:
    return graph.add('LRN', [x], out=out, **fields)
  parts = [f'{out}/column{i}/inputs' for i in range(model.columns)]
  graph.add('Split', [x], out=parts, axis=1)
  found = [
    graph.add('LRN', [part], out=f'{out}/column{i}', **fields)
    for i, part in enumerate(parts)
  ]
  return graph.add('Concat', found, out=out, axis=1)


def _spatial_norm(
  graph: _Graph, x: str, *, out: str, config: config_dict.ConfigDict
) -> str:
  """x / (k + alpha sum x^2)^beta, over windows of positions (ops/lrn.py)."""
  size, reach = config.size, config.size // 2
  alpha = config.alpha * (1 if config.alpha_of == 'mean' else size**2)
  y = graph.add('Mul', [x, x], out=f'{out}/squares')
  y = graph.add(
    'AveragePool',
    [y],
    out=f'{out}/mean',
    kernel_shape=[size, size],
    pads=[reach] * 4,
    count_include_pad=1,  # positions outside count as zero
  )
  for kind, value in (('Mul', alpha), ('Add', config.k), ('Pow', config.beta)):
    name = f'{out}/{kind.lower()}'
    y = graph.add(kind, [y, graph.scalar(value, name=f'{name}/by')], out=name)
  return graph.add('Div', [x, y], out=out)


def _model(
  graph: _Graph, given: Any, *, net: net_lib.Net, units: int
) -> onnx.ModelProto:
  """The whole file, with what else a reader needs as text."""
  outputs = [
    helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ['N', units])
    for name in ('logits', 'probabilities')
  ]
  model = helper.make_model(
    helper.make_graph(
      graph.nodes, 'alexnet', [given], outputs, initializer=graph.constants
    ),
    opset_imports=[helper.make_opsetid('', OPSET)],
    ir_version=IR_VERSION,
    producer_name='alexnet_jax',
    producer_version=alexnet_jax.__version__,
  )
  mean = np.asarray(net.statistics.mean_image).mean(axis=(0, 1), dtype=float)
  facts = {
    'config': net.config.to_dict(),
    'classes': [c._asdict() for c in net.classes],
    'mean_pixel': mean.tolist(),  # RGB, 0-255
    'step': net.step,
  }
  helper.set_model_props(model, {k: json.dumps(v) for k, v in facts.items()})
  return model
