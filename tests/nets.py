"""Small nets and batches for the tests; narrow, since compiling takes time."""

import functools

import jax
import numpy as np

from alexnet_jax.config import durations
from alexnet_jax.configs import smoke
from alexnet_jax.data import pipeline
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build

CROP = 67
IMAGE = 80
BATCH = 8
# For tests that are not about layers: most of the time goes into compiling.
SKIPPED = ('conv2', 'conv4', 'conv5', 'fc6')


def config(*, data=1, column=1, short=False):
  """The smoke config on a data x column mesh, minibatches of 8, rate 0.01.

  A short one has fewer layers, for tests that are not about them.
  """
  config = smoke.get_config()
  config.mesh.data, config.mesh.column = data, column
  config.batch_size = BATCH
  config.optim.learning_rate = 0.01
  config.model.skip_layers = SKIPPED if short else ()
  return config


def batch(seed=0):
  """A minibatch as the pipeline gives it, drawn at random."""
  rng = np.random.default_rng(seed)
  return pipeline.blank_batch(BATCH, crop_size=CROP) | {
    'image': rng.integers(0, 256, (BATCH, CROP, CROP, 3), dtype=np.uint8),
    'offset': rng.integers(0, IMAGE - CROP + 1, (BATCH, 2)).astype(np.int32),
    'mirror': rng.random(BATCH) < 0.5,
    'colour': rng.normal(size=(BATCH, 3)).astype(np.float32) * 10,
    'label': rng.integers(0, 10, BATCH).astype(np.int32),
  }


def mean_image():
  rng = np.random.default_rng(7)
  return rng.uniform(100, 150, (IMAGE, IMAGE, 3)).astype(np.float32)


@functools.cache
def trained(*, data, column, parts=1, short=False):
  """Five steps on a mesh, each in so many parts, taken once."""
  on_mesh = config(data=data, column=column, short=short)
  on_mesh.grad_accumulation_steps = parts
  return Trained(on_mesh, num_steps=5)


class Trained:
  """A few steps of a config: what came out of each, and the states."""

  def __init__(self, config, *, num_steps):
    mesh = mesh_lib.create(data=config.mesh.data, column=config.mesh.column)
    plan = durations.plan(config, train_images=12)
    self.programs = build.build(config, mesh=mesh, plan=plan)
    self.mean = mesh_lib.replicate(mean_image(), mesh=mesh)
    self.first = jax.device_get(self.programs.init())
    self.state = self.programs.init()
    self.metrics, self.states = [], []
    for i in range(num_steps):
      placed = mesh_lib.put_batch(batch(i), mesh=mesh)
      self.state, means = self.programs.train(self.state, self.mean, placed)
      self.metrics.append(jax.device_get(means))
      self.states.append(jax.device_get(self.state))
    self.losses = [float(m['loss']) for m in self.metrics]
