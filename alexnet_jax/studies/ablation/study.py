"""The paper's comparisons made again: a base and ablations, seed by seed.

Every run has OUTPUT/NAME/seed-N for its workdir, so that a study that was
stopped, in whatever way, goes on where it was. Runs of one seed are a pair: the
same images in the same order, and the same initial values where shapes agree.
Not in the paper.
"""

import difflib
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ml_collections import config_dict

from alexnet_jax import setup
from alexnet_jax.config import ablations, validate
from alexnet_jax.data.prepare import tar
from alexnet_jax.runtime import locks, signals
from alexnet_jax.studies import provenance
from alexnet_jax.studies.ablation import jobs
from alexnet_jax.train import log as log_lib

BASE = 'base'
MANIFEST = 'study.json'
METRICS = 'metrics.jsonl'
Config = config_dict.ConfigDict


class Study(NamedTuple):
  """What is compared.

  Attributes:
    base: the config file.
    fields: that the command line sets in it: FIELD=VALUE.
    config: both together, with the study's budget.
    ablations: names, each made alone.
    seeds: of the pairs.
    output: the folder.
    data: that the config names.
  """

  base: str
  fields: tuple[str, ...]
  config: Config
  ablations: tuple[str, ...]
  seeds: tuple[int, ...]
  output: pathlib.Path
  data: provenance.Data


class Run(NamedTuple):
  """One of the runs, and how it ended; None if it has not."""

  name: str
  seed: int
  workdir: pathlib.Path
  end: jobs.End | None

  @property
  def key(self) -> str:
    """What it is called in the manifest and on the page."""
    return f'{self.name}/seed-{self.seed}'

  @property
  def log(self) -> pathlib.Path:
    """What its process says."""
    return self.workdir.with_name(f'{self.workdir.name}.log')

  @property
  def done(self) -> bool:
    return self.end is not None and self.end.code == 0


def budgeted(
  config: Config, *, epochs: int | None
) -> tuple[Config, provenance.Data]:
  """The config for so many epochs, and its data.

  Args:
    config: of the base.
    epochs: None: as long as the config says itself.

  Raises:
    ValueError: if the config cannot work, or its data is missing.
  """
  config = config.copy_and_resolve_references()
  if epochs is not None:
    config.num_epochs, config.total_steps = epochs, None
  validate.check(config)
  data = provenance.of(setup.load_data(config))
  if epochs is not None:  # as steps, which win over epochs in any config
    plan = validate.plan(config, train_images=data.train_images)
    config.total_steps = plan.total_steps
  return config, data


def check(study: Study) -> None:
  """Refuses what cannot be studied, before any run.

  Raises:
    ValueError: for unknown ablations, for one given twice, for a base that is
      ablated itself, and for an ablation that cannot be made of it.
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
  """What main would refuse once the base has trained."""
  config = study.config.copy_and_resolve_references()
  changed = ablations.apply(config, [name])
  given = [field.split('=')[0] for field in study.fields]
  for field in given:
    was, made = (validate.get(c, field) for c in (study.config, config))
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


def run(
  study: Study, *, places: Sequence[jobs.Place], stop: signals.Stop
) -> list[Run]:
  """Makes every run that is not done yet; how each ended.

  Args:
    study: what is compared.
    places: where runs go, one at a time in each, see `processes.share`.
    stop: told by signals; the runs that are going are then asked to stop.

  Raises:
    ValueError: if the folder is in use, or holds another study.
  """
  with locks.locked(study.output, fix='give another --output'):
    ends = _begin(study)
    keys = {run.key: run for run in runs(study, ends=ends)}
    others = [k for k, end in ends.items() if not end.code and k not in keys]
    if others:
      print(
        f'{_finished(len(others))} in the folder not asked for, and left out: '
        f'{", ".join(others)}'
      )
    todo = [_job(study, run) for run in keys.values() if not run.done]
    clock = _Clock(len(todo), places=len(places))

    def ended(job: jobs.Job, end: jobs.End) -> None:
      if stop.asked and end.code:  # it was asked to, and can go on
        print(f'{job.name}: stopped', flush=True)
        return
      ends[job.name] = end
      _write(study, ends=ends)
      print(
        f'{job.name}: {_outcome(keys[job.name], end, log=job.log)}'
        f'{clock.left()}',
        flush=True,
      )

    print(f'{len(keys)} runs, {len(keys) - len(todo)} of them done', flush=True)
    with stop.held():
      jobs.run(todo, places=places, stop=stop, ended=ended, began=_began)
    return list(runs(study, ends=ends))


def runs(study: Study, *, ends: dict[str, jobs.End]) -> Iterator[Run]:
  """Seed by seed, so that of a study half done the pairs are whole."""
  for seed in study.seeds:
    for name in (BASE, *study.ablations):
      run = Run(name, seed, study.output / name / f'seed-{seed}', None)
      yield run._replace(end=ends.get(run.key))


def final(run: Run) -> dict[str, Any]:
  """The last evaluation of a run that is done."""
  records = log_lib.read_metrics(run.workdir / METRICS)
  return [r for r in records if r['split'] == 'val'][-1]


class _Clock:
  """How long the runs that are left may take, by those that ended."""

  def __init__(self, runs: int, *, places: int):
    self._left, self._ended, self._places = runs, 0, places
    self._start = time.monotonic()

  def left(self) -> str:
    """To be asked once for each run that ends; '' after the last."""
    self._left, self._ended = self._left - 1, self._ended + 1
    if not self._left:
      return ''
    minutes = (time.monotonic() - self._start) / self._ended * self._left / 60
    return f'; {self._left} to go, about {minutes:.1f} min'


def _finished(count: int) -> str:
  return 'a finished run is' if count == 1 else f'{count} finished runs are'


def _began(job: jobs.Job) -> None:
  print(f'{job.name}: begins; {job.log}', flush=True)


def _outcome(run: Run, end: jobs.End, *, log: pathlib.Path) -> str:
  if end.code:
    return f'failed: {tar.printable(end.error)}; {log}'
  return log_lib.describe(final(run))


def _job(study: Study, run: Run) -> jobs.Job:
  """python -m alexnet_jax.main; a later flag wins over an earlier one."""
  steps = study.config.total_steps
  fields = ['report.at_end=False', *study.fields, f'seed={run.seed}']
  fields += [f'num_epochs={study.config.num_epochs}']
  fields += [f'total_steps={steps}'] if steps is not None else []
  command = [sys.executable, '-m', 'alexnet_jax.main', f'--config={study.base}']
  command += [f'--config.{field}' for field in fields]
  command += [f'--workdir={run.workdir}']
  command += [f'--ablation={run.name}'] if run.name != BASE else []
  return jobs.Job(run.key, tuple(command), run.log)


def _begin(study: Study) -> dict[str, jobs.End]:
  """Writes the manifest; how runs of an earlier start of the study ended.

  Raises:
    ValueError: if that was another study.
  """
  manifest = log_lib.read_json(study.output / MANIFEST)
  ends: dict[str, jobs.End] = {}
  if manifest:
    _check_same(manifest, study)
    ends = {k: jobs.End(*end) for k, end in manifest['runs'].items()}
    for run in list(runs(study, ends=ends)):
      if run.done and not (run.workdir / METRICS).is_file():
        del ends[run.key]  # someone has removed it
  _write(study, ends=ends)
  return ends


def _check_same(manifest: dict[str, Any], study: Study) -> None:
  """Ablations and seeds may be added; what runs have in common may not change.

  Raises:
    ValueError: naming the first field that differs.
  """
  if not {'base', 'config', 'runs'} <= {*manifest}:
    raise ValueError(
      f'{study.output / MANIFEST} is of no study: give another --output'
    )
  if not any(path.is_dir() for path in study.output.glob('*/seed-*')):
    return  # nothing has been trained, so that nothing can be mixed up
  provenance.refuse_other(manifest, study.data, folder=study.output)
  for field, old, new in setup.changes(manifest['config'], study.config):
    raise ValueError(
      f'{study.output} is a study of {manifest["base"]} with config.{field} = '
      f'{old!r}, now it is {new!r}: use the same, or another --output'
    )


def _write(study: Study, *, ends: dict[str, jobs.End]) -> None:
  manifest = {
    'base': study.base,
    'fields': study.fields,
    'config': study.config.to_dict(),
    'ablations': study.ablations,
    'seeds': study.seeds,
    'runs': ends,
    **provenance.as_json(study.data),
  }
  log_lib.write_json(study.output / MANIFEST, manifest)
