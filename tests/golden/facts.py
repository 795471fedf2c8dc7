"""Facts that change only on purpose, as text to review like code.

Of the configs and parameters one file holds all of default.py, and one for each
other config holds its differences from that.
"""

import functools
import json
import pathlib

import jax
import numpy as np

from alexnet_jax.config import ablations, schema
from alexnet_jax.configs import (
  bvlc,
  caffenet,
  cifar10_lrn,
  default,
  imagenet,
  smoke,
  source2012,
  source2012_256,
  source2012_automatic,
  throughput,
  torchvision,
)
from alexnet_jax.models import alexnet
from alexnet_jax.studies import communication
from tests import nets

HERE = pathlib.Path(__file__).parent
CONFIGS = {
  'bvlc': bvlc,
  'caffenet': caffenet,
  'cifar10_lrn': cifar10_lrn,
  'default': default,
  'imagenet': imagenet,
  'smoke': smoke,
  'source2012': source2012,
  'source2012_256': source2012_256,
  'source2012_automatic': source2012_automatic,
  'throughput': throughput,
  'torchvision': torchvision,
}
PRESETS = ('default', 'source2012')
MESHES = ((1, 1), (2, 1), (1, 2), (2, 2))


def resolved(name):
  """The fields of a config: all of default, where others differ from it."""
  text = _resolved(name)
  if name == 'default':
    return text
  default_lines = _resolved('default').splitlines()
  lines = [line for line in text.splitlines() if line not in default_lines]
  return '\n'.join([*lines, ''])


def _resolved(name):
  return _lines(dict(schema.leaves(CONFIGS[name].get_config())))


def ablated():
  """The fields that each ablation sets in default.py."""
  out = {}
  for name in ablations.ABLATIONS:
    config = default.get_config()
    for field in ablations.apply(config, [name]):
      out[f'{name}: {field}'] = schema.get(config, field)
  return _lines(out)


def _lines(fields):
  return ''.join(f'{name} = {fields[name]!r}\n' for name in sorted(fields))


@functools.lru_cache(maxsize=1)
def initial(name):
  """The initial parameters of a preset."""
  config = CONFIGS[name].get_config()
  key = jax.random.split(jax.random.key(config.seed))[0]
  # Unlike other tests, with LLVM's optimisations: 60 million random numbers
  # take three times as long without.
  options = {
    'xla_backend_optimization_level': 2,
    'xla_llvm_disable_expensive_passes': False,
  }
  init = jax.jit(
    lambda k: alexnet.initialise(config.model, k, crop_size=224),
    compiler_options=options,
  )
  return init(key)


def parameters(name):
  """Shape, dtype, mean and standard deviation of each initial parameter."""
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
  """The collectives of the compiled net of tests/nets.py, in bytes per image.

  Other tests compile the same programs.
  """
  report = communication.report(nets.config(data=data, column=column))
  return {
    name: [
      [m.layer, m.direction, m.kind, m.axis, m.count, m.bytes_per_image]
      for m in movements
    ]
    for name, movements in (('train', report.train), ('eval', report.eval))
  }


def stored(name):
  """The object in a JSON file of this folder."""
  return json.loads((HERE / f'{name}.json').read_text())


def write():
  """Writes all facts into this folder."""
  for name in CONFIGS:
    (HERE / f'config_{name}.txt').write_text(resolved(name))
  (HERE / 'ablations.txt').write_text(ablated())
  _write_json('parameters_default', parameters('default'))
  rows = parameters('source2012').items()
  shared = stored('parameters_default').items()
  _write_json('parameters_source2012', dict(r for r in rows if r not in shared))
  meshes = {f'{d}x{c}': collectives(data=d, column=c) for d, c in MESHES}
  _write_json('collectives', meshes)


def _write_json(name, value):
  """Writes an object with each of its values on a line."""
  rows = [f' {json.dumps(k)}: {json.dumps(v)}' for k, v in value.items()]
  (HERE / f'{name}.json').write_text('{\n' + ',\n'.join(rows) + '\n}\n')
