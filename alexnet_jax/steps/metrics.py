"""Loss and error rates (§2, §3).

An image counts as a top-5 error if its label is not among the five classes
with the highest scores. Of fewer than six classes no such error can be made: it
is then not defined, which is None here, null in JSON and - in tables.

Paper silent: which of two classes with equal scores comes first.
2012: they share the credit (layer_kernels.cu:96-118).
Here: the one with the lower number, as in a stable sort, so that a net that
gives every class the same score does not pass for a good one.
"""

import math
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Error = TypeVar('Error')  # a number, or an array of one
_TOP5_CLASSES = 6  # the fewest of which one can be outside the top five


def cross_entropy(
  logits: Float[Array, 'b classes'], labels: Int[Array, ' b']
) -> Float[Array, ' b']:
  """Returns -log of the softmax probability of the right class."""
  log_p = jax.nn.log_softmax(logits)  # [B, classes]
  return -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]  # [B]


def ranks(
  scores: Float[Array, 'b classes'], labels: Int[Array, ' b']
) -> Int[Array, ' b']:
  """Counts the classes ahead of the right one.

  0 is right, 1 or more a top-1 error, 5 or more a top-5 error. NaN counts as
  larger than every score, so it never scores a hit.
  """
  own = jnp.take_along_axis(scores, labels[:, None], axis=1)  # [B, 1]
  classes = jnp.arange(scores.shape[1], dtype=labels.dtype)[None]
  behind = (scores < own) | ((scores == own) & (classes >= labels[:, None]))
  return (~behind).sum(axis=1)  # NaN compares False: not behind


class Errors(NamedTuple):
  """Means over a set of images; errors are fractions, 0 to 1."""

  loss: float
  top1_error: float
  top5_error: float | None  # None: fewer than six classes
  num_images: int


def top5(error: Error, *, classes: int) -> Error | None:
  """The top-5 error, or None where it is not defined.

  >>> top5(0.0, classes=5), top5(0.25, classes=6)
  (None, 0.25)
  """
  return error if classes >= _TOP5_CLASSES else None


def interval(error: float, *, images: int) -> tuple[float, float]:
  """Returns Wilson's 95 % interval of an error rate over that many images.

  It covers the choice of images, not the chance of a training run.
  E. B. Wilson, JASA 22 (1927), 209-212.

  >>> [round(limit, 4) for limit in interval(0.0, images=300)]
  [0.0, 0.0126]
  """
  z = 1.959964  # quantile of the normal distribution, 2.5 % on either side
  middle = error + z**2 / (2 * images)
  half = z * math.sqrt(error * (1 - error) / images + z**2 / (4 * images**2))
  scale = 1 + z**2 / images
  low, high = (middle - half) / scale, (middle + half) / scale
  return max(low, 0.0), min(high, 1.0)  # rounding may pass 0 or 1


def errors(*, losses: np.ndarray, ranks: np.ndarray, classes: int) -> Errors:
  """Averages losses [N] and ranks [N] over images, in float64.

  `classes` is the number of classes that an image is told from.
  """
  return Errors(
    loss=float(np.mean(losses, dtype=np.float64)),
    top1_error=float(np.mean(ranks >= 1)),  # another class is first
    top5_error=top5(float(np.mean(ranks >= 5)), classes=classes),
    num_images=len(ranks),
  )


def percent(share: float) -> str:
  """An error as the terminal shows it; files hold the fraction.

  >>> percent(0.182)
  '18.20 %'
  """
  return f'{100 * share:.2f} %'


def describe(errors: Errors, *, views: int, intervals: bool = False) -> str:
  """Describes error rates in one line, with 95 % intervals if asked for."""

  def rate(name: str, error: float | None) -> str:
    images = errors.num_images
    if error is None:
      return f'{name} error -'
    text = (
      f'{name} error {percent(error)} ({round(error * images)} of {images})'
    )
    if intervals:
      low, high = interval(error, images=images)
      text += f', 95 % interval {percent(low)} to {percent(high)}'
    return text

  return (
    f'{rate("top-1", errors.top1_error)}, {rate("top-5", errors.top5_error)}, '
    f'loss {errors.loss:.4f}, '
    f'{f"{views} views" if views > 1 else "centre crop"}'
  )
