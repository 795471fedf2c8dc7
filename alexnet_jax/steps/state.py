"""The training state: all arrays that a training step changes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Key, PyTree
from ml_collections import config_dict

from alexnet_jax.models import alexnet
from alexnet_jax.optim import plateau


@struct.dataclass
class TrainState:
  """The arrays; also a tree of their shardings or PartitionSpecs."""

  # int32 [], minibatches seen: the time of schedules, the seed of dropout.
  step: PyTree
  # float32, {'conv1': {'kernel', 'bias'}, ...}: arrays of one shape (HWIO,
  # [in, out]) on every mesh, sharded by column.
  params: PyTree
  opt_state: PyTree  # the velocities, shaped and sharded as the parameters
  plateau: PyTree  # plateau.State, whose scale multiplies the learning rate
  # Other collections of variables that the module updates while training, such
  # as {'batch_stats': ...}; {} for the paper's net.
  model_state: PyTree = struct.field(default_factory=dict)

  @property
  def variables(self) -> dict[str, Any]:
    """The collections that `module.apply` takes."""
    return {'params': self.params, **self.model_state}

  def to_tree(self) -> dict[str, PyTree]:
    """Returns the fields for a checkpoint, without an empty model_state."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return {k: v for k, v in fields.items() if k != 'model_state' or v}


def create(
  config: config_dict.ConfigDict,
  key: Key[Array, ''],
  *,
  rule: optax.GradientTransformation,
) -> TrainState:
  """Returns the state before step 1, with the config's initial values (§5)."""
  model_state = alexnet.init_variables(
    config.model, key, crop_size=config.data.crop_size
  )
  params = model_state.pop('params')  # float32, whatever config.dtype
  return TrainState(
    step=jnp.int32(0),  # at most 2^31 - 1: schema.MOST_STEPS
    params=params,
    opt_state=rule.init(params),  # velocities of zero
    plateau=plateau.init(),  # scale 1, no best error yet
    model_state=model_state,
  )


def partition_specs(
  state: TrainState, *, rule: optax.GradientTransformation
) -> TrainState:
  """Returns PartitionSpecs: velocities as parameters, scalars replicated."""
  params = alexnet.partition_specs(state.params)
  velocities = optax.tree_map_params(
    rule,
    lambda _, spec: spec,  # a velocity: its parameter's
    state.opt_state,
    params,
    transform_non_params=lambda _: P(),  # counters of optax
  )
  return TrainState(
    step=P(),
    params=params,
    opt_state=velocities,
    plateau=jax.tree.map(lambda _: P(), state.plateau),
    model_state=alexnet.partition_specs(state.model_state),
  )
