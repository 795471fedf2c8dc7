"""The training loop (§5): step, log, evaluate, lower the rate, save, stop.

The same command goes on where the workdir's newest checkpoint is. Everything
random is a function of the seed and the step, so a run that was stopped and
one that was not give the same numbers.
"""

import math
import pathlib
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float
from ml_collections import config_dict

from alexnet_jax import (
  checkpoint,
  evaluate,
  metrics,
  steps,
  timing,
  writers,
)
from alexnet_jax import config as config_lib
from alexnet_jax.data import augment, pipeline, sources
from alexnet_jax.optim import plateau
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.parallel import placement

Config = config_dict.ConfigDict


class DivergedError(RuntimeError):
  """The loss or an error rate is no longer a finite number."""


class Setup(NamedTuple):
  """What a run is made of before its first step."""

  config: Config
  dataset: sources.Dataset
  plan: config_lib.Plan
  mesh: Mesh
  programs: steps.Steps
  mean_image: Float[Array, 's s 3']  # on the mesh


def set_up(config: Config) -> Setup:
  """Opens the data and builds the programs; nothing is written.

  Raises:
    ValueError: if the config, the data or the machine do not fit each other.
  """
  config_lib.check(config)
  dataset = load_data(config)
  mesh = mesh_lib.create(data=config.mesh.data, column=config.mesh.column)
  return Setup(
    config=config,
    dataset=dataset,
    plan=config_lib.plan(config, train_images=len(dataset.train)),
    mesh=mesh,
    programs=steps.build(config, mesh=mesh),
    mean_image=placement.replicate(dataset.mean_image, mesh=mesh),
  )


def load_data(config: Config) -> sources.Dataset:
  """The data set that the config names.

  Raises:
    ValueError: if it is missing, or has more classes than fc8 has units.
  """
  data = config.data
  dataset = sources.load(
    source=data.source,
    directory=data.dir,
    image_size=data.image_size,
    train_images=data.embedded_train_images,
    val_images=data.embedded_val_images,
    seed=config.seed,
  )
  classes, units = len(dataset.classes), config.model.num_classes
  if classes > units:
    raise ValueError(
      f'config.model.num_classes = {units}, but {dataset.name} has {classes} '
      f'classes: use --config.model.num_classes={classes}'
    )
  return dataset


def train(config: Config, *, workdir: pathlib.Path) -> None:
  """Trains to the end of the config, or goes on from the newest checkpoint.

  Raises:
    ValueError: if the workdir holds a run that this config cannot continue.
    DivergedError: if the loss is no longer finite.
  """
  setup = set_up(config)
  newest = checkpoint.latest(workdir / checkpoint.FOLDER)
  if newest is not None:
    check_same_run(checkpoint.read_meta(newest), setup, path=newest)
  workdir.mkdir(parents=True, exist_ok=True)
  writers.write_json(workdir / 'config.json', config.to_dict())
  store = checkpoint.Store(
    workdir / checkpoint.FOLDER, keep_newest=config.checkpoint.keep_newest
  )
  batches = _train_batches(setup)
  if newest is None:
    step, state = 0, setup.programs.init()
  else:
    step = int(newest.name)
    state = store.restore(step, state=setup.programs.state, batches=batches)
  log = writers.Metrics(workdir, last_step=step)
  loop = _Loop(setup, store=store, log=log)
  try:
    if loop.is_done(state, step=step):
      print(f'done already: {writers.describe(log.last)}')
    else:
      print(describe(setup, workdir=workdir, step=step), flush=True)
      loop.run(state, batches=batches, step=step)
  finally:
    store.close()
    log.close()


def describe(setup: Setup, *, workdir: pathlib.Path, step: int) -> str:
  """What is about to run, on what, for how long, and where it is kept."""
  config, data, plan = setup.config, setup.dataset, setup.plan
  leaves = jax.tree.leaves(setup.programs.state.params)
  parameters = sum(leaf.size for leaf in leaves)
  device = setup.mesh.devices.flat[0]
  going_on = f', going on from step {step}' if step else ''
  return (
    f'AlexNet of {config.model.columns} columns, {parameters:,} parameters, on '
    f'{setup.mesh.size} {device.device_kind} devices (data {config.mesh.data} '
    f'x column {config.mesh.column})\n'
    f'{data.name}: {len(data.train):,} training and {len(data.val):,} '
    f'validation images of {len(data.classes)} classes; {plan.total_steps:,} '
    f'steps of {plan.batch_size} images, {plan.epoch(plan.total_steps):.1f} '
    f'epochs\n{workdir}{going_on}; the first step compiles the network'
  )


def check_same_run(
  meta: checkpoint.Meta, setup: Setup, *, path: pathlib.Path
) -> None:
  """Refuses a checkpoint of another network or other data.

  Raises:
    ValueError: naming the first field that differs, with both values.
  """
  theirs = dict(config_lib.leaves(config_dict.ConfigDict(meta['config'])))
  ours = dict(config_lib.leaves(setup.config))
  for field in sorted(theirs.keys() | ours.keys()):
    shape = field.startswith('model.') or field == 'data.crop_size'
    old, new = _plain(theirs.get(field)), _plain(ours.get(field))
    if shape and old != new:
      raise ValueError(
        f'{path} is a checkpoint of another network: config.{field} was {old}, '
        f'is {new}; use another --workdir, or --config.{field}={old}'
      )
  if meta['fingerprint'] != setup.dataset.fingerprint:
    raise ValueError(
      f'{path} was trained on other data: {meta["dataset"]} '
      f'{meta["fingerprint"][:12]}, now {setup.dataset.name} '
      f'{setup.dataset.fingerprint[:12]}; use another --workdir, or that data'
    )


def _plain(value: Any) -> Any:
  """A field as JSON gives it back."""
  return list(value) if isinstance(value, tuple) else value


def _train_batches(setup: Setup) -> grain.DatasetIterator:
  config = setup.config
  return iter(
    pipeline.train_batches(
      setup.dataset,
      batch_size=config.batch_size,
      crop_size=config.data.crop_size,
      seed=config.seed,
      total_steps=setup.plan.total_steps,
      augment=augment.Augment(**config.augment),
      threads=config.data.read_threads,
      prefetch=config.data.prefetch_batches,
    )
  )


class _Loop:
  """One run's loop; the order within a step is a contract of resuming.

  What a step writes comes before its checkpoint, so that lines beyond the
  newest checkpoint are exactly those that a resumed run writes again.
  """

  def __init__(
    self, setup: Setup, *, store: checkpoint.Store, log: writers.Metrics
  ):
    self._setup = setup
    self._store = store
    self._log = log
    self._clock = timing.Clock()
    self._pending: list[dict[str, Array]] = []  # since the last line
    self._over = False  # the plateau that follows the last drop has come

  def run(
    self,
    state: steps.TrainState,
    *,
    batches: grain.DatasetIterator,
    step: int,
  ) -> None:
    """Steps from `step` + 1 to the end, then the final evaluation."""
    setup, total = self._setup, self._setup.plan.total_steps
    self._over = self._plateaued(state.plateau)
    self._progress = writers.Progress(total_steps=total, step=step)
    self._clock.restart()
    while step < total and not self._over:
      with self._clock.waiting():
        batch = placement.put_batch(next(batches), mesh=setup.mesh)
      with jax.transfer_guard('disallow'):
        state, means = setup.programs.train(state, setup.mean_image, batch)
      step += 1
      self._pending.append(means)
      self._progress.advance()
      if step % setup.config.log.every_steps == 0 or step in (1, total):
        self._write_train(step)
      state = self._end_epoch(state, batches=batches, step=step)
    if not self.is_done(state, step=step):
      views = setup.config.eval.final_views
      self._write_val(step, self._evaluate(state, views=views), views=views)
    self._progress.close()

  def is_done(self, state: steps.TrainState, *, step: int) -> bool:
    """Whether neither a step nor the final evaluation is left to do."""
    last, views = self._log.last, self._setup.config.eval.final_views
    over = step >= self._setup.plan.total_steps
    over |= self._plateaued(state.plateau)
    return over and last is not None and last.get('views') == views

  def _plateaued(self, state: plateau.State) -> bool:
    """Whether the plateau that follows the last drop has come."""
    config = self._setup.config.plateau
    return plateau.drops(state, factor=config.factor) > config.num_drops

  def _end_epoch(
    self,
    state: steps.TrainState,
    *,
    batches: grain.DatasetIterator,
    step: int,
  ) -> steps.TrainState:
    """Evaluates, lowers the rate and saves, where this step calls for it."""
    config, plan = self._setup.config, self._setup.plan
    last = step == plan.total_steps
    every = config.eval.every_epochs
    if not (last or plan.epoch_ends(step, every_epochs=every)):
      return state
    jax.block_until_ready(state)  # what the clock has seen dispatched is done
    with self._clock.paused():
      errors = self._evaluate(state, views=1)
      self._write_val(step, errors, views=1)
      state = self._observe(state, errors.top1_error)
      self._store.save(
        step,
        state=state,
        batches=batches,
        meta=self._meta(),
        top1_error=errors.top1_error,
      )
    return state

  def _observe(self, state: steps.TrainState, error: float) -> steps.TrainState:
    """Tells the plateau rule, and the user if it lowers the rate."""
    rule = self._setup.config.plateau
    after = plateau.observe(
      state.plateau,
      error,
      factor=rule.factor,
      patience_epochs=rule.patience_epochs,
      min_improvement=rule.min_improvement,
    )
    self._over = self._plateaued(after)
    if after.scale < state.plateau.scale:
      rate = self._setup.config.optim.learning_rate * float(after.scale)
      what = 'training ends' if self._over else f'learning rate {rate:.2g}'
      self._progress.say(
        f'the validation error has not improved in {rule.patience_epochs} '
        f'evaluations: {what}'
      )
    return state.replace(
      plateau=placement.replicate(after, mesh=self._setup.mesh)
    )

  def _evaluate(self, state: steps.TrainState, *, views: int) -> metrics.Errors:
    setup = self._setup
    return evaluate.error_rates(
      setup.config,
      programs=setup.programs,
      params=state.params,
      mean_image=setup.mean_image,
      split=setup.dataset.val,
      views=views,
      mesh=setup.mesh,
    )

  def _write_train(self, step: int) -> None:
    """A line with the means over the steps since the last one."""
    rows = jax.device_get(self._pending)
    rates = self._clock.read(images=len(rows) * self._setup.plan.batch_size)
    self._pending = []
    means = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
    means['learning_rate'] = float(rows[-1]['learning_rate'])
    if not math.isfinite(means['loss']):
      raise DivergedError(
        f'the training loss is {means["loss"]} at step {step}: try a lower '
        '--config.optim.learning_rate; the last checkpoint is as it was'
      )
    record = self._record(step, 'train') | means | rates._asdict()
    self._log.write(record)
    self._progress.show(record)

  def _write_val(
    self, step: int, errors: metrics.Errors, *, views: int
  ) -> None:
    if not math.isfinite(errors.loss):
      raise DivergedError(
        f'the validation loss is {errors.loss} at step {step}: try a lower '
        '--config.optim.learning_rate; the last checkpoint is as it was'
      )
    record = self._record(step, 'val') | errors._asdict() | {'views': views}
    self._log.write(record)
    self._progress.say(writers.describe(record))

  def _record(self, step: int, split: str) -> writers.Record:
    epoch = self._setup.plan.epoch(step)
    return {'step': step, 'epoch': epoch, 'split': split}

  def _meta(self) -> checkpoint.Meta:
    dataset = self._setup.dataset
    return {
      'config': self._setup.config.to_dict(),
      'dataset': dataset.name,
      'fingerprint': dataset.fingerprint,
      'classes': [c._asdict() for c in dataset.classes],
      'versions': checkpoint.versions(),
    }
