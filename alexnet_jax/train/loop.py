"""The training loop (§5): step, log, evaluate, lower the rate, save, stop.

The same command goes on where the workdir's newest checkpoint is. Everything
random is a function of the seed and the step, so a run that was stopped and
one that was not give the same numbers.
"""

import dataclasses
import math
import pathlib

import grain
import jax
import numpy as np
from jaxtyping import Array
from ml_collections import config_dict

from alexnet_jax import (
  checkpoint,
  evaluate,
  health,
  locking,
  metrics,
  steps,
  timing,
  writers,
)
from alexnet_jax import run as run_lib
from alexnet_jax.data import augment, pipeline
from alexnet_jax.optim import plateau
from alexnet_jax.parallel import placement

Config = config_dict.ConfigDict


class DivergedError(RuntimeError):
  """The loss or an error rate is no longer a finite number."""


def train(config: Config, *, workdir: pathlib.Path) -> None:
  """Trains to the end of the config, or goes on from the newest checkpoint.

  Raises:
    ValueError: if the workdir holds a run that this config cannot continue.
    DivergedError: if the loss is no longer finite.
  """
  setup = run_lib.set_up(config)
  newest = checkpoint.latest(workdir / checkpoint.FOLDER)
  if newest is not None:
    meta = checkpoint.read_meta(newest)
    run_lib.check_same_network(meta, setup, path=newest)
    run_lib.check_same_course(meta, setup, path=newest)
    if int(newest.name) > setup.plan.total_steps:
      raise ValueError(
        f'{newest} is beyond the {setup.plan.total_steps:,} steps of this '
        'config: use more of --config.total_steps or --config.num_epochs, or '
        'another --workdir'
      )
  history = writers.read_metrics(workdir / 'metrics.jsonl')
  batches = _train_batches(setup, total_steps=setup.plan.total_steps)
  if newest is None:
    step, state = 0, setup.programs.init()
  else:
    step = int(newest.name)
    state = checkpoint.read_state(newest, state=setup.programs.state)
    checkpoint.wind(batches, step=newest)
  kept = [record for record in history if record['step'] <= step]
  if kept and is_done(setup, state, step=step, last=kept[-1]):
    print(f'done already: {writers.describe(kept[-1])}')
    return
  with locking.locked(workdir, fix='give another --workdir'):
    _run(setup, state, batches=batches, step=step, workdir=workdir, kept=kept)


def _run(
  setup: run_lib.Setup,
  state: steps.TrainState,
  *,
  batches: grain.DatasetIterator,
  step: int,
  workdir: pathlib.Path,
  kept: list[writers.Record],
) -> None:
  """Opens what a run writes to, and runs the loop."""
  config = setup.config
  store = checkpoint.Store(
    workdir / checkpoint.FOLDER, keep_newest=config.checkpoint.keep_newest
  )
  writers.write_json(workdir / 'config.json', config.to_dict())
  log = writers.Metrics(workdir, kept=kept)
  print(run_lib.describe(setup, workdir=workdir, step=step), flush=True)
  if step == 0:
    _check_health(setup, state, workdir=workdir)
  loop = _Loop(setup, store=store, log=log, step=step)
  try:
    loop.run(state, batches=batches)
  finally:
    loop.close()
    store.close()
    log.close()


def _check_health(
  setup: run_lib.Setup, state: steps.TrainState, *, workdir: pathlib.Path
) -> None:
  """Shows what the network makes of the first minibatch, and what is odd."""
  batch = next(_train_batches(setup, total_steps=1))
  report = run_lib.probe(setup, params=state.params, batch=batch)
  minimum = setup.config.health.min_signal
  print(health.table(report), flush=True)
  warnings = health.input_warnings(
    batch['image'], mean_image=setup.dataset.mean_image
  )
  warnings += [
    health.signal_warning(report, minimum=minimum),
    pipeline.order_warning(setup.dataset.train),
  ]
  for warning in filter(None, warnings):
    print(warning, flush=True)
  found = {
    'images': report.images,
    'rows': [row._asdict() for row in report.rows],
  }
  writers.write_json(workdir / 'health.json', found)


def plateaued(config: Config, state: plateau.State) -> bool:
  """Whether the plateau that follows the last drop has come."""
  rule = config.plateau
  if not rule.enabled:
    return False
  return plateau.drops(state, factor=rule.factor) > rule.num_drops


def is_done(
  setup: run_lib.Setup,
  state: steps.TrainState,
  *,
  step: int,
  last: writers.Record,
) -> bool:
  """Whether neither a step nor the final evaluation is left to do."""
  config = setup.config
  over = step >= setup.plan.total_steps or plateaued(config, state.plateau)
  return over and last.get('views') == config.eval.final_views


def _train_batches(
  setup: run_lib.Setup, *, total_steps: int
) -> grain.DatasetIterator:
  config = setup.config
  return iter(
    pipeline.train_batches(
      setup.dataset,
      batch_size=config.batch_size,
      crop_size=config.data.crop_size,
      seed=config.seed,
      total_steps=total_steps,
      augment=augment.Augment(**config.augment),
      reshuffle=config.data.reshuffle,
      threads=config.data.read_threads,
      prefetch=config.data.prefetch_batches,
      faults=setup.faults,
    )
  )


class _Loop:
  """One run's loop; the order within a step is a contract of resuming.

  What a step writes comes before its checkpoint, so that lines beyond the
  newest checkpoint are exactly those that a resumed run writes again.
  """

  def __init__(
    self,
    setup: run_lib.Setup,
    *,
    store: checkpoint.Store,
    log: writers.Metrics,
    step: int,
  ):
    self._setup = setup
    self._store = store
    self._log = log
    self._step = step
    self._clock = timing.Clock()
    self._progress = writers.Progress(
      total_steps=setup.plan.total_steps, step=step
    )
    self._pending: list[dict[str, Array]] = []  # since the last line
    self._over = False  # the plateau that follows the last drop has come
    rule = setup.config.health
    self._watch = health.Watch(
      classes=len(setup.dataset.classes),
      steps=rule.stuck_steps,
      tolerance=rule.stuck_tolerance,
    )

  def run(
    self, state: steps.TrainState, *, batches: grain.DatasetIterator
  ) -> None:
    """Steps to the end, then the final evaluation."""
    setup, total = self._setup, self._setup.plan.total_steps
    self._over = plateaued(setup.config, state.plateau)
    while self._step < total and not self._over:
      with self._clock.waiting():
        batch = placement.put_batch(next(batches), mesh=setup.mesh)
      with jax.transfer_guard('disallow'):
        state, means = setup.programs.train(state, setup.mean_image, batch)
      self._step += 1
      self._pending.append(means)
      self._progress.advance()
      if self._step % setup.config.log.every_steps == 0 or self._step == 1:
        self._write_train()
      state = self._end_epoch(state, batches=batches)
    last, views = self._log.last, setup.config.eval.final_views
    if last is None or last.get('views') != views:
      self._write_val(self._evaluate(state, views=views), views=views)

  def close(self) -> None:
    self._progress.close()

  def _end_epoch(
    self, state: steps.TrainState, *, batches: grain.DatasetIterator
  ) -> steps.TrainState:
    """Evaluates, lowers the rate and saves, where this step calls for it."""
    config, plan = self._setup.config, self._setup.plan
    last = self._step == plan.total_steps
    every = config.eval.every_epochs
    if not (last or plan.epoch_ends(self._step, every_epochs=every)):
      return state
    # Before the checkpoint: a resumed run begins its lines where this one does.
    self._write_train()
    with self._clock.paused():
      errors = self._evaluate(state, views=1)
      self._write_val(errors, views=1)
      state = self._observe(state, errors.top1_error)
      self._store.save(
        self._step,
        state=state,
        batches=batches,
        meta=self._meta(),
        top1_error=errors.top1_error,
      )
    return state

  def _observe(self, state: steps.TrainState, error: float) -> steps.TrainState:
    """Tells the plateau rule, and the user if it lowers the rate."""
    rule = self._setup.config.plateau
    if not rule.enabled:
      return state
    after = plateau.observe(
      state.plateau,
      error,
      factor=rule.factor,
      patience_epochs=rule.patience_epochs,
      min_improvement=rule.min_improvement,
    )
    self._over = plateaued(self._setup.config, after)
    if after.scale < state.plateau.scale:
      what = f'the learning rate is multiplied by {rule.factor}'
      if self._over:
        what = 'training ends'
      self._progress.say(
        f'the validation error has not improved in {rule.patience_epochs} '
        f'evaluations: {what}'
      )
    return dataclasses.replace(
      state, plateau=placement.replicate(after, mesh=self._setup.mesh)
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
      faults=setup.faults,
    )

  def _write_train(self) -> None:
    """A line with the means over the steps since the last one, if any."""
    rows = jax.device_get(self._pending)
    if not rows:
      return
    rates = self._clock.read(images=len(rows) * self._setup.plan.batch_size)
    self._pending = []
    means = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
    means['learning_rate'] = float(rows[-1]['learning_rate'])
    self._check_finite(means['loss'], what='training loss')
    record = self._record('train') | means | rates._asdict()
    self._log.write(record)
    self._progress.show(record)
    self._tell_faults()
    warning = self._watch.see(means['loss'], steps=len(rows))
    if warning:
      self._progress.say(warning)

  def _write_val(self, errors: metrics.Errors, *, views: int) -> None:
    self._check_finite(errors.loss, what='validation loss')
    self._tell_faults()
    record = self._record('val') | errors._asdict() | {'views': views}
    self._log.write(record)
    self._progress.say(writers.describe(record))

  def _tell_faults(self) -> None:
    for fault in self._setup.faults.untold():
      self._progress.say(f'warning: an image is left out: {fault}')

  def _check_finite(self, loss: float, *, what: str) -> None:
    if not math.isfinite(loss):
      raise DivergedError(
        f'the {what} is {loss} at step {self._step}: try a lower '
        '--config.optim.learning_rate; checkpoints are as they were'
      )

  def _record(self, split: str) -> writers.Record:
    epoch = self._setup.plan.epoch(self._step)
    return {'step': self._step, 'epoch': epoch, 'split': split}

  def _meta(self) -> checkpoint.Meta:
    dataset = self._setup.dataset
    return {
      'config': self._setup.config.to_dict(),
      'dataset': dataset.name,
      'fingerprint': dataset.fingerprint,
      'classes': [c._asdict() for c in dataset.classes],
      'versions': checkpoint.versions(),
    }
