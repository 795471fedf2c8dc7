"""Caffe's AlexNets as a chain of operations, whatever file they came from.

bvlc_alexnet and CaffeNet are told apart, and anything else is refused, by
comparing the chain with what configs/bvlc.py and configs/caffenet.py say.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from alexnet_jax.config import presets, schema
from alexnet_jax.models import alexnet

_CONFIGS = {'bvlc_alexnet': 'bvlc', 'CaffeNet': 'caffenet'}
_RELU = {'slope': 0.0}  # below 0
_DENSE = {'transpose': False}  # [out, in]


class Op(NamedTuple):
  """One operation of a net, with its arrays as the file has them."""

  name: str  # in the file
  kind: str  # as in config.model.layer.NAME.ops; or 'conv', 'fc'
  facts: dict[str, Any]  # what its result depends on, besides the arrays
  kernel: Float32[np.ndarray, '...'] | None = None  # OIHW or [out, in]
  bias: Float32[np.ndarray, ' k'] | None = None


class Fitted(NamedTuple):
  """The config of a chain, and its arrays by our names."""

  name: str  # such as 'CaffeNet'
  config: schema.Config
  arrays: dict[str, Float32[np.ndarray, '...']]  # 'conv1/kernel': OIHW, ...


def fit(ops: Sequence[Op], *, name: str = '') -> Fitted:
  """Finds the config that a chain follows.

  A chain of nothing but layers with arrays, as some files have it, is told by
  `name`, the net's own. Raises ValueError that says what differs, if it is
  neither bvlc_alexnet nor CaffeNet.
  """
  found = [op for op in ops if op.kind != 'dropout']  # does nothing in the end
  arrays_alone = all(op.kind in ('conv', 'fc') for op in found)
  candidates = {
    own: presets.load(config)
    for own, config in _CONFIGS.items()
    if not arrays_alone or own.lower().removeprefix('bvlc_') in name.lower()
  }
  if not candidates:
    raise ValueError(
      f'it has layers with arrays alone, and the name {name!r:.60}: nothing '
      'says whether it is bvlc_alexnet or CaffeNet; use the file that Caffe '
      'wrote'
    )
  problems = []
  for own, config in candidates.items():
    expected = [
      op for op in _expected(config) if not arrays_alone or op.kernel_shape
    ]
    place, problem = _difference(found, expected)
    if not problem:
      return Fitted(own, _sized(config, ops), _arrays(found, expected))
    problems.append((place, f'{problem} in {own}'))
  _, nearest = max(problems, key=lambda one: one[0])  # differs the latest
  raise ValueError(
    f'it is neither bvlc_alexnet nor CaffeNet of Caffe: {nearest}; nets of '
    'other architectures cannot be converted'
  )


class _Expected(NamedTuple):
  """An operation as a config has it."""

  name: str  # ours
  kind: str
  facts: dict[str, Any]
  kernel_shape: tuple[int | None, ...] = ()  # OIHW, [out, in]; None: any


def _expected(config: schema.Config) -> Iterator[_Expected]:
  model = config.model
  shapes = alexnet.activation_shapes(model, crop_size=config.data.crop_size)
  inputs = (3,)
  for stage in alexnet.stages(model):
    name, _, op = stage.partition('/')
    if not op:
      layer = model.layer[name]
      groups = model.columns if layer.inputs == 'own_column' else 1
      if 'kernels' in layer:
        facts = dict(
          size=layer.size,
          stride=layer.stride,
          padding=layer.padding,
          groups=groups,
          dilation=1,
        )
        size = (layer.size, layer.size)
        shape = (layer.kernels, inputs[-1] // groups, *size)
        yield _Expected(name, 'conv', facts, shape)
      else:
        units = None if name == 'fc8' else layer.units
        yield _Expected(name, 'fc', _DENSE, (units, math.prod(inputs)))
    elif op != 'dropout':
      yield _Expected(stage, op, _facts(model, op))
    inputs = shapes[stage]


def _facts(model: schema.Config, op: str) -> dict[str, Any]:
  match op:
    case 'lrn':
      c = model.lrn
      return dict(n=c.n, k=c.k, alpha=c.alpha, beta=c.beta, across=True)
    case 'pool':
      rounding = dict(padding=0, method='max', rounding=model.rounding)
      return dict(size=model.pool.size, stride=model.pool.stride) | rounding
    case _:
      return _RELU


def _difference(
  found: Sequence[Op], expected: Sequence[_Expected]
) -> tuple[int, str]:
  """The first place where a chain is another one, and how; '' if nowhere."""
  for i, want in enumerate(expected):
    if i == len(found):
      return i, f'it ends in front of {want.name}, which is'
    op = found[i]
    what = f'its layer {op.name!r:.60}'
    if op.kind != want.kind:
      return (
        i,
        f'{what} is {op.kind!r:.60}, where {want.name} ({want.kind!r}) is',
      )
    for fact, value in want.facts.items():
      has = op.facts.get(fact, value)
      if not _same(has, value):
        return i, f'{what} has {fact} = {_short(has)}, which is {value!r}'
    if want.kernel_shape:
      problem = _array_problem(op, want)
      if problem:
        return i, f'{what} {problem}'
  extra = found[len(expected) :]
  if extra:
    return len(expected), f'it goes on with {extra[0].name!r:.60}, which is not'
  return len(expected), ''


def _array_problem(op: Op, want: _Expected) -> str:
  if op.kernel is None or op.bias is None:
    return 'lacks its kernels or biases, which are there'
  shape = op.kernel.shape
  if len(shape) != len(want.kernel_shape) or any(
    w not in (None, s) for s, w in zip(shape, want.kernel_shape, strict=True)
  ):
    sizes = ' x '.join(map(str, shape))
    ours = ' x '.join(str(w or 'any') for w in want.kernel_shape)
    return f'has kernels of {sizes}, which are {ours}'
  if op.bias.shape != shape[:1]:
    return f'has {op.bias.size} biases, which are {shape[0]}'
  return ''


def _same(found: Any, expected: Any) -> bool:
  if isinstance(expected, float) and isinstance(found, (int, float)):
    return math.isclose(found, expected, rel_tol=1e-6)  # 1e-4 as a float32
  return found == expected


def _short(value: Any) -> str:
  number = isinstance(value, float)
  return f'{value:.6g}' if number else repr(value)[:60]


def _arrays(
  found: Sequence[Op], expected: Sequence[_Expected]
) -> dict[str, Float32[np.ndarray, '...']]:
  arrays = {}
  for op, want in zip(found, expected, strict=True):
    if op.kernel is not None and op.bias is not None:
      arrays |= {f'{want.name}/kernel': op.kernel, f'{want.name}/bias': op.bias}
  return arrays


def _sized(config: schema.Config, ops: Sequence[Op]) -> schema.Config:
  """The config with the chain's dropout, which fine-tuning continues with."""
  rates = {op.facts['rate'] for op in ops if 'rate' in op.facts}
  if len(rates) == 1:
    config.model.dropout_rate = float(f'{rates.pop():.6g}')
  return config
