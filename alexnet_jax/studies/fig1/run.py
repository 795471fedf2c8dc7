"""Figure 1's runs: a rate for each activation, then seeds to 25 % (§3.1).

Runs are kept under FOLDER/ACTIVATION/rate-R/seed-N, one workdir each, and the
same call goes on with them. Those of the search have the first seed and are its
first epochs: the chosen one is gone on with. All are in this process, so that
what is compiled for one serves the others.
"""

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Sequence

import tqdm

from alexnet_jax import setup, train
from alexnet_jax.config import validate
from alexnet_jax.runtime import signals
from alexnet_jax.studies.fig1 import curves as curves_lib
from alexnet_jax.train import log as log_lib

Config = validate.Config
_Tell = Callable[[str], None]
_REGULARISERS = (
  'optim.weight_decay',
  'model.dropout_rate',
  'augment.random_crop',
  'augment.mirror',
  'augment.colour_stddev',
)
# What may differ in a run that is gone on with.
_MAY_CHANGE = ('num_epochs', 'log.', 'eval.', 'checkpoint.', 'health.')


def check(config: Config) -> None:
  """Refuses what the figure's nets do without: regularisation (§3.1).

  Raises:
    ValueError: naming the first field that is on.
  """
  for field in _REGULARISERS:
    value = validate.get(config, field)
    if value:
      raise ValueError(
        f'config.{field} = {value}, but no net of Figure 1 is regularised: use '
        f'--config.{field}={type(value)(0)}'
      )


class Experiment:
  """All runs of one figure, and what is told of them."""

  def __init__(
    self,
    config: Config,
    *,
    folder: pathlib.Path,
    most_epochs: int,
    stop: signals.Stop | None = None,
  ):
    """Nothing is run yet.

    Args:
      config: of every run, but for its activation, rate, seed and length.
      folder: gets the runs.
      most_epochs: after which a run ends, at the target or not.
      stop: told by signals.
    """
    self._config = config
    self._folder = folder
    self._most_epochs = most_epochs
    self._stop = stop
    self._stdout = sys.stdout  # while a run has its log for it

  def net(
    self,
    activation: str,
    *,
    rates: Sequence[float],
    search_epochs: int,
    seeds: Sequence[int],
  ) -> curves_lib.Net:
    """Chooses the rate with the first seed, then trains each to the target.

    Raises:
      stopping.Stopped: if a signal came; the run is saved.
    """
    searched = {
      rate: self.curve(
        activation, rate=rate, seed=seeds[0], epochs=search_epochs
      )
      for rate in rates
    }
    rate = curves_lib.fastest(searched)
    self._tell(f'{activation}: the rate is {rate:g}')
    curves = {
      seed: self.curve(
        activation, rate=rate, seed=seed, epochs=self._most_epochs
      )
      for seed in seeds
    }
    return curves_lib.Net(activation, searched, rate, curves)

  def curve(
    self, activation: str, *, rate: float, seed: int, epochs: int
  ) -> list[float]:
    """Training errors of a run's epochs; it is made, or gone on with.

    It ends with the target, after `epochs`, or where it diverges; of a run
    that is longer already, the first `epochs`.
    """
    name = f'{activation}/rate-{rate:g}/seed-{seed}'
    workdir = self._folder / name
    config = self._of_run(activation, rate=rate, seed=seed, epochs=epochs)
    _refuse_other(config, workdir=workdir)
    done = _errors(workdir)[:epochs]
    if len(done) >= epochs or curves_lib.crossing(done):
      return done
    watch = _Watch(name, begun=len(done), epochs=epochs, tell=self._tell)
    workdir.mkdir(parents=True, exist_ok=True)
    with (
      open(workdir / 'log.txt', 'a') as log,
      contextlib.redirect_stdout(log),
    ):
      try:
        train.train(
          config, workdir=workdir, stop=self._stop, enough=watch.enough
        )
      except (train.DivergedError, FloatingPointError) as error:
        self._tell(f'{name}: diverged: {error}')
    return _errors(workdir)[:epochs]

  def _of_run(
    self, activation: str, *, rate: float, seed: int, epochs: int
  ) -> Config:
    config = self._config.copy_and_resolve_references()
    config.model.activation = activation
    config.optim.learning_rate = rate
    config.seed = seed
    config.num_epochs = epochs
    config.total_steps = None
    return config

  def _tell(self, line: str) -> None:
    tqdm.tqdm.write(line, file=self._stdout)
    self._stdout.flush()


def _refuse_other(config: Config, *, workdir: pathlib.Path) -> None:
  """Raises ValueError if a workdir holds a run of another config."""
  before = log_lib.read_json(workdir / 'config.json')
  before.pop('history', None)
  for field, old, new in setup.changes(before, config) if before else ():
    if not field.startswith(_MAY_CHANGE):
      raise ValueError(
        f'{workdir}: config.{field} was {old}, is {new}: use another --output, '
        'or what it was'
      )


def _errors(workdir: pathlib.Path) -> list[float]:
  return curves_lib.epoch_errors(
    log_lib.read_metrics(workdir / 'metrics.jsonl')
  )


class _Watch:
  """Ends a run that is at the target, and tells of each epoch."""

  def __init__(self, name: str, *, begun: int, epochs: int, tell: _Tell):
    self._name, self._tell, self._epochs = name, tell, epochs
    self._told = self._begun = begun
    self._start = time.monotonic()

  def enough(self, lines: list[log_lib.Record]) -> bool:
    """As train.train takes it."""
    errors = curves_lib.epoch_errors(lines)
    if len(errors) > self._told:
      self._told = len(errors)
      self._say(errors[-1], speed=lines[-1]['images_per_second'])
    return curves_lib.crossing(errors) is not None

  def _say(self, error: float, *, speed: float) -> None:
    took = (time.monotonic() - self._start) / (self._told - self._begun)
    left = took * (self._epochs - self._told) / 60
    self._tell(
      f'{self._name}: epoch {self._told}, training error {error:.1%}; '
      f'{speed:.0f} images/s, {took:.0f} s an epoch, at most {left:.1f} min '
      'left of this run'
    )
