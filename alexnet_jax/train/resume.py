"""What a workdir holds, and what of it a run goes on from; not in the paper.

`find` only looks, so that whatever is refused leaves a workdir as it was;
`clear`, under the workdir's lock, then moves damaged steps out of the way.
"""

import pathlib
import time
from typing import Any, NamedTuple

import grain

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.config import validate
from alexnet_jax.parallel import hosts
from alexnet_jax.steps import build
from alexnet_jax.train import log, warm_start

Change = tuple[str, Any, Any]  # field, its value before, and now


class Found(NamedTuple):
  """Where a run begins.

  Attributes:
    step: minibatches seen so far.
    state: after them, on the mesh.
    batches: the next one is that of step + 1.
    meta: of the checkpoint; None at the beginning of a run.
    kept: lines of metrics.jsonl up to there.
    damaged: steps that are newer and cannot be used.
  """

  step: int
  state: build.TrainState
  batches: grain.DatasetIterator
  meta: layout.Meta | None
  kept: list[log.Record]
  damaged: list[restore.DamagedError]


def find(setup: setup_lib.Setup, *, workdir: pathlib.Path) -> Found:
  """The newest sound checkpoint that this config may go on from, or step 0.

  Raises:
    ValueError: if the newest sound one is of another run.
  """

  def read(path: pathlib.Path) -> tuple[layout.Meta, int, build.TrainState]:
    meta = restore.read_meta(path)
    _refuse_other_runs(meta, setup, path=path)
    state = restore.read_state(path, meta=meta, state=setup.programs.state)
    if int(state.step) != int(path.name):
      raise restore.DamagedError(path, f'its arrays are of step {state.step}')
    restore.wind(batches, step=path)
    return meta, int(path.name), state

  history = hosts.of_first(lambda: log.read_metrics(workdir / 'metrics.jsonl'))
  batches = setup_lib.train_batches(setup, total_steps=setup.plan.total_steps)
  found, damaged = restore.newest_sound(workdir / layout.FOLDER, read=read)
  if found:
    meta, step, state = found
  else:
    meta, step, state = None, 0, warm_start.begin(setup)
  kept = [record for record in history if record['step'] <= step]
  return Found(step, state, batches, meta, kept if step else [], damaged)


def agree(setup: setup_lib.Setup) -> None:
  """Refuses processes that do not have the same of what makes a run.

  Where the data lie may differ: it is what they are that counts. And of a
  workdir it is what process 0 sees.

  Raises:
    ValueError: naming what differs, and in which process.
  """
  fields = dict(validate.leaves(setup.config))
  del fields['data.dir']
  hosts.agree(
    {f'config.{field}': repr(value) for field, value in fields.items()}
    | {f'version of {k}': v for k, v in layout.versions().items()}
    | {
      'program': layout.program(),
      'data set': f'{setup.dataset.name} {setup.dataset.fingerprint}',
    }
  )


def _refuse_other_runs(
  meta: layout.Meta, setup: setup_lib.Setup, *, path: pathlib.Path
) -> None:
  setup_lib.check_same_network(meta, setup, path=path)
  setup_lib.check_same_course(meta, setup, path=path)
  if int(path.name) > setup.plan.total_steps:
    raise ValueError(
      f'{path} is beyond the {setup.plan.total_steps:,} steps of this '
      'config: use more of --config.total_steps or --config.num_epochs, or '
      'another --workdir'
    )


def clear(found: Found, *, workdir: pathlib.Path) -> None:
  """Moves damaged steps aside, and lets an unevaluated one be written again."""
  directory = workdir / layout.FOLDER
  for path in layout.tidy(directory):
    print(f'{path} was being written when a run was killed: removed')
  for damaged in found.damaged:
    place = layout.set_aside(damaged.step)
    print(
      f'warning: {damaged.step} is damaged: {damaged.reason}; it is kept as '
      f'{place}, and the run goes on from step {found.step}',
      flush=True,
    )
  if found.meta and found.meta['evaluation_due']:
    layout.make_way(directory / str(found.step))


def write_config(
  setup: setup_lib.Setup, found: Found, *, workdir: pathlib.Path
) -> None:
  """Writes config.json, with what was changed at which step, and says it."""
  path = workdir / 'config.json'
  before = log.read_json(path)
  history = before.pop('history', [])
  if found.meta is None:
    history, changes = [], []
  else:  # if config.json was lost, as at the checkpoint
    changes = setup_lib.changes(before or found.meta['config'], setup.config)
  for field, old, new in changes:
    print(f'config.{field} was {old} up to step {found.step}, is {new}')
  if changes:
    history.append(_entry(changes, step=found.step))
  log.write_json(path, setup.config.to_dict() | {'history': history})


def _entry(changes: list[Change], *, step: int) -> dict[str, Any]:
  return {
    'step': step,
    'time': time.time(),
    'changes': [{'field': f, 'was': old, 'is': new} for f, old, new in changes],
  }
