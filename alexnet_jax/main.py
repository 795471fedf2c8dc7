"""The command: flags to a config, a config to training, evaluation or a table.

  python -m alexnet_jax.main --config=configs/default.py

Exit codes: 0 done, 1 an error of the user's, 2 bad flags, 3 training stopped by
its own guard, 75 stopped by a signal after a clean save (run it again), 130
Ctrl-C where there is nothing to save.
"""

# ruff: noqa: E402
import pathlib
import sys

from alexnet_jax import stopping

_stop = stopping.Stop()
if __name__ == '__main__':
  _stop.listen()  # the imports below take seconds, in which signals may come

import jax
from absl import flags

from alexnet_jax import config as config_lib
from alexnet_jax import evaluate, train, writers
from alexnet_jax import run as run_lib
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.data import paths
from alexnet_jax.models import summary
from alexnet_jax.parallel import compiler, host_memory, mesh
from alexnet_jax.tools import cli, config_flag
from alexnet_jax.train import profile

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
_PROFILE = flags.DEFINE_string(
  'profile', '', 'START:STOP: write a trace of these steps to WORKDIR/profile.'
)


def main() -> int:
  """Does what --mode says."""
  config = config_flag.value()
  if _RESTORE.value and _MODE.value != 'eval':
    raise ValueError(
      f'--restore={_RESTORE.value} goes with --mode=eval; training goes on '
      'from what --workdir holds'
    )
  if _PROFILE.value and _MODE.value != 'train':
    raise ValueError(
      f'--profile={_PROFILE.value} goes with --mode=train: it traces its steps'
    )
  if _MODE.value != 'train':
    _stop.ignore()  # there is nothing to save
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  if jax.default_backend() == 'cpu':
    host_memory.keep_freed_memory()
  compiler.keep_programs()
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
  steps = profile.parse(_PROFILE.value) if _PROFILE.value else range(0)
  try:
    train.train(config, workdir=_workdir(), stop=_stop, profile=steps)
  except (train.DivergedError, FloatingPointError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 3
  return 0


def _evaluate(config: config_lib.Config) -> int:
  path = layout.find(_RESTORE.value or str(_workdir()))
  setup = run_lib.set_up(config)
  meta = restore.read_meta(path)
  run_lib.check_same_network(meta, setup, path=path)
  state = restore.read_state(path, meta=meta, state=setup.programs.state)
  for views in sorted({1, config.eval.final_views}):
    errors = evaluate.error_rates(setup, params=state.params, views=views)
    step = int(path.name)
    epoch = setup.plan.epoch(step)
    record = {'step': step, 'epoch': epoch, 'split': 'val', 'views': views}
    for fault in setup.faults.untold():
      print(f'warning: an image is left out: {fault}')
    print(writers.describe(record | errors._asdict()))
  return 0


def _workdir() -> pathlib.Path:
  if _WORKDIR.value:
    return paths.given(_WORKDIR.value)
  return pathlib.Path('runs') / config_flag.name()


if __name__ == '__main__':
  cli.run(main)
