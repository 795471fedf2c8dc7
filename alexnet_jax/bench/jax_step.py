"""The worker of bench/step.py: training steps, or ten views (§4.1).

  python -m alexnet_jax.bench.jax_step '{"config": {...}, "dtype": "float32"}'

Batches are drawn at random and are on the device before anything is timed; the
state is donated, as in training. This module imports neither grain, TFDS nor
orbax, so that a step can be measured where they are not installed.
"""

import collections
import functools
import json
import operator
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float32, UInt8
from ml_collections import config_dict

from alexnet_jax.bench.baselines import serve
from alexnet_jax.config import durations, schema
from alexnet_jax.data import augment
from alexnet_jax.models import summary
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build, measure, preprocess
from alexnet_jax.studies import communication

Config = config_dict.ConfigDict
Batch = dict[str, Any]
_TRAIN_IMAGES = 1_281_167  # of ImageNet; only the length of a run depends on it
_PRODUCT = 2048  # rows and columns of the matrices
# Calls dispatched ahead, as in train/guard.py. With about thirty, two CPU
# devices deadlock (jax 0.10.2).
_AHEAD = 2


def main() -> None:
  """Answers until stdin closes."""
  options = json.loads(sys.argv[1])
  config = Config(schema.from_json(options['config']))
  set_up(config)
  workloads = {
    'step': lambda: training(config),
    'eval': lambda: ten_views(config),
    'product': lambda: product(options['dtype']),
  }
  answer(workloads, info=machine())


def answer(
  workloads: Mapping[str, Callable[[], serve.Workload]], *, info: serve.Facts
) -> None:
  """The main loop of a worker."""
  serve.serve(workloads, info=info, timed=timed, peak_memory=peak_memory_bytes)


def set_up(config: Config) -> None:
  """Prepares the process as main.py does, before its first array.

  Two differences: PyTorch gets room on the same GPU, and compiled programs are
  not cached, as compile time is measured.
  """
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  mesh_lib.make_cpu_devices(config.mesh.data * config.mesh.column)


def machine() -> serve.Facts:
  """JAX's platform and device."""
  device = jax.devices()[0]
  return {'platform': device.platform, 'device': device.device_kind}


def timed(start: Callable[[], Any], *, calls: int) -> float:
  """Seconds of a call, on average over so many."""
  begun, pending = time.perf_counter(), collections.deque()
  for _ in range(calls):
    pending.append(start())
    if len(pending) > _AHEAD:
      jax.block_until_ready(pending.popleft())
  jax.block_until_ready(list(pending))
  return (time.perf_counter() - begun) / calls


class Trainer:
  """A compiled training step, and the state that each call replaces."""

  def __init__(self, config: Config):
    self.mesh = mesh_lib.create(
      data=config.mesh.data, column=config.mesh.column
    )
    self._mean_image = mesh_lib.replicate(_mean_image(config), mesh=self.mesh)
    self._batch = mesh_lib.put_batch(draw_batch(config), mesh=self.mesh)
    config = _as_measured(config, mesh=self.mesh)
    _, programs = _programs(config)
    start = time.perf_counter()
    self._step = programs.train.lower(
      programs.state, self._mean_image, self._batch
    ).compile()
    self._facts = _facts(config, what='step', since=start)
    self._facts |= {'parts': config.grad_accumulation_steps, **_forms(config)}
    self._state = programs.init()

  def _dispatch(self, batch: Batch) -> Any:
    self._state, metrics = self._step(self._state, self._mean_image, batch)
    return metrics

  def feed(self, batches: Iterator[Batch]) -> Any:
    """Copies the next batch to the devices, and dispatches a step on it."""
    return self._dispatch(mesh_lib.put_batch(next(batches), mesh=self.mesh))

  def workload(self) -> serve.Workload:
    """Steps on the same batch."""
    return serve.Workload(lambda: self._dispatch(self._batch), self._facts)


def training(config: Config) -> serve.Workload:
  """The whole training step."""
  return Trainer(config).workload()


def ten_views(config: Config) -> serve.Workload:
  """Class probabilities of whole images, averaged over ten views (§4.1).

  As a run evaluates them: in the forms that its training steps chose.
  """
  mesh = mesh_lib.create(data=config.mesh.data, column=config.mesh.column)
  config = _as_measured(config, mesh=mesh)
  _, programs = _programs(config)
  mean_image = mesh_lib.replicate(_mean_image(config), mesh=mesh)
  images = mesh_lib.put_batch(whole_images(config), mesh=mesh)
  variables = programs.init().variables
  start = time.perf_counter()
  if programs.predict_ten:
    together = programs.predict_ten.lower(variables, mean_image, images)
    together = together.compile()
    facts = _facts(config, what='eval', since=start) | _forms(config)
    return serve.Workload(
      lambda: together(variables, mean_image, images), facts
    )
  sizes = {name: config.data[name] for name in ('image_size', 'crop_size')}
  views = [
    preprocess.DeviceView(np.array([v.y, v.x], np.int32), np.array(v.mirror))
    for v in augment.views(**sizes)
  ]
  views = mesh_lib.replicate(views, mesh=mesh)
  predict = programs.predict.lower(variables, mean_image, images, views[0])
  predict = predict.compile()
  facts = _facts(config, what='eval', since=start) | _forms(config)

  def average() -> Array:
    each = [predict(variables, mean_image, images, view) for view in views]
    return functools.reduce(operator.add, each) / len(each)  # [B, classes]

  return serve.Workload(average, facts)


def product(dtype: str) -> serve.Workload:
  """A product of square matrices: the machine's peak."""
  shape = (_PRODUCT, _PRODUCT)
  a = jax.random.normal(jax.random.key(0), shape).astype(dtype)
  multiply = jax.jit(operator.matmul)
  return serve.Workload(lambda: multiply(a, a), {'flop': 2 * _PRODUCT**3})


def _programs(config: Config) -> tuple[jax.sharding.Mesh, build.Steps]:
  mesh = mesh_lib.create(data=config.mesh.data, column=config.mesh.column)
  return mesh, build.build(config, mesh=mesh, plan=_plan(config))


def _as_measured(config: Config, *, mesh: jax.sharding.Mesh) -> Config:
  """The config with what is fastest here for the fields of MEASURED."""
  inputs = measure.Inputs(
    mesh_lib.replicate(_mean_image(config), mesh=mesh),
    lambda: mesh_lib.put_batch(draw_batch(config), mesh=mesh),
  )
  found = measure.choose(
    config,
    mesh=mesh,
    plan=_plan(config),
    inputs=inputs,
    always=True,
    tell=lambda text: None,
  )
  config = config.copy_and_resolve_references()
  config.update(found)
  return config


def _forms(config: Config) -> serve.Facts:
  return {name: bool(config[name]) for name in schema.FORMS}


def _plan(config: Config) -> durations.Plan:
  return durations.plan(config, train_images=_TRAIN_IMAGES)


def _facts(config: Config, *, what: str, since: float) -> serve.Facts:
  """Compile time, and what a call computes and moves."""
  training = what == 'step'
  operations = summary.operations(config.model, crop_size=config.data.crop_size)
  flop = operations['train' if training else 'eval']
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


def draw_batch(config: Config) -> dict[str, np.ndarray]:
  """Random images and labels; draws that change nothing, not even the time."""
  rng = np.random.default_rng(0)
  images = config.batch_size
  batch = {
    name: np.full((images, *draw.shape), draw.neutral, draw.dtype)
    for name, draw in augment.DRAWS.items()
  }
  spec = augment.batch_spec(crop_size=config.data.crop_size)
  for name, end in (('image', 256), ('label', config.model.num_classes)):
    shape, dtype = spec[name]
    batch[name] = rng.integers(0, end, (images, *shape), dtype)
  return batch


def whole_images(config: Config) -> UInt8[np.ndarray, 'b s s 3']:
  """Random images of an evaluation batch."""
  side = config.data.image_size
  shape = (config.eval.batch_size, side, side, 3)
  return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _mean_image(config: Config) -> Float32[np.ndarray, 's s 3']:
  side = config.data.image_size
  return np.full((side, side, 3), 120, np.float32)


def peak_memory_bytes() -> int:
  """Peak memory of the fullest accelerator; on a CPU, of this process."""
  stats = [device.memory_stats() for device in jax.local_devices()]
  if jax.default_backend() == 'cpu' or not all(stats):
    return serve.host_peak_bytes()
  return max(s['peak_bytes_in_use'] for s in stats if s)


if __name__ == '__main__':
  main()
