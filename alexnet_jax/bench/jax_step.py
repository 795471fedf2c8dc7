"""This program's side of bench/step.py: training steps, or ten views (§4.1).

  python -m alexnet_jax.bench.jax_step '{"config": {...}, "dtype": "float32"}'

A process of its own, see bench/workers.py. Batches are drawn at random and are on
the device before anything is timed; the state is donated as in training. It
imports neither grain nor TFDS nor orbax.
"""

import functools
import json
import operator
import os
import sys
import time
from typing import Any

import jax
import numpy as np
from jaxtyping import Array
from ml_collections import config_dict

from alexnet_jax.bench import workers
from alexnet_jax.config import validate
from alexnet_jax.data import augment
from alexnet_jax.models import summary
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.parallel import placement
from alexnet_jax.runtime import malloc
from alexnet_jax.steps import build, preprocess
from alexnet_jax.studies import communication

Config = config_dict.ConfigDict
_PRODUCT = 4096  # rows and columns of the matrices


def main() -> None:
  """Answers until stdin ends."""
  options = json.loads(sys.argv[1])
  config = as_config(options['config'])
  set_up(config)
  workers.serve(
    {
      'step': lambda: training(config),
      'eval': lambda: ten_views(config),
      'product': lambda: product(options['dtype']),
    },
    facts=machine(),
    peak_memory=peak_memory_bytes,
  )


def set_up(config: Config) -> None:
  """What main.py does before its first array; room for peers on a GPU.

  But for the kept programs: how long compiling takes is measured.
  """
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  mesh_lib.make_cpu_devices(config.mesh.data * config.mesh.column)
  if jax.default_backend() == 'cpu':
    malloc.keep_freed_memory()


def machine() -> workers.Answer:
  """What JAX runs on."""
  device = jax.devices()[0]
  return {'platform': device.platform, 'device': device.device_kind}


def as_config(tree: dict[str, Any]) -> Config:
  """A config from JSON, which has lists for tuples."""

  def plain(value: Any) -> Any:
    if isinstance(value, dict):
      return {name: plain(v) for name, v in value.items()}
    return tuple(map(plain, value)) if isinstance(value, list) else value

  return Config(plain(tree))


class Trainer:
  """A compiled training step, and the state that goes from one to the next."""

  def __init__(self, config: Config):
    self.mesh, programs = _programs(config)
    self._mean_image = placement.replicate(_mean_image(config), mesh=self.mesh)
    batch = placement.put_batch(draw(config), mesh=self.mesh)
    start = time.perf_counter()
    self._step = programs.train.lower(
      programs.state, self._mean_image, batch
    ).compile()
    self.facts = _facts(config, what='step', since=start)
    self._batch = batch
    self._state = programs.init()

  def take(self, batch: build.Batch) -> Any:
    """Begins a step on a minibatch that lies on the devices."""
    self._state, means = self._step(self._state, self._mean_image, batch)
    return means

  def work(self) -> workers.Work:
    """The same minibatch again and again."""
    return workers.Work(
      lambda: self.take(self._batch), jax.block_until_ready, self.facts
    )


def training(config: Config) -> workers.Work:
  """The whole training step."""
  return Trainer(config).work()


def ten_views(config: Config) -> workers.Work:
  """Class probabilities of whole images, the mean over ten views (§4.1)."""
  mesh, programs = _programs(config)
  mean_image = placement.replicate(_mean_image(config), mesh=mesh)
  images = placement.put_batch(_whole_images(config), mesh=mesh)
  sizes = {name: config.data[name] for name in ('image_size', 'crop_size')}
  views = [
    placement.replicate(
      preprocess.View(np.array([v.y, v.x], np.int32), np.array(v.mirror)),
      mesh=mesh,
    )
    for v in augment.views(**sizes)
  ]
  params = programs.init().params
  start = time.perf_counter()
  predict = programs.predict.lower(params, mean_image, images, views[0])
  predict = predict.compile()
  facts = _facts(config, what='eval', since=start)

  def once() -> Array:
    each = [predict(params, mean_image, images, view) for view in views]
    return functools.reduce(operator.add, each) / len(each)

  return workers.Work(once, jax.block_until_ready, facts)


def product(dtype: str) -> workers.Work:
  """A product of square matrices: what the machine can do at most."""
  size = _PRODUCT
  key = jax.random.key(0)
  a = jax.random.normal(key, (size, size)).astype(dtype)
  multiply = jax.jit(operator.matmul)
  return workers.Work(
    lambda: multiply(a, a), jax.block_until_ready, {'flop': 2 * size**3}
  )


def _programs(config: Config) -> tuple[jax.sharding.Mesh, build.Steps]:
  mesh = mesh_lib.create(data=config.mesh.data, column=config.mesh.column)
  plan = validate.plan(config, train_images=1_281_167)
  return mesh, build.build(config, mesh=mesh, plan=plan)


def _facts(config: Config, *, what: str, since: float) -> workers.Answer:
  training = what == 'step'
  flop = summary.operations(config.model, crop_size=config.data.crop_size)[
    'train' if training else 'eval'
  ]
  moved = [
    movement.bytes_per_image
    for movement in communication.expected(config)
    if training or movement.direction == 'forward'
  ]
  return {
    'compile_seconds': time.perf_counter() - since,
    'moved_bytes_per_image': sum(moved),
    'images': config.batch_size if training else config.eval.batch_size,
    'flop_per_image': flop if training else 10 * flop,
  }


def draw(config: Config) -> dict[str, np.ndarray]:
  """A minibatch as the pipeline gives it, drawn at random."""
  rng = np.random.default_rng(0)
  images, data = config.batch_size, config.data
  room = data.image_size - data.crop_size + 1
  shape = (images, data.crop_size, data.crop_size, 3)
  classes = config.model.num_classes
  return {
    'image': rng.integers(0, 256, shape, dtype=np.uint8),
    'offset': rng.integers(0, room, (images, 2)).astype(np.int32),
    'mirror': rng.random(images) < 0.5,
    'colour': 10 * rng.normal(size=(images, 3)).astype(np.float32),
    'label': rng.integers(0, classes, images).astype(np.int32),
    'scale': np.ones(images, np.float32),
  }


def _whole_images(config: Config) -> np.ndarray:
  side = config.data.image_size
  shape = (config.eval.batch_size, side, side, 3)
  return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _mean_image(config: Config) -> np.ndarray:
  side = config.data.image_size
  return np.full((side, side, 3), 120, np.float32)


def peak_memory_bytes() -> int:
  """Of the fullest accelerator; on a CPU, of this process."""
  stats = [device.memory_stats() for device in jax.local_devices()]
  if jax.default_backend() == 'cpu' or not all(stats):
    return workers.host_peak_bytes()
  return max(s['peak_bytes_in_use'] for s in stats if s)


if __name__ == '__main__':
  main()
