"""All compiled programs of a config on a mesh."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import config_dict

from alexnet_jax.config import durations
from alexnet_jax.data import augment
from alexnet_jax.models import alexnet
from alexnet_jax.ops import columns, pallas
from alexnet_jax.optim import sgd
from alexnet_jax.parallel import consensus
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.runtime import compile
from alexnet_jax.steps import evaluate, train, views
from alexnet_jax.steps import state as state_lib
from alexnet_jax.steps.state import TrainState


class Steps(NamedTuple):
  """The jitted programs of a run: each compiles on its first call.

  `train` compiles earlier, in a thread, where setup.compile_ahead is called.
  """

  state: TrainState  # shape, dtype and sharding of each, for restoring into
  init: Callable[[], TrainState]  # () -> the TrainState before step 1
  # (state, mean image, batch) -> (state, outputs); donates the state. Outputs
  # are 'loss', 'top1_error', 'top5_error' and 'learning_rate' of the minibatch
  # before the update, and 'finite', bool [devices along column, layers], of its
  # gradients. An array known not to be finite gets no update, see
  # train.FiniteCheck. Where the mesh spans hosts, batch and outputs hold
  # consensus.FLAGS too.
  train: Callable[..., tuple[TrainState, dict[str, Array]]]
  # (variables, mean image, images, view) -> probabilities.
  predict: Callable[..., Float[Array, 'b classes']]
  # (variables, mean image, images) -> probabilities, averaged over the ten
  # views; None on GPUs, and where the views share nothing: see steps/views.py.
  predict_ten: Callable[..., Float[Array, 'b classes']] | None
  # (variables, mean image, images, view) -> float32, the last hidden layer: fc7
  # after its ReLU (§6.1).
  features: Callable[..., Float[Array, 'b units']]
  # (probabilities, labels) -> (losses, ranks).
  score: Callable[..., tuple[Float[Array, ' b'], Int[Array, ' b']]]
  # (variables, mean image, batch) -> Moments of each activation by name, one
  # row for each device along `data`.
  probe: Callable[..., dict[str, evaluate.Moments]]


def build(
  config: config_dict.ConfigDict, *, mesh: Mesh, plan: durations.Plan
) -> Steps:
  """Builds the programs of a config; nothing runs or compiles yet.

  Raises ValueError if the devices cannot run config.kernels.
  """
  platform = mesh.devices.flat[0].platform
  _check_kernels(config, platform=platform)
  init_key, dropout_key = jax.random.split(jax.random.key(config.seed))
  rule = sgd.from_config(
    config.optim, scaling=config.batch_scaling, norms=_norms
  )
  model = alexnet.create(
    config.model,
    columns_here=config.model.columns // mesh.shape[mesh_lib.COLUMN],
    dtype=config.dtype,
    kernels=config.kernels,
    native=bool(config.native_bfloat16),
    winograd=bool(config.winograd),
  )
  data = mesh_lib.data_axis(mesh)

  def init() -> TrainState:
    return state_lib.create(config, init_key, rule=rule)

  abstract = jax.eval_shape(init)  # shapes before any memory is taken
  specs = state_lib.partition_specs(abstract, rule=rule)
  shardings = mesh_lib.shardings(mesh, specs)

  def compiled(
    step: Callable[..., Any], in_specs: Any, out_specs: Any, **options: Any
  ) -> Callable[..., Any]:
    sharded = jax.shard_map(
      step, mesh=mesh, in_specs=in_specs, out_specs=out_specs
    )  # check_vma is on, or gradients would be wrong: see train.py
    # Compiles on its first call.
    return compile.jit(sharded, platform=platform, **options)

  def outputs(name: str, out_specs: P) -> Callable[..., Any]:
    step = evaluate.output_step(config, model=model, output=name)
    return compiled(step, (specs.variables, P(), data.spec, P()), out_specs)

  share = views.shared(config) if platform == 'cpu' else None
  step = train.train_step(
    config,
    plan=plan,
    data=data,
    model=model,
    rule=rule,
    key=dropout_key,
    specs=specs,
  )
  batch_specs, output_specs = _batch_and_output_specs(config, mesh=mesh)
  return Steps(
    state=jax.tree.map(
      lambda leaf, where: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=where
      ),
      abstract,
      shardings,
    ),
    # Each device makes its part.
    init=compile.jit(
      init, platform=platform, once=True, out_shardings=shardings
    ),
    train=compiled(
      step, (specs, P(), batch_specs), (specs, output_specs), donate_argnums=0
    ),
    predict=outputs(evaluate.PROBABILITIES, data.spec),
    predict_ten=compiled(
      views.ten_views_step(config, model=model, share=share),
      (specs.variables, P(), data.spec),
      data.spec,
    )
    if share
    else None,
    features=outputs(
      evaluate.last_hidden(config.model), P(mesh_lib.DATA, mesh_lib.COLUMN)
    ),
    score=jax.jit(evaluate.score),  # of whole arrays: no shard_map
    probe=compiled(
      evaluate.probe_step(config, model=model),
      (specs.variables, P(), data.spec),
      evaluate.moment_specs(config),
      once=True,
    ),
  )


def _check_kernels(config: config_dict.ConfigDict, *, platform: str) -> None:
  """Refuses config.kernels where it would do nothing, or cannot run."""
  if config.kernels == 'xla':
    return
  model, problem = config.model, ''
  names = alexnet.in_one_kernel(model)
  together = 1 if model.lrn.across_columns else model.columns
  widths = [model.layer[name].kernels // together for name in names]
  if platform != 'gpu':
    problem = f'is for GPUs, and the devices are {platform.upper()}s'
  elif not names:
    orders = ' or '.join(map(', '.join, pallas.ORDERS))
    problem = f'is for layers with the ops {orders}, and there is none'
  elif max(widths) > pallas.MOST_CHANNELS:
    problem = (
      f'normalises at most {pallas.MOST_CHANNELS} channels together, and '
      f'here are {max(widths)}'
    )
  if problem:
    raise ValueError(
      f'config.kernels = {config.kernels!r} {problem}: use --config.kernels=xla'
    )


def _batch_and_output_specs(
  config: config_dict.ConfigDict, *, mesh: Mesh
) -> tuple[dict[str, P], dict[str, P]]:
  """PartitionSpecs of a minibatch, and of what a training step outputs."""
  fields = augment.batch_spec(crop_size=config.data.crop_size)
  batch = dict.fromkeys(fields, mesh_lib.data_axis(mesh).spec)
  outputs = dict.fromkeys((*train.SUMMED, 'learning_rate'), P())  # replicated
  if mesh_lib.spans_hosts(mesh):  # each host reads all columns' checks
    batch[consensus.FLAGS] = consensus.FLAGS_SPEC
    return batch, outputs | {'finite': P(), consensus.FLAGS: P()}
  return batch, outputs | {'finite': P(mesh_lib.COLUMN)}  # by column


def _norms(tree: PyTree) -> PyTree:
  """Norms of whole arrays that are sharded as parameters are."""
  return columns.norms(tree, specs=alexnet.partition_specs(tree))
