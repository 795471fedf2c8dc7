"""From a config to a run before its first step: data, mesh and programs.

Nothing is written here: whatever is wrong with a config, the data or the
machine leaves a workdir as it was.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grain
import jax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from alexnet_jax.config import durations, of_data, schema, validate
from alexnet_jax.data import bad_records as bad_records_lib
from alexnet_jax.data import pipeline, sources
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.runtime import compile, paths
from alexnet_jax.steps import build


class Setup(NamedTuple):
  """The parts of a run."""

  config: schema.Config  # every field
  dataset: sources.Dataset  # splits, classes, mean image and RGB components
  plan: durations.Plan  # in steps
  mesh: Mesh  # (data, column) devices
  programs: build.Steps  # jitted: not compiled yet
  mean_image: Float[Array, 's s 3']  # float32, 0-255, on every device
  bad_records: bad_records_lib.BadRecords  # counts damaged images


# Returns the data set as it is to be used, or raises ValueError.
Adapt = Callable[[sources.Dataset], sources.Dataset]


def set_up(
  config: schema.Config, *, adapt: Adapt = lambda dataset: dataset
) -> Setup:
  """Opens the data and builds the programs; ValueError if they do not fit."""
  validate.check(config, before_data=True)
  dataset = load_data(config, adapt=adapt)
  config = for_data(config, dataset)
  validate.check(config)
  mesh = mesh_lib.create(data=config.mesh.data, column=config.mesh.column)
  plan = durations.plan(config, train_images=len(dataset.train))
  return Setup(
    config=config,
    dataset=dataset,
    plan=plan,
    mesh=mesh,
    programs=build.build(config, mesh=mesh, plan=plan),
    mean_image=mesh_lib.replicate(dataset.mean_image, mesh=mesh),
    bad_records=bad_records_lib.BadRecords(most=config.data.max_bad_records),
  )


def load_data(
  config: schema.Config, *, adapt: Adapt = lambda dataset: dataset
) -> sources.Dataset:
  """Opens the data set that the config names.

  Raises ValueError if it is missing, `adapt` refuses it, or it has more classes
  than fc8 has units.
  """
  dataset = adapt(sources.load(config.data, seed=config.seed))
  classes, units = len(dataset.classes), config.model.num_classes
  if units is not None and classes > units:
    raise ValueError(
      f'config.model.num_classes = {units}, but {dataset.name} has {classes} '
      f'classes: use --config.model.num_classes={classes}'
    )
  return dataset


def with_prepared_data(
  config: schema.Config,
  *,
  flag: str = '--config.data.dir',
  workdir: pathlib.Path | None = None,
) -> schema.Config:
  """The config with prepared data in place of a folder or archive of images.

  Host 0 prepares it into its cache, if need be, while the others wait; all
  hosts call this. `flag` gave the folder, for messages. Raises ValueError if it
  cannot be prepared, `workdir` lies in it, or another host does not see the
  cache.
  """
  data = config.data

  def on_host0() -> str:  # decides for all, whatever their configs say
    if data.source != 'prepared':
      return ''
    paths.check_name(data.dir, name=flag)
    from alexnet_jax.data import own

    if not own.is_source(data.dir):
      return ''
    if workdir is not None:
      own.check_outside(workdir, directory=data.dir, flag=flag)
    return own.prepared(
      data.dir,
      image_size=data.image_size,
      resize=data.resize,
      flag=flag,
      whole=flag == '--eval_data',
    )

  place = hosts.from_host0(on_host0)
  if not place:
    return config

  def check_seen() -> None:
    if not pathlib.Path(place).is_dir():
      raise ValueError(
        f'{flag}={data.dir} was prepared as {place} on host 0, which this host '
        'does not see: copy that folder to a place that all hosts see, and '
        f'give {flag}=THAT'
      )

  hosts.run_everywhere(check_seen)
  config = config.copy_and_resolve_references()
  config.data.dir = place
  return config


def is_divided(config: schema.Config) -> bool:
  """Whether the config's data are images that with_prepared_data divided."""
  from alexnet_jax.data import own

  return own.is_divided(config.data.dir)


def for_data(config: schema.Config, dataset: sources.Dataset) -> schema.Config:
  """The config with numbers of the data set where it has None."""
  return of_data.fill(
    config, classes=len(dataset.classes), train_images=len(dataset.train)
  )


def with_measured(setup: Setup, fields: Mapping[str, Any]) -> Setup:
  """The setup with values for fields of schema.MEASURED that are None."""
  config = setup.config.copy_and_resolve_references()
  config.update(fields)
  validate.check(config)
  setup = setup._replace(config=config)
  if all(schema.MEASURED[f] == value for f, value in fields.items()):
    return setup  # its programs take them so already
  programs = build.build(config, mesh=setup.mesh, plan=setup.plan)
  return setup._replace(programs=programs)


def compile_ahead(setup: Setup) -> Setup:
  """Starts to compile the training step in a thread, on CPUs of one host.

  It compiles while the initial values are made and checked. On GPUs and with
  several hosts it compiles on its first call: XLA chooses kernels for GPUs by
  timing them, which other work would disturb.
  """
  mesh, programs = setup.mesh, setup.programs
  if mesh.devices.flat[0].platform != 'cpu' or mesh_lib.spans_hosts(mesh):
    return setup
  train = compile.ahead(
    programs.train, programs.state, setup.mean_image, blank_batch(setup)
  )
  return setup._replace(programs=programs._replace(train=train))


def blank_batch(setup: Setup) -> dict[str, Array]:
  """A minibatch of black images on the mesh."""
  config = setup.config
  batch = pipeline.blank_batch(
    config.batch_size, crop_size=config.data.crop_size
  )
  return mesh_lib.put_batch(batch, mesh=setup.mesh)


def train_batches(
  setup: Setup, *, total_steps: int, all_hosts: bool = False
) -> grain.DatasetIterator:
  """Returns an iterator over minibatches 0 to total_steps - 1 of a run.

  With `all_hosts` it reads whole minibatches, not only this host's images.
  """
  config = setup.config
  own = mesh_lib.host_images(config.batch_size, mesh=setup.mesh)
  return iter(
    pipeline.train_batches(
      setup.dataset,
      config=config,
      total_steps=total_steps,
      rows=slice(None) if all_hosts else own,
      bad_records=setup.bad_records,
    )
  )


def _idle(config: schema.Config) -> str:
  """Says how many devices the mesh leaves idle, if any, and what uses more."""
  there, column = len(jax.devices()), config.mesh.column
  idle = there - config.mesh.data * column
  if not idle:
    return ''
  images = config.batch_size
  data = max(n for n in range(1, there // column + 1) if images % n == 0)
  more = data > config.mesh.data
  fix = f' (--config.mesh.data={data} uses more)' if more else ''
  return f'; {idle} of {there} are idle{fix}'


def describe(setup: Setup, *, workdir: pathlib.Path, step: int) -> str:
  """Describes the run: network, devices, data, length and workdir."""
  config, data, plan = setup.config, setup.dataset, setup.plan
  leaves = jax.tree.leaves(setup.programs.state.params)
  parameters = sum(leaf.size for leaf in leaves)
  device = setup.mesh.devices.flat[0]
  resuming = f', resuming from step {step}' if step else ''
  return (
    f'AlexNet of {config.model.columns} columns, {parameters:,} parameters, on '
    f'{setup.mesh.size} {device.device_kind} devices (data {config.mesh.data} '
    f'x column {config.mesh.column}){_idle(config)}\n'
    f'{data.name}: {len(data.train):,} training and {len(data.val):,} '
    f'validation images of {len(data.classes)} classes; {plan.total_steps:,} '
    f'steps of {plan.batch_size} images, {plan.epoch(plan.total_steps):.1f} '
    f'epochs\n{workdir}{resuming}; the network compiles before the first step'
  )
