"""The network against PyTorch, and facts that change only on purpose.

`python -m tests.golden` renews the files of tests/golden.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from alexnet_jax.configs import default, source2012
from alexnet_jax.models import alexnet
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import metrics
from tests.golden import facts

RENEW = 'if you meant to change this, run: python -m tests.golden'
PRESETS = {'paper': default, 'source2012': source2012}


def _stored(name):
  return dict(np.load(facts.HERE / f'{name}.npz'))


def _params(inputs):
  params = {}
  for path, array in inputs.items():
    if '/' in path:
      name, kind = path.split('/')
      params.setdefault(name, {})[kind] = jnp.asarray(array)
  return params


def _model_config(preset, params):
  """A preset's network at the widths of these parameters."""
  config = PRESETS[preset].get_config().model
  for name, layer in params.items():
    field = 'kernels' if name.startswith('conv') else 'units'
    config.layer[name][field] = layer['bias'].size
  return config


def _on_one_device(config, params, images, labels):
  """((loss, logits), gradients) with both columns on one device."""
  model = alexnet.create(config, columns_here=2)

  def loss(params):
    logits = alexnet.whole(lambda p: model.apply({'params': p}, images)[0])(
      params
    )
    return metrics.cross_entropy(logits, labels).mean(), logits

  return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


def _on_two_columns(config, params, images, labels):
  """The same with a device for each column."""
  mesh = mesh_lib.create(data=1, column=2)
  model = alexnet.create(config, columns_here=1)
  specs = alexnet.partition_specs(params)

  def loss(params):
    logits, _ = model.apply({'params': params}, images)
    return metrics.cross_entropy(logits, labels).mean(), logits

  def step(params):
    params = lax.pcast(params, 'data', to='varying')
    (value, logits), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return lax.psum(((value, logits), grads), 'data')

  mapped = jax.shard_map(
    step, mesh=mesh, in_specs=(specs,), out_specs=((P(), P()), specs)
  )
  placed = jax.device_put(params, mesh_lib.shardings(mesh, specs))
  return jax.jit(mapped)(placed)


def _assert_close(ours, theirs, name):
  """To 1e-5 of the array's largest value."""
  error = np.abs(np.asarray(ours, np.float64) - theirs).max()
  assert error <= 1e-5 * np.abs(theirs).max(), (name, error)


@pytest.mark.parametrize('run', [_on_one_device, _on_two_columns])
@pytest.mark.parametrize('preset', PRESETS)
def test_logits_loss_and_gradients_are_those_of_pytorch(preset, run):
  inputs, theirs = _stored('inputs'), _stored(preset)
  images = jnp.asarray(inputs['images'], jnp.float32) - 120
  labels = jnp.asarray(inputs['labels'], jnp.int32)
  params = _params(inputs)
  config = _model_config(preset, params)
  (loss, logits), grads = run(config, params, images, labels)
  _assert_close(logits, theirs['logits'], 'logits')
  _assert_close(loss, theirs['loss'], 'loss')
  for name, layer in grads.items():
    for kind, grad in layer.items():
      stored = theirs[f'grad/{name}/{kind}']
      assert np.abs(stored).max() > 0, name
      _assert_close(grad, stored, f'{name}/{kind}')


@pytest.mark.parametrize('name', facts.CONFIGS)
def test_resolved_configs(name):
  stored = (facts.HERE / f'config_{name}.txt').read_text()
  assert facts.resolved(name) == stored, RENEW


def test_fields_that_ablations_set():
  stored = (facts.HERE / 'ablations.txt').read_text()
  assert facts.ablated() == stored, RENEW


def test_initial_values_of_the_full_network():
  params = facts.initial('default')
  ones = {'conv2', 'conv4', 'conv5', 'fc6', 'fc7'}
  for name, layer in params.items():
    spread, n = float(layer['kernel'].std()), layer['kernel'].size
    assert abs(spread / 0.01 - 1) < 4 / np.sqrt(2 * n), name
    assert abs(float(layer['kernel'].mean())) < 4 * 0.01 / np.sqrt(n), name
    assert (np.asarray(layer['bias']) == (name in ones)).all(), name


@pytest.mark.parametrize('name', facts.PRESETS)
def test_parameters_and_their_initial_values(name):
  stored = facts.stored('parameters_default')
  stored |= facts.stored(f'parameters_{name}')
  found = facts.parameters(name)
  assert found.keys() == stored.keys(), RENEW
  for path, row in found.items():
    expected = stored[path]
    std = pytest.approx(expected['std'], rel=1e-3)
    mean = pytest.approx(expected['mean'], abs=expected['std'] * 1e-4 + 1e-9)
    assert row == expected | {'std': std, 'mean': mean}, f'{path}: {RENEW}'


@pytest.mark.parametrize(('data', 'column'), facts.MESHES)
def test_collectives_of_the_compiled_net(data, column):
  stored = facts.stored('collectives')[f'{data}x{column}']
  assert facts.collectives(data=data, column=column) == stored, RENEW
