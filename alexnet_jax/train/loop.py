"""The training loop (§5): step, log, evaluate, lower the rate, save, stop."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import config_dict

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import checksums, layout, save
from alexnet_jax.data import pipeline
from alexnet_jax.evaluate import predict, predictions
from alexnet_jax.optim import plateau
from alexnet_jax.parallel import distributed, hosts, placement
from alexnet_jax.runtime import signals
from alexnet_jax.steps import build, metrics
from alexnet_jax.train import crew as crew_lib
from alexnet_jax.train import guard, health, resume, timer
from alexnet_jax.train import log as log_lib
from alexnet_jax.train import profile as profile_lib

Config = config_dict.ConfigDict
# Told of the lines of metrics.jsonl when an epoch ends: whether the run may.
Enough = Callable[[list[log_lib.Record]], bool]


def check_health(
  setup: setup_lib.Setup, state: build.TrainState, *, workdir: pathlib.Path
) -> None:
  """Shows what the network makes of the first minibatch, and what is odd."""
  batch = next(setup_lib.train_batches(setup, total_steps=1, whole=True))
  report = setup_lib.probe(setup, params=state.params, batch=batch)
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
  hosts.first_does(lambda: log_lib.write_json(workdir / 'health.json', found))


def plateaued(config: Config, state: plateau.State) -> bool:
  """Whether the plateau that follows the last drop has come."""
  rule = config.plateau
  if not rule.enabled:
    return False
  return plateau.drops(state, factor=rule.factor) > rule.num_drops


def is_done(
  setup: setup_lib.Setup, found: resume.Found, *, enough: Enough | None = None
) -> bool:
  """Whether neither a step nor the final evaluation is left to do."""
  over = found.step >= setup.plan.total_steps
  over = over or plateaued(setup.config, found.state.plateau)
  over = over or bool(enough and enough(found.kept))
  views = setup.config.eval.final_views
  return over and bool(found.kept) and found.kept[-1].get('views') == views


class Loop:
  """One run's loop; the order within a step is a contract of resuming.

  What a step writes comes before its checkpoint, so that lines beyond the
  newest checkpoint are exactly those that a resumed run writes again. Numbers
  of steps whose line is still to come are in the checkpoint.
  """

  def __init__(
    self,
    setup: setup_lib.Setup,
    found: resume.Found,
    *,
    store: save.Store,
    log: log_lib.Metrics,
    workdir: pathlib.Path,
    crew: crew_lib.Crew,
    profile: profile_lib.Profile,
    enough: Enough | None = None,
  ):
    meta = found.meta
    self._setup = setup
    self._store = store
    self._log = log
    self._workdir = workdir
    self._crew = crew
    self._profile = profile
    self._enough = enough
    self._step = found.step
    self._batches = found.batches
    self._evaluation_due = bool(meta and meta['evaluation_due'])
    self._saved = -1 if self._evaluation_due else found.step
    self._clock = timer.Clock()
    self._progress = log_lib.Progress(
      total_steps=setup.plan.total_steps, step=found.step
    )
    self._guard = guard.Guard(
      setup, crew=crew, skipped=meta['skipped'] if meta else 0
    )
    self._pending = list(meta['pending']) if meta else []  # since the last line
    # The plateau that follows the last drop has come, or it is enough.
    self._over = bool(enough and enough(found.kept))
    rule = setup.config.health
    self._watch = health.Watch(
      classes=len(setup.dataset.classes),
      steps=rule.stuck_steps,
      tolerance=rule.stuck_tolerance,
    )
    self._watch.replay(found.kept)
    self._input = health.InputWatch(most=rule.max_input_wait)

  def run(self, state: build.TrainState) -> None:
    """Steps to the end, then the final evaluation."""
    setup, total = self._setup, self._setup.plan.total_steps
    self._over = self._over or plateaued(setup.config, state.plateau)
    if self._evaluation_due:
      state = self._end_epoch(state)
    while self._step < total and not self._over:
      self._save_if_asked(state)
      with self._clock.waiting():
        batch = self._next_batch()
      with self._clock.paused():
        profiled = self._profile.of(self._step + 1)
      with jax.transfer_guard('disallow'), profiled:
        state, means = setup.programs.train(state, setup.mean_image, batch)
      self._step += 1
      self._guard.send(self._step, batch=batch, means=means)
      self._land(state)
      self._progress.advance()
      with self._clock.paused():
        self._profile.end(self._step, state=state)
      if self._step % setup.config.log.every_steps == 0 or self._step == 1:
        self._write_train(state)
      state = self._end_epoch(state)
      self._save_if_time(state)
    last, views = self._log.last, setup.config.eval.final_views
    if last is None or last.get('views') != views:
      self._end_run(state, views=views)
    self._store.wait()

  def close(self) -> None:
    self._progress.close()

  def _next_batch(self) -> dict[str, jax.Array]:
    """The next minibatch on the mesh, with this process's ballot."""
    batch = None
    with self._crew.held():
      batch = next(self._batches)
    config, mesh = self._setup.config, self._setup.mesh
    images = config.batch_size
    if batch is None:  # the others wait for this step, which will not count
      here = placement.images_here(images, mesh=mesh)
      batch = pipeline.blank(here, crop_size=config.data.crop_size)
    placed = placement.put_batch(batch, mesh=mesh, images=images)
    return placed | self._crew.ballot()

  def _land(
    self, state: build.TrainState, *, all_of_them: bool = False
  ) -> None:
    """Takes in the numbers of steps that have come."""
    self._pending += self._guard.land(
      params=state.params, all_of_them=all_of_them
    )
    for warning in self._guard.untold:
      self._progress.say(warning)
    self._guard.untold.clear()

  def _save_if_asked(self, state: build.TrainState) -> None:
    """Saves and stops, if a signal has come, to whichever process.

    Raises:
      stopping.Stopped: then.
    """
    if self._crew.stops:
      self._save(state)
      self._store.wait()
      raise signals.Stopped

  def _save_if_time(self, state: build.TrainState) -> None:
    if self._crew.saves:
      self._save(state)

  def _end_epoch(self, state: build.TrainState) -> build.TrainState:
    """Evaluates, lowers the rate and saves, where this step calls for it."""
    config, plan = self._setup.config, self._setup.plan
    last = self._step == plan.total_steps

    def due(every_epochs: int) -> bool:
      return last or plan.epoch_ends(self._step, every_epochs=every_epochs)

    if self._enough and plan.epoch_ends(self._step, every_epochs=1):
      self._write_train(state)
      lines = hosts.of_first(
        lambda: log_lib.read_metrics(self._workdir / 'metrics.jsonl')
      )
      self._over = self._over or self._enough(lines)
    error = None
    if due(config.eval.every_epochs):
      error, state = self._evaluate_epoch(state)
    if due(config.checkpoint.every_epochs) or self._over:
      self._save(state, error=error)
    return state

  def _evaluate_epoch(
    self, state: build.TrainState
  ) -> tuple[float, build.TrainState]:
    """The validation error, and the state that knows of it.

    Raises:
      stopping.Stopped: if a signal comes; saved is then the state before.
    """
    self._write_train(state)
    with self._clock.paused():
      try:
        errors = self._predict(state, views=1).errors
      except signals.Stopped:
        self._save(state, evaluation_due=True)
        self._store.wait()
        raise
      self._write_val(errors, views=1)
      return errors.top1_error, self._observe(state, errors.top1_error)

  def _observe(self, state: build.TrainState, error: float) -> build.TrainState:
    """Tells the plateau rule, and the user if it lowers the rate."""
    rule = self._setup.config.plateau
    if not rule.enabled:
      return state
    after = plateau.observe(
      jax.device_get(state.plateau),
      error,
      factor=rule.factor,
      patience_epochs=rule.patience_epochs,
      min_improvement=rule.min_improvement,
    )
    self._over = self._over or plateaued(self._setup.config, after)
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

  def _end_run(self, state: build.TrainState, *, views: int) -> None:
    """The last evaluation, whose predictions are kept."""
    found = self._predict(state, views=views)
    path = self._workdir / predictions.OF_A_RUN
    with self._crew.held(), log_lib.told(path):
      if distributed.is_first():
        predictions.save(found._replace(step=self._step), path)
    self._write_val(found.errors, views=views)
    self._crew.look()

  def _predict(
    self, state: build.TrainState, *, views: int
  ) -> predictions.Predictions:
    return predict.predict(
      self._setup, params=state.params, views=views, check=self._crew.check
    )

  def _save(
    self,
    state: build.TrainState,
    *,
    error: float | None = None,
    evaluation_due: bool = False,
  ) -> None:
    """Writes a checkpoint in the background, unless this step has one."""
    if self._saved == self._step:
      return
    self._land(state, all_of_them=True)
    with self._clock.paused():
      digests = checksums.digest(state)
      guard.check_state(digests, step=self._step)
      with self._crew.held():
        self._log.sync()
      self._crew.look()
      self._store.save(
        self._step,
        state=state,
        batches=self._batches,
        meta=self._meta(digests, error=error, evaluation_due=evaluation_due),
      )
    self._saved = self._step
    self._crew.saved()

  def _write_train(self, state: build.TrainState) -> None:
    """A line with the means over the steps since the last one, if any."""
    self._land(state, all_of_them=True)
    rows, self._pending = self._pending, []
    if not rows:
      return
    rates = self._clock.read(images=len(rows) * self._setup.plan.batch_size)
    means = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
    means['learning_rate'] = rows[-1]['learning_rate']
    record = self._record('train') | means | rates._asdict()
    with self._crew.held():
      self._log.write(record)
    self._progress.show(record)
    self._tell_faults()
    for warning in (
      self._watch.see(means['loss'], steps=len(rows)),
      self._input.see(rates.input_wait_fraction),
    ):
      if warning:
        self._progress.say(warning)

  def _write_val(self, errors: metrics.Errors, *, views: int) -> None:
    guard.check_errors(errors.loss, step=self._step)
    self._tell_faults()
    record = self._record('val') | errors._asdict() | {'views': views}
    with self._crew.held():
      self._log.write(record)
    self._progress.say(log_lib.describe(record))

  def _tell_faults(self) -> None:
    for fault in self._setup.faults.untold():
      warning = f'warning: an image is left out: {fault}'
      self._progress.say(warning)
      if not distributed.is_first():  # whose stdout nobody reads
        print(warning, file=sys.stderr, flush=True)

  def _record(self, split: str) -> log_lib.Record:
    epoch = self._setup.plan.epoch(self._step)
    return {'step': self._step, 'epoch': epoch, 'split': split}

  def _meta(
    self,
    digests: checksums.Digests,
    *,
    error: float | None,
    evaluation_due: bool,
  ) -> layout.Meta:
    dataset = self._setup.dataset
    return {
      'config': self._setup.config.to_dict(),
      'dataset': dataset.name,
      'fingerprint': dataset.fingerprint,
      'classes': [c._asdict() for c in dataset.classes],
      'versions': layout.versions(),
      'digests': digests.arrays,
      'top1_error': error,
      'evaluation_due': evaluation_due,
      'pending': self._pending,
      'skipped': self._guard.skipped,
    }
