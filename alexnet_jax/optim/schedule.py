"""Rates that follow the clock, by kind of parameter and by layer.

Not in the paper, which lowers one rate for all at a plateau (plateau.py); the
authors' notes say when they set which rate by hand (layer-params-145.cfg).

A table is ((when, factor), ...), in order: from `when` on, until the next. It
starts at 0. `when` counts epochs, or fractions of the run.
"""

import math
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import config_dict

Table = tuple[tuple[float, float], ...]


def rates(
  schedule: config_dict.ConfigDict,
  *,
  layers: Iterable[str],
  step: Int[Array, ''],
  steps_per_unit: float,
) -> PyTree:
  """What multiplies the learning rate: {'conv1': {'kernel', 'bias'}, ...}.

  Args:
    schedule: `config.schedule`.
    layers: names of the layers.
    step: minibatches seen so far.
    steps_per_unit: in an epoch, or in the run: whatever the tables count.
  """

  def at(table: Table) -> Float[Array, '']:
    return factor(table, step=step, steps_per_unit=steps_per_unit)

  kinds = {kind: at(schedule[kind]) for kind in ('kernel', 'bias')}
  return {
    name: {kind: kinds[kind] * at(schedule.layer[name][kind]) for kind in kinds}
    for name in layers
  }


def factor(
  table: Table, *, step: Int[Array, ''], steps_per_unit: float
) -> Float[Array, '']:
  """The factor that holds for the minibatch after `step` others.

  >>> table = ((0.0, 1.0), (2.0, 0.1))
  >>> for step in (0, 4, 5):  # 2 epochs of 2.5 steps end with step 5
  ...   print(factor(table, step=jnp.int32(step), steps_per_unit=2.5))
  1.0
  1.0
  0.1
  """
  # A time that is a whole step but for rounding is that step.
  starts = np.array(
    [math.ceil(when * steps_per_unit - 1e-6) for when, _ in table]
  )
  factors = np.array([value for _, value in table], np.float32)
  passed = (step >= jnp.asarray(starts, jnp.int32)).sum()
  return jnp.asarray(factors)[passed - 1]
