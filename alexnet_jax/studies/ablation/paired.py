"""Statistics of two kinds of runs, compared seed by seed.

A pair is two runs with one seed: the same images in the same order, and the
same initial values where shapes agree. Its difference lacks what the seed does
to both. The interval is Student's t over the pairs:

  mean(d) ± t(0.975, n - 1) · stddev(d) / √n
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

_LEVEL = 0.95  # of intervals
_ROUNDING = 1e-9  # a smaller spread is a rounding error


class Spread(NamedTuple):
  """Count, mean and standard deviation of some numbers."""

  n: int
  mean: float
  stddev: float | None  # of the sample, over n - 1; None if n is 1


class Difference(NamedTuple):
  """A mean difference with its 95 % interval, which is None if n is 1."""

  n: int  # pairs
  mean: float
  low: float | None
  high: float | None

  @property
  def is_significant(self) -> bool:
    """Whether there is an interval, and it excludes 0."""
    if self.low is None or self.high is None or self.low == self.high:
      return False
    return self.low > 0 or self.high < 0


def spread(values: Sequence[float]) -> Spread:
  """The mean and the sample's standard deviation.

  >>> spread([1.0, 2.0, 6.0])
  Spread(n=3, mean=3.0, stddev=2.6457513110645907)
  """
  deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return Spread(len(values), float(np.mean(values)), deviation)


def difference(
  ablated: Sequence[float], *, base: Sequence[float]
) -> Difference:
  """The mean of ablated - base over pairs, with its interval.

  >>> d = difference([3.0, 5.0, 4.0], base=[2.0, 2.0, 2.0])
  >>> print(f'{d.n} pairs: {d.mean}, {d.low:.3f} to {d.high:.3f}')
  3 pairs: 2.0, -0.484 to 4.484
  """
  found = spread(np.subtract(ablated, base).tolist())
  if found.stddev is None:
    return Difference(found.n, found.mean, None, None)
  t = float(special.stdtrit(found.n - 1, (1 + _LEVEL) / 2))
  alike = found.stddev < _ROUNDING
  half = 0.0 if alike else t * found.stddev / math.sqrt(found.n)
  return Difference(found.n, found.mean, found.mean - half, found.mean + half)


def signed(value: float, *, digits: int = 1) -> str:
  """A difference with its sign; 0 has none.

  >>> signed(1.23), signed(-0.01)
  ('+1.2', '0.0')
  """
  rounded = round(value, digits) + 0.0  # no -0
  return f'{rounded:{"+" if rounded else ""}.{digits}f}'


def describe(found: Difference, *, digits: int = 1) -> str:
  """The mean, and the interval if the pairs differ.

  >>> describe(Difference(3, 1.2, -3.0, 5.4))
  '+1.2 (-3.0 to +5.4)'
  """
  mean = signed(found.mean, digits=digits)
  if found.low is None or found.high is None or found.low == found.high:
    return mean
  low, high = (signed(v, digits=digits) for v in (found.low, found.high))
  return f'{mean} ({low} to {high})'


def verdict(name: str, found: Difference) -> str:
  """Describes the cost of an ablation in points, in one line.

  >>> verdict('no_lrn', Difference(3, 1.2, -3.0, 5.4))
  'no_lrn: +1.2 points (95 %: -3.0 to +5.4): 3 seeds cannot tell'
  >>> verdict('tanh', Difference(1, 4.0, None, None))
  'tanh: +4.0 points: no interval from one seed'
  """
  points = f'{name}: {signed(found.mean)} points'
  if found.low is None:
    return f'{points}: no interval from one seed'
  if found.low == found.high:
    return f'{points} in each of {found.n} pairs: no spread to judge by'
  _, interval = describe(found).split(' (')
  told = 'worse' if found.mean > 0 else 'better'
  told = told if found.is_significant else f'{found.n} seeds cannot tell'
  return f'{points} (95 %: {interval}: {told}'
