"""Losses and gradients that are not finite (NaN or infinite).

The compiled step applies no update that it knows to be bad (steps/train.py).
Here the host finds out which layer it was, and ends the run or skips the step.
It looks at a step's outputs a few steps later, when they have arrived, so that
the loop never waits for the device.
"""

import collections
import math
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PyTree

from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import checksums
from alexnet_jax.models import alexnet
from alexnet_jax.parallel import consensus as consensus_lib
from alexnet_jax.parallel import hosts

_LAG = 2  # steps that may be running ahead of the host
StepNumbers = dict[str, float]  # loss, error rates, learning rate


class DivergedError(RuntimeError):
  """The loss, a gradient or an error rate is no longer finite."""


class _PendingStep(NamedTuple):
  step: int
  batch: dict[str, Array]  # for the probe, if it fails
  outputs: dict[str, Array]


class Guard:
  """The outputs of steps that are still running, and checks of them."""

  def __init__(
    self,
    setup: setup_lib.Setup,
    *,
    consensus: consensus_lib.HostConsensus,
    skipped: int,
  ):
    """Starts with no step pending, and `skipped` steps skipped before."""
    self._setup = setup
    self._consensus = consensus
    self._pending: collections.deque[_PendingStep] = collections.deque()
    self.skipped = skipped
    self.warnings: list[str] = []  # for the caller to print and clear

  def enqueue(
    self, step: int, *, batch: dict[str, Array], outputs: dict[str, Array]
  ) -> None:
    """Adds a step that was just dispatched."""
    self._pending.append(_PendingStep(step, batch, outputs))

  def drain(
    self, *, variables: PyTree, wait: bool = False
  ) -> list[StepNumbers]:
    """Returns the numbers of finished steps (`wait`: of all) that are finite.

    The current `variables` show which layer is not. Raises DivergedError if a
    step is not finite and no more may be skipped, and the ValueError or OSError
    of a host that failed.
    """
    rows = []
    while len(self._pending) > (0 if wait else _LAG):
      pending = self._pending.popleft()
      row = jax.device_get(pending.outputs)  # waits for that step only
      self._consensus.update(row.pop(consensus_lib.FLAGS, None))
      finite = row.pop('finite').all(axis=0)  # [layers]
      if finite.all() and math.isfinite(row['loss']):
        rows.append({name: float(value) for name, value in row.items()})
      else:
        loss = float(row['loss'])  # NaN or infinite, or a gradient is
        where = self._where(pending, loss, finite, variables=variables)
        self._skip(f'step {pending.step}: the loss is {loss}, and {where}')
    return rows

  def _skip(self, what: str) -> None:
    most = self._setup.config.guard.max_skipped_steps
    self.skipped += 1  # checkpoints keep the count
    if self.skipped > most:
      raise DivergedError(f'{what}. {_ADVICE}')
    self.warnings.append(
      f'warning: {what}: its update is left out, {self.skipped} of at most '
      f'{most} (config.guard.max_skipped_steps)'
    )

  def _where(
    self,
    pending: _PendingStep,
    loss: float,
    finite: np.ndarray,
    *,
    variables: PyTree,
  ) -> str:
    """Names what is not finite first, in the order of computation."""
    params = variables['params']
    bad = checksums.digest(params).not_finite  # on the device
    if bad:
      return f'the array {bad[0]} holds values that are not finite'
    if not math.isfinite(loss):
      probe, mean_image = self._setup.programs.probe, self._setup.mean_image
      moments = hosts.to_host(probe(variables, mean_image, pending.batch))
      for stage in alexnet.stages(self._setup.config.model):
        if not np.isfinite(moments[stage].mean).all():
          return f'the activations of {stage} are the first that are not finite'
    pairs = zip(sorted(params), finite, strict=True)
    layers = [layer for layer, sound in pairs if not sound]
    if layers:  # backpropagation, from fc8 down, reaches the last one first
      return f'the gradient of {layers[-1]} is not finite'
    return 'all activations are finite without dropout'


_TRY = (
  'Try a lower --config.optim.learning_rate, the initial values of '
  '--config=source2012, or a look at the images'
)
_ADVICE = (
  f'Its update was not applied, and the checkpoints are as they were. {_TRY}; '
  '--config.guard.max_skipped_steps=5 would skip such steps'
)


def check_state_finite(digests: checksums.Digests, *, step: int) -> None:
  """Raises DivergedError, with the first array's name, if one is not finite."""
  kinds = ('params/', 'opt_state/', 'model_state/')
  bad = [name for name in digests.not_finite if name.startswith(kinds)]
  if bad:
    raise DivergedError(
      f'step {step}: the array {bad[0]} holds values that are not finite and '
      f'is not saved: the checkpoints are as they were. {_TRY}'
    )


def check_loss_finite(loss: float, *, step: int) -> None:
  """Raises DivergedError if a validation loss is not finite."""
  if not math.isfinite(loss):
    raise DivergedError(
      f'step {step}: the validation loss is {loss}. {_ADVICE}'
    )
