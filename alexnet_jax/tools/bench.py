"""Measures this program on this machine, beside PyTorch and plain numpy.

  python -m alexnet_jax.tools.bench --what=input --source=ILSVRC2012
  python -m alexnet_jax.tools.bench --what=step --torch_python=PYTHON --json

--what=input: images/s and CPU time of preparing, of the training pipeline, and
of a plain numpy loop; with --torch_python also of torch's DataLoader.
--what=end_to_end: training steps fed from records, beside the step alone.
--what=step: the whole training step of a config, images on the device; eval:
ten views of whole images; ops: each operation, forward and backward; scaling:
the step on three meshes and in batches of 16 to 512. These four need neither
grain, TFDS nor orbax. --what=processes: training by one process of all devices,
and by one process a device. Without a --config the network is the paper's, in
float32 and batches of 128. PyTorch has an interpreter of its own, with what
bench/baselines/requirements.txt lists.
"""

import itertools
import json
import sys

from absl import flags

from alexnet_jax import cli, paper
from alexnet_jax.bench import ops, rows, settings, step, tables
from alexnet_jax.bench.baselines import pytorch
from alexnet_jax.config import flags as flags_lib

flags_lib.define()
_READING = ('input', 'end_to_end')
_WHAT = flags.DEFINE_enum(
  'what',
  'input',
  [*_READING, 'step', 'eval', 'ops', 'scaling', 'processes'],
  'What to measure.',
)
_SOURCE = flags.DEFINE_string(
  'source',
  '',
  'input, end_to_end: images, as tools.prepare takes them, but for tfds:NAME.',
)
_IMAGES = flags.DEFINE_integer(
  'images',
  4000,
  'input, end_to_end: training images, repeated.',
  lower_bound=256,
)
_BATCH_SIZE = flags.DEFINE_list(
  'batch_size', [], 'All but input: images; default: those of --config.'
)
_DTYPE = flags.DEFINE_list(
  'dtype', [], 'All but input: float32, bfloat16; default: that of --config.'
)
_MESH = flags.DEFINE_list(
  'mesh',
  ['1x1'],
  'end_to_end, step, eval, processes: data x column, as 1x1,1x2; interleaved.',
)
_KERNELS = flags.DEFINE_list(
  'kernels', [], 'step, eval: xla, pallas; interleaved; default: of --config.'
)
_SECONDS = flags.DEFINE_float('seconds', 3.0, 'Of a round.', lower_bound=0.1)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Of each kind.', lower_bound=1)
_TORCH_PYTHON = flags.DEFINE_string(
  'torch_python', '', 'An interpreter that has PyTorch, numpy and Pillow.'
)
_PEER_FORMS = flags.DEFINE_list(
  'peer_forms',
  [],
  'step, eval: LAYOUT/MODE/LRN[/MEMORY] of PyTorch; default: all.',
)
_SAVE = flags.DEFINE_bool('save', False, 'Write bench/results/DATE_WHAT.json.')
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead.')
_TYPED = sys.argv[1:]


def main() -> None:
  """Measures, prints, and saves if asked to."""
  conditions = rows.conditions(_TYPED)
  what = _WHAT.value
  found = list(itertools.chain.from_iterable(map(_measure, _settings())))
  conditions |= {'images': _IMAGES.value} if what in _READING else {}
  conditions |= {'config': flags_lib.name()} if what != 'input' else {}
  if _SAVE.value:
    name = f'{what}_gpu' if found[0].get('platform') == 'gpu' else what
    rows.save([row | conditions for row in found], name=name)
  if _JSON.value:
    first = {} if what in _READING else found[0]
    print(json.dumps(first | {'rows': found, 'conditions': conditions}))
  else:
    print(tables.text(found))


def _measure(asked: settings.Settings) -> list[rows.ResultRow]:
  """Measures; what few measurements need is imported by those alone."""
  match asked.what:
    case 'input':
      from alexnet_jax.bench import input as input_bench

      return input_bench.measure_input(asked)
    case 'end_to_end':
      from alexnet_jax.bench import end_to_end

      return end_to_end.measure_end_to_end(asked)
    case 'processes':
      from alexnet_jax.bench import multihost

      return multihost.measure_processes(asked)
    case 'ops':
      return ops.measure_ops(asked)
    case 'scaling':
      return step.measure_scaling(asked)
    case _:
      return step.measure_steps(asked)


def _settings() -> list[settings.Settings]:
  """Settings for each dtype and batch size of the flags; one for reading."""
  for flag in (_BATCH_SIZE, _DTYPE, _MESH):
    if _WHAT.value == 'end_to_end' and len(flag.value) > 1:
      given = f'--{flag.name}={",".join(flag.value)}'
      raise ValueError(f'{given}: --what=end_to_end takes one at a time')
  baseline = pytorch.Baseline(
    python=_TORCH_PYTHON.value,
    forms=tuple(map(pytorch.parse_form, _PEER_FORMS.value)),
  )
  config = flags_lib.value()
  if not any(map(_is_config, _TYPED)):
    config.batch_size = paper.BATCH_SIZE
  found = settings.parse(
    config,
    batch_sizes=_BATCH_SIZE.value,
    dtypes=_DTYPE.value,
    meshes=_MESH.value,
    kernels=_KERNELS.value,
    what=_WHAT.value,
    seconds=_SECONDS.value,
    rounds=_ROUNDS.value,
    baseline=baseline if baseline.python else None,
    source=_SOURCE.value,
    images=_IMAGES.value,
  )
  return found[:1] if _WHAT.value in _READING else found


def with_config(argv: list[str]) -> list[str]:
  """The command line, with --config=default if it names no config."""
  given = any(map(_is_config, argv))
  return argv if given else [*argv, '--config=default']


def _is_config(argument: str) -> bool:
  return argument.split('=')[0].lstrip('-') == 'config'


if __name__ == '__main__':
  sys.argv = with_config(sys.argv)
  cli.run(main)
