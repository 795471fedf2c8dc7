"""Losses and gradients that are no numbers (not in the paper).

The step itself applies no update that it knows to be bad (steps/build.py); here the
host finds out, says which layer it was, and ends the run or goes on. It looks
at a step's numbers a few steps later, when they are there: nothing waits.
"""

import collections
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PyTree

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import checksums
from alexnet_jax.parallel import ballots, hosts
from alexnet_jax.train import crew as crew_lib

_LAG = 2  # steps that may be on their way
Row = dict[str, float]


class DivergedError(RuntimeError):
  """The loss or an error rate is no longer a finite number."""


class _Flight(NamedTuple):
  step: int
  batch: dict[str, Array]
  means: dict[str, Array]


class Guard:
  """The numbers of the steps that are on their way."""

  def __init__(
    self, setup: setup_lib.Setup, *, crew: crew_lib.Crew, skipped: int
  ):
    """Begins with no step on its way.

    Args:
      setup: its config.guard.max_skipped_steps is the limit.
      crew: told of the ballots that come with the numbers.
      skipped: steps of this run that were left out so far.
    """
    self._setup = setup
    self._crew = crew
    self._flights: collections.deque[_Flight] = collections.deque()
    self.skipped = skipped
    self.untold: list[str] = []  # steps that were left out since last told

  def send(
    self, step: int, *, batch: dict[str, Array], means: dict[str, Array]
  ) -> None:
    """Takes what a step was given and what it will give."""
    self._flights.append(_Flight(step, batch, means))

  def land(self, *, params: PyTree, all_of_them: bool = False) -> list[Row]:
    """The numbers of the steps that should have come, the sound ones.

    Args:
      params: as they are now, to find the layer with if one is not sound.
      all_of_them: waits for every step.

    Raises:
      DivergedError: if a step is not sound and no more may be left out.
      ValueError: if a process failed before one; likewise OSError.
    """
    rows = []
    while len(self._flights) > (0 if all_of_them else _LAG):
      flight = self._flights.popleft()
      row = jax.device_get(flight.means)
      self._crew.hear(row.pop(ballots.NAME, None))
      finite = row.pop('finite').all(axis=0)  # of layers
      if finite.all() and math.isfinite(row['loss']):
        rows.append({name: float(value) for name, value in row.items()})
      else:
        loss = float(row['loss'])
        where = self._where(flight, loss, finite, params=params)
        self._refuse(f'step {flight.step}: the loss is {loss}, and {where}')
    return rows

  def _refuse(self, what: str) -> None:
    most = self._setup.config.guard.max_skipped_steps
    self.skipped += 1
    if self.skipped > most:
      raise DivergedError(f'{what}. {_ADVICE}')
    self.untold.append(
      f'warning: {what}: its update is left out, {self.skipped} of at most '
      f'{most} (config.guard.max_skipped_steps)'
    )

  def _where(
    self, flight: _Flight, loss: float, finite: np.ndarray, *, params: PyTree
  ) -> str:
    """What is not finite first, in the order of computing."""
    bad = checksums.digest(params).not_finite
    if bad:
      return f'the array {bad[0]} holds values that are not finite'
    if not math.isfinite(loss):
      moments = self._setup.programs.probe(
        params, self._setup.mean_image, flight.batch
      )
      stage = _first_stage(hosts.fetch(moments), self._setup)
      if stage:
        return f'the activations of {stage} are the first that are not finite'
    pairs = zip(sorted(params), finite, strict=True)
    layers = [layer for layer, sound in pairs if not sound]
    if layers:  # the way back from fc8 comes to the last one first
      return f'the gradient of {layers[-1]} is not finite'
    return 'all activations are finite without dropout'


def _first_stage(moments: dict[str, Any], setup: setup_lib.Setup) -> str:
  """The first activation that is not finite; '' if there is none."""
  for stage in setup_lib.stages(setup):
    if not np.isfinite(moments[stage].mean).all():
      return stage
  return ''


_ADVICE = (
  'Its update was not applied, and the checkpoints are as they were. Try a '
  'lower --config.optim.learning_rate, the initial values of '
  'configs/source2012.py, '
  'or a look at the images; --config.guard.max_skipped_steps=5 would go on '
  'without such steps'
)


def check_state(digests: checksums.Digests, *, step: int) -> None:
  """Refuses to save parameters or velocities that are not finite.

  Raises:
    DivergedError: naming the first array.
  """
  bad = [
    n for n in digests.not_finite if n.startswith(('params/', 'opt_state/'))
  ]
  if bad:
    raise DivergedError(
      f'step {step}: the array {bad[0]} holds values that are not finite and '
      f'is not saved. {_ADVICE}'
    )


def check_errors(loss: float, *, step: int) -> None:
  """Refuses a validation loss that is not finite.

  Raises:
    DivergedError: with the step.
  """
  if not math.isfinite(loss):
    raise DivergedError(
      f'step {step}: the validation loss is {loss}. {_ADVICE}'
    )
