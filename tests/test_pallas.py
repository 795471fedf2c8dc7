"""ops/pallas/block against ops/lrn and ops/pool; interpreted on a CPU."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.config import durations, schema
from alexnet_jax.configs import smoke, source2012, torchvision
from alexnet_jax.models import alexnet
from alexnet_jax.ops import lrn, pool
from alexnet_jax.ops.pallas import block as block_lib
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build
from tests import nets

# A large alpha, so that the sum weighs as much as k.
NORM = {'n': 5, 'k': 2.0, 'alpha': 0.3, 'beta': 0.75}
POOL = {'size': 3, 'stride': 2, 'partial_windows': True}
PAPER = block_lib.Block(relu='first', columns=2, **NORM, **POOL)
CASES = {  # the block, dtype, and [h, w, c]
  'paper': (PAPER, jnp.float32, (7, 36, 24)),
  '2012': (
    dataclasses.replace(PAPER, relu='last', columns=1),
    jnp.bfloat16,
    (8, 7, 12),  # windows hang over the edge
  ),
  'others': (
    dataclasses.replace(
      PAPER, n=3, beta=0.4, size=2, columns=1, partial_windows=False
    ),
    jnp.float32,
    (5, 6, 5),
  ),
}


def by_ops(block, x, bias):
  """The same by the ops that XLA compiles."""
  b = dataclasses.asdict(block)
  x = (x.astype(jnp.float32) + bias[None, None, None]).astype(x.dtype)
  x = jax.nn.relu(x) if block.relu == 'first' else x
  x = lrn.local_response_norm(
    x, columns=block.columns, **{k: b[k] for k in NORM}
  )
  x = pool.max_pool(x, **{k: b[k] for k in POOL})
  return jax.nn.relu(x) if block.relu == 'last' else x


def both_ways(function, *args):
  """The result, and the gradients for one of its shape."""

  @jax.jit
  def run(*args):
    y, back = jax.vjp(function, *args)
    g = jax.random.normal(jax.random.key(1), y.shape).astype(y.dtype)
    return y, *back(g)

  return [np.asarray(a, np.float32) for a in run(*args)]


def arrays(dtype, shape, images=2):
  rng = np.random.default_rng(0)
  x = jnp.asarray(2 * rng.normal(size=(images, *shape)), dtype)
  return x, jnp.asarray(rng.normal(size=shape[-1]), jnp.float32)


def assert_same(block, dtype, shape, *, tolerance=1e-6, others=0.0):
  """Compares; a share of the elements may be others, where maxima are near."""
  given = arrays(dtype, shape)
  ours = both_ways(lambda x, bias: block(x, bias=bias), *given)
  theirs = both_ways(lambda x, bias: by_ops(block, x, bias), *given)
  tolerance = tolerance if dtype == jnp.float32 else 2**-7
  for one, other in zip(ours, theirs, strict=True):
    assert one.shape == other.shape
    atol = tolerance * abs(other).max()
    close = np.isclose(one, other, rtol=tolerance, atol=atol)
    assert (~close).mean() <= others


@pytest.mark.parametrize('name', CASES)
def test_equals_the_ops_and_so_does_the_gradient(name, monkeypatch):
  # Several strips of rows, the last one not full, and tiles of a row.
  monkeypatch.setattr(block_lib, '_STRIP', 2)
  monkeypatch.setattr(block_lib, '_TILE', 256)
  assert_same(*CASES[name])


@pytest.mark.gpu
@pytest.mark.filterwarnings('ignore:The Pallas Triton')
@pytest.mark.parametrize('shape', [(55, 55, 96), (27, 27, 256)])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('relu', ['first', 'last'])
def test_a_gpu_computes_the_same(relu, dtype, shape):
  if jax.default_backend() != 'gpu':
    pytest.skip('needs a GPU')
  block = dataclasses.replace(PAPER, relu=relu)
  assert_same(block, dtype, shape, tolerance=1e-5, others=1e-4)


def test_the_network_is_the_same_with_its_kernels():
  config = smoke.get_config().model
  config.skip_layers = nets.SKIPPED[1:]  # most of the time goes into compiling
  images = 99 * jax.random.normal(jax.random.key(1), (1, 67, 67, 3))
  params = alexnet.initialise(config, jax.random.key(0), crop_size=67)

  def run(kernels):
    model = alexnet.create(config, columns_here=2, kernels=kernels)

    @jax.jit
    def logits(params):
      def apply(p):
        return model.apply({'params': p}, images)

      out, activations = alexnet.whole(apply)(params)
      return out, activations

    return logits

  traced = str(jax.make_jaxpr(run('pallas'))(params))
  assert traced.count('pallas_call') == 2  # conv1 and conv2
  (ours, of_ours), (theirs, of_theirs) = (
    run(kernels)(params) for kernels in ('pallas', 'xla')
  )
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)
  for name, activation in of_theirs.items():  # those of features, too
    np.testing.assert_allclose(of_ours[name], activation, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
  ('config', 'layers'),
  [(smoke, ('conv1', 'conv2')), (source2012, ('conv1',)), (torchvision, ())],
)
def test_layers_that_a_kernel_can_do(config, layers):
  model = config.get_config().model
  assert alexnet.in_one_kernel(model) == layers
  model.activation = 'tanh'
  assert alexnet.in_one_kernel(model) == ()


def _refusal(config, *, platform):
  with pytest.raises(ValueError) as refused:
    build._check_kernels(config, platform=platform)
  return str(refused.value)


def test_refused_where_it_cannot_be_or_does_nothing():
  config = smoke.get_config()
  config.kernels = 'pallas'
  build._check_kernels(config, platform='gpu')
  plan = durations.plan(config, train_images=96)
  mesh = mesh_lib.create(data=1, column=2)
  with pytest.raises(ValueError, match=r'the devices are CPUs: use --config'):
    build.build.anew(config, mesh=mesh, plan=plan)
  config.model.layer.conv2.kernels = 514
  assert 'at most 256 channels together, and here are 257' in _refusal(
    config, platform='gpu'
  )
  config.model.activation = 'tanh'
  assert 'and there is none: use --config.kernels=xla' in _refusal(
    config, platform='gpu'
  )


def test_runs_from_before_had_xla():
  old = smoke.get_config().to_dict()
  del old['kernels']
  assert schema.upgrade(old)['kernels'] == 'xla'
