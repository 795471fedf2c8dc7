"""A training step's input, metrics and rate; the score of probabilities."""

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax import steps
from alexnet_jax.data import augment
from tests import nets


def test_normalise_is_the_numpy_reference_of_section_4_1():
  batch, mean = nets.batch(), nets.mean_image()
  rng = np.random.default_rng(1)
  wholes = rng.integers(
    0, 256, (nets.BATCH, nets.IMAGE, nets.IMAGE, 3), np.uint8
  )
  crops = np.stack(
    [
      image[y : y + nets.CROP, x : x + nets.CROP]
      for image, (y, x) in zip(wholes, batch['offset'], strict=True)
    ]
  )
  ours = steps.normalise(
    jnp.asarray(crops),
    mean_image=jnp.asarray(mean),
    offset=jnp.asarray(batch['offset']),
    mirror=jnp.asarray(batch['mirror']),
    colour=jnp.asarray(batch['colour']),
    scale=jnp.asarray(batch['scale']),
  )
  for i in range(nets.BATCH):
    theirs = augment.reference(
      wholes[i],
      offset=tuple(batch['offset'][i].tolist()),
      mirror=bool(batch['mirror'][i]),
      mean_image=mean,
      colour=batch['colour'][i],
      crop_size=nets.CROP,
    )
    np.testing.assert_allclose(ours[i], theirs, atol=1e-4)
  assert batch['mirror'].any() and not batch['mirror'].all()


def test_plateaus_lower_the_rate_of_the_next_step():
  run = nets.trained(data=1, column=1)
  assert float(run.metrics[0]['learning_rate']) == np.float32(0.01)
  after = run.state.plateau._replace(scale=jnp.float32(0.1))
  placed = {k: jnp.asarray(v) for k, v in nets.batch(1).items()}
  state = jax.tree.map(jnp.array, run.state).replace(plateau=after)
  _, means = run.programs.train(state, run.mean, placed)
  np.testing.assert_allclose(means['learning_rate'], 0.001, rtol=1e-6)


def test_score_by_hand_and_of_a_probability_of_zero():
  probabilities = jnp.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
  losses, ranks = steps._score(probabilities, jnp.array([1, 2]))
  np.testing.assert_allclose(losses[0], np.log(4), rtol=1e-6)
  assert 80 < float(losses[1]) < 90  # -log of the smallest float32, not inf
  np.testing.assert_array_equal(ranks, [1, 2])
