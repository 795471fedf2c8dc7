"""Bytes that compiled steps move between devices, and the bytes expected.

§3.2 lets the two GPUs communicate only in certain layers, which "allows us to
precisely tune the amount of communication until it is an acceptable fraction
of the amount of computation". The bytes that a compiled program moves are read
from its HLO (parallel/hlo.py); the bytes expected follow from the config.

A layer with inputs from both columns gathers the other column's activations,
fc8 sums the scores of the columns, and the backward pass of each gather returns
gradients. The data axis adds one sum of all gradients, config.guard one word
between the columns if it may skip steps, and LARS (config.batch_scaling) two
norms of each kernel. Nothing else may move.
"""

import collections
import functools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from ml_collections import config_dict

from alexnet_jax.config import durations, validate
from alexnet_jax.data import augment
from alexnet_jax.models import alexnet, summary
from alexnet_jax.parallel import hlo as hlo_lib
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build, preprocess

_BYTES = 4  # of a float32: scores, gradients of parameters
_METRICS = 3  # loss and two error rates, summed with the gradients


class Movement(NamedTuple):
  """The collectives of one kind in one layer, direction and mesh axis."""

  layer: str  # such as 'conv3'; '' outside the layers
  direction: str  # 'forward' or 'backward'
  kind: str  # of collective, as HLO names it
  axis: str  # of the mesh, 'data' or 'column'
  count: int  # operations in the program
  bytes_per_image: float  # sent, summed over all devices
  shapes: tuple[str, ...] = ()  # that each device receives, if measured
  asynchronous: int = 0  # of `count`: other work may run meanwhile

  @property
  def key(self) -> tuple[str, ...]:
    return (self.layer, self.direction, self.kind, self.axis)


class Report(NamedTuple):
  """Movements of the training and the evaluation step, sorted by layer."""

  train: list[Movement]
  eval: list[Movement]
  expected_train: list[Movement]
  expected_eval: list[Movement]

  @property
  def problems(self) -> list[str]:
    """A line for each difference between measured and expected movements."""
    lines = _differences('train', self.train, self.expected_train)
    return lines + _differences('eval', self.eval, self.expected_eval)


class Steps(NamedTuple):
  """The compiled programs of a config."""

  train: jax.stages.Compiled
  eval: jax.stages.Compiled


def report(config: config_dict.ConfigDict) -> Report:
  """Compiles both steps of a config for its mesh, and counts their bytes.

  Raises ValueError if the config is invalid, or there are too few devices.
  """
  validate.check(config)
  mesh = mesh_lib.create(data=config.mesh.data, column=config.mesh.column)
  return of_steps(compile_steps(config, mesh=mesh), config=config, mesh=mesh)


def of_steps(
  steps: Steps, *, config: config_dict.ConfigDict, mesh: Mesh
) -> Report:
  """Counts the bytes of compiled steps of a config, beside those expected."""
  train, evaluation = (step.as_text() for step in steps)
  needed = expected(config, platform=mesh.devices.flat[0].platform)
  return Report(
    train=measured(train, mesh=mesh, images=config.batch_size),
    eval=measured(evaluation, mesh=mesh, images=config.eval.batch_size),
    expected_train=needed,
    expected_eval=[m for m in needed if m.direction == 'forward'],
  )


def compile_steps(config: config_dict.ConfigDict, *, mesh: Mesh) -> Steps:
  """Compiles the training and the evaluation step of whole minibatches.

  Evaluation is of one view; ten views together (steps/views.py) move ten times
  its bytes.
  """

  def array(shape: tuple[int, ...], dtype: DTypeLike, *axes: str) -> Any:
    """An array without values, on the mesh."""
    sharding = NamedSharding(mesh, P(*axes))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  plan = durations.plan(config, train_images=config.batch_size)
  programs = build.build(config, mesh=mesh, plan=plan)
  size = config.data.image_size
  mean_image = array((size, size, 3), jnp.float32)
  spec = augment.batch_spec(crop_size=config.data.crop_size)
  batch = {
    name: array((config.batch_size, *shape), dtype, mesh_lib.DATA)
    for name, (shape, dtype) in spec.items()
  }
  shape = (config.eval.batch_size, size, size, 3)
  images = array(shape, jnp.uint8, mesh_lib.DATA)
  view = preprocess.DeviceView(array((2,), jnp.int32), array((), jnp.bool_))
  state = programs.state
  train = programs.train.lower(state, mean_image, batch)
  predict = programs.predict.lower(state.variables, mean_image, images, view)
  return Steps(train.compile(), predict.compile())


def measured(hlo: str, *, mesh: Mesh, images: int) -> list[Movement]:
  """Movements of a compiled program with so many images."""
  groups = collections.defaultdict(list)
  for c in hlo_lib.collectives(hlo, mesh=mesh):
    groups[c.layer, c.direction, c.kind, c.axis].append(c)
  found = [
    Movement(
      *key,
      count=len(group),
      bytes_per_image=sum(c.bytes for c in group) / images,
      shapes=tuple(shape for c in group for shape in c.shapes),
      asynchronous=sum(c.asynchronous for c in group),
    )
    for key, group in groups.items()
  ]
  return sorted(found, key=_order)


def expected(
  config: config_dict.ConfigDict, *, platform: str = ''
) -> list[Movement]:
  """Movements of a training step; an evaluation step has the forward ones.

  `platform` is that of the devices; '': JAX's default.
  """
  rows = summary.layers(config.model, crop_size=config.data.crop_size)
  data, column = config.mesh.data, config.mesh.column
  # Bytes of an activation when sent; XLA on a CPU sends float32.
  on_cpu = (platform or jax.default_backend()) == 'cpu'
  width = _BYTES if on_cpu else jnp.dtype(config.dtype).itemsize
  found = []
  for row in rows:
    inputs = config.model.layer[row.name].inputs
    if inputs == 'both_columns':
      # Each device sends its activations to every other column.
      sent = math.prod(row.input) * width * (column - 1)
      found += [
        Movement(row.name, 'forward', 'all-gather', 'column', 1, sent),
        Movement(row.name, 'backward', 'reduce-scatter', 'column', 1, sent),
      ]
    if inputs == 'summed':
      sent = 2 * (column - 1) * math.prod(row.output) * _BYTES
      found += [Movement(row.name, 'forward', 'all-reduce', 'column', 1, sent)]
  # Words of each sum over the columns outside the layers.
  sums = [1] * bool(config.guard.max_skipped_steps)  # are all finite?
  sums += [2 * len(rows)] * config.batch_scaling.lars  # norms: kernels, updates
  sent = 2 * (column - 1) * data * sum(sums) * _BYTES / config.batch_size
  key = ('', 'backward', 'all-reduce')
  found.append(Movement(*key, 'column', len(sums), sent))
  values = _gradient_values(config) + _METRICS
  sent = 2 * (data - 1) * column * values * _BYTES / config.batch_size
  found.append(Movement(*key, 'data', 1, sent))
  return sorted((m for m in found if m.bytes_per_image), key=_order)


def _gradient_values(config: config_dict.ConfigDict) -> int:
  """Number of parameters on one device."""
  crop = config.data.crop_size
  make = functools.partial(alexnet.initialise, config.model, crop_size=crop)
  params = jax.eval_shape(make, jax.random.key(0))

  def share(leaf: jax.ShapeDtypeStruct, spec: P) -> int:
    return leaf.size // (config.mesh.column if any(spec) else 1)

  shares = jax.tree.map(share, params, alexnet.partition_specs(params))
  return sum(jax.tree.leaves(shares))


def _order(m: Movement) -> tuple[bool, bool, str, str, str]:
  """Sort key: forward, backward, sum of gradients; layers in order."""
  return m.direction == 'backward', not m.layer, m.layer, m.kind, m.axis


def _differences(
  program: str, found: Iterable[Movement], wanted: Iterable[Movement]
) -> list[str]:
  """A line for each key whose bytes or, off the data axis, counts differ."""
  moved = {m.key: m for m in found}
  needed = {m.key: m for m in wanted}
  lines = []
  for key in {**needed, **moved}:
    nothing = Movement(*key, count=0, bytes_per_image=0)
    ours, theirs = moved.get(key, nothing), needed.get(key, nothing)
    same = math.isclose(ours.bytes_per_image, theirs.bytes_per_image)
    if same and (ours.count == theirs.count or ours.axis == mesh_lib.DATA):
      continue
    lines.append(
      f'{program}: {" ".join(key).strip()} moves {ours.bytes_per_image:,.0f} '
      f'bytes an image in {ours.count}; expected '
      f'{theirs.bytes_per_image:,.0f} in {theirs.count}'
    )
  return lines
