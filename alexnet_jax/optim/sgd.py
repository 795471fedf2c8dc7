"""The update rule of §5, as a chain of optax transformations.

    v <- 0.9 v - 0.0005 eps w - eps mean(dL/dw)
    w <- w + v

The rate eps multiplies what *enters* the velocity: lowering it does not scale
the velocity that is already stored. `optax.sgd` applies the rate to the
velocity instead; the two differ after every drop of the rate. A rate of exactly
0 freezes w and v, as in the 2012 program (weights.cu:148).

LARS, for very large minibatches, is not in the paper: the same chain with
`optax.lars`'s trust ratio after the decay (You et al. 2017, arXiv:1708.03888).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, PyTree
from ml_collections import config_dict

from alexnet_jax.ops import columns


def paper_sgd(
  *,
  momentum: float,
  weight_decay: float,
  decay: Mapping[str, float] = MappingProxyType({}),
  decay_biases: bool = False,
  trust_coefficient: float | None = None,
  norms: Callable[[PyTree], PyTree] = columns.norms,
) -> optax.GradientTransformationExtraArgs:
  """Returns the rule above; its `update` takes the rates eps as `rates=`.

  `rates` is a tree prefix of the parameters, such as {'conv1': eps, ...}.

  Args:
    momentum: share of a velocity that stays, 0.9 in the paper.
    weight_decay: 0.0005 in the paper.
    decay: factor of the weight decay by layer; 1 where missing.
    decay_biases: whether biases decay as kernels do.
    trust_coefficient: of LARS; None: no LARS.
    norms: returns the norms of whole arrays from a device's parts, for LARS.

  >>> rule = paper_sgd(momentum=0.9, weight_decay=0.5)
  >>> w = {'kernel': jax.numpy.array([2.0])}
  >>> g = {'kernel': jax.numpy.array([3.0])}
  >>> v, _ = rule.update(g, rule.init(w), w, rates=0.1)  # -0.1 x (3 + 0.5 x 2)
  >>> print(v['kernel'])
  [-0.4]
  """
  enters = _decay(weight_decay, decay, biases=decay_biases)
  if trust_coefficient is not None:
    enters = _trust(enters, coefficient=trust_coefficient, norms=norms)
  return optax.chain(
    enters,  # mean(dL/dw) + 0.0005 w
    _scale_by_rates(),  # times -eps, before the velocity: not as in optax.sgd
    _velocity(momentum),  # v <- 0.9 v + that
  )


def moves(opt_state: PyTree, *, rates: PyTree) -> PyTree:
  """Returns what the rule adds to parameters, from its state after an update.

  That is the velocity, or 0 where the rate is 0: what `update` returns, too.
  """
  return _unless_frozen(optax.tree.get(opt_state, 'trace'), rates=rates)


def _unless_frozen(velocity: PyTree, *, rates: PyTree) -> PyTree:
  """Returns velocities, with 0 for arrays whose rate is 0."""
  return _each(
    lambda rate, v: lax.select(rate == 0, lax.full_like(v, 0), v),
    rates,
    velocity,
  )


def from_config(
  optim: config_dict.ConfigDict,
  *,
  scaling: config_dict.ConfigDict | None = None,
  norms: Callable[[PyTree], PyTree] = columns.norms,
) -> optax.GradientTransformationExtraArgs:
  """Builds the rule from `config.optim` and `config.batch_scaling`."""
  coefficient = scaling.trust_coefficient if scaling and scaling.lars else None
  return paper_sgd(
    momentum=optim.momentum,
    weight_decay=optim.weight_decay,
    decay=optim.decay.to_dict(),
    decay_biases=optim.decay_biases,
    trust_coefficient=coefficient,
    norms=norms,
  )


def _decay(
  weight_decay: float, factors: Mapping[str, float], *, biases: bool
) -> optax.GradientTransformation:
  """Adds weight_decay * factor * w to each gradient."""

  def one(path: tuple[Any, ...], g: Array, w: Array) -> Array:
    layer, kind = path[0].key, path[-1].key  # 'conv1', 'kernel'
    decays = biases or kind == 'kernel'  # 2012: kernels alone
    return g + weight_decay * factors.get(layer, 1.0) * w if decays else g

  return optax.stateless(
    lambda updates, params: jax.tree_util.tree_map_with_path(
      one, updates, params
    )
  )


def _trust(
  rule: optax.GradientTransformation,
  *,
  coefficient: float,
  norms: Callable[[PyTree], PyTree],
) -> optax.GradientTransformation:
  """Multiplies a rule's update of each kernel by its trust ratio (LARS):

      u <- coefficient |w| / |u| u,    u = mean(dL/dw) + 0.0005 w

  u is unchanged where |w| or |u| is 0. Norms are of the whole array, both
  columns, unlike those of `optax.scale_by_trust_ratio`. As there, |u| is the
  norm of the sum; You et al. add the norms, |dL/dw| + 0.0005 |w|. Biases keep
  the plain rule. The state is `rule`'s: a run can change to LARS and back.
  """

  def update(
    updates: PyTree, state: PyTree, params: Any = None
  ) -> tuple[PyTree, PyTree]:
    updates, state = rule.update(updates, state, params)
    kernels = _kernels(updates)
    scaled = jax.tree.map(
      lambda update, u, w: (  # u and w: |u| and |w|
        jnp.where((u == 0) | (w == 0), 1.0, coefficient * w / u) * update
      ),
      kernels,
      *norms([kernels, _kernels(params)]),
    )
    return {k: kinds | scaled.get(k, {}) for k, kinds in updates.items()}, state

  return optax.GradientTransformation(rule.init, update)


def _kernels(tree: PyTree) -> PyTree:
  """Leaves out the biases of {layer: {'kernel', 'bias'}}."""
  return {
    k: {'kernel': kinds['kernel']}
    for k, kinds in tree.items()
    if 'kernel' in kinds
  }


def _scale_by_rates() -> optax.GradientTransformationExtraArgs:
  """Multiplies each array by -eps."""

  def update(
    updates: PyTree,
    state: optax.EmptyState,
    params: Any = None,
    *,
    rates: PyTree,
  ) -> tuple[PyTree, optax.EmptyState]:
    del params
    return _each(lambda rate, u: -rate * u, rates, updates), state

  return optax.GradientTransformationExtraArgs(
    lambda params: optax.EmptyState(), update
  )


def _velocity(momentum: float) -> optax.GradientTransformationExtraArgs:
  """Applies optax.trace, except to parameters with a rate of 0."""
  trace = optax.trace(decay=momentum)  # v <- 0.9 v + u

  def update(
    updates: PyTree,
    state: optax.TraceState,
    params: Any = None,
    *,
    rates: PyTree,
  ) -> tuple[PyTree, optax.TraceState]:
    moved, after = trace.update(updates, state, params)
    return (
      _unless_frozen(moved, rates=rates),
      optax.TraceState(
        _each(
          lambda rate, new, old: lax.select(  # v stays
            rate == 0, old.astype(new.dtype), new
          ),
          rates,
          after.trace,
          state.trace,
        )
      ),
    )

  return optax.GradientTransformationExtraArgs(trace.init, update)


def _each(
  function: Callable[..., Any], rates: PyTree, *trees: PyTree
) -> PyTree:
  """Maps function(rate, array, ...); `rates` is a tree prefix of the trees."""
  return jax.tree.map(
    lambda rate, *parts: jax.tree.map(
      lambda *arrays: function(rate, *arrays), *parts
    ),
    rates,
    *trees,
  )
