"""Factors of the learning rate by epoch, layer and size of the minibatch.

The paper lowers one rate for all parameters at a plateau (plateau.py). The
authors' notes say when they set which rate by hand (layer-params-145.cfg); here
such a list is a table ((when, factor), ...) in order: a factor holds from its
`when` until the next. Tables start at 0 and count epochs, or fractions of the
run.

They also have a run of 256 images whose rates are doubled, which "matches #170
exactly" (layer-params-170-256-double.cfg): that is the linear scaling rule
without warm-up. Rule and warm-up are those of Goyal et al., "Accurate, Large
Minibatch SGD" (2017, arXiv:1706.02677), §2.1 and §2.2.
"""

import math
from collections.abc import Iterable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import config_dict

Table = tuple[tuple[float, float], ...]


def factors(
  schedule: config_dict.ConfigDict,
  *,
  layers: Iterable[str],
  step: Int[Array, ''],
  steps_per_unit: float,
) -> PyTree:
  """Returns factors of the rate: {'conv1': {'kernel', 'bias'}, ...}.

  `schedule` is config.schedule, `step` the minibatches seen so far,
  `steps_per_unit` those in an epoch or, if tables count fractions, in the run.
  """

  def at(table: Table) -> Float[Array, '']:
    return factor(table, step=step, steps_per_unit=steps_per_unit)

  kinds = {kind: at(schedule[kind]) for kind in ('kernel', 'bias')}
  # A layer without tables of its own, such as a norm, follows the kernels'.
  return {
    name: {kind: kinds[kind] * at(own[kind]) for kind in kinds}
    if (own := schedule.layer.get(name))
    else kinds['kernel']
    for name in layers
  }


def factor(
  table: Table, *, step: Int[Array, ''], steps_per_unit: float
) -> Float[Array, '']:
  """Returns the factor of one table for the minibatch after `step` others.

  >>> table = ((0.0, 1.0), (2.0, 0.1))
  >>> for step in (0, 4, 5):  # 2 epochs of 2.5 steps end with step 5
  ...   print(factor(table, step=jnp.int32(step), steps_per_unit=2.5))
  1.0
  1.0
  0.1
  """
  # The 1e-6 keeps a time that is a whole step from rounding up to the next.
  starts = [math.ceil(when * steps_per_unit - 1e-6) for when, _ in table]
  constants = [
    optax.constant_schedule(jnp.float32(value)) for _, value in table
  ]
  return jnp.asarray(optax.join_schedules(constants, starts[1:])(step))


def batch_scaling(
  scaling: config_dict.ConfigDict,
  *,
  batch_size: int,
  step: Int[Array, ''],
  steps_per_epoch: float,
) -> float | Float[Array, '']:
  """Returns the factor of every rate: k = batch_size / base_batch_size.

  During warm-up it rises linearly from 1:

      1 + (k - 1) min(step / steps of the warm-up, 1)

  The factors of the plateau and of config.schedule multiply it, during the
  warm-up too: its epochs count for them. `batch_size` counts the images of a
  minibatch on all devices and in all its parts, `step` the minibatches seen so
  far; `steps_per_epoch` need not be whole.

  >>> scaling = config_dict.ConfigDict(
  ...   dict(rule='linear', base_batch_size=128, warmup_epochs=2)
  ... )
  >>> sizes = {'batch_size': 512, 'steps_per_epoch': 2.0}
  >>> for step in (0, 1, 4, 9):  # four steps of warm-up, to 512 / 128
  ...   print(batch_scaling(scaling, step=jnp.int32(step), **sizes))
  1.0
  1.75
  4.0
  4.0
  """
  if not scaling.rule:
    return 1.0  # the rates of the config, whatever the size
  k = batch_size / scaling.base_batch_size  # 2 in run 170 of 2012
  if not scaling.warmup_epochs:
    return k  # the 2012 notes: no warm-up
  warmup_steps = scaling.warmup_epochs * steps_per_epoch
  return 1 + (k - 1) * jnp.minimum(step.astype(jnp.float32) / warmup_steps, 1)
