"""The command: flags to a config, a config to training, evaluation or a table.

  python -m alexnet_jax.main --config=configs/default.py

Exit codes: 0 done, 1 an error of the user's, 2 bad flags, 3 training stopped by
its own guard, 130 Ctrl-C.
"""

import pathlib
import sys

import jax
from absl import flags

from alexnet_jax import checkpoint as checkpoint_lib
from alexnet_jax import config as config_lib
from alexnet_jax import evaluate, train, writers
from alexnet_jax import run as run_lib
from alexnet_jax.models import summary
from alexnet_jax.parallel import host_memory, mesh
from alexnet_jax.tools import cli, config_flag

config_flag.define()
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Where the run is kept; default: runs/CONFIG_NAME[-ABLATION...].',
)
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'eval', 'summary'],
  'Train or go on training; evaluate --restore; print the table of layers.',
)
_RESTORE = flags.DEFINE_string(
  'restore', None, 'A checkpoint to evaluate: WORKDIR or its checkpoints/STEP.'
)


def main() -> int:
  """Does what --mode says."""
  config = config_flag.value()
  if _RESTORE.value and _MODE.value != 'eval':
    raise ValueError(
      f'--restore={_RESTORE.value} goes with --mode=eval; training goes on '
      'from what --workdir holds'
    )
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  if jax.default_backend() == 'cpu':
    host_memory.keep_freed_memory()
  match _MODE.value:
    case 'train':
      return _train(config)
    case 'eval':
      return _evaluate(config)
    case _:
      config_lib.check(config)
      print(summary.table(config.model, crop_size=config.data.crop_size))
      return 0


def _train(config: config_lib.Config) -> int:
  try:
    train.train(config, workdir=_workdir())
  except (train.DivergedError, FloatingPointError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 3
  return 0


def _evaluate(config: config_lib.Config) -> int:
  path = checkpoint_lib.find(_RESTORE.value or str(_workdir()))
  setup = run_lib.set_up(config)
  run_lib.check_same_network(checkpoint_lib.read_meta(path), setup, path=path)
  state = checkpoint_lib.read_state(path, state=setup.programs.state)
  for views in sorted({1, config.eval.final_views}):
    errors = evaluate.error_rates(
      config,
      programs=setup.programs,
      params=state.params,
      mean_image=setup.mean_image,
      split=setup.dataset.val,
      views=views,
      mesh=setup.mesh,
      faults=setup.faults,
    )
    step = int(path.name)
    epoch = setup.plan.epoch(step)
    record = {'step': step, 'epoch': epoch, 'split': 'val', 'views': views}
    for fault in setup.faults.untold():
      print(f'warning: an image is left out: {fault}')
    print(writers.describe(record | errors._asdict()))
  return 0


def _workdir() -> pathlib.Path:
  if _WORKDIR.value:
    return pathlib.Path(_WORKDIR.value)
  return pathlib.Path('runs') / config_flag.name()


if __name__ == '__main__':
  cli.run(main)
