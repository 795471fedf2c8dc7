"""One step of training and one of evaluation, on all devices of the mesh (§5).

Both are `jit(shard_map(...))` with `check_vma=True`: without it the gradient of
a replicated loss comes out once per column too large, silently. Inside, a
device sees its rows of the minibatch and its columns of the parameters.

Minibatches arrive as uint8 crops; the mean image and the colour shift of §4.1
are applied here, on the device.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree, UInt8
from ml_collections import config_dict

from alexnet_jax import metrics
from alexnet_jax.models import alexnet
from alexnet_jax.optim import plateau, sgd
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.parallel import placement

Batch = dict[str, Array]


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
      'top5_error', 'learning_rate'} of the minibatch before the update). The
      state that goes in is used up.
    predict: (params, mean image, images, view) -> class probabilities.
    score: (probabilities, labels) -> (losses, ranks), image by image.
  """

  state: TrainState
  init: Callable[[], TrainState]
  train: Callable[..., tuple[TrainState, dict[str, Array]]]
  predict: Callable[..., Float[Array, 'b classes']]
  score: Callable[..., tuple[Float[Array, ' b'], Int[Array, ' b']]]


def normalise(
  images: UInt8[Array, 'b s s 3'],
  *,
  mean_image: Float[Array, 't t 3'],
  offset: Int[Array, 'b 2'],
  mirror: Array,
  colour: Float[Array, 'b 3'],
) -> Float[Array, 'b s s 3']:
  """What the network sees of crops: less the mean, mirrored, shifted (§4.1).

  Args:
    images: crops, RGB 0-255, not yet mirrored.
    mean_image: of the training set at full size, 0-255.
    offset: (y, x) at which each crop was taken; its mean is taken there too.
    mirror: bool [b], which crops are turned left to right.
    colour: RGB, 0-255, what is added to every pixel of each crop.
  """
  size = images.shape[1:]

  def mean_at(yx: Int[Array, ' 2']) -> Float[Array, 's s 3']:
    return lax.dynamic_slice(mean_image, (yx[0], yx[1], 0), size)

  x = images.astype(jnp.float32) - jax.vmap(mean_at)(offset)
  x = jnp.where(mirror[:, None, None, None], x[:, :, ::-1], x)
  return x + colour[:, None, None]


def build(config: config_dict.ConfigDict, *, mesh: Mesh) -> Steps:
  """Makes the programs for a config and a mesh; they compile on first use."""
  rule = sgd.paper_sgd(**_rule_fields(config))
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
  )
  rows = P(mesh_lib.DATA)
  train = jax.shard_map(
    _train_step(config, model=model, rule=rule, key=dropout_key),
    mesh=mesh,
    in_specs=(specs, P(), rows),
    out_specs=(specs, P()),
  )
  predict = jax.shard_map(
    _predict_step(model, crop_size=crop_size),
    mesh=mesh,
    in_specs=(specs.params, P(), rows, P()),
    out_specs=rows,
  )
  return Steps(
    state=jax.tree.map(_with_sharding, abstract, state_shardings),
    init=jax.jit(init, out_shardings=state_shardings),
    train=jax.jit(train, donate_argnums=0),
    predict=jax.jit(predict),
    score=jax.jit(_score),
  )


def _rule_fields(config: config_dict.ConfigDict) -> dict[str, Any]:
  fields = ('momentum', 'weight_decay', 'decay_biases')
  return {name: config.optim[name] for name in fields}


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


def _with_sharding(
  leaf: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding
) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _train_step(
  config: config_dict.ConfigDict,
  *,
  model: alexnet.AlexNet,
  rule: optax.GradientTransformationExtraArgs,
  key: Array,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
  """The training step as one device sees it."""

  def losses(
    params: PyTree, images: Array, labels: Array, dropout: alexnet.Dropout
  ) -> tuple[Array, Array]:
    logits, _ = model.apply({'params': params}, images, dropout=dropout)
    each = metrics.cross_entropy(logits, labels)
    return each.sum() / config.batch_size, logits

  def step(
    state: TrainState, mean_image: Array, batch: Batch
  ) -> tuple[TrainState, dict[str, Array]]:
    labels = batch['label']
    images = normalise(
      batch['image'],
      mean_image=mean_image,
      offset=batch['offset'],
      mirror=batch['mirror'],
      colour=batch['colour'],
    )
    here = labels.shape[0]
    first = lax.axis_index(mesh_lib.DATA) * here
    dropout = alexnet.Dropout(
      key=jax.random.fold_in(key, state.step), examples=first + jnp.arange(here)
    )
    # Each row of devices differentiates its own images: told that the
    # parameters differ between rows, JAX leaves the sum over rows to the one
    # reduction below.
    params = lax.pcast(state.params, mesh_lib.DATA, to='varying')
    (loss, logits), grads = jax.value_and_grad(losses, has_aux=True)(
      params, images, labels, dropout
    )
    rank = metrics.ranks(logits, labels)
    sums = {
      'loss': loss,
      'top1_error': (rank >= 1).sum() / config.batch_size,
      'top5_error': (rank >= 5).sum() / config.batch_size,
    }
    grads, means = lax.psum((grads, sums), mesh_lib.DATA)
    rate = config.optim.learning_rate * state.plateau.scale
    updates, opt_state = rule.update(
      grads, state.opt_state, state.params, rates=rate
    )
    state = dataclasses.replace(
      state,
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
    )
    return state, means | {'learning_rate': rate}

  return step


class View(NamedTuple):
  """One of the ten views of an image (§4.1)."""

  offset: ArrayLike  # int32 [2], (y, x) of the crop in the whole image
  mirror: ArrayLike  # bool []


def _predict_step(
  model: alexnet.AlexNet, *, crop_size: int
) -> Callable[..., Float[Array, 'b classes']]:
  """Class probabilities of one view of whole images, as one device sees it."""

  def predict(
    params: PyTree,
    mean_image: Float[Array, 't t 3'],
    images: UInt8[Array, 'b t t 3'],
    view: View,
  ) -> Float[Array, 'b classes']:
    b, offset = images.shape[0], jnp.asarray(view.offset)
    y, x = offset[0], offset[1]
    crops = lax.dynamic_slice(
      images, (0, y, x, 0), (b, crop_size, crop_size, 3)
    )
    crops = normalise(
      crops,
      mean_image=mean_image,
      offset=jnp.broadcast_to(offset[None], (b, 2)),
      mirror=jnp.broadcast_to(jnp.asarray(view.mirror)[None], (b,)),
      colour=jnp.zeros((b, 3)),
    )
    logits, _ = model.apply({'params': params}, crops)
    return jax.nn.softmax(logits)

  return predict


def _score(
  probabilities: Float[Array, 'b classes'], labels: Int[Array, ' b']
) -> tuple[Float[Array, ' b'], Int[Array, ' b']]:
  """Loss and rank of the right class, image by image."""
  own = jnp.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
  smallest = jnp.finfo(own.dtype).tiny  # a probability may round to zero
  return -jnp.log(jnp.maximum(own, smallest)), metrics.ranks(
    probabilities, labels
  )
