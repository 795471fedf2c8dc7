"""Where a run starts: at its newest sound checkpoint, or at step 0.

`find` only reads, so that a config or a checkpoint that is refused leaves the
workdir as it was.
"""

import pathlib
from typing import NamedTuple

import grain

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import compatible, layout, restore
from alexnet_jax.config import schema
from alexnet_jax.parallel import hosts
from alexnet_jax.runtime import environment
from alexnet_jax.steps.state import TrainState
from alexnet_jax.train import log as log_lib
from alexnet_jax.train import workdir as workdir_lib


class Resume(NamedTuple):
  """The step, state and data position that a run starts from."""

  step: int  # minibatches seen so far
  state: TrainState  # after them, on the mesh
  batches: grain.DatasetIterator  # the next minibatch is that of step + 1
  meta: layout.Meta | None  # of the checkpoint; None at the start of a run
  kept: list[log_lib.Record]  # of metrics.jsonl, up to that step
  damaged: list[restore.DamagedError]  # newer steps that cannot be used

  @property
  def evaluation_due(self) -> bool:
    """Whether the checkpoint was saved before its epoch's evaluation."""
    return bool(self.meta and self.meta['evaluation_due'])


def find(setup: setup_lib.Setup, *, workdir: workdir_lib.Workdir) -> Resume:
  """Reads the newest sound checkpoint, or builds the state before step 1.

  Raises ValueError if the newest sound checkpoint is of another run.
  """

  def read(path: pathlib.Path) -> tuple[layout.Meta, int, TrainState]:
    meta = restore.read_meta(path)  # checks every file first
    compatible.check_resumable(
      meta, setup.config, dataset=setup.dataset, path=path
    )
    if int(path.name) > setup.plan.total_steps:
      raise ValueError(
        f'{path} is beyond the {setup.plan.total_steps:,} steps of this '
        'config: use more of --config.total_steps or --config.num_epochs, or '
        'another --workdir'
      )
    tree = setup.programs.state.to_tree()  # shapes, dtypes and shardings
    state = TrainState(**restore.read_state(path, meta=meta, state=tree))
    batches.set_state(restore.read_iterator(path))  # see data/pipeline.py
    batches.start_prefetch()  # while the rest is prepared
    return meta, int(path.name), state

  records = workdir.records()
  batches = setup_lib.train_batches(setup, total_steps=setup.plan.total_steps)
  found, damaged = workdir.newest_checkpoint(read)
  if found:
    meta, step, state = found
  else:
    meta, step, state = None, 0, _initial_state(setup)
  kept = [record for record in records if step and record['step'] <= step]
  if meta and 'environment' in meta:
    for change in environment.changes(meta['environment']):
      print(f'warning: since step {step:,}, {change}', flush=True)
  lost = _lost_lines(kept, meta, step=step)
  if lost:
    print(f'warning: metrics.jsonl lacks the lines of {lost}', flush=True)
  return Resume(step, state, batches, meta, kept, damaged)


def _lost_lines(
  kept: list[log_lib.Record], meta: layout.Meta | None, *, step: int
) -> str:
  """Says which steps before a checkpoint have no log line; '' if all have."""
  if meta is None:
    return ''
  logged = [record['step'] for record in kept if record['split'] == 'train']
  last = step - len(meta['pending'])  # later ones are in the checkpoint
  if not logged:
    return f'steps 1 to {last}' if last else ''
  if logged[0] > 1:
    return f'steps 1 to {logged[0] - 1}'
  if logged[-1] < last:
    return f'steps {logged[-1] + 1} to {last}'
  return ''


def _initial_state(setup: setup_lib.Setup) -> TrainState:
  if not setup.config.init_from:
    return setup.programs.init()
  from alexnet_jax.train import warm_start

  return warm_start.initial_state(setup)


def assert_same_run(setup: setup_lib.Setup) -> None:
  """Raises ValueError if config, packages, program or data of hosts differ."""
  fields = dict(schema.leaves(setup.config))
  del fields['data.dir']  # hosts may mount it elsewhere: the fingerprint counts
  hosts.assert_equal(
    {f'config.{field}': repr(value) for field, value in fields.items()}
    | {f'version of {k}': v for k, v in layout.versions().items()}
    | {
      'program': layout.program(),  # a digest of the sources
      'data set': f'{setup.dataset.name} {setup.dataset.fingerprint}',
    }
  )
