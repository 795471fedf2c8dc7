"""A run before its first step: data, mesh, programs, and what it may continue.

Nothing is written here, so that whatever is wrong with a config, the data, the
machine or an earlier run leaves a workdir as it was. Not in the paper.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree
from ml_collections import config_dict

from alexnet_jax.checkpoint import layout
from alexnet_jax.config import validate
from alexnet_jax.data import augment, bad_records, pipeline, sources
from alexnet_jax.models import alexnet
from alexnet_jax.parallel import hosts, placement
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build
from alexnet_jax.train import health

Config = config_dict.ConfigDict


class Setup(NamedTuple):
  """What a run is made of before its first step."""

  config: Config
  dataset: sources.Dataset
  plan: validate.Plan
  mesh: Mesh
  programs: build.Steps
  mean_image: Float[Array, 's s 3']  # on the mesh
  bad_records: bad_records.Faults  # damaged images of this run


def set_up(config: Config) -> Setup:
  """Opens the data and builds the programs; nothing is written.

  Raises:
    ValueError: if the config, the data or the machine do not fit each other.
  """
  validate.check(config)
  dataset = load_data(config)
  mesh = mesh_lib.create(data=config.mesh.data, column=config.mesh.column)
  plan = validate.plan(config, train_images=len(dataset.train))
  return Setup(
    config=config,
    dataset=dataset,
    plan=plan,
    mesh=mesh,
    programs=build.build(config, mesh=mesh, plan=plan),
    mean_image=placement.replicate(dataset.mean_image, mesh=mesh),
    faults=bad_records.Faults(most=config.data.max_bad_records),
  )


def load_data(config: Config) -> sources.Dataset:
  """The data set that the config names.

  Raises:
    ValueError: if it is missing, or has more classes than fc8 has units.
  """
  data = config.data
  dataset = sources.load(
    source=data.source,
    directory=data.dir,
    tfds=data.tfds,
    image_size=data.image_size,
    train_images=data.embedded_train_images,
    val_images=data.embedded_val_images,
    seed=config.seed,
    embedded_classes=data.embedded_classes,
  )
  classes, units = len(dataset.classes), config.model.num_classes
  if classes > units:
    raise ValueError(
      f'config.model.num_classes = {units}, but {dataset.name} has {classes} '
      f'classes: use --config.model.num_classes={classes}'
    )
  return dataset


def train_batches(
  setup: Setup, *, total_steps: int, whole: bool = False
) -> grain.DatasetIterator:
  """The minibatches of a run from its beginning.

  Args:
    setup: the run's.
    total_steps: how many there are.
    whole: whether to read also what other processes' devices need.
  """
  config = setup.config
  here = placement.images_here(config.batch_size, mesh=setup.mesh)
  return iter(
    pipeline.train_batches(
      setup.dataset,
      batch_size=config.batch_size,
      crop_size=config.data.crop_size,
      seed=config.seed,
      total_steps=total_steps,
      augment=augment.Augment(**config.augment),
      reshuffle=config.data.reshuffle,
      rows=slice(None) if whole else here,
      threads=config.data.read_threads,
      prefetch=config.data.prefetch_batches,
      faults=setup.faults,
    )
  )


def probe(
  setup: Setup, *, params: PyTree, batch: Mapping[str, np.ndarray]
) -> health.Report:
  """What the activations of the first images of a whole batch look like."""
  rows = setup.config.mesh.data
  images = min(setup.config.health.probe_images, len(batch['label']))
  images = max(images // rows, 1) * rows
  placed = placement.put_batch(
    {name: array[:images] for name, array in batch.items()}, mesh=setup.mesh
  )
  moments = hosts.fetch(setup.programs.probe(params, setup.mean_image, placed))
  return health.report(
    {stage: moments[stage] for stage in stages(setup)},
    images=images,
    rectified=setup.config.model.activation == 'relu',
  )


def stages(setup: Setup) -> list[str]:
  """Names of the activations that `probe` looks at, in order."""
  return list(alexnet.stages(setup.config.model))


def describe(setup: Setup, *, workdir: pathlib.Path, step: int) -> str:
  """What is about to run, on what, for how long, and where it is kept."""
  config, data, plan = setup.config, setup.dataset, setup.plan
  leaves = jax.tree.leaves(setup.programs.state.params)
  parameters = sum(leaf.size for leaf in leaves)
  device = setup.mesh.devices.flat[0]
  going_on = f', going on from step {step}' if step else ''
  return (
    f'AlexNet of {config.model.columns} columns, {parameters:,} parameters, on '
    f'{setup.mesh.size} {device.device_kind} devices (data {config.mesh.data} '
    f'x column {config.mesh.column})\n'
    f'{data.name}: {len(data.train):,} training and {len(data.val):,} '
    f'validation images of {len(data.classes)} classes; {plan.total_steps:,} '
    f'steps of {plan.batch_size} images, {plan.epoch(plan.total_steps):.1f} '
    f'epochs\n{workdir}{going_on}; the first step compiles the network'
  )


def check_same_network(
  meta: layout.Meta, setup: Setup, *, path: pathlib.Path
) -> None:
  """Refuses a checkpoint of another network, or for other classes.

  Raises:
    ValueError: naming the first field that differs, with both values.
  """
  changed = changes(meta['config'], setup.config)
  other = [c for c in changed if c[0].startswith('model.') or c[0] in _INPUT]
  if other:
    _check_same_ablations(changed, path=path)
    field, old, new = other[0]
    more = f', and {len(other) - 1} fields more' if len(other) > 1 else ''
    raise ValueError(
      f'{path} is a checkpoint of another network: config.{field} was {old}, '
      f'is {new}{more}; use {_as_flag(field, old)}, or another checkpoint or '
      'workdir'
    )
  check_same_classes(meta, setup, path=path)


def check_same_classes(
  meta: layout.Meta, setup: Setup, *, path: pathlib.Path
) -> None:
  """Refuses a checkpoint for other classes than those of the data.

  Raises:
    ValueError: with both.
  """
  ours = [c._asdict() for c in setup.dataset.classes]
  if meta['classes'] != ours:
    raise ValueError(
      f'{path} knows the {len(meta["classes"])} classes of {meta["dataset"]}, '
      f'not the {len(ours)} of {setup.dataset.name}: use that data, or another '
      'workdir'
    )


# What the network sees of an image, besides its own fields.
_INPUT = ('data.crop_size', 'data.mean_at')
# What the place in the data, or the draws from it, are counted in.
_COURSE = ('seed', 'batch_size', 'augment.images_per_draw', 'data.reshuffle')


def check_same_course(
  meta: layout.Meta, setup: Setup, *, path: pathlib.Path
) -> None:
  """Refuses to go on with what cannot change within a run.

  Raises:
    ValueError: naming the field that differs, with both values.
  """
  changed = changes(meta['config'], setup.config)
  _check_same_ablations(changed, path=path)
  for field, old, new in changed:
    if field in _COURSE:
      raise ValueError(
        f'{path}: config.{field} was {old}, is {new}, and cannot change within '
        f'a run; use another --workdir, or {_as_flag(field, old)}'
      )
  if meta['fingerprint'] != setup.dataset.fingerprint:
    fields = [f'{f} was {o}, is {n}' for f, o, n in changed if 'data.' in f]
    why = '; '.join(fields) or f'{meta["dataset"]}, now {setup.dataset.name}'
    raise ValueError(
      f'{path} was trained on other data ({why}): use another --workdir, or '
      'that data'
    )


def _check_same_ablations(
  changed: list[tuple[str, Any, Any]], *, path: pathlib.Path
) -> None:
  for field, old, _ in changed:
    if field == 'ablations':
      same = ' '.join(f'--ablation={name}' for name in old) or 'no --ablation'
      raise ValueError(
        f'{path} is of a run with {same}: use the same, or another workdir'
      )


def _as_flag(field: str, value: Any) -> str:
  """What to type to set a field; tuples need quotes in a shell."""
  if isinstance(value, list):
    return f'--config.{field}="{_as_tuple(value)}"'
  return f'--config.{field}={value}'


def _as_tuple(value: Any) -> Any:
  return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def from_json(config: Mapping[str, Any]) -> dict[str, Any]:
  """A config as config.json and checkpoints have it, with its tuples."""
  return {
    name: from_json(value) if isinstance(value, Mapping) else _as_tuple(value)
    for name, value in config.items()
  }


def changes(before: dict[str, Any], now: Config) -> list[tuple[str, Any, Any]]:
  """Fields that differ: (name, as config.json had it, as it is now)."""
  old = dict(validate.leaves(config_dict.ConfigDict(before)))
  new = dict(validate.leaves(now))
  pairs = {f: (_plain(old.get(f)), _plain(new.get(f))) for f in {*old, *new}}
  return [(f, *pair) for f, pair in sorted(pairs.items()) if pair[0] != pair[1]]


def _plain(value: Any) -> Any:
  """A field as JSON gives it back."""
  return [_plain(v) for v in value] if isinstance(value, tuple) else value
