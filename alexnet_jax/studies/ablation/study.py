"""Reproduces the paper's comparisons: a base and ablations, seed by seed.

Each run has the workdir OUTPUT/NAME/seed-N, so the same call continues a study
that was stopped in whatever way. Two runs of one seed are a pair: the same
images in the same order, and the same initial values where shapes agree.
"""

import difflib
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ml_collections import config_dict

from alexnet_jax import cli, setup
from alexnet_jax.checkpoint import compatible
from alexnet_jax.config import ablations, durations, schema, validate
from alexnet_jax.runtime import locks, signals
from alexnet_jax.studies import provenance
from alexnet_jax.studies.ablation import jobs
from alexnet_jax.train import log as log_lib

BASE = 'base'
MANIFEST = 'study.json'
METRICS = 'metrics.jsonl'
Config = config_dict.ConfigDict


class Study(NamedTuple):
  """The runs that are compared, and their folder."""

  base: str  # path of the config file
  fields: tuple[str, ...]  # FIELD=VALUE, as the command line sets them
  config: Config  # of the base with these fields and the budget
  ablations: tuple[str, ...]  # names; each is applied alone
  seeds: tuple[int, ...]  # each of a run of the base, and one per ablation
  output: pathlib.Path  # folder of the study
  data: provenance.Data  # the data set of the config


class Run(NamedTuple):
  """One run, and how it ended; None if it has not."""

  name: str
  seed: int
  workdir: pathlib.Path
  end: jobs.End | None

  @property
  def key(self) -> str:
    """Its name in the manifest and on the page."""
    return f'{self.name}/seed-{self.seed}'

  @property
  def log(self) -> pathlib.Path:
    """The output of its process."""
    return self.workdir.with_name(f'{self.workdir.name}.log')

  @property
  def done(self) -> bool:
    return self.end is not None and self.end.code == 0


def with_budget(
  config: Config, *, epochs: int | None
) -> tuple[Config, provenance.Data]:
  """The base's config with a length in epochs, and its data set.

  Raises ValueError if the config cannot work, or its data is missing.
  """
  config = config.copy_and_resolve_references()
  if epochs is not None:
    config.num_epochs, config.total_steps = epochs, None
  validate.check(config, before_data=True)
  found = setup.load_data(config)
  config, data = setup.for_data(config, found), provenance.of(found)
  if epochs is not None:  # total_steps overrides num_epochs in any config
    plan = durations.plan(config, train_images=data.train_images)
    config.total_steps = plan.total_steps
  return config, data


def check(study: Study) -> None:
  """Refuses a study that cannot work, before any run.

  Raises ValueError for an unknown or repeated ablation, a base that is ablated
  itself, and an ablation that does not fit the base.
  """
  names = study.ablations
  if not names:
    raise ValueError('--ablations is empty: give one or more, with commas')
  for name in names:
    if name not in ablations.ABLATIONS:
      near = difflib.get_close_matches(name, ablations.ABLATIONS, n=1)
      there = f': there is {near[0]}' if near else ''
      raise ValueError(
        f'--ablations has {name}, which is unknown{there}; main '
        '--ablation=help lists them'
      )
    if names.count(name) > 1:
      raise ValueError(f'--ablations has {name} twice: give it once')
  if study.config.ablations:
    raise ValueError(
      f'--base={study.base} has {study.config.ablations[0]} made already: give '
      'a config without ablations'
    )
  for name in names:
    _check_ablation(study, name)


def _check_ablation(study: Study, name: str) -> None:
  """Raises what main would raise, once the base had been trained."""
  config = study.config.copy_and_resolve_references()
  changed = ablations.apply(config, [name])
  for field in (field.split('=')[0] for field in study.fields):
    was, made = (schema.get(c, field) for c in (study.config, config))
    if field in changed and was != made:
      raise ValueError(
        f'--set={field}={was}, but the ablation {name} sets it to {made}: use '
        'one of the two'
      )
  try:
    validate.check(config)
  except ValueError as error:
    raise ValueError(
      f'--ablations has {name}, which does not fit {study.base}: {error}'
    ) from error


def train_all(
  study: Study, *, places: Sequence[jobs.Place], stop: signals.Stop
) -> list[Run]:
  """Trains every run that is not done; all runs, with how each ended.

  Each of the places, from jobs.divide_gpus, has one run at a time. Once `stop`
  is set by a signal, current runs are asked to stop. Raises ValueError if the
  folder is in use, or holds another study.
  """
  with locks.locked(study.output, fix='give another --output'):
    ends = _open_manifest(study)
    by_key = {run.key: run for run in all_runs(study, ends=ends)}
    others = [k for k, end in ends.items() if not end.code and k not in by_key]
    if count := len(others):
      runs = 'a finished run is' if count == 1 else f'{count} finished runs are'
      print(
        f'{runs} in the folder not asked for, and left out: {", ".join(others)}'
      )
    todo = [_job(study, run) for run in by_key.values() if not run.done]
    clock = _Clock(len(todo))

    def ended(job: jobs.Job, end: jobs.End) -> None:
      if stop.asked and end.code:  # asked to stop: no failure
        print(f'{job.name}: stopped', flush=True)
        return
      ends[job.name] = end
      _write_manifest(study, ends=ends)
      if end.code:
        outcome = f'failed: {cli.printable(end.error)}; {job.log}'
      else:
        outcome = log_lib.describe(last_evaluation(by_key[job.name]))
      print(f'{job.name}: {outcome}{clock.left()}', flush=True)

    done = len(by_key) - len(todo)
    print(f'{len(by_key)} runs, {done} of them done', flush=True)
    with stop.defer():
      jobs.run_all(todo, places=places, stop=stop, ended=ended)
    return list(all_runs(study, ends=ends))


def all_runs(study: Study, *, ends: dict[str, jobs.End]) -> Iterator[Run]:
  """All runs, seed by seed, so that a stopped study has whole pairs."""
  for seed in study.seeds:
    for name in (BASE, *study.ablations):
      run = Run(name, seed, study.output / name / f'seed-{seed}', None)
      yield run._replace(end=ends.get(run.key))


def last_evaluation(run: Run) -> dict[str, Any]:
  """The last record of split val of a run that is done."""
  records = log_lib.read_metrics(run.workdir / METRICS)
  return [r for r in records if r['split'] == 'val'][-1]


class _Clock:
  """Estimates the remaining time from the runs that have ended."""

  def __init__(self, runs: int):
    self._left, self._ended = runs, 0
    self._start = time.monotonic()

  def left(self) -> str:
    """The estimate as text; called once for each run that ends."""
    self._left, self._ended = self._left - 1, self._ended + 1
    if not self._left:
      return ''
    minutes = (time.monotonic() - self._start) / self._ended * self._left / 60
    return f'; {self._left} to go, about {minutes:.1f} min'


def _job(study: Study, run: Run) -> jobs.Job:
  """The command of a run; a later flag overrides an earlier one."""
  steps = study.config.total_steps
  fields = ['report.at_end=False', *study.fields, f'seed={run.seed}']
  if steps is None:
    fields += [f'num_epochs={study.config.num_epochs}']
  else:  # one of the two, as both are refused
    fields += [f'total_steps={steps}']
  flags = [f'--config={study.base}', *(f'--config.{f}' for f in fields)]
  flags += [f'--workdir={run.workdir}']
  flags += [f'--ablation={run.name}'] if run.name != BASE else []
  command = (sys.executable, '-m', 'alexnet_jax.main', *flags)
  return jobs.Job(run.key, command, run.log)


def _open_manifest(study: Study) -> dict[str, jobs.End]:
  """Writes the manifest; how runs of earlier calls ended."""
  manifest = log_lib.read_json(study.output / MANIFEST)
  ends: dict[str, jobs.End] = {}
  if manifest:
    _check_same(manifest, study)
    ends = {k: jobs.End(*end) for k, end in manifest['runs'].items()}
    for run in list(all_runs(study, ends=ends)):
      if run.done and not (run.workdir / METRICS).is_file():
        del ends[run.key]  # a user removed its workdir
  _write_manifest(study, ends=ends)
  return ends


def _check_same(manifest: dict[str, Any], study: Study) -> None:
  """Refuses changes to what all runs share; ablations and seeds may grow."""
  if not {'base', 'config', 'runs'} <= {*manifest}:
    raise ValueError(
      f'{study.output / MANIFEST} is of no study: give another --output'
    )
  if not any(path.is_dir() for path in study.output.glob('*/seed-*')):
    return  # nothing has been trained yet
  provenance.refuse_other(manifest, study.data, folder=study.output)
  before = schema.upgrade(manifest['config'])
  for field, old, new in compatible.changes(before, study.config):
    raise ValueError(
      f'{study.output} is a study of {manifest["base"]} with config.{field} = '
      f'{old!r}, now it is {new!r}: use the same, or another --output'
    )


def _write_manifest(study: Study, *, ends: dict[str, jobs.End]) -> None:
  manifest = study._asdict() | provenance.as_json(study.data)
  manifest |= {'config': study.config.to_dict(), 'runs': ends}
  del manifest['output']
  log_lib.write_json(study.output / MANIFEST, manifest)
