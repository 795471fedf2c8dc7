"""The command: flags to a config, a config to training, evaluation or a table.

  python -m alexnet_jax.main --config=configs/default.py

Exit codes: 0 done, 1 an error of the user's, 2 bad flags, 3 training stopped by
its own guard, 75 stopped by a signal after a clean save (run it again), 130
Ctrl-C where there is nothing to save. All processes of a run that has several
(launch/README.md) end with the same one.
"""

# ruff: noqa: E402
import contextlib
import functools
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from alexnet_jax.runtime import signals

_stop = signals.Stop()
if __name__ == '__main__':
  _stop.listen()  # the imports below take seconds, in which signals may come

import jax
from absl import flags

from alexnet_jax import cli, train
from alexnet_jax.checkpoint import bucket_sync, layout
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.config import validate
from alexnet_jax.evaluate import ensemble, predictions
from alexnet_jax.models import summary
from alexnet_jax.parallel import distributed, hosts, mesh
from alexnet_jax.runtime import compile, malloc
from alexnet_jax.runtime import paths as paths_lib
from alexnet_jax.studies import report
from alexnet_jax.train import profile

flags_lib.define()
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Where the run is kept, here or on a bucket; default: '
  'runs/CONFIG_NAME[-ABLATION...].',
)
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'eval', 'summary'],
  'Train or go on training; evaluate --restore; print the table of layers.',
)
_RESTORE = flags.DEFINE_list(
  'restore',
  [],
  'Checkpoints to evaluate: WORKDIRs or their checkpoints/STEP, here or on '
  'buckets, with commas between; of several also the average of what they say '
  'is evaluated. Each brings its own network; data and devices are those of '
  '--config.',
)
_WEIGHTS = flags.DEFINE_list(
  'weights', [], 'Of each checkpoint in that average; all alike if not given.'
)
_SAVE_PREDICTIONS = flags.DEFINE_string(
  'save_predictions',
  '',
  'Where to keep the probabilities of every image: FILE.npz, or a folder that '
  'gets one for each checkpoint; tools.ensemble reads them.',
)
_PROFILE = flags.DEFINE_string(
  'profile', '', 'START:STOP: write a trace of these steps to WORKDIR/profile.'
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  None,
  'HOST:PORT of process 0, of a run of several processes; with --num_processes '
  'and --process_id.',
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'How many processes the run has.', lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'Which of them this is, from 0 on.', lower_bound=0
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'The run has several processes, started by a scheduler that JAX asks for '
  'them: SLURM, Open MPI, Cloud TPUs, Kubernetes.',
)
_COORDINATOR_TIMEOUT = flags.DEFINE_integer(
  'coordinator_timeout',
  300,
  'Seconds in which all processes have to come together.',
  lower_bound=1,
)
_HEARTBEAT = flags.DEFINE_integer(
  'heartbeat',
  20,
  'Seconds without a sign of life after which a process counts as dead, and '
  'the others end.',
  lower_bound=2,
)


def main() -> int:
  """Looks at the flags, joins the other processes, and acts."""
  config = flags_lib.value()
  if _RESTORE.value and _MODE.value != 'eval':
    raise ValueError(
      f'--restore={",".join(_RESTORE.value)} goes with --mode=eval; training '
      'goes on from what --workdir holds'
    )
  for flag in (_WEIGHTS, _SAVE_PREDICTIONS):
    if flag.value and _MODE.value != 'eval':
      raise ValueError(f'--{flag.name} goes with --mode=eval')
  if _PROFILE.value and _MODE.value != 'train':
    raise ValueError(
      f'--profile={_PROFILE.value} goes with --mode=train: it traces its steps'
    )
  if _MODE.value != 'train':
    _stop.ignore()  # there is nothing to save
  _join()
  try:
    return _act(config)
  except Exception as error:
    if distributed.several():
      distributed.leave(error)
    raise


def _join() -> None:
  """Connects with the other processes, if flags say that there are any."""
  cluster = distributed.Cluster(
    coordinator=_COORDINATOR.value,
    processes=_NUM_PROCESSES.value,
    process=_PROCESS_ID.value,
    timeout=_COORDINATOR_TIMEOUT.value,
    heartbeat=_HEARTBEAT.value,
  )
  if _DISTRIBUTED.value or any(part is not None for part in cluster[:3]):
    distributed.join(cluster)


def _act(config: validate.Config) -> int:
  """Does what --mode says, on the devices of all processes."""
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  if jax.default_backend() == 'cpu':
    malloc.keep_freed_memory()
  compile.keep_programs()
  match _MODE.value:
    case 'train':
      return _train(config)
    case 'eval':
      return _evaluate(config)
    case _:
      validate.check(config)
      print(summary.table(config.model, crop_size=config.data.crop_size))
      return 0


def _train(config: validate.Config) -> int:
  steps = profile.parse(_PROFILE.value) if _PROFILE.value else range(0)
  if not distributed.is_first():
    steps = range(0)
  with contextlib.ExitStack() as keeping:
    # A folder of process 0; the others only speak of it.
    workdir = pathlib.Path(
      hosts.of_first(lambda: str(keeping.enter_context(_kept())))
    )
    code = 0
    try:
      train.train(config, workdir=workdir, stop=_stop, profile=steps)
    except (train.DivergedError, FloatingPointError) as error:
      print(f'error: {error}', file=sys.stderr)
      code = 3
    except signals.Stopped:
      code = signals.EXIT_CODE
    if not code:
      _stop.ignore()  # the run is finished and saved
      if config.report.at_end:
        hosts.first_does(lambda: _report(workdir))
    hosts.first_does(keeping.close)  # on a bucket, what is not yet there
  return code


def _kept() -> contextlib.AbstractContextManager[pathlib.Path]:
  """The workdir as a folder of this machine, and what keeps it where it is."""
  url = _WORKDIR.value or ''
  if not paths_lib.is_remote(url):
    return contextlib.nullcontext(_workdir())
  return bucket_sync.kept(url, stop=_stop)


def _report(workdir: pathlib.Path) -> None:
  """Writes the report; that it cannot be is no failure of the run."""
  try:
    if distributed.several():
      reason = _report_apart(workdir)
    else:
      print(f'report: {report.write(workdir)}')
      reason = ''
  except (*cli.USER_ERRORS, OSError) as error:
    reason = str(error)
  except KeyboardInterrupt:
    reason = 'interrupted'
  if not reason:
    return
  command = '.venv/bin/python -m alexnet_jax.tools.report'
  print(
    f'warning: there is no report ({reason}); the run is finished and saved, '
    f'to try again: {command} --workdir={_WORKDIR.value or workdir}'
  )


def _report_apart(workdir: pathlib.Path) -> str:
  """The report of a run of several processes, made apart; or why there is none.

  Here every program would be one of all of them, and the others only wait.
  """
  command = ['-P', '-m', 'alexnet_jax.tools.report', f'--workdir={workdir}']
  made = subprocess.run(
    [sys.executable, *command],
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
  )
  if made.returncode:
    return ' '.join(made.stderr.splitlines()[-1:]).removeprefix('error: ')
  print(f'report: {made.stdout.strip()}')
  return ''


def _evaluate(config: validate.Config) -> int:
  given = _RESTORE.value or [_WORKDIR.value or str(_workdir())]
  paths = [layout.find(path) for path in given if path]
  weights = ensemble.parse_weights(_WEIGHTS.value, members=len(paths))
  save_as = hosts.of_first(lambda: _places(paths))
  found = []
  typed = flags_lib.typed()
  for of_one in ensemble.members(paths, config=config, typed=typed):
    if save_as:
      path = pathlib.Path(save_as[len(found)])
      save = functools.partial(predictions.save, of_one[-1], path)
      hosts.first_does(save)
      print(f'saved as {path}')
    found.append(of_one)
  if len(found) > 1:
    print(f'average of {len(found)} networks:')
    for mean in ensemble.averages(found, weights=weights):
      print(f'val: {ensemble.describe(mean)}')
  return 0


def _places(paths: Sequence[pathlib.Path]) -> list[str]:
  """Where the predictions of each checkpoint go; [] if they are not kept."""
  if not _SAVE_PREDICTIONS.value:
    return []
  place = paths_lib.given(_SAVE_PREDICTIONS.value)
  save_as = ensemble.places(place, checkpoints=paths)
  for path in save_as:
    predictions.probe(path)
  return list(map(str, save_as))


def _workdir() -> pathlib.Path:
  if _WORKDIR.value:
    return paths_lib.given(_WORKDIR.value)
  return pathlib.Path('runs') / flags_lib.name()


if __name__ == '__main__':
  cli.run(main)
