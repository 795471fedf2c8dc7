"""Variables that a module updates while it trains, such as those of batch norm.

The paper's net has none, so the net here gets batch norm in place of LRN.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from alexnet_jax import setup as setup_lib
from alexnet_jax.evaluate import load
from alexnet_jax.models import alexnet
from alexnet_jax.steps import build
from tests import nets, saved

MESHES = [(1, 1, 1), (1, 2, 1), (2, 2, 1)]  # data, column, parts of a minibatch


class WithBatchNorm(alexnet.AlexNet):
  """The net with batch norm, over all devices, wherever it has LRN."""

  def _op(self, op, x, *, dropout, layer):
    if op != 'lrn':
      return super()._op(op, x, dropout=dropout, layer=layer)
    return nn.BatchNorm(
      use_running_average=dropout is None,
      axis_name='data',
      dtype=jnp.float32,
      name=f'{layer}_norm',
    )(x)


@pytest.fixture(autouse=True)
def batch_norm(monkeypatch):
  monkeypatch.setattr(alexnet, 'AlexNet', WithBatchNorm)
  monkeypatch.setattr(build, 'build', build.build.anew)


def test_it_moves_alike_on_every_mesh():
  runs = {
    mesh: nets.Trained(
      nets.config(data=mesh[0], column=mesh[1], short=True), num_steps=3
    )
    for mesh in MESHES
  }
  one = runs[1, 1, 1]
  assert set(one.state.model_state['batch_stats']) == {'conv1_norm'}
  for before, after in zip(
    jax.tree.leaves(one.first.model_state),
    jax.tree.leaves(one.state.model_state),
    strict=True,
  ):
    assert (np.asarray(before) != np.asarray(after)).all()
  for other in runs.values():
    np.testing.assert_allclose(other.losses, one.losses, rtol=1e-5)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
      other.state.model_state,
      one.state.model_state,
    )


def test_parts_of_a_minibatch_move_it_one_after_the_other():
  config = nets.config(short=True)
  config.grad_accumulation_steps = 2
  once, twice = (
    nets.Trained(c, num_steps=1) for c in (nets.config(short=True), config)
  )
  means = [
    run.state.model_state['batch_stats']['conv1_norm']['mean']
    for run in (once, twice)
  ]
  # 0.99 m + 0.01 x, once or twice: twice moves nearly twice as far.
  ratio = np.linalg.norm(means[1]) / np.linalg.norm(means[0])
  assert 1.9 < ratio < 2.1


def test_a_checkpoint_has_it(tmp_path):
  config = nets.config(column=2, short=True)
  path = saved.checkpoint(tmp_path, config)
  network = load.network(path, config=config)
  first = setup_lib.set_up(config).programs.init().model_state
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a, b + 1),  # as saved.py has it
    jax.device_get(network.variables['batch_stats']),
    jax.device_get(first['batch_stats']),
  )
