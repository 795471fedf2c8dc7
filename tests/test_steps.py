"""A training step's input, metrics and rate; the score of probabilities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.data import augment
from alexnet_jax.steps import evaluate, preprocess
from tests import nets


@pytest.mark.parametrize('mean_at', ['crop', 'centre'])
def test_network_input_is_the_numpy_reference_of_section_4_1(mean_at):
  config, batch, mean = nets.config(), nets.batch(), nets.mean_image()
  config.data.mean_at = mean_at
  rng = np.random.default_rng(1)
  batch['scale'] = rng.uniform(0.5, 1, nets.BATCH).astype(np.float32)
  wholes = rng.integers(
    0, 256, (nets.BATCH, nets.IMAGE, nets.IMAGE, 3), np.uint8
  )
  batch['image'] = np.stack(
    [
      image[y : y + nets.CROP, x : x + nets.CROP]
      for image, (y, x) in zip(wholes, batch['offset'], strict=True)
    ]
  )
  of_batch = jax.jit(functools.partial(preprocess.of_batch, config))
  ours = np.asarray(of_batch(mean_image=mean, batch=batch))
  for i in range(nets.BATCH):
    theirs = augment.reference(
      wholes[i],
      offset=tuple(batch['offset'][i].tolist()),
      mirror=bool(batch['mirror'][i]),
      mean_image=mean,
      colour=batch['colour'][i],
      crop_size=nets.CROP,
      scale=float(batch['scale'][i]),
      mean_at=mean_at,
    )
    np.testing.assert_allclose(ours[i], theirs, atol=1e-4)
  assert batch['mirror'].any() and not batch['mirror'].all()


def test_test_crops_lose_the_centre_of_the_mean_image_if_so_asked():
  """Wherever they are taken; only a crop's own part matters otherwise."""
  config = nets.config(short=True)
  images = nets.batch()['image']
  wholes = np.pad(images, ((0, 0), (0, 13), (0, 13), (0, 0)))
  corner = preprocess.DeviceView(
    offset=np.array([0, 0], np.int32), mirror=np.array(False)
  )
  edge = np.zeros((nets.IMAGE, nets.IMAGE, 3), np.float32)
  edge[:3] = 200  # above the centre crop, which begins at row 6
  changed = {}
  for mean_at in ('crop', 'centre'):
    config.data.mean_at = mean_at
    predict = nets.Trained(config, num_steps=0).programs.predict
    variables = nets.trained(data=1, column=1, short=True).first.variables
    one, other = (
      predict(variables, jnp.asarray(mean), jnp.asarray(wholes), corner)
      for mean in (nets.mean_image(), nets.mean_image() + edge)
    )
    changed[mean_at] = bool((one != other).any())
  assert changed == {'crop': True, 'centre': False}


def test_a_rate_of_zero_freezes_a_layer_and_no_other():
  config = nets.config(short=True)
  config.schedule.layer.conv1.kernel = ((0.0, 1.0), (2.0, 0.0))
  # Twelve images in minibatches of eight: two epochs end with step 3.
  run = nets.Trained(config, num_steps=4)
  before, after = run.states[2].params, run.states[3].params
  np.testing.assert_array_equal(
    before['conv1']['kernel'], after['conv1']['kernel']
  )
  for layer, kind in (('conv1', 'bias'), ('conv3', 'kernel')):
    assert (before[layer][kind] != after[layer][kind]).any()
  earlier = run.states[1].params
  assert (before['conv1']['kernel'] != earlier['conv1']['kernel']).any()


def test_plateaus_lower_the_rate_of_the_next_step():
  run = nets.trained(data=1, column=1, short=True)
  assert float(run.metrics[0]['learning_rate']) == np.float32(0.01)
  after = run.state.plateau._replace(scale=jnp.float32(0.1))
  placed = {k: jnp.asarray(v) for k, v in nets.batch(1).items()}
  state = jax.tree.map(jnp.array, run.state).replace(plateau=after)
  _, means = run.programs.train(state, run.mean, placed)
  np.testing.assert_allclose(means['learning_rate'], 0.001, rtol=1e-6)


def test_score_by_hand_and_of_a_probability_of_zero():
  probabilities = jnp.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
  losses, ranks = evaluate.score(probabilities, jnp.array([1, 2]))
  np.testing.assert_allclose(losses[0], np.log(4), rtol=1e-6)
  assert 80 < float(losses[1]) < 90  # -log of the smallest float32, not inf
  np.testing.assert_array_equal(ranks, [1, 2])
