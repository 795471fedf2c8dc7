"""The PyTorch baseline computes the same as this program.

Skipped unless ALEXNET_JAX_TORCH_PYTHON names an interpreter that has what
alexnet_jax/bench/baselines/requirements.txt lists.
"""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from alexnet_jax.bench import jax_step
from alexnet_jax.bench.baselines import pytorch
from alexnet_jax.config import durations
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build
from tests import nets

PYTHON = os.environ.get('ALEXNET_JAX_TORCH_PYTHON', '')
BASELINES = pathlib.Path(pytorch.__file__).parent
needs_torch = pytest.mark.skipif(
  not PYTHON, reason='needs PyTorch: set ALEXNET_JAX_TORCH_PYTHON'
)

# Gives PyTorch our arrays, and prints its results.
SCRIPT = """
import json, sys
import numpy as np
import torch
sys.path.insert(0, sys.argv[1])
import torch_step

arrays, options = np.load(sys.argv[2]), json.loads(sys.argv[3])
torch_step.set_up(options)
bench = torch_step.Benchmark(options)
for name, layer in bench.net.layers.items():
  kernel = torch.from_numpy(arrays[f'{name}/kernel'])
  order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
  with torch.no_grad():
    layer.weight.copy_(kernel.permute(order))
    layer.bias.copy_(torch.from_numpy(arrays[f'{name}/bias']))
labels = torch.from_numpy(arrays['labels'])
torch.randint = lambda *a, **k: labels
images = lambda name: torch.from_numpy(arrays[name]).permute(0, 3, 1, 2)
bench.images = lambda number, side: images('whole')
views = bench.ten_views()[0]().tolist()
bench.images = lambda number, side: images('crops')
bench.net.train()
once, facts = bench.training()
losses = [once().item() for _ in range(3)]
print(json.dumps({'views': views, 'losses': losses}))
"""


def _config():
  """A net in which all shows: the paper's constants do little in few steps.

  Without dropout, which each side draws by itself; conv1 needs a row of zeros.
  """
  config = nets.config()
  config.model.dropout_rate = 0.0
  config.model.lrn.alpha = 0.1
  config.data.crop_size = 66
  config.optim.weight_decay = 500.0
  config.eval.batch_size = 3
  config.optim.learning_rate = 2e-5
  fans = {'conv1': 363 * 140**2, 'conv2': 150, 'fc6': 32, 'fc7': 64, 'fc8': 64}
  for name, layer in config.model.layer.items():
    layer.stddev = (2 / fans.get(name, 200)) ** 0.5
  return config


@pytest.fixture(scope='module')
def ours(tmp_path_factory):
  """What this program computes, and the arrays that it begins with."""
  config = _config()
  mesh = mesh_lib.create(data=1, column=1)
  plan = durations.plan(config, train_images=10)
  params = build.build(config, mesh=mesh, plan=plan).init().params
  arrays = {
    f'{layer}/{kind}': np.asarray(array)
    for layer, kinds in params.items()
    for kind, array in kinds.items()
  }
  batch = jax_step.draw_batch(config)
  arrays |= {'crops': batch['image'], 'labels': batch['label'].astype(int)}
  arrays['whole'] = jax_step.whole_images(config)
  path = tmp_path_factory.mktemp('torch') / 'arrays.npz'
  np.savez(path, **arrays)
  step = jax_step.training(config)
  losses = [float(step.start()['loss']) for _ in range(3)]
  return config, path, np.asarray(jax_step.ten_views(config).start()), losses


def _theirs(config, path, *, dtype='float32', **form):
  form = {
    'layout': 'contiguous', 'mode': 'eager', 'lrn': 'torch',
    'memory': 'returned',
  } | form  # fmt: skip
  options = {
    'config': config.to_dict(), 'dtype': dtype, 'platform': 'cpu', 'form': form
  }  # fmt: skip
  done = subprocess.run(
    [PYTHON, '-c', SCRIPT, str(BASELINES), str(path), json.dumps(options)],
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@needs_torch
@pytest.mark.multiprocess
@pytest.mark.parametrize(
  'form',
  [
    {},
    {'layout': 'channels_last', 'lrn': 'shifts'},
    {'lrn': 'cumsum', 'memory': 'kept'},
  ],
  ids=str,
)
def test_every_form_is_the_same_net_and_rule(ours, form):
  """Three losses: the second and third follow from gradients and momentum."""
  config, path, views, losses = ours
  found = _theirs(config, path, **form)
  assert losses[2] < 0.95 * losses[0] and abs(losses[0] - np.log(10)) > 0.05
  np.testing.assert_allclose(found['losses'], losses, rtol=2e-4)
  assert views.std() > 0.01
  np.testing.assert_allclose(found['views'], views, rtol=2e-4, atol=1e-6)


@needs_torch
@pytest.mark.multiprocess
def test_bfloat16_is_near(ours):
  config, path, views, losses = ours
  found = _theirs(config, path, dtype='bfloat16', lrn='shifts')
  np.testing.assert_allclose(found['losses'], losses, rtol=0.1)
  np.testing.assert_allclose(found['views'], views, atol=0.05)
  assert found['losses'] != pytest.approx(losses, rel=1e-6)
