"""Trains the networks of Figure 1: searches rates, then repeats seeds (§3.1).

Runs are kept in FOLDER/ACTIVATION/rate-R/seed-N, one workdir each, and the same
call continues them. Those of the search have the first seed; the chosen one is
continued to the target. All train in this process, so that each program is
compiled once.
"""

import contextlib
import functools
import math
import pathlib
import sys
import time
from collections.abc import Callable, Sequence

import tqdm

from alexnet_jax import train
from alexnet_jax.checkpoint import compatible
from alexnet_jax.config import schema
from alexnet_jax.runtime import signals
from alexnet_jax.studies.fig1 import curves as curves_lib
from alexnet_jax.train import log as log_lib

Config = schema.Config
_Print = Callable[[str], None]
_REGULARISERS = (
  'optim.weight_decay',
  'model.dropout_rate',
  'augment.random_crop',
  'augment.mirror',
  'augment.colour_stddev',
)
# Fields that may change when a run is continued.
_MAY_CHANGE = ('num_epochs', 'log.', 'eval.', 'checkpoint.', 'health.')


def check(config: Config) -> None:
  """Raises ValueError for a regularised network; Figure 1's are not (§3.1)."""
  for field in _REGULARISERS:
    if value := schema.get(config, field):
      raise ValueError(
        f'config.{field} = {value}, but no net of Figure 1 is regularised: use '
        f'--config.{field}={type(value)(0)}'
      )


def parse_rates(texts: Sequence[str]) -> list[float]:
  """The value of the --rates flag: positive numbers, or a ValueError."""
  try:
    rates = [float(text) for text in texts]
  except ValueError:
    rates = []
  if not rates or not all(0 < rate < math.inf for rate in rates):
    raise ValueError(
      f'--rates={",".join(texts)}: use numbers above 0, such as 0.001,0.003'
    )
  return rates


class Experiment:
  """Trains all runs of the figure, and prints a line for each epoch.

  The config is that of every run, except for activation, rate, seed and length:
  a run ends after `most_epochs`, at the target or not.
  """

  def __init__(
    self,
    config: Config,
    *,
    folder: pathlib.Path,
    most_epochs: int,
    stop: signals.Stop | None = None,
  ):
    self._config, self._folder = config, folder
    self._most_epochs, self._stop = most_epochs, stop
    self._stdout = sys.stdout  # a run redirects sys.stdout to its log

  def train_activation(
    self,
    activation: str,
    *,
    rates: Sequence[float],
    search_epochs: int,
    seeds: Sequence[int],
  ) -> curves_lib.ActivationResult:
    """Chooses the rate with the first seed, then trains each to the target.

    Raises signals.Stopped if a signal came; the run is saved.
    """
    train_run = functools.partial(self.training_errors, activation)
    searched = {
      rate: train_run(rate=rate, seed=seeds[0], epochs=search_epochs)
      for rate in rates
    }
    rate = curves_lib.fastest(searched)
    self._print(f'{activation}: the rate is {rate:g}')
    curves = {
      seed: train_run(rate=rate, seed=seed, epochs=self._most_epochs)
      for seed in seeds
    }
    return curves_lib.ActivationResult(activation, searched, rate, curves)

  def training_errors(
    self, activation: str, *, rate: float, seed: int, epochs: int
  ) -> list[float]:
    """Training errors of a run's epochs; trains or continues it if need be.

    The run ends at the target, after `epochs`, or where it diverges; of a run
    that is longer already the first `epochs` are returned.
    """
    name = f'{activation}/rate-{rate:g}/seed-{seed}'
    workdir = self._folder / name
    config = self._config.copy_and_resolve_references()
    config.model.activation, config.optim.learning_rate = activation, rate
    config.seed, config.num_epochs, config.total_steps = seed, epochs, None
    _refuse_other(config, workdir=workdir)
    done = _read_errors(workdir)[:epochs]
    if len(done) >= epochs or curves_lib.crossing(done):
      return done
    watch = _Watch(name, begun=len(done), epochs=epochs, print_line=self._print)
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / 'log.txt', 'a') as log, contextlib.redirect_stdout(log):
      try:
        train.train(
          config, workdir=workdir, stop=self._stop, stop_when=watch.is_done
        )
      except (train.DivergedError, FloatingPointError) as error:
        self._print(f'{name}: diverged: {error}')
    return _read_errors(workdir)[:epochs]

  def _print(self, line: str) -> None:
    # Bars are on stderr; tqdm.write clears them for sys.stdout alone.
    with tqdm.tqdm.external_write_mode(file=sys.stderr):
      print(line, file=self._stdout, flush=True)


def _refuse_other(config: Config, *, workdir: pathlib.Path) -> None:
  """Raises ValueError if a workdir holds a run of another config."""
  before = schema.upgrade(log_lib.read_json(workdir / 'config.json'))
  before.pop('history', None)
  for field, old, new in compatible.changes(before, config) if before else ():
    if not field.startswith(_MAY_CHANGE):
      raise ValueError(
        f'{workdir}: config.{field} was {old}, is {new}: use another --output, '
        'or what it was'
      )


def _read_errors(workdir: pathlib.Path) -> list[float]:
  lines = log_lib.read_metrics(workdir / 'metrics.jsonl')
  return curves_lib.epoch_errors(lines)


class _Watch:
  """Ends a run at the target, and prints a line after each epoch."""

  def __init__(self, name: str, *, begun: int, epochs: int, print_line: _Print):
    self._name, self._print, self._epochs = name, print_line, epochs
    self._printed = self._begun = begun  # epochs
    self._start = time.monotonic()

  def is_done(self, lines: list[log_lib.Record]) -> bool:
    """Whether the run has reached the target; the stop_when of train.train."""
    errors = curves_lib.epoch_errors(lines)
    if len(errors) > self._printed:
      self._printed = len(errors)
      self._print_epoch(errors[-1], speed=lines[-1]['images_per_second'])
    return curves_lib.crossing(errors) is not None

  def _print_epoch(self, error: float, *, speed: float) -> None:
    took = (time.monotonic() - self._start) / (self._printed - self._begun)
    left = took * (self._epochs - self._printed) / 60
    self._print(
      f'{self._name}: epoch {self._printed}, training error {error:.1%}; '
      f'{speed:.0f} images/s, {took:.0f} s an epoch, at most {left:.1f} min '
      'left of this run'
    )
