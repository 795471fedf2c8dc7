"""Reproduces the paper's comparisons: a base and ablations, seed by seed.

  python -m alexnet_jax.tools.study --base=configs/imagenet.py \\
    --set=data.dir=DATA --ablations=no_lrn,no_overlap --seeds=0,1,2 \\
    --budget_epochs=10

Each run is a process of its own, with its output in OUTPUT/NAME/seed-N.log. The
same command continues a study that was stopped, and tries failed runs again.
Writes OUTPUT/index.html, its figure and OUTPUT/study.json; runs are in
OUTPUT/NAME/seed-N. Exit codes: 0 done, 1 a run failed, 75 stopped by a signal.
"""

import pathlib

from absl import flags
from ml_collections.config_flags import config_flags

from alexnet_jax import cli
from alexnet_jax.config import durations
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.runtime import paths, signals
from alexnet_jax.studies.ablation import jobs, page, results, study

_BASE = flags.DEFINE_string(
  'base', '', 'The config to ablate: a name such as imagenet, or a file.'
)
_ABLATIONS = flags.DEFINE_list(
  'ablations', [], 'Each is applied alone; main --ablation=help lists them.'
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'One run of each kind.')
_BUDGET = flags.DEFINE_integer(
  'budget_epochs',
  None,
  'Length of each run; default: as in the config.',
  lower_bound=1,
)
_SET = flags.DEFINE_multi_string(
  'set',
  [],
  'FIELD=VALUE in the config of every run, such as optim.learning_rate=0.005; '
  'may be repeated.',
)
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Folder of the study; default: runs/study-CONFIG_NAME.'
)
_JOBS = flags.DEFINE_integer(
  'jobs',
  None,
  'Runs at once; default: as many as there are GPUs for, 1 on a CPU.',
  lower_bound=1,
)


def main() -> int:
  """Trains the runs, prints the table and writes the page."""
  asked = _study()
  study.check(asked)
  mesh = asked.config.mesh
  places = jobs.divide_gpus(devices=mesh.data * mesh.column, jobs=_JOBS.value)
  stop = signals.Stop()
  runs = study.train_all(asked, places=places, stop=stop)
  found = results.collect(runs, data=asked.data)
  print(results.describe(found))
  print(page.write(asked, runs=runs))
  failed = [run for run in runs if run.end and run.end.code]
  for run in failed:
    error = run.end.error if run.end else ''
    print(f'{run.key} failed: {cli.printable(error)}; {run.log}')
  if stop.asked:
    print('stopped: run the same command again to resume')
    return signals.EXIT_CODE
  return 1 if failed else 0


def _study() -> study.Study:
  if not _BASE.value:
    raise ValueError('--base is missing: use one such as --base=imagenet')
  name = pathlib.Path(_BASE.value.split(':')[0]).stem
  config, data = study.with_budget(_config(), epochs=_BUDGET.value)
  return study.Study(
    base=_BASE.value,
    fields=tuple(_SET.value),
    config=config,
    ablations=tuple(_ABLATIONS.value),
    seeds=cli.seeds(_SEEDS.value),
    output=paths.expand(_OUTPUT.value or f'runs/study-{name}'),
    data=data,
  )


def _config() -> study.Config:
  """The config, as each run reads it from the same flags."""
  for field in _SET.value:
    if '=' not in field:
      raise ValueError(
        f'--set={field}: give FIELD=VALUE, such as optim.learning_rate=0.005'
      )
    name = field.split('=')[0]
    if name == 'seed':
      raise ValueError(f'--set={field}: use --seeds for the seeds of all runs')
    if name in ('total_steps', 'num_epochs') and _BUDGET.value is not None:
      raise ValueError(
        f'--set={field}, but --budget_epochs={_BUDGET.value} says how long '
        'runs train: use one of the two'
      )
  argv = [f'--config={_BASE.value}', *(f'--config.{f}' for f in _SET.value)]
  argv = flags_lib.resolve(argv)
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=argv)
  try:
    values(['study', *argv])
  except flags.Error as error:
    raise ValueError(f'--set: {error}') from error
  config = values.config
  durations.prefer_typed(config, typed=[f.split('=')[0] for f in _SET.value])
  return config


if __name__ == '__main__':
  cli.run(main)
