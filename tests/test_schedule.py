"""Tables of rates by epoch, against the notes of the 2012 runs."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.config import durations
from alexnet_jax.configs import default, source2012, source2012_automatic
from alexnet_jax.optim import schedule, sgd

# 1,281,167 images in minibatches of 128 are 10,009.1 steps an epoch.
STEPS = 1_281_167 / 128


def _rate(config, layer, kind, *, epochs):
  """The rate of an array after so many epochs (a little more than whole)."""
  plan = durations.plan(config, train_images=1_281_167)
  rates = schedule.factors(
    config.schedule,
    layers=[layer],
    step=jnp.int32(epochs * STEPS + 1),
    steps_per_unit=plan.steps_in(config.schedule.counts),
  )
  return config.optim.learning_rate * float(rates[layer][kind])


# Epoch by the notes (from 1), conv1's rate, that of the others.
BY_HAND = [
  (1, 0.01, 0.01),
  (24, 0.01, 0.01),
  (25, 0.001, 0.001),
  (50, 0.001, 0.001),
  (51, 0.0001, 0.0001),
  (66, 0.0001, 0.0001),
  (67, 0.00001, 0.0001),
  (71, 0.00001, 0.0001),
  (72, 0.0, 0.0001),
  (78, 0.0, 0.0001),
  (79, 0.0, 0.00001),
  (90, 0.0, 0.00001),
]


@pytest.mark.parametrize(('epoch', 'conv1', 'others'), BY_HAND)
def test_schedule_of_run_145(epoch, conv1, others):
  config = source2012.get_config()
  for layer, expected in (('conv1', conv1), ('conv2', others), ('fc8', others)):
    rate = _rate(config, layer, 'kernel', epochs=epoch - 1)
    np.testing.assert_allclose(rate, expected, rtol=1e-6)
  assert _rate(config, 'fc8', 'bias', epochs=epoch - 1) == pytest.approx(0.02)
  frozen = 0.0 if epoch >= 72 else 0.02
  rate = _rate(config, 'conv1', 'bias', epochs=epoch - 1)
  assert rate == pytest.approx(frozen)


# layer-params-170.cfg: quarters of 95 epochs, halves for biases.
QUARTERS = [
  (0, 0.01, 0.02),
  (23, 0.01, 0.02),
  (24, 0.0015874, 0.02),
  (47, 0.0015874, 0.02),
  (48, 0.00025198, 0.002),
  (71, 0.00025198, 0.002),
  (72, 0.00004, 0.002),
  (94, 0.00004, 0.002),
]


@pytest.mark.parametrize(('epochs', 'kernel', 'bias'), QUARTERS)
def test_schedule_of_run_170(epochs, kernel, bias):
  config = source2012_automatic.get_config()
  assert _rate(config, 'fc6', 'kernel', epochs=epochs) == pytest.approx(
    kernel, rel=1e-4
  )
  assert _rate(config, 'fc6', 'bias', epochs=epochs) == pytest.approx(bias)
  frozen = 0.0 if epochs >= 73 else kernel
  rate = _rate(config, 'conv1', 'kernel', epochs=epochs)
  assert rate == pytest.approx(frozen, rel=1e-4)


def test_the_paper_has_one_rate_for_all():
  config = default.get_config()
  for layer in ('conv1', 'fc8'):
    for kind in ('kernel', 'bias'):
      rate = _rate(config, layer, kind, epochs=89)
      assert rate == pytest.approx(config.optim.learning_rate)


def test_rule_and_tables_equal_the_loop_of_2012():
  """A rate change, a frozen layer and a bias rate change, in float64."""
  tables = default.schedule(layers=('conv1', 'fc6'))
  tables.kernel = ((0.0, 1.0), (3.0, 0.1))
  tables.bias = ((0.0, 2.0), (5.0, 0.2))
  tables.layer.conv1.kernel = ((0.0, 1.0), (4.0, 0.0), (7.0, 0.5))
  # eps by hand, of ten steps: conv1 rests from the fifth to the seventh.
  eps = {
    ('conv1', 'kernel'): [0.1] * 3 + [0.01] + [0] * 3 + [0.005] * 3,
    ('conv1', 'bias'): [0.2] * 5 + [0.02] * 5,
    ('fc6', 'kernel'): [0.1] * 3 + [0.01] * 7,
    ('fc6', 'bias'): [0.2] * 5 + [0.02] * 5,
  }
  rng = np.random.default_rng(0)
  start = {key: rng.normal(size=5) for key in eps}
  gradients = {key: 0.3 * rng.normal(size=(10, 5)) for key in eps}

  def tree(values):
    return {
      layer: {
        kind: jnp.asarray(values[layer, kind], jnp.float32)
        for kind in ('kernel', 'bias')
      }
      for layer in ('conv1', 'fc6')
    }

  rule = sgd.paper_sgd(momentum=0.9, weight_decay=0.05)
  params = tree(start)
  state = rule.init(params)
  for step in range(10):
    factors = schedule.factors(
      tables, layers=params, step=jnp.int32(step), steps_per_unit=1.0
    )
    rates = {
      layer: {kind: 0.1 * factor for kind, factor in kinds.items()}
      for layer, kinds in factors.items()
    }
    grads = tree({key: g[step] for key, g in gradients.items()})
    updates, state = rule.update(grads, state, params, rates=rates)
    params = optax.apply_updates(params, updates)

  for (layer, kind), w in start.items():
    v, decay = np.zeros(5), 0.05 if kind == 'kernel' else 0.0
    for e, g in zip(eps[layer, kind], gradients[layer, kind], strict=True):
      if e == 0:
        continue  # weights.cu:148: neither decay nor velocity
      v = 0.9 * v - decay * e * w - e * g
      w = w + v
    np.testing.assert_allclose(params[layer][kind], w, rtol=0, atol=1e-6)
