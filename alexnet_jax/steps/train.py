"""One training step on one device's shard: loss, gradients, update (§5).

`build` wraps this in `jit(shard_map(..., check_vma=True))`. Inside, a device
holds its images of the minibatch (split over `data`) and its columns of the
parameters (split over `column`). Without check_vma the gradient of a replicated
loss would silently be multiplied by the number of columns.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Key, PyTree
from ml_collections import config_dict

from alexnet_jax.config import durations
from alexnet_jax.models import alexnet
from alexnet_jax.ops import columns, platform
from alexnet_jax.optim import schedule, sgd
from alexnet_jax.parallel import consensus
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import metrics, preprocess
from alexnet_jax.steps.state import TrainState

Batch = dict[str, Array]
# Summed over the images of a minibatch, with the gradients.
SUMMED = ('loss', 'top1_error', 'top5_error')
_LARGE = 2**18  # numbers of an array; fewer stay in a CPU's cache


def train_step(
  config: config_dict.ConfigDict,
  *,
  plan: durations.Plan,
  data: mesh_lib.DataAxis,
  model: alexnet.AlexNet,
  rule: optax.GradientTransformationExtraArgs,
  key: Key[Array, ''],
  specs: TrainState,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
  """Returns the function (state, mean image, batch) -> (state, outputs).

  Outputs are those of build.Steps.train.

  `rule` is that of optim/sgd.py, whose state holds what it adds to parameters.
  `model` is the module for this device's columns, `key` that of the dropout
  masks of the whole run, `specs` the PartitionSpecs of the state.
  """
  gradients = _accumulate_grads(
    _grads_of_images(config, model=model),
    parts=config.grad_accumulation_steps or 1,
    data=data,
  )

  def step(
    state: TrainState, mean_image: Float[Array, 't t 3'], batch: Batch
  ) -> tuple[TrainState, dict[str, Array]]:
    batch = dict(batch)
    flags = batch.pop(consensus.FLAGS, None)  # only where the mesh spans hosts
    images = len(batch['label'])  # on this device
    dropout = alexnet.Dropout(
      key=jax.random.fold_in(key, state.step),  # resuming draws the same masks
      examples=data.first_image(images) + jnp.arange(images),  # [B]
    )

    # Gradients of this device's images, then their sum over the data axis: the
    # one collective besides those of Figure 2. config.guard, LARS and several
    # hosts each add a small one.
    variables = state.variables | {'params': data.mark_varying(state.params)}
    sums, model_state = gradients(variables, mean_image, batch, dropout)
    grads, outputs = data.psum(sums)  # of the whole minibatch

    with jax.named_scope('update'):  # its name in profiles and HLO
      rate, rates = _learning_rates(config, plan=plan, state=state)
      updates, opt_state = rule.update(  # updates: what is added to params
        grads, state.opt_state, state.params, rates=rates
      )
      check = _check_finite(
        config, loss=outputs['loss'], grads=grads, updates=updates
      )
      opt_state = check.choose(  # old values where not finite
        opt_state, state.opt_state, specs=specs.opt_state
      )
      # `updates`, but read back from the velocities that are stored.
      moves = sgd.moves(_stored(opt_state), rates=rates)
      params = check.choose(
        optax.apply_updates(state.params, moves),  # float32
        state.params,
        specs=specs.params,
      )
      model_state = check.choose(
        model_state, state.model_state, specs=specs.model_state
      )
    state = dataclasses.replace(
      state,
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      model_state=model_state,
    )
    outputs |= {'learning_rate': rate, 'finite': check.layers[None]}
    if flags is not None:
      outputs[consensus.FLAGS] = consensus.psum_flags(flags)
      outputs['finite'] = columns.collect(check.layers)  # [columns, layers]
    return state, outputs

  return step


def _grads_of_images(
  config: config_dict.ConfigDict, *, model: alexnet.AlexNet
) -> Callable[..., tuple[PyTree, PyTree]]:
  """Returns a function from images to their share of a minibatch's sums."""

  def loss_fn(
    params: PyTree,
    model_state: PyTree,
    images: Float[Array, 'b s s 3'],
    labels: Array,
    dropout: alexnet.Dropout,
  ) -> tuple[Float[Array, ''], tuple[Array, PyTree]]:
    (logits, _), model_state = model.apply(
      {'params': params, **model_state},
      images,  # [B, 224, 224, 3]
      dropout=dropout,
      mutable=list(model_state),  # [] for the paper's net
    )
    with jax.named_scope('loss'):
      losses = metrics.cross_entropy(logits, labels)  # [B]
    return losses.sum() / config.batch_size, (logits, dict(model_state))

  def gradients(
    variables: PyTree,
    mean_image: Array,
    batch: Batch,
    dropout: alexnet.Dropout,
  ) -> tuple[PyTree, PyTree]:
    """Returns ((grads, {'loss', 'top1_error', 'top5_error'}), model state)."""
    model_state = dict(variables)
    params, labels = model_state.pop('params'), batch['label']  # labels [B]
    with jax.named_scope('input'):
      images = preprocess.of_batch(config, mean_image=mean_image, batch=batch)
    (loss, (logits, model_state)), grads = jax.value_and_grad(
      loss_fn, has_aux=True
    )(params, model_state, images, labels, dropout)
    rank = metrics.ranks(logits, labels)  # [B]
    means = {
      'loss': loss,  # each divided by the whole minibatch: they add up
      'top1_error': (rank >= 1).sum() / config.batch_size,  # before the update
      'top5_error': (rank >= 5).sum() / config.batch_size,
    }
    return (grads, means), model_state

  return gradients


def _accumulate_grads(
  gradients: Callable[..., tuple[PyTree, PyTree]],
  *,
  parts: int,
  data: mesh_lib.DataAxis,
) -> Callable[..., tuple[PyTree, PyTree]]:
  """Returns a function that sums over parts of its images, to save memory."""
  if parts == 1:
    return gradients

  def accumulated(
    variables: PyTree,
    mean_image: Array,
    batch: Batch,
    dropout: alexnet.Dropout,
  ) -> tuple[PyTree, PyTree]:
    def add(
      carry: tuple[PyTree, PyTree], part: tuple[Batch, Array]
    ) -> tuple[tuple[PyTree, PyTree], None]:
      total, model_state = carry
      images, examples = part  # [B / parts, ...], [B / parts]
      more, model_state = gradients(
        {'params': variables['params'], **model_state},
        mean_image,
        images,
        dropout._replace(examples=examples),
      )
      return (jax.tree.map(jnp.add, total, more), model_state), None  # float32

    zeros = (
      jax.tree.map(jnp.zeros_like, variables['params']),  # as large as params
      data.mark_varying({name: jnp.float32(0) for name in SUMMED}),
    )
    model_state = {k: v for k, v in variables.items() if k != 'params'}
    each = jax.tree.map(  # [B, ...] -> [parts, B / parts, ...]
      lambda x: x.reshape(parts, -1, *x.shape[1:]), (batch, dropout.examples)
    )
    return lax.scan(add, (zeros, model_state), each)[0]

  return accumulated


def _stored(opt_state: PyTree) -> PyTree:
  """Makes a CPU read velocities from memory, to add them to the parameters.

  XLA would compute each twice, for memory and for the parameters, and then copy
  it, since the first result may not overwrite what the second reads.
  """
  if platform.here() != 'cpu':
    return opt_state  # one kernel writes velocity and parameters
  return jax.tree.map(lax.optimization_barrier, opt_state)


class FiniteCheck(NamedTuple):
  """Whether an update may be applied, as far as this device knows.

  The loss is known on every device. A non-finite gradient is visible only to
  the device that computed it, unless config.guard.max_skipped_steps lets the
  columns agree. Without that the run ends, so what others did is never saved.
  """

  # Whether each layer's gradients here are finite, and with LARS its updates;
  # layers are sorted by name.
  layers: Bool[Array, ' layers']
  split: Bool[Array, '']  # whether arrays split over `column` may be updated
  replicated: Bool[Array, '']  # the same of those with a copy on every column

  def choose(self, new: PyTree, old: PyTree, *, specs: PyTree) -> PyTree:
    """Returns the new arrays, or the old ones where the check failed."""

    def choose_one(spec: P, new: Array, old: Array) -> Array:
      chosen = self.split if any(spec) else self.replicated
      return lax.select(chosen, new, old.astype(new.dtype))

    return jax.tree.map(
      choose_one, specs, new, old, is_leaf=lambda x: isinstance(x, P)
    )


def _check_finite(
  config: config_dict.ConfigDict,
  *,
  loss: Float[Array, ''],
  grads: PyTree,
  updates: PyTree,
) -> FiniteCheck:
  # LARS divides by norms, which carry the other column's values into this one.
  trees = [grads, updates] if config.batch_scaling.lars else [grads]

  def is_finite(layer: str) -> Bool[Array, '']:
    leaves = jax.tree.leaves([tree[layer] for tree in trees])
    return jnp.stack([_all_finite(x) for x in leaves]).all()

  layers = jnp.stack([is_finite(layer) for layer in sorted(grads)])  # [layers]
  replicated = jnp.isfinite(loss)  # the same on all devices
  split = replicated & layers.all()  # this column's arrays
  if config.guard.max_skipped_steps:
    split = replicated = columns.agree(split)  # one more psum of a word
  return FiniteCheck(layers, split, replicated)


def _all_finite(x: Float[Array, '... d']) -> Bool[Array, '']:
  """Returns whether every number of an array is finite."""
  if platform.here() != 'cpu' or x.size < _LARGE:
    return lax.reduce_and(lax.is_finite(x), axes=tuple(range(x.ndim)))
  # 0 times a number that is not finite is NaN. A product reads x once; XLA on a
  # CPU stores isfinite(x) first, and reads that.
  return (x @ jnp.zeros(x.shape[-1], x.dtype)).sum() == 0


def _learning_rates(
  config: config_dict.ConfigDict, *, plan: durations.Plan, state: TrainState
) -> tuple[Float[Array, ''], PyTree]:
  """Returns the rate of kernels in general, and that of every array (§5)."""
  tables = config.schedule
  scaling = schedule.batch_scaling(
    config.batch_scaling,
    batch_size=config.batch_size,
    step=state.step,
    steps_per_epoch=plan.steps_in('epochs'),
  )
  base = config.optim.learning_rate * scaling * state.plateau.scale
  clock = {  # of the tables of config.schedule
    'step': state.step,
    'steps_per_unit': plan.steps_in(tables.counts),
  }
  factors = schedule.factors(tables, layers=list(state.params), **clock)
  return base * schedule.factor(tables.kernel, **clock), jax.tree.map(
    lambda factor: base * factor, factors
  )
