"""Training, from whatever a workdir holds to the end of the config (§5).

  resume   what a workdir holds, and what may go on from it
  pretrained  layers of another run to begin with
  crew     what all processes do after the same step
  loop     step, log, evaluate, lower the rate, save, stop
  guard    losses and gradients that are no numbers
  profile  a trace of a few steps

The same command goes on where the workdir's newest sound checkpoint is.
Everything random is a function of the seed and the step, so a run that was
stopped, in whatever way, and one that was not give the same numbers.
"""

import contextlib
import pathlib

from ml_collections import config_dict

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import layout, save
from alexnet_jax.parallel import distributed, hosts
from alexnet_jax.runtime import locks, signals
from alexnet_jax.train import crew as crew_lib
from alexnet_jax.train import log as log_lib
from alexnet_jax.train import loop as loop_lib
from alexnet_jax.train import profile as profile_lib
from alexnet_jax.train import resume
from alexnet_jax.train.guard import DivergedError

__all__ = ['DivergedError', 'train']


def train(
  config: config_dict.ConfigDict,
  *,
  workdir: pathlib.Path,
  stop: signals.Stop | None = None,
  profile: range = range(0),
  enough: loop_lib.Enough | None = None,
) -> None:
  """Trains to the end of the config, or goes on from the newest checkpoint.

  Args:
    config: every field.
    workdir: made if need be; one run at a time. Of several processes process 0
      alone looks at it.
    stop: told by signals; none given: they end the process.
    profile: steps of which WORKDIR/profile gets a trace.
    enough: told of the lines of metrics.jsonl when an epoch ends, and whenever
      the run is gone on with; once it says so, the run is at its end. Each
      epoch then has lines of its own.

  Raises:
    ValueError: if the workdir holds a run that this config cannot continue, a
      checkpoint cannot be written, or `profile` has steps beyond the end.
    DivergedError: if the loss or a gradient is no longer finite.
    stopping.Stopped: if `stop` was asked to; what there was is saved.
  """
  stop = stop or signals.Stop()
  setup = hosts.together(lambda: setup_lib.set_up(config))
  resume.agree(setup)
  # From here on others have to learn of a signal before it ends this process.
  early = (
    stop.held('soon') if distributed.several() else contextlib.nullcontext()
  )
  with early:
    _begin(setup, workdir=workdir, stop=stop, profile=profile, enough=enough)


def _begin(
  setup: setup_lib.Setup,
  *,
  workdir: pathlib.Path,
  stop: signals.Stop,
  profile: range,
  enough: loop_lib.Enough | None,
) -> None:
  """Looks at the workdir, and goes on from there unless all is done."""
  found = resume.find(setup, workdir=workdir)
  if loop_lib.is_done(setup, found, enough=enough):
    print(f'done already: {log_lib.describe(found.kept[-1])}')
    return
  trace = profile_lib.Profile(profile, workdir / 'profile')
  said = hosts.of_first(
    lambda: trace.check(step=found.step, total_steps=setup.plan.total_steps)
  )
  _check(stop)
  with contextlib.ExitStack() as held:
    lock = locks.locked(workdir, fix='give another --workdir')
    hosts.first_does(lambda: held.enter_context(lock))
    hosts.first_does(lambda: resume.clear(found, workdir=workdir))
    if said:
      print(said)
    _run(setup, found, workdir=workdir, stop=stop, trace=trace, enough=enough)


def _check(stop: signals.Stop) -> None:
  """Ends all processes before the first step, if one has had a signal.

  Of one process alone a signal makes an end by itself.

  Raises:
    stopping.Stopped: then.
  """
  if distributed.several() and any(hosts.total([int(stop.asked)])):
    print('stopped before the first step: run the same command again')
    raise signals.Stopped


def _run(
  setup: setup_lib.Setup,
  found: resume.Found,
  *,
  workdir: pathlib.Path,
  stop: signals.Stop,
  trace: profile_lib.Profile,
  enough: loop_lib.Enough | None,
) -> None:
  """Opens what a run writes to, and runs the loop."""
  hosts.first_does(lambda: resume.write_config(setup, found, workdir=workdir))
  print(setup_lib.describe(setup, workdir=workdir, step=found.step), flush=True)
  if found.step == 0:
    loop_lib.check_health(setup, found.state, workdir=workdir)
  _check(stop)
  newest = setup.config.checkpoint.keep_newest
  saved = hosts.together(
    lambda: save.Store(workdir / layout.FOLDER, keep_newest=newest)
  )
  log = hosts.together(
    lambda: log_lib.Metrics(
      workdir, kept=found.kept, writes=distributed.is_first()
    )
  )
  crew = crew_lib.Crew(
    stop,
    mesh=setup.mesh,
    save_seconds=60 * setup.config.checkpoint.every_minutes,
  )
  with stop.held(), contextlib.ExitStack() as closing:
    closing.callback(log.close)
    closing.callback(saved.close)
    profile = closing.enter_context(trace)
    loop = loop_lib.Loop(
      setup,
      found,
      store=saved,
      log=log,
      workdir=workdir,
      crew=crew,
      profile=profile,
      enough=enough,
    )
    closing.callback(loop.close)
    try:
      with crew.unwinding():
        loop.run(found.state)
    except signals.Stopped:  # the last checkpoint is whole by now
      print('stopped, and saved: run the same command again to go on')
      raise
