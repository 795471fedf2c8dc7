"""Loss and errors against numpy's stable sort."""

import jax.numpy as jnp
import numpy as np

from alexnet_jax.steps import metrics


def test_ranks_are_places_in_a_stable_sort():
  rng = np.random.default_rng(0)
  scores = rng.integers(0, 4, size=(50, 9)).astype(np.float32)  # many ties
  labels = rng.integers(0, 9, size=50).astype(np.int32)
  order = np.argsort(-scores, axis=1, kind='stable')
  places = np.argmax(order == labels[:, None], axis=1)
  ours = metrics.ranks(jnp.asarray(scores), jnp.asarray(labels))
  np.testing.assert_array_equal(ours, places)


def test_equal_scores_are_no_hit():
  ranks = metrics.ranks(jnp.zeros((3, 10)), jnp.array([0, 4, 7]))
  np.testing.assert_array_equal(ranks, [0, 4, 7])


def test_cross_entropy_by_hand():
  logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
  loss = metrics.cross_entropy(logits, jnp.array([1]))
  np.testing.assert_allclose(loss, np.log(4), rtol=1e-6)


def test_errors_are_means():
  found = {
    'losses': np.array([1.0, 2.0, 3.0, 6.0]),
    'ranks': np.array([0, 1, 4, 5]),
  }
  errors = metrics.errors(**found, classes=6)
  assert errors == (3.0, 0.75, 0.25, 4)
  assert 'top-5 error 25.00 % (1 of 4)' in metrics.describe(errors, views=1)


def test_of_five_classes_no_top5_error_is_defined():
  found = {'losses': np.array([1.0, 3.0]), 'ranks': np.array([0, 4])}
  errors = metrics.errors(**found, classes=5)
  assert errors == (2.0, 0.5, None, 2)
  said = metrics.describe(errors, views=10, intervals=True)
  assert ', top-5 error -, loss' in said and '95 % interval' in said


def test_a_score_that_is_no_number_is_never_a_hit():
  nan = jnp.nan
  scores = jnp.array([[nan, nan, nan], [nan, 2.0, 1.0], [3.0, nan, 1.0]])
  ranks = metrics.ranks(scores, jnp.array([0, 1, 1]))
  assert (np.asarray(ranks) >= 1).all()
