"""Facts that should change only on purpose, as text to review like code."""

import functools
import json
import pathlib

import jax
import numpy as np

from alexnet_jax.config import ablations, validate
from alexnet_jax.models import alexnet
from alexnet_jax.studies import communication
from configs import (
  cifar10_lrn,
  default,
  imagenet,
  smoke,
  source2012,
  source2012_256,
  source2012_automatic,
  throughput,
)

HERE = pathlib.Path(__file__).parent
CONFIGS = {
  'cifar10_lrn': cifar10_lrn,
  'default': default,
  'imagenet': imagenet,
  'smoke': smoke,
  'source2012': source2012,
  'source2012_256': source2012_256,
  'source2012_automatic': source2012_automatic,
  'throughput': throughput,
}
PRESETS = ('default', 'source2012')
MESHES = ((1, 1), (2, 1), (1, 2), (2, 2))


def resolved(name):
  """A shipped config, field by field."""
  return _lines(dict(validate.leaves(CONFIGS[name].get_config())))


def ablated():
  """What each ablation sets in default.py."""
  out = {}
  for name in ablations.ABLATIONS:
    config = default.get_config()
    for field in ablations.apply(config, [name]):
      out[f'{name}: {field}'] = validate.get(config, field)
  return _lines(out)


def _lines(fields):
  return ''.join(f'{name} = {fields[name]!r}\n' for name in sorted(fields))


@functools.lru_cache(maxsize=1)
def initial(name):
  """A preset's parameters before training."""
  config = CONFIGS[name].get_config()
  key = jax.random.split(jax.random.key(config.seed))[0]
  init = jax.jit(lambda k: alexnet.initialise(config.model, k, crop_size=224))
  return init(key)


def parameters(name):
  """Every array of a preset: path, shape, dtype, and its initial values."""
  rows = {}

  def add(path, leaf):
    a = np.asarray(leaf)
    rows['/'.join(p.key for p in path)] = {
      'shape': list(a.shape),
      'dtype': str(a.dtype),
      'mean': float(f'{a.mean(dtype=np.float64):.3g}'),
      'std': float(f'{a.std(dtype=np.float64):.4g}'),
    }

  jax.tree_util.tree_map_with_path(add, initial(name))
  return rows


def collectives(*, data, column):
  """What the compiled smoke net moves on a mesh, bytes an image."""
  config = smoke.get_config()
  config.mesh.data, config.mesh.column = data, column
  report = communication.report(config)
  return {
    name: [
      [m.layer, m.direction, m.kind, m.axis, m.count, m.bytes_per_image]
      for m in movements
    ]
    for name, movements in (('train', report.train), ('eval', report.eval))
  }


def write():
  """All of them, into this folder."""
  for name in CONFIGS:
    (HERE / f'config_{name}.txt').write_text(resolved(name))
  (HERE / 'ablations.txt').write_text(ablated())
  for name in PRESETS:
    _write_json(f'parameters_{name}', parameters(name))
  meshes = {f'{d}x{c}': collectives(data=d, column=c) for d, c in MESHES}
  _write_json('collectives', meshes)


def _write_json(name, value):
  """An object with each of its values on a line."""
  rows = [f' {json.dumps(k)}: {json.dumps(v)}' for k, v in value.items()]
  (HERE / f'{name}.json').write_text('{\n' + ',\n'.join(rows) + '\n}\n')
