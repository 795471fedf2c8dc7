"""One step of training and one of evaluation, on all devices of the mesh (§5).

Both are `jit(shard_map(...))` with `check_vma=True`: without it the gradient of
a replicated loss comes out once per column too large, silently. Inside, a
device sees its rows of the minibatch and its columns of the parameters.

Minibatches arrive as uint8 crops; steps/preprocess.py makes of them, on the device, what
the network sees.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8
from ml_collections import config_dict

from alexnet_jax.config import validate
from alexnet_jax.models import alexnet
from alexnet_jax.ops import columns
from alexnet_jax.optim import batch as batch_lib
from alexnet_jax.optim import plateau, schedule, sgd
from alexnet_jax.parallel import ballots, placement
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.parallel import rows as rows_lib
from alexnet_jax.runtime import compile
from alexnet_jax.steps import metrics, moments, preprocess

Batch = dict[str, Array]
_FIELDS = ('image', 'offset', 'mirror', 'colour', 'scale', 'label')  # of one
_SUMMED = ('loss', 'top1_error', 'top5_error')  # over a minibatch's images


@struct.dataclass
class TrainState:
  """All that training changes; of shardings and specs, the same tree."""

  step: PyTree  # int32 [], minibatches seen
  params: PyTree
  opt_state: PyTree  # the velocities
  plateau: PyTree  # plateau.State, its scale multiplies the learning rate


class Steps(NamedTuple):
  """The compiled programs of a run.

  Attributes:
    state: shape, dtype and sharding of the TrainState, for restoring into.
    init: () -> the TrainState before step 1.
    train: (state, mean image, batch) -> (state, {'loss', 'top1_error',
      'top5_error', 'learning_rate'} of the minibatch before the update, and
      'finite', bool [columns of devices, layers] of the gradients). The state
      that goes in is used up. No array takes an update that its device knows
      not to be finite: see `_Verdict`. Where the mesh spans processes, a batch
      holds a 'ballot' as well, and its sum comes out: parallel/ballots.py.
    predict: (params, mean image, images, view) -> class probabilities.
    features: (params, mean image, images, view) -> the activations of the last
      hidden layer, fc7, in float32 (§6.1).
    score: (probabilities, labels) -> (losses, ranks), image by image.
    probe: (params, mean image, batch) -> moments.Moments of each activation,
      by name; one row for each row of devices.
  """

  state: TrainState
  init: Callable[[], TrainState]
  train: Callable[..., tuple[TrainState, dict[str, Array]]]
  predict: Callable[..., Float[Array, 'b classes']]
  features: Callable[..., Float[Array, 'b units']]
  score: Callable[..., tuple[Float[Array, ' b'], Int[Array, ' b']]]
  probe: Callable[..., dict[str, moments.Moments]]


def build(
  config: config_dict.ConfigDict, *, mesh: Mesh, plan: validate.Plan
) -> Steps:
  """Makes the programs of a run on a mesh; they compile on first use."""
  rule = sgd.from_config(
    config.optim, scaling=config.batch_scaling, norms=_norms
  )
  crop_size = config.data.crop_size
  key = jax.random.key(config.seed)
  init_key, dropout_key = jax.random.split(key)

  def init() -> TrainState:
    params = alexnet.initialise(config.model, init_key, crop_size=crop_size)
    return TrainState(
      step=jnp.int32(0),
      params=params,
      opt_state=rule.init(params),
      plateau=plateau.init(),
    )

  abstract = jax.eval_shape(init)
  specs = _state_specs(abstract, rule)
  state_shardings = placement.shardings(mesh, specs)
  model = alexnet.create(
    config.model,
    columns_here=config.model.columns // mesh.shape[mesh_lib.COLUMN],
    dtype=config.dtype,
  )
  rows = rows_lib.of(mesh)
  spans = mesh_lib.spans_processes(mesh)
  train = jax.shard_map(
    _train_step(
      config,
      plan=plan,
      rows=rows,
      model=model,
      rule=rule,
      key=dropout_key,
      specs=specs,
    ),
    mesh=mesh,
    in_specs=(specs, P(), _batch_specs(rows, spans=spans)),
    out_specs=(specs, _mean_specs(spans=spans)),
  )
  predict = jax.shard_map(
    _predict_step(config, model=model),
    mesh=mesh,
    in_specs=(specs.params, P(), rows.spec, P()),
    out_specs=rows.spec,
  )
  features = jax.shard_map(
    _feature_step(config, model=model),
    mesh=mesh,
    in_specs=(specs.params, P(), rows.spec, P()),
    out_specs=P(mesh_lib.DATA, mesh_lib.COLUMN),
  )
  probe = jax.shard_map(
    _probe_step(config, model=model),
    mesh=mesh,
    in_specs=(specs.params, P(), rows.spec),
    out_specs=_moment_specs(config),
  )
  return Steps(
    state=jax.tree.map(_with_sharding, abstract, state_shardings),
    init=jax.jit(init, out_shardings=state_shardings),
    train=compile.jit(train, donate_argnums=0),
    predict=compile.jit(predict),
    features=compile.jit(features),
    score=jax.jit(_score),
    probe=compile.jit(probe),
  )


def _state_specs(
  state: TrainState, rule: optax.GradientTransformation
) -> TrainState:
  """PartitionSpecs: velocities lie as their parameters, scalars everywhere."""
  params = alexnet.partition_specs(state.params)
  velocities = optax.tree_map_params(
    rule,
    lambda _, spec: spec,
    state.opt_state,
    params,
    transform_non_params=lambda _: P(),
  )
  return TrainState(
    step=P(),
    params=params,
    opt_state=velocities,
    plateau=jax.tree.map(lambda _: P(), state.plateau),
  )


def _batch_specs(rows: rows_lib.Rows, *, spans: bool) -> PyTree:
  if not spans:
    return rows.spec
  return dict.fromkeys(_FIELDS, rows.spec) | {ballots.NAME: ballots.SPEC}


def _mean_specs(*, spans: bool) -> dict[str, P]:
  """Of what a step says of its minibatch; who sees only a part sees `finite`.

  Between processes all is told to all.
  """
  specs = dict.fromkeys((*_SUMMED, 'learning_rate'), P())
  if spans:
    return specs | {'finite': P(), ballots.NAME: P()}
  return specs | {'finite': P(mesh_lib.COLUMN)}


def _with_sharding(
  leaf: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding
) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _train_step(
  config: config_dict.ConfigDict,
  *,
  plan: validate.Plan,
  rows: rows_lib.Rows,
  model: alexnet.AlexNet,
  rule: optax.GradientTransformationExtraArgs,
  key: Array,
  specs: TrainState,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
  """The training step as one device sees it."""

  def losses(
    params: PyTree, images: Array, labels: Array, dropout: alexnet.Dropout
  ) -> tuple[Array, Array]:
    logits, _ = model.apply({'params': params}, images, dropout=dropout)
    each = metrics.cross_entropy(logits, labels)
    return each.sum() / config.batch_size, logits

  def gradients(
    params: PyTree, mean_image: Array, batch: Batch, dropout: alexnet.Dropout
  ) -> tuple[PyTree, dict[str, Array]]:
    """What some images add to the gradient and to the means of a minibatch."""
    labels = batch['label']
    images = preprocess.of_batch(config, mean_image=mean_image, batch=batch)
    (loss, logits), grads = jax.value_and_grad(losses, has_aux=True)(
      params, images, labels, dropout
    )
    rank = metrics.ranks(logits, labels)
    return grads, {
      'loss': loss,
      'top1_error': (rank >= 1).sum() / config.batch_size,
      'top5_error': (rank >= 5).sum() / config.batch_size,
    }

  accumulated = _in_parts(
    gradients, parts=config.grad_accumulation_steps, rows=rows
  )

  def step(
    state: TrainState, mean_image: Array, batch: Batch
  ) -> tuple[TrainState, dict[str, Array]]:
    batch = dict(batch)
    ballot = batch.pop(ballots.NAME, None)
    here = len(batch['label'])
    dropout = alexnet.Dropout(
      key=jax.random.fold_in(key, state.step),
      examples=rows.first_image(here) + jnp.arange(here),
    )
    params = rows.apart(state.params)
    grads, means = rows.total(accumulated(params, mean_image, batch, dropout))
    rate, rates = _rates(config, plan=plan, state=state)
    updates, opt_state = rule.update(
      grads, state.opt_state, state.params, rates=rates
    )
    verdict = _judge(config, loss=means['loss'], grads=grads, updates=updates)
    params = optax.apply_updates(state.params, updates)
    state = dataclasses.replace(
      state,
      step=state.step + 1,
      params=verdict.choose(params, state.params, specs=specs.params),
      opt_state=verdict.choose(
        opt_state, state.opt_state, specs=specs.opt_state
      ),
    )
    means |= {'learning_rate': rate, 'finite': verdict.finite[None]}
    if ballot is not None:
      means[ballots.NAME] = ballots.count(ballot)
      means['finite'] = columns.collect(verdict.finite)
    return state, means

  return step


def _in_parts(
  gradients: Callable[..., PyTree], *, parts: int, rows: rows_lib.Rows
) -> Callable[..., PyTree]:
  """The same of all images, so many parts of them one after the other."""
  if parts == 1:
    return gradients

  def accumulated(
    params: PyTree, mean_image: Array, batch: Batch, dropout: alexnet.Dropout
  ) -> PyTree:
    def add(total: PyTree, part: tuple[Batch, Array]) -> tuple[PyTree, None]:
      images, examples = part
      more = gradients(
        params, mean_image, images, dropout._replace(examples=examples)
      )
      return jax.tree.map(jnp.add, total, more), None

    nothing = (
      jax.tree.map(jnp.zeros_like, params),
      rows.apart({name: jnp.float32(0) for name in _SUMMED}),
    )
    each = jax.tree.map(
      lambda x: x.reshape(parts, -1, *x.shape[1:]), (batch, dropout.examples)
    )
    return lax.scan(add, nothing, each)[0]

  return accumulated


class _Verdict(NamedTuple):
  """Whether an update may be applied, as far as this device knows.

  All columns know of the loss. Of a gradient that is not finite only the column
  that has it knows, unless config.guard.max_skipped_steps lets the columns
  agree; the run ends then, and what the other has done is never saved.
  """

  finite: Bool[Array, ' layers']  # gradients here (LARS: updates too), by layer
  here: Bool[Array, '']  # for arrays of which each column has its own part
  everywhere: Bool[Array, '']  # for arrays that all columns have

  def choose(self, new: PyTree, old: PyTree, *, specs: PyTree) -> PyTree:
    """The new arrays, or the old ones."""

    def one(spec: P, new: Array, old: Array) -> Array:
      return jnp.where(self.here if any(spec) else self.everywhere, new, old)

    return jax.tree.map(
      one, specs, new, old, is_leaf=lambda x: isinstance(x, P)
    )


def _judge(
  config: config_dict.ConfigDict,
  *,
  loss: Float[Array, ''],
  grads: PyTree,
  updates: PyTree,
) -> _Verdict:
  # Norms, of LARS, bring what the other column has into this one's updates.
  trees = [grads, updates] if config.batch_scaling.lars else [grads]

  def sound(layer: str) -> Bool[Array, '']:
    leaves = jax.tree.leaves([tree[layer] for tree in trees])
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()

  finite = jnp.stack([sound(layer) for layer in sorted(grads)])
  everywhere = jnp.isfinite(loss)
  here = everywhere & finite.all()
  if config.guard.max_skipped_steps:
    here = everywhere = columns.agree(here)
  return _Verdict(finite, here, everywhere)


def _rates(
  config: config_dict.ConfigDict, *, plan: validate.Plan, state: TrainState
) -> tuple[Float[Array, ''], PyTree]:
  """The rate of kernels in general, and that of every array (§5)."""
  tables = config.schedule
  scaling = batch_lib.factor(
    config.batch_scaling,
    batch_size=config.batch_size,
    step=state.step,
    steps_per_epoch=plan.steps_in('epochs'),
  )
  base = config.optim.learning_rate * scaling * state.plateau.scale
  clock = {
    'step': state.step,
    'steps_per_unit': plan.steps_in(tables.counts),
  }
  rates = schedule.rates(tables, layers=list(state.params), **clock)
  return base * schedule.factor(tables.kernel, **clock), jax.tree.map(
    lambda factor: base * factor, rates
  )


def _norms(tree: PyTree) -> PyTree:
  """Of the whole of parameters, or of what is laid out as they are."""
  return columns.norms(tree, specs=alexnet.partition_specs(tree))


def _predict_step(
  config: config_dict.ConfigDict, *, model: alexnet.AlexNet
) -> Callable[..., Float[Array, 'b classes']]:
  """Class probabilities of one view of whole images, as one device sees it."""

  def predict(
    params: PyTree,
    mean_image: Float[Array, 't t 3'],
    images: UInt8[Array, 'b t t 3'],
    view: preprocess.View,
  ) -> Float[Array, 'b classes']:
    crops = preprocess.of_view(
      config, mean_image=mean_image, images=images, view=view
    )
    logits, _ = model.apply({'params': params}, crops)
    return jax.nn.softmax(logits)

  return predict


def _feature_step(
  config: config_dict.ConfigDict, *, model: alexnet.AlexNet
) -> Callable[..., Float[Array, 'b units']]:
  """What the last hidden layer makes of one view, as one device sees it."""
  hidden = [s for s in alexnet.stages(config.model) if s != 'fc8']
  last = [s for s in hidden if not s.endswith('/dropout')][-1]

  def features(
    params: PyTree,
    mean_image: Float[Array, 't t 3'],
    images: UInt8[Array, 'b t t 3'],
    view: preprocess.View,
  ) -> Float[Array, 'b units']:
    crops = preprocess.of_view(
      config, mean_image=mean_image, images=images, view=view
    )
    _, activations = model.apply({'params': params}, crops)
    named: dict[str, Array] = dict(activations)
    return named[last].astype(jnp.float32).reshape(len(images), -1)

  return features


def _probe_step(
  config: config_dict.ConfigDict, *, model: alexnet.AlexNet
) -> Callable[..., dict[str, moments.Moments]]:
  """Moments of every activation at test time, as one device sees them."""

  def probe(
    params: PyTree, mean_image: Array, batch: Batch
  ) -> dict[str, moments.Moments]:
    images = preprocess.of_batch(config, mean_image=mean_image, batch=batch)
    _, activations = model.apply({'params': params}, images)
    named: dict[str, Array] = dict(activations)
    return {stage: _moments(x) for stage, x in named.items()}

  return probe


def _moments(x: Float[Array, 'b ...']) -> moments.Moments:
  x = x.astype(jnp.float32)
  mean = x.mean(axis=0, keepdims=True)
  return moments.Moments(
    mean=mean,
    squares=jnp.square(x - mean).sum(axis=0, keepdims=True),
    positive=(x > 0).sum(axis=0, keepdims=True),
  )


def _moment_specs(config: config_dict.ConfigDict) -> dict[str, P]:
  """[rows of devices, ..., channels]: split over both axes, but for scores."""

  def spec(stage: str) -> P:
    if stage.startswith('fc8'):
      return P(mesh_lib.DATA)
    between = (None,) * (2 if stage.startswith('conv') else 0)
    return P(mesh_lib.DATA, *between, mesh_lib.COLUMN)

  return {stage: spec(stage) for stage in alexnet.stages(config.model)}


def _score(
  probabilities: Float[Array, 'b classes'], labels: Int[Array, ' b']
) -> tuple[Float[Array, ' b'], Int[Array, ' b']]:
  """Loss and rank of the right class, image by image."""
  own = jnp.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
  smallest = jnp.finfo(own.dtype).tiny  # a probability may round to zero
  return -jnp.log(jnp.maximum(own, smallest)), metrics.ranks(
    probabilities, labels
  )
