"""The training loop (§5): step, log, evaluate, lower the rate, save, stop."""

import dataclasses
import sys
from collections.abc import Callable

import jax
import numpy as np

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import checksums, layout
from alexnet_jax.config import schema
from alexnet_jax.data import pipeline
from alexnet_jax.evaluate import predict, predictions
from alexnet_jax.optim import plateau
from alexnet_jax.parallel import consensus as consensus_lib
from alexnet_jax.parallel import distributed, hosts
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.runtime import environment, signals
from alexnet_jax.steps import metrics
from alexnet_jax.steps.state import TrainState
from alexnet_jax.train import board, guard, health, resume, timer
from alexnet_jax.train import log as log_lib
from alexnet_jax.train import profile as profile_lib
from alexnet_jax.train import workdir as workdir_lib

# Called with the metrics log after each epoch; True ends the run early.
StopWhen = Callable[[list[log_lib.Record]], bool]


def plateaued(config: schema.Config, state: plateau.State) -> bool:
  """Whether the rate has plateaued once more after its last drop (§5)."""
  rule = config.plateau
  if not rule.enabled:
    return False
  return plateau.drops(state, factor=rule.factor) > rule.num_drops


def is_done(
  setup: setup_lib.Setup,
  start: resume.Resume,
  *,
  stop_when: StopWhen | None = None,
) -> bool:
  """Whether neither a step nor the final evaluation is left to do."""
  over = start.step >= setup.plan.total_steps
  over = over or _ends_early(setup, start, stop_when=stop_when)
  return over and not _unevaluated(setup, start.kept, step=start.step)


def _ends_early(
  setup: setup_lib.Setup, start: resume.Resume, *, stop_when: StopWhen | None
) -> bool:
  """Returns whether the plateau rule or `stop_when` has ended the run."""
  # Nothing was evaluated before step 1; reading the state would wait for it.
  if start.step > 0 and plateaued(setup.config, start.state.plateau):
    return True
  return bool(stop_when and stop_when(start.kept))


def _unevaluated(
  setup: setup_lib.Setup, records: list[log_lib.Record], *, step: int
) -> list[str]:
  """The splits whose final evaluation is not logged yet."""
  views = setup.config.eval.final_views
  done = {
    r['split'] for r in records if r['step'] == step and r.get('views') == views
  }
  splits = ['val'] if setup.dataset.test is None else ['val', 'test']
  return [split for split in splits if split not in done]


class Loop:
  """One run's loop; resuming relies on the order within a step.

  A step's log line is written before its checkpoint: the lines beyond the
  newest checkpoint are then exactly those that a resumed run writes again. A
  checkpoint also holds the numbers of steps whose log line is still to come.
  """

  def __init__(
    self,
    setup: setup_lib.Setup,
    start: resume.Resume,
    *,
    workdir: workdir_lib.Workdir,
    consensus: consensus_lib.HostConsensus,
    profile: profile_lib.Profile,
    stop_when: StopWhen | None = None,
  ):
    meta, rule = start.meta, setup.config.health
    self._setup = setup
    self._workdir = workdir
    self._consensus = consensus
    self._profile = profile
    self._stop_when = stop_when
    self._step = start.step
    self._batches = start.batches  # prefetched in threads
    self._evaluation_due = start.evaluation_due
    self._saved_step = -1 if start.evaluation_due else start.step
    self._guard = guard.Guard(
      setup, consensus=consensus, skipped=meta['skipped'] if meta else 0
    )
    # Numbers of the steps since the last log line.
    self._unlogged = list(meta['pending']) if meta else []
    self._over = _ends_early(setup, start, stop_when=stop_when)
    self._clock = timer.Clock()
    self._progress = log_lib.Progress(
      total_steps=setup.plan.total_steps, step=start.step
    )
    self._loss_watch = health.LossWatch(
      classes=len(setup.dataset.classes),
      steps=rule.stuck_steps,
      tolerance=rule.stuck_tolerance,
    )
    self._loss_watch.replay(start.kept)
    self._input_watch = health.InputWatch(most=rule.max_input_wait)

  def run(self, state: TrainState) -> None:
    """Steps to the end, then makes the final evaluation."""
    setup, total = self._setup, self._setup.plan.total_steps
    if self._step == 0:
      self._workdir.show(
        lambda: board.of_run(setup.config, setup.dataset), step=0
      )
    if self._evaluation_due:  # stopped within its evaluation
      state = self._evaluate_and_save_if_due(state)
    while self._step < total and not self._over:
      self._stop_if_requested(state)  # before the batch is taken
      with self._clock.waiting():  # counts as input wait
        batch = self._next_batch()
      with self._clock.paused():
        profiled = self._profile.of(self._step + 1)
      with jax.transfer_guard('disallow'), profiled:  # no hidden copies
        state, outputs = setup.programs.train(state, setup.mean_image, batch)
      self._step += 1  # steps count from 1
      self._guard.enqueue(self._step, batch=batch, outputs=outputs)
      self._collect(state)
      self._progress.advance()
      with self._clock.paused():
        self._profile.end(self._step, state=state)
      if self._step % setup.config.log.every_steps == 0 or self._step == 1:
        self._log_train(state)
      # After the log line: see the class.
      state = self._evaluate_and_save_if_due(state)
      if self._consensus.save_due:  # every_minutes, by the clock
        self._save(state)
    records = self._workdir.records()
    for split in _unevaluated(setup, records, step=self._step):
      self._end_run(state, split=split)
    self._workdir.wait_for_checkpoint()

  def close(self) -> None:
    """Removes the progress line."""
    self._progress.close()

  def _next_batch(self) -> dict[str, jax.Array]:
    """The next minibatch on the mesh, with the flags of this host."""
    batch = None
    with self._consensus.defer_errors():
      batch = next(self._batches)  # numpy, this host's rows
    config, mesh = self._setup.config, self._setup.mesh
    images = config.batch_size  # of all hosts
    if batch is None:  # an error: the other hosts expect one more step
      own = mesh_lib.host_images(images, mesh=mesh)
      batch = pipeline.blank_batch(
        own.stop - own.start, crop_size=config.data.crop_size
      )
    placed = mesh_lib.put_batch(batch, mesh=mesh, images=images)
    return placed | self._consensus.batch_fields()

  def _collect(self, state: TrainState, *, wait: bool = False) -> None:
    """Takes the numbers of steps that have finished; waits for all if asked."""
    self._unlogged += self._guard.drain(variables=state.variables, wait=wait)
    for warning in self._guard.warnings:
      self._progress.say(warning)
    self._guard.warnings.clear()

  def _stop_if_requested(self, state: TrainState) -> None:
    """Saves, and raises signals.Stopped, if any host has had a signal."""
    if self._consensus.stop_requested:
      self._save(state)
      self._workdir.wait_for_checkpoint()
      raise signals.Stopped

  def _evaluate_and_save_if_due(self, state: TrainState) -> TrainState:
    """Evaluates, lowers the rate and saves, where this step calls for it."""
    config, plan = self._setup.config, self._setup.plan
    last = self._step == plan.total_steps

    def due(every_epochs: int) -> bool:
      return last or plan.epoch_ends(self._step, every_epochs=every_epochs)

    if self._stop_when and plan.epoch_ends(self._step, every_epochs=1):
      self._log_train(state)
      self._over = self._over or self._stop_when(self._workdir.records())
    error = None  # None: not evaluated at this step
    if due(config.eval.every_epochs):
      error, state = self._evaluate_epoch(state)
    if due(config.checkpoint.every_epochs) or self._over:
      self._save(state, error=error)
    return state

  def _evaluate_epoch(self, state: TrainState) -> tuple[float, TrainState]:
    """Returns the validation error, and the state after the plateau rule.

    Raises signals.Stopped if a signal comes; the state before is saved.
    """
    self._log_train(state)
    with self._clock.paused():
      try:
        found = self._predict(state, views=1)  # the centre crop
      except signals.Stopped:
        self._save(state, evaluation_due=True)
        self._workdir.wait_for_checkpoint()
        raise
      if self._setup.config.eval.final_views == 1:  # may be the last one
        self._workdir.save_predictions(found._replace(step=self._step))
      self._log_errors(found.errors, views=1, split='val')
      self._show_kernels(state)
      error = found.errors.top1_error
      return error, self._update_plateau(state, error)

  def _show_kernels(self, state: TrainState) -> None:
    """Shows the kernels of conv1 in TensorBoard."""
    kernel = state.params.get('conv1', {}).get('kernel')
    if kernel is not None and kernel.ndim == 4:  # not locally connected
      whole = hosts.to_host(kernel)
      self._workdir.show(lambda: [board.kernels(whole)], step=self._step)

  def _update_plateau(self, state: TrainState, error: float) -> TrainState:
    """Applies the plateau rule, and tells the user if it lowers the rate."""
    rule = self._setup.config.plateau
    if not rule.enabled:
      return state
    after = plateau.observe(
      jax.device_get(state.plateau),  # the rule runs on the host
      error,
      factor=rule.factor,
      patience_epochs=rule.patience_epochs,
      min_improvement=rule.min_improvement,
    )
    self._over = self._over or plateaued(self._setup.config, after)
    if after.scale < state.plateau.scale:  # a plateau, just now
      what = f'the learning rate is multiplied by {rule.factor}'
      if self._over:
        what = 'training ends'
      self._progress.say(
        f'the validation error has not improved in {rule.patience_epochs} '
        f'evaluations: {what}'
      )
    return dataclasses.replace(
      state, plateau=mesh_lib.replicate(after, mesh=self._setup.mesh)
    )

  def _end_run(self, state: TrainState, *, split: str) -> None:
    """Makes the last evaluation of a split; keeps predictions of 'val'."""
    views = self._setup.config.eval.final_views
    found = self._predict(state, views=views, split=split)
    if split == 'val':
      self._workdir.save_predictions(found._replace(step=self._step))
    self._log_errors(found.errors, views=views, split=split)
    self._consensus.poll()  # an error of host 0 ends all

  def _predict(
    self, state: TrainState, *, views: int, split: str = 'val'
  ) -> predictions.Predictions:
    return predict.predict(
      self._setup,
      variables=state.variables,
      views=views,
      split=getattr(self._setup.dataset, split),
      check=self._consensus.poll_and_stop,
    )

  def _save(
    self,
    state: TrainState,
    *,
    error: float | None = None,
    evaluation_due: bool = False,
  ) -> None:
    """Writes a checkpoint in the background, unless this step has one."""
    if self._saved_step == self._step:
      return
    self._collect(state, wait=True)  # pending steps go into the checkpoint
    with self._clock.paused():
      digests = checksums.digest(state)  # before the copy to host and disk
      guard.check_state_finite(digests, step=self._step)
      self._workdir.sync()  # log lines first: see the class
      self._workdir.save_checkpoint(
        self._step,
        state=state,
        batches=self._batches,
        meta=self._meta(digests, error=error, evaluation_due=evaluation_due),
      )
    self._saved_step = self._step
    self._consensus.mark_saved()

  def _log_train(self, state: TrainState) -> None:
    """Logs the means over the steps since the last line, if any."""
    self._collect(state, wait=True)
    rows, self._unlogged = self._unlogged, []
    if not rows:
      return
    rates = self._clock.read(images=len(rows) * self._setup.plan.batch_size)
    means = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
    means['learning_rate'] = rows[-1]['learning_rate']
    classes = len(self._setup.dataset.classes)
    means |= {'top5_error': metrics.top5(means['top5_error'], classes=classes)}
    record = self._record('train') | means | rates._asdict()
    self._workdir.write(record)
    self._progress.show(record)
    self._report_bad_records()
    for warning in (
      self._loss_watch.see(means['loss'], steps=len(rows)),
      self._input_watch.see(rates.input_wait_fraction),
    ):
      if warning:
        self._progress.say(warning)

  def _log_errors(
    self, errors: metrics.Errors, *, views: int, split: str
  ) -> None:
    guard.check_loss_finite(errors.loss, step=self._step)
    self._report_bad_records()
    record = self._record(split) | errors._asdict() | {'views': views}
    self._workdir.write(record)
    self._progress.say(log_lib.describe(record))

  def _report_bad_records(self) -> None:
    for record in self._setup.bad_records.drain():
      warning = f'warning: an image is left out: {record}'
      self._progress.say(warning)
      if not distributed.is_host0():  # nobody reads this host's stdout
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
      'environment': environment.recorded(),
      'digests': digests.arrays,
      'top1_error': error,
      'evaluation_due': evaluation_due,
      'pending': self._unlogged,  # not logged yet
      'skipped': self._guard.skipped,
    }
