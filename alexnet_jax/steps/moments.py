"""Moments of activations over a minibatch, unit by unit."""

from typing import Any, NamedTuple


class Moments(NamedTuple):
  """One activation, unit by unit, over each row of devices' images.

  All are [rows of devices, ...]. Squares are of differences from the mean:
  float32 would lose a small spread around a bias of 1.
  """

  mean: Any
  squares: Any  # sum of squared differences from the mean
  positive: Any  # images on which the unit is above zero
