"""A run's folder: lock, config.json, metrics.jsonl, health.json, checkpoints.

Host 0 alone reads and writes it, be it a local folder or one on a bucket. All
hosts call the methods here at the same place of the program, and get the same
result or the same error.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grain

from alexnet_jax.checkpoint import compatible, layout, restore
from alexnet_jax.checkpoint import save as save_lib
from alexnet_jax.config import schema
from alexnet_jax.data import stats
from alexnet_jax.evaluate import predictions
from alexnet_jax.parallel import consensus as consensus_lib
from alexnet_jax.parallel import distributed, hosts
from alexnet_jax.runtime import locks, paths, signals
from alexnet_jax.steps.state import TrainState
from alexnet_jax.train import board
from alexnet_jax.train import log as log_lib

T = TypeVar('T')


@contextlib.contextmanager
def local_folder(place: str, *, stop: signals.Stop) -> Iterator[pathlib.Path]:
  """Yields the workdir at `place`, a path or an address, as a folder of host 0.

  A workdir on a bucket is synced with a local folder until the end; `stop` is
  set if another run takes it over. Raises ValueError if the bucket cannot be
  read or written, or another run has it.
  """
  with contextlib.ExitStack() as stack:

    def open_folder() -> str:
      paths.check_name(place, name='--workdir')
      if not paths.is_remote(place):
        return str(paths.expand(place))
      from alexnet_jax.checkpoint import bucket_sync

      synced = bucket_sync.synced_workdir(place, stop=stop)
      return str(stack.enter_context(synced))

    yield pathlib.Path(hosts.from_host0(open_folder))
    hosts.on_host0(stack.close)  # copies to the bucket what is not there yet


def write_report(
  workdir: pathlib.Path, *, name: str, data_dir: str = ''
) -> None:
  """Starts tools.report on host 0; if it fails, the run is finished anyway.

  `workdir` is its local folder, and `name` what the user called it; `data_dir`
  is the run's data set.
  """
  hosts.on_host0(lambda: _write_report(workdir, name=name, data_dir=data_dir))


def _write_report(workdir: pathlib.Path, *, name: str, data_dir: str) -> None:
  tool = ['-m', 'alexnet_jax.tools.report']  # the core does not import it
  print('writing the report', flush=True)
  try:
    with signals.sigterm_exits():  # an exit ends the process started here, too
      done = subprocess.run(
        [
          *(sys.executable, '-P', *tool, f'--workdir={workdir}'),
          f'--data_dir={data_dir}',
        ],
        env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
      )
    reason = ' '.join(done.stderr.splitlines()[-1:]).removeprefix('error: ')
  except KeyboardInterrupt:
    done, reason = None, 'interrupted'  # Ctrl-C skips the report alone
  except OSError as error:
    done, reason = None, str(error)
  if done and not done.returncode:
    *warnings, _ = done.stdout.strip().split('\n')
    print(*warnings, sep='\n', end='\n' if warnings else '')
    return
  print(
    f'warning: there is no report ({reason}); the run is finished and saved, '
    f'to try again: .venv/bin/python {" ".join(tool)} --workdir={name}'
  )


class Workdir:
  """One run's workdir."""

  def __init__(self, path: pathlib.Path):
    """Names the folder; nothing is read or written yet."""
    self.path = path
    self._checkpoints = path / layout.FOLDER
    self._log: log_lib.MetricsLog | None = None  # host 0
    self._saver: save_lib.CheckpointSaver | None = None
    self._consensus: consensus_lib.HostConsensus | None = None

  @contextlib.contextmanager
  def locked(self) -> Iterator[None]:
    """Makes the folder and locks it; raises ValueError if a run is in it."""
    with contextlib.ExitStack() as stack:
      lock = locks.locked(self.path, fix='give another --workdir')
      hosts.on_host0(lambda: stack.enter_context(lock))
      yield

  def check_free(self) -> None:
    """Raises ValueError if a run is in the folder, which is not changed."""
    hosts.on_host0(
      lambda: locks.check_free(self.path, fix='give another --workdir')
    )

  # What is there before a run.

  def stamp(self) -> tuple[str, ...]:
    """Differs if another run has written a checkpoint or a line since."""

    def read() -> tuple[str, ...]:
      steps = [path.name for path in layout.steps(self._checkpoints)]
      log = self.path / 'metrics.jsonl'
      size = log.stat().st_size if log.exists() else 0
      return (*steps, str(size))

    return tuple(hosts.from_host0(read))

  def has_checkpoints(self) -> bool:
    """Returns whether the workdir has a checkpoint, sound or not."""
    return hosts.from_host0(lambda: bool(layout.steps(self._checkpoints)))

  def records(self) -> list[log_lib.Record]:
    """The records of metrics.jsonl; [] if there is none."""
    return hosts.from_host0(
      lambda: log_lib.read_metrics(self.path / 'metrics.jsonl')
    )

  def newest_checkpoint(
    self, read: Callable[[pathlib.Path], T]
  ) -> tuple[T | None, list[restore.DamagedError]]:
    """Applies `read` to the newest step that it can read, see restore."""
    return restore.newest_sound(self._checkpoints, read=read)

  def clean(
    self, *, step: int, damaged: list[restore.DamagedError], rewrite: bool
  ) -> None:
    """Quarantines damaged steps and removes incomplete ones.

    The run starts from `step`; with `rewrite` it will write that step again,
    with its evaluation.
    """

    def act() -> None:
      for path in layout.clean_partial(self._checkpoints):
        print(f'{path} was being written when a run was killed: removed')
      for error in [*damaged, *self._damaged_below(step)]:
        place = layout.quarantine(error.step)
        print(
          f'warning: {error.step} is damaged: {error.reason}; it was moved to '
          f'{place}, and the run resumes from step {step}',
          flush=True,
        )
      if rewrite:
        layout.hide_unevaluated(self._checkpoints / str(step))

    hosts.on_host0(act)

  def clean_finished(self) -> None:
    """Removes what a run left that was killed after its last checkpoint."""

    def act() -> None:
      if layout.leftovers(self._checkpoints):  # else nothing is written
        with locks.locked(self.path, fix='give another --workdir'):
          layout.clean_partial(self._checkpoints)

    hosts.on_host0(act)

  def _damaged_below(self, step: int) -> list[restore.DamagedError]:
    """Errors of older steps, which orbax reads when it opens the folder."""
    errors = []
    for path in layout.steps(self._checkpoints):
      if int(path.name) < step:
        try:
          restore.read_meta_here(path)
        except restore.DamagedError as error:
          errors.append(error)
    return errors

  # What a run writes.

  def write_json(self, name: str, value: Any) -> None:
    """Replaces a file of the workdir by an object as JSON."""
    hosts.on_host0(lambda: log_lib.write_json(self.path / name, value))

  def write_config(
    self, config: schema.Config, *, resumed: dict[str, Any] | None, step: int
  ) -> None:
    """Writes config.json, with the fields that were changed at which step.

    `resumed` is the config of the checkpoint that the run continues at `step`,
    in case that config.json was lost; None at the start of a run.
    """

    def act() -> None:
      path = self.path / 'config.json'
      before = schema.upgrade(log_lib.read_json(path))  # {} if it was lost
      history = before.pop('history', [])
      if not isinstance(history, list):  # damaged: it only tells
        history = []
      changed = []
      if resumed is None:
        history = []
      else:
        changed = compatible.changes(before or resumed, config)
      for field, old, new in changed:
        print(f'config.{field} was {old} up to step {step}, is {new}')
      if changed:
        fields = [{'field': f, 'was': a, 'is': b} for f, a, b in changed]
        history.append({'step': step, 'time': time.time(), 'changes': fields})
      log_lib.write_json(path, config.to_dict() | {'history': history})

    hosts.on_host0(act)

  @contextlib.contextmanager
  def writing(
    self,
    *,
    kept: list[log_lib.Record],
    keep_newest: int,
    statistics: stats.Statistics,
    consensus: consensus_lib.HostConsensus,
  ) -> Iterator[None]:
    """Opens metrics.jsonl and the checkpoints for the methods below.

    `kept` are the records up to the step that the run starts from; later ones
    go. `keep_newest` and `statistics` are those of CheckpointSaver. `consensus`
    learns of an error of host 0 before it is raised everywhere.
    """

    def open_log() -> log_lib.MetricsLog | None:
      if distributed.is_host0():
        return log_lib.MetricsLog(self.path, kept=kept)
      return None

    self._consensus = consensus
    self._saver = hosts.run_everywhere(  # host 0 writes
      lambda: save_lib.CheckpointSaver(
        self._checkpoints, keep_newest=keep_newest, statistics=statistics
      )
    )
    with contextlib.ExitStack() as closing:
      closing.callback(self._saver.close)  # after the log: reverse order
      self._log = hosts.run_everywhere(open_log)
      if self._log:
        closing.callback(self._log.close)
      yield

  def write(self, record: log_lib.Record) -> None:
    """Appends a record, with the time, to metrics.jsonl and TensorBoard."""
    with self._defer_errors():
      if self._log:
        self._log.write(record | {'time': time.time()})

  def show(
    self, make: Callable[[], Sequence[board.Summary]], *, step: int
  ) -> None:
    """Adds pictures and texts to TensorBoard; `make` is called on host 0."""
    with self._defer_errors():
      if self._log:
        self._log.show(make(), step=step)

  def sync(self) -> None:
    """Waits until host 0's disk has all records; WriteError on all if not."""
    assert self._consensus
    with self._defer_errors():
      if self._log:
        self._log.sync()
    self._consensus.poll()  # raises on all hosts

  def save_predictions(self, found: predictions.Predictions) -> None:
    """Writes predictions.npz."""
    path = self.path / predictions.OF_A_RUN
    with self._defer_errors(), log_lib.write_errors(path):
      if distributed.is_host0():
        predictions.save(found, path)

  def save_checkpoint(
    self,
    step: int,
    *,
    state: TrainState,
    batches: grain.DatasetIterator,
    meta: layout.Meta,
  ) -> None:
    """Starts to write a checkpoint in the background, see CheckpointSaver."""
    assert self._saver
    self._saver.save(
      step,
      state=state.to_tree(),
      iterator_state=batches.get_state(),
      meta=meta,
    )

  def wait_for_checkpoint(self) -> None:
    """Waits until the newest checkpoint is complete."""
    assert self._saver
    self._saver.wait()

  def _defer_errors(self) -> contextlib.AbstractContextManager[None]:
    assert self._consensus, 'writing() comes first'
    return self._consensus.defer_errors()
