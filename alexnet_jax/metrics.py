"""Loss and error rates (§2, §3).

An image counts as a top-5 error if its label is not among the five classes
with the highest scores.

Paper silent: which of two classes with equal scores comes first.
2012: they share the credit (layer_kernels.cu:96-118).
Here: the one with the lower number, as in a stable sort, so that a net that
gives every class the same score does not pass for a good one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def cross_entropy(
  logits: Float[Array, 'b classes'], labels: Int[Array, ' b']
) -> Float[Array, ' b']:
  """-log of the softmax probability of the right class, image by image."""
  log_p = jax.nn.log_softmax(logits)
  return -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]


def ranks(
  scores: Float[Array, 'b classes'], labels: Int[Array, ' b']
) -> Int[Array, ' b']:
  """How many classes come before the right one: 0 is a hit, 5 a top-5 error."""
  own = jnp.take_along_axis(scores, labels[:, None], axis=1)
  classes = jnp.arange(scores.shape[1], dtype=labels.dtype)[None]
  ahead = (scores > own) | ((scores == own) & (classes < labels[:, None]))
  return ahead.sum(axis=1)


class Errors(NamedTuple):
  """Means over a set of images; errors are fractions, 0 to 1."""

  loss: float
  top1_error: float
  top5_error: float
  num_images: int


def errors(*, losses: np.ndarray, ranks: np.ndarray) -> Errors:
  """The means over images of which loss and rank are known, in float64."""
  return Errors(
    loss=float(np.mean(losses, dtype=np.float64)),
    top1_error=float(np.mean(ranks >= 1)),
    top5_error=float(np.mean(ranks >= 5)),
    num_images=len(ranks),
  )
