"""The rate schedule of §5 on error curves worked out by hand."""

import numpy as np
import pytest

from alexnet_jax.optim import plateau

RULE = {'factor': 0.1, 'patience_epochs': 2, 'min_improvement': 1e-3}


def _drops(errors):
  """How many drops there have been after each error."""
  state, out = plateau.init(), []
  for error in errors:
    state = plateau.observe(state, error, **RULE)
    out.append(plateau.drops(state, factor=0.1))
  return out


def test_lowers_the_rate_after_two_epochs_without_improvement():
  assert _drops([0.9, 0.8, 0.8, 0.8, 0.7, 0.7, 0.6]) == [0, 0, 0, 1, 1, 1, 1]


def test_counts_the_plateau_after_the_third_drop():
  assert _drops([0.5] * 9) == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def test_an_improvement_too_small_to_count():
  assert _drops([0.5, 0.4999, 0.4998]) == [0, 0, 1]
  assert _drops([0.5, 0.4990, 0.4980]) == [0, 0, 0]


def test_scale_is_the_power_of_the_factor():
  state = plateau.init()
  for _ in range(5):
    state = plateau.observe(state, 0.5, **RULE)
  np.testing.assert_allclose(state.scale, 0.01, rtol=1e-6)


@pytest.mark.parametrize('error', [float('nan'), float('inf')])
def test_no_number_is_an_error_and_changes_nothing(error):
  state = plateau.observe(plateau.init(), 0.5, **RULE)
  with pytest.raises(FloatingPointError, match='validation error'):
    plateau.observe(state, error, **RULE)
  assert plateau.drops(state, factor=0.1) == 0
