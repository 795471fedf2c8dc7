"""Rates for minibatches of another size than the paper's 128 images (§5).

Not in the paper. The authors' notes have one such run: 256 images with both
rates doubled "matches #170 exactly" (layer-params-170-256-double.cfg), which is
the linear rule without warm-up. The rule and its warm-up are those of Goyal et
al., "Accurate, Large Minibatch SGD" (2017, arXiv:1706.02677), §2.1 and §2.2.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import config_dict


def factor(
  scaling: config_dict.ConfigDict,
  *,
  batch_size: int,
  step: Int[Array, ''],
  steps_per_epoch: float,
) -> float | Float[Array, '']:
  """What multiplies every rate: k = batch_size / base_batch_size.

  During warm-up it rises from 1 by the same amount in each step:

      1 + (k - 1) min(step / steps of the warm-up, 1)

  The plateau's factor and those of config.schedule multiply it, in the warm-up
  as later: tables count its epochs, and the plateau rule its evaluations.

  Args:
    scaling: `config.batch_scaling`.
    batch_size: images in a minibatch, on all devices and in all its parts.
    step: minibatches seen so far.
    steps_per_epoch: need not be whole.

  >>> scaling = config_dict.ConfigDict(
  ...   dict(rule='linear', base_batch_size=128, warmup_epochs=2)
  ... )
  >>> sizes = {'batch_size': 512, 'steps_per_epoch': 2.0}
  >>> for step in (0, 1, 4, 9):  # four steps of warm-up, to 512 / 128
  ...   print(factor(scaling, step=jnp.int32(step), **sizes))
  1.0
  1.75
  4.0
  4.0
  """
  if not scaling.rule:
    return 1.0
  k = batch_size / scaling.base_batch_size
  if not scaling.warmup_epochs:
    return k
  warmup_steps = scaling.warmup_epochs * steps_per_epoch
  return 1 + (k - 1) * jnp.minimum(step.astype(jnp.float32) / warmup_steps, 1)
