"""The entry point of training: resumes a workdir's run, then runs the loop.

The same command continues from the workdir's newest sound checkpoint. All
randomness is a function of the seed and the step, so a run that was stopped, in
whatever way, gives the same numbers as one that was not.
"""

import contextlib
import pathlib

from alexnet_jax import setup as setup_lib
from alexnet_jax.config import schema
from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.parallel import consensus as consensus_lib
from alexnet_jax.parallel import distributed, hosts
from alexnet_jax.runtime import signals, terminal
from alexnet_jax.train import health, resume
from alexnet_jax.train import log as log_lib
from alexnet_jax.train import loop as loop_lib
from alexnet_jax.train import profile as profile_lib
from alexnet_jax.train import workdir as workdir_lib


def train(
  config: schema.Config,
  *,
  workdir: pathlib.Path,
  stop: signals.Stop | None = None,
  profile: range = range(0),
  stop_when: loop_lib.StopWhen | None = None,
) -> None:
  """Trains to the end of the config, from the newest checkpoint or step 0.

  Args:
    workdir: folder of the run, made if need be; one run at a time.
    stop: set by signals; None: signals end the process.
    profile: steps that are traced into WORKDIR/profile.
    stop_when: called with the metrics log after each epoch and on resuming;
      returns True to end the run early. Each epoch then has its own log lines.

  Raises:
    ValueError: if this config cannot continue the workdir's run, a checkpoint
      cannot be written, or `profile` has steps beyond the end.
    DivergedError: if the loss or a gradient is no longer finite.
    signals.Stopped: if a signal came; the state is saved.
  """
  stop = stop or signals.Stop()
  setup = hosts.run_everywhere(lambda: _set_up(config))
  resume.assert_same_run(setup)  # before anything is written
  folder = workdir_lib.Workdir(workdir)
  with contextlib.ExitStack() as stack:
    if distributed.is_multihost():
      # From here on the other hosts must learn of a signal before it acts.
      stack.enter_context(stop.defer('soon'))
    folder.check_free()  # before files are read that another run may write
    setup = _as_measured(setup, workdir=workdir)
    before = folder.stamp()
    new = not folder.has_checkpoints()
    if new:  # it compiles while the initial values are made
      setup = setup_lib.compile_ahead(setup)
    start = resume.find(setup, workdir=folder)  # only reads
    if _says_done(setup, start, stop_when=stop_when):
      folder.clean_finished()
      return
    if not new:  # now known to have steps left
      setup = setup_lib.compile_ahead(setup)
    trace = profile_lib.Profile(profile, workdir / 'profile')
    message = hosts.from_host0(
      lambda: trace.check(step=start.step, total_steps=setup.plan.total_steps)
    )
    consensus_lib.stop_before_step_1(stop)
    stack.enter_context(folder.locked())  # from here on this run writes
    if folder.stamp() != before:  # another run was still writing
      start = resume.find(setup, workdir=folder)
      if _says_done(setup, start, stop_when=stop_when):
        return
    if message:
      print(message)
    _run(setup, start, folder, stop=stop, trace=trace, stop_when=stop_when)


def _set_up(config: schema.Config) -> setup_lib.Setup:
  """Opens the data and builds the programs.

  Raises ValueError if there are no training images.
  """
  setup = setup_lib.set_up(config)
  if setup.dataset.train is setup.dataset.val:
    raise ValueError(
      f'{config.data.dir} has no training images, as sets to evaluate on: use '
      f'another, or {metadata_lib.prepare_again(config.data.dir)}'
    )
  return setup


def _as_measured(
  setup: setup_lib.Setup, *, workdir: pathlib.Path
) -> setup_lib.Setup:
  """Fills in fields of schema.MEASURED: as before, or as measured now."""
  missing = [f for f in schema.MEASURED if setup.config[f] is None]
  if not missing:
    return setup

  def before() -> dict[str, int]:
    file = workdir / 'config.json'
    stored = log_lib.read_json(file) if file.is_file() else {}
    stored = schema.upgrade(stored)
    return {f: stored[f] for f in missing if isinstance(stored.get(f), int)}

  from alexnet_jax.steps import measure

  setup = setup_lib.with_measured(setup, hosts.from_host0(before))
  found = measure.choose(
    setup.config,
    mesh=setup.mesh,
    plan=setup.plan,
    inputs=measure.Inputs(
      setup.mean_image, lambda: setup_lib.blank_batch(setup)
    ),
  )
  return setup_lib.with_measured(setup, found)


def _says_done(
  setup: setup_lib.Setup,
  start: resume.Resume,
  *,
  stop_when: loop_lib.StopWhen | None,
) -> bool:
  if not loop_lib.is_done(setup, start, stop_when=stop_when):
    return False
  done = f'done already: {log_lib.describe(start.kept[-1])}'
  print(terminal.wrapped(done))
  return True


def _run(
  setup: setup_lib.Setup,
  start: resume.Resume,
  workdir: workdir_lib.Workdir,
  *,
  stop: signals.Stop,
  trace: profile_lib.Profile,
  stop_when: loop_lib.StopWhen | None,
) -> None:
  """Prepares the workdir and runs the loop."""
  config, meta = setup.config, start.meta
  workdir.clean(
    step=start.step, damaged=start.damaged, rewrite=start.evaluation_due
  )
  workdir.write_config(
    config, resumed=meta['config'] if meta else None, step=start.step
  )
  about = setup_lib.describe(setup, workdir=workdir.path, step=start.step)
  print(terminal.wrapped(about), flush=True)
  if start.step == 0:  # a resumed run was checked when it began
    _report_health(setup, start, workdir)
  consensus_lib.stop_before_step_1(stop)
  consensus = consensus_lib.HostConsensus(
    stop, mesh=setup.mesh, save_seconds=60 * config.checkpoint.every_minutes
  )
  writing = workdir.writing(
    kept=start.kept,
    keep_newest=config.checkpoint.keep_newest,
    statistics=setup.dataset.statistics,
    consensus=consensus,
  )
  with stop.defer(), writing, trace as profile:
    loop = loop_lib.Loop(
      setup,
      start,
      workdir=workdir,
      consensus=consensus,
      profile=profile,
      stop_when=stop_when,
    )
    try:
      with contextlib.closing(loop), consensus.close_on_error():
        loop.run(start.state)
    except signals.Stopped:  # the newest checkpoint is complete by now
      print('stopped, and saved: run the same command again to resume')
      raise


def _report_health(
  setup: setup_lib.Setup, start: resume.Resume, workdir: workdir_lib.Workdir
) -> None:
  """Prints and saves the activations of the first minibatch, and warnings."""
  report, warnings = health.check(setup, start.state.variables)
  table = health.describe(report, minimum=setup.config.health.min_signal)
  print(table, *map(terminal.wrapped, warnings), sep='\n', flush=True)
  rows = [row._asdict() for row in report.rows]
  workdir.write_json('health.json', {'images': report.images, 'rows': rows})
