"""The command: from flags to training, evaluation or a table of layers.

  python -m alexnet_jax.main --config=configs/default.py

Exit codes: 0 done, 1 an error that the user can mend, 2 bad flags, 3 training
stopped because a number was not finite, 75 stopped by a signal after a clean
save (run the command again), 130 Ctrl-C where there is nothing to save. All
processes of a run (launch/README.md) end with the same code.
"""

# ruff: noqa: E402
import pathlib
import sys

from alexnet_jax.runtime import signals

_stop = signals.Stop()
if __name__ == '__main__':
  _stop.listen()  # the imports below take seconds, in which signals may come

from absl import flags

from alexnet_jax import cli, setup, train
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.config import schema, validate
from alexnet_jax.parallel import distributed, mesh
from alexnet_jax.parallel import flags as parallel_flags
from alexnet_jax.runtime import compile, terminal
from alexnet_jax.train import log, profile
from alexnet_jax.train import workdir as workdir_lib

flags_lib.define()
flags.adopt_module_key_flags(flags_lib)
flags.adopt_module_key_flags(parallel_flags)
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Folder of the run, here or on a bucket; default: '
  'runs/CONFIG_NAME[-ABLATION...].',
)
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'eval', 'summary'],
  'Train or resume training; evaluate --restore; print the table of layers.',
)
_RESTORE = flags.DEFINE_list(
  'restore',
  [],
  'Checkpoints to evaluate, separated by commas: WORKDIRs or their '
  'checkpoints/STEP, here or on buckets. Each brings its own network; data and '
  'devices are those of --config. The average of several is evaluated too.',
)
_SPLIT = flags.DEFINE_enum(
  'split',
  'val',
  ['val', 'test'],
  'The images to evaluate with --mode=eval: Table 1 of the paper is of a test '
  'split, Table 2 mostly of the validation split.',
)
_WEIGHTS = flags.DEFINE_list(
  'weights', [], 'Weight of each checkpoint in that average; default: equal.'
)
_SAVE_PREDICTIONS = flags.DEFINE_string(
  'save_predictions',
  '',
  'Where to write the probabilities of every image: FILE.npz, or a folder that '
  'gets one for each checkpoint; tools.ensemble reads them.',
)
_EVAL_DATA = flags.DEFINE_string(
  'eval_data',
  '',
  'Other data to evaluate on with --mode=eval: a prepared data set, or images '
  'to prepare. Its classes are found among those of the checkpoint by id, then '
  'by name.',
)
_EVAL_CLASSES = flags.DEFINE_enum(
  'eval_classes',
  'all',
  ['all', 'data'],
  'With --eval_data: predict among all classes of the network, or among those '
  'of the data alone, as is usual on ImageNet-A and -R.',
)
_REAL_LABELS = flags.DEFINE_string(
  'real_labels',
  '',
  'With --mode=eval: the real.json of arXiv:2006.07159, lists of right labels '
  'of the validation images of ILSVRC-2012.',
)
_PROFILE = flags.DEFINE_string(
  'profile', '', 'START:STOP: write a trace of these steps to WORKDIR/profile.'
)


def main() -> int:
  """Checks the flags, joins the other processes, and acts."""
  config = flags_lib.value(before_data=True)
  if _RESTORE.value and _MODE.value != 'eval':
    raise ValueError(
      f'--restore={",".join(_RESTORE.value)} goes with --mode=eval; training '
      'resumes from what --workdir holds'
    )
  for flag in (_WEIGHTS, _SAVE_PREDICTIONS, _EVAL_DATA, _REAL_LABELS):
    if flag.value and _MODE.value != 'eval':
      raise ValueError(f'--{flag.name} goes with --mode=eval')
  if _EVAL_CLASSES.value != 'all' and not _EVAL_DATA.value:
    raise ValueError(
      f'--eval_classes={_EVAL_CLASSES.value} goes with --eval_data'
    )
  if _SPLIT.value != 'val' and _MODE.value != 'eval':
    raise ValueError(f'--split={_SPLIT.value} goes with --mode=eval')
  if _PROFILE.value and _MODE.value != 'train':
    raise ValueError(
      f'--profile={_PROFILE.value} goes with --mode=train: it traces its steps'
    )
  if _MODE.value != 'train':
    _stop.ignore()  # there is nothing to save
  parallel_flags.join()
  try:
    return _act(config)
  except Exception as error:
    if distributed.is_multihost():
      distributed.exit_with(error)
    raise


def _act(config: schema.Config) -> int:
  """Does what --mode says, on the devices of all processes."""
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  mesh.check_hosts()
  compile.keep_programs()
  match _MODE.value:
    case 'train':
      return _train(config)
    case 'eval':
      from alexnet_jax.evaluate import ensemble, other

      ensemble.evaluate(
        cli.restored(_RESTORE.value) if _RESTORE.value else [_workdir()],
        config=config,
        typed=flags_lib.typed(),
        weights=_WEIGHTS.value,
        save_predictions=_SAVE_PREDICTIONS.value,
        split=_SPLIT.value,
        asked=other.Asked(
          _EVAL_DATA.value, _EVAL_CLASSES.value, _REAL_LABELS.value
        ),
      )
      return 0
    case _:
      from alexnet_jax.models import summary

      validate.check(config)
      print(summary.table(config.model, crop_size=config.data.crop_size))
      return 0


def _workdir() -> str:
  return _WORKDIR.value or str(pathlib.Path('runs') / flags_lib.name())


def _train(config: schema.Config) -> int:
  terminal.go_on()  # a run of days outlives its terminal
  steps = profile.parse(_PROFILE.value) if _PROFILE.value else range(0)
  if not distributed.is_host0():
    steps = range(0)
  with workdir_lib.local_folder(_workdir(), stop=_stop) as workdir:
    try:
      config = _with_run_and_data(config, workdir=workdir)
      train.train(config, workdir=workdir, stop=_stop, profile=steps)
    except (train.DivergedError, FloatingPointError) as error:
      print(f'error: {error}', file=sys.stderr)
      return 3
    except signals.Stopped:
      _stop.end()
      return signals.EXIT_CODE
    _stop.ignore()  # the run is finished and saved
    if config.report.at_end:
      workdir_lib.write_report(
        workdir, name=_workdir(), data_dir=config.data.dir
      )
    if distributed.is_host0():
      records = log.read_metrics(workdir / 'metrics.jsonl')
      print(
        log.ending(
          records,
          workdir=_workdir(),
          has_report=(workdir / 'report' / 'index.html').exists(),
          drawn=config.data.source == 'embedded',
        )
      )
  return 0


def _with_run_and_data(
  config: schema.Config, *, workdir: pathlib.Path
) -> schema.Config:
  """Takes another run's network, and prepares images, if the config asks."""
  from alexnet_jax.train import warm_start

  config = warm_start.with_network(
    config, workdir=workdir, typed=flags_lib.typed()
  )
  return setup.with_prepared_data(config, workdir=workdir)


if __name__ == '__main__':
  cli.run(main)
