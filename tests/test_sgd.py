"""The update rule against a float64 loop written from §5."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alexnet_jax.configs import default
from alexnet_jax.optim import sgd

RATES = [0.1] * 4 + [0.01] * 4  # a drop in the middle


def _loop(w, gradients, *, decay):
  """v <- 0.9 v - decay eps w - eps g; w <- w + v, in float64."""
  v = np.zeros_like(w)
  for eps, g in zip(RATES, gradients, strict=True):
    v = 0.9 * v - decay * eps * w - eps * g
    w = w + v
  return w


def _run(params, gradients, *, rule):
  state = rule.init(params)
  for i, eps in enumerate(RATES):
    grads = {k: {n: g[i] for n, g in v.items()} for k, v in gradients.items()}
    updates, state = rule.update(grads, state, params, rates=jnp.float32(eps))
    params = optax.apply_updates(params, updates)
  return params


def _draw():
  rng = np.random.default_rng(0)
  params = {
    'fc6': {'kernel': rng.normal(size=(3, 4)), 'bias': rng.normal(size=4)}
  }
  gradients = {
    'fc6': {
      'kernel': rng.normal(size=(8, 3, 4)),
      'bias': rng.normal(size=(8, 4)),
    }
  }
  return params, gradients


def _as_jax(tree):
  return {
    k: {n: jnp.asarray(a, jnp.float32) for n, a in v.items()}
    for k, v in tree.items()
  }


def test_equals_the_loop_over_a_drop_of_the_rate():
  params, gradients = _draw()
  rule = sgd.paper_sgd(momentum=0.9, weight_decay=0.05)
  after = _run(_as_jax(params), _as_jax(gradients), rule=rule)
  for name, decay in (('kernel', 0.05), ('bias', 0.0)):
    expected = _loop(params['fc6'][name], gradients['fc6'][name], decay=decay)
    np.testing.assert_allclose(after['fc6'][name], expected, atol=1e-6)


def test_biases_decay_if_told_to():
  params, gradients = _draw()
  rule = sgd.paper_sgd(momentum=0.9, weight_decay=0.05, decay_biases=True)
  after = _run(_as_jax(params), _as_jax(gradients), rule=rule)
  expected = _loop(params['fc6']['bias'], gradients['fc6']['bias'], decay=0.05)
  np.testing.assert_allclose(after['fc6']['bias'], expected, atol=1e-6)


def test_differs_from_optax_sgd_once_the_rate_drops():
  """The rate outside the velocity is another rule; the test would see it."""
  params, gradients = _draw()
  w, v = params['fc6']['bias'], np.zeros(4)
  for eps, g in zip(RATES, gradients['fc6']['bias'], strict=True):
    v = 0.9 * v + g
    w = w - eps * v
  right = _loop(params['fc6']['bias'], gradients['fc6']['bias'], decay=0)
  assert np.abs(w - right).max() > 0.1


def test_rates_may_differ_by_layer_and_kind():
  rule = sgd.paper_sgd(momentum=0.9, weight_decay=0.0)
  w = {'a': {'kernel': jnp.ones(2), 'bias': jnp.ones(2)}}
  rates = {'a': {'kernel': 0.1, 'bias': 0.2}}
  updates, _ = rule.update(w, rule.init(w), w, rates=rates)
  np.testing.assert_allclose(updates['a']['kernel'], -0.1)
  np.testing.assert_allclose(updates['a']['bias'], -0.2)


def test_decay_by_layer_and_the_general_one_where_none_is_given():
  params, gradients = _draw()
  params |= {'conv1': params['fc6'], 'fc8': params['fc6']}
  gradients |= {'conv1': gradients['fc6'], 'fc8': gradients['fc6']}
  rule = sgd.paper_sgd(
    momentum=0.9, weight_decay=0.05, decay={'conv1': 0.0, 'fc8': 2.5}
  )
  after = _run(_as_jax(params), _as_jax(gradients), rule=rule)
  for name, decay in (('conv1', 0.0), ('fc6', 0.05), ('fc8', 0.125)):
    for kind, own in (('kernel', decay), ('bias', 0.0)):
      expected = _loop(params[name][kind], gradients[name][kind], decay=own)
      np.testing.assert_allclose(after[name][kind], expected, atol=1e-6)


@pytest.mark.parametrize('biases', [False, True])
def test_factors_of_one_compile_to_what_optax_does(biases):
  """To the bit: the presets' update is that of optax's own weight decay."""
  config = default.optim(layers=('fc6',))
  config.decay_biases = biases
  theirs = optax.add_decayed_weights(
    config.weight_decay,
    mask=None if biases else {'fc6': {'kernel': True, 'bias': False}},
  )
  params, gradients = map(_as_jax, _draw())
  grads = {k: {n: g[0] for n, g in v.items()} for k, v in gradients.items()}
  ours = sgd._decay(config.weight_decay, config.decay.to_dict(), biases=biases)

  def program(rule):
    update = jax.jit(lambda g, w: rule.update(g, rule.init(w), w)[0])
    return update.lower(grads, params).as_text()

  assert program(ours) == program(theirs)


def _lars_loop(w, gradients, *, coefficient, decay):
  """The loop above with each step's trust ratio, in float64."""
  v = np.zeros_like(w)
  for eps, g in zip(RATES, gradients, strict=True):
    u = g + decay * w
    ratio = coefficient * np.sqrt((w * w).sum()) / np.sqrt((u * u).sum())
    v = 0.9 * v - eps * ratio * u
    w = w + v
  return w


def test_lars_equals_the_loop_and_leaves_biases_to_the_plain_rule():
  params, gradients = _draw()
  rule = sgd.paper_sgd(momentum=0.9, weight_decay=0.05, trust_coefficient=0.02)
  after = _run(_as_jax(params), _as_jax(gradients), rule=rule)
  w, g = params['fc6']['kernel'], gradients['fc6']['kernel']
  expected = _lars_loop(w, g, coefficient=0.02, decay=0.05)
  np.testing.assert_allclose(after['fc6']['kernel'], expected, atol=1e-6)
  assert np.abs(expected - _loop(w, g, decay=0.05)).max() > 0.1
  expected = _loop(params['fc6']['bias'], gradients['fc6']['bias'], decay=0)
  np.testing.assert_allclose(after['fc6']['bias'], expected, atol=1e-6)


def test_lars_by_hand():
  """|w| = 5 and |g| = 2: a tenth of 5 / 2 is 0.25, times 0.5 and g."""
  rule = sgd.paper_sgd(momentum=0.9, weight_decay=0.0, trust_coefficient=0.1)
  w = {'fc6': {'kernel': jnp.array([3.0, 4.0])}}
  g = {'fc6': {'kernel': jnp.array([0.0, 2.0])}}
  updates, _ = rule.update(g, rule.init(w), w, rates=0.5)
  np.testing.assert_allclose(updates['fc6']['kernel'], [0, -0.25], rtol=1e-6)


def test_lars_is_that_of_optax():
  """At one rate: where the rate enters, its chain is the paper's."""
  params, gradients = map(_as_jax, _draw())
  kernels = {'fc6': {'kernel': True, 'bias': False}}
  theirs = optax.lars(
    0.3,
    weight_decay=0.05,
    weight_decay_mask=kernels,
    trust_coefficient=0.02,
    trust_ratio_mask=kernels,
    momentum=0.9,
  )
  ours = sgd.paper_sgd(momentum=0.9, weight_decay=0.05, trust_coefficient=0.02)
  states = [ours.init(params), theirs.init(params)]
  sides, options = [params, params], [{'rates': 0.3}, {}]
  for i in range(8):
    grads = {k: {n: g[i] for n, g in v.items()} for k, v in gradients.items()}
    for j, rule in enumerate((ours, theirs)):
      updates, states[j] = rule.update(grads, states[j], sides[j], **options[j])
      sides[j] = optax.apply_updates(sides[j], updates)
  for kind in ('kernel', 'bias'):
    np.testing.assert_allclose(*(s['fc6'][kind] for s in sides), rtol=1e-5)
    assert (sides[0]['fc6'][kind] != params['fc6'][kind]).any()


@pytest.mark.parametrize(('weight', 'gradient'), [(0.0, 2.0), (3.0, 0.0)])
def test_lars_moves_what_has_no_norm_as_the_plain_rule_does(weight, gradient):
  w = {'fc6': {'kernel': jnp.full(2, weight)}}
  g = {'fc6': {'kernel': jnp.full(2, gradient)}}
  rule = sgd.paper_sgd(momentum=0.9, weight_decay=0.0, trust_coefficient=0.1)
  updates, _ = rule.update(g, rule.init(w), w, rates=0.5)
  np.testing.assert_allclose(updates['fc6']['kernel'], -0.5 * gradient)


def test_lars_keeps_the_state_of_the_plain_rule():
  """So that a run can change to it and back."""
  params = _as_jax(_draw()[0])
  plain, lars = (
    sgd.paper_sgd(momentum=0.9, weight_decay=0.05, trust_coefficient=c)
    for c in (None, 0.1)
  )
  assert jax.tree.structure(plain.init(params)) == jax.tree.structure(
    lars.init(params)
  )


@pytest.mark.parametrize('trust', [None, 0.001])
def test_the_moves_of_a_state_are_the_updates_that_led_to_it(trust):
  params, gradients = map(_as_jax, _draw())
  grads = {'fc6': {k: g[0] for k, g in gradients['fc6'].items()}}
  rule = sgd.paper_sgd(momentum=0.9, weight_decay=0.05, trust_coefficient=trust)
  rates = {'fc6': {'kernel': jnp.float32(0.1), 'bias': jnp.float32(0)}}
  updates, state = rule.update(grads, rule.init(params), params, rates=0.1)
  updates, state = rule.update(grads, state, params, rates=rates)
  moves = sgd.moves(state, rates=rates)
  jax.tree.map(np.testing.assert_array_equal, moves, updates)
  assert moves['fc6']['kernel'].any() and not moves['fc6']['bias'].any()
