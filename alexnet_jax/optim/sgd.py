"""The update rule of §5, as a chain of optax transformations.

    v <- 0.9 v - 0.0005 eps w - eps mean(dL/dw)
    w <- w + v

The rate eps multiplies what *enters* the velocity, so that lowering it leaves
the velocity that is already stored as it is. `optax.sgd` applies the rate to
the velocity instead; the two differ after every drop of the rate. A rate of
exactly 0 freezes w and v, as in the 2012 program (weights.cu:148): neither
decay nor the stored velocity moves them.

For very large minibatches, and not in the paper, LARS: the same chain with
`optax.lars`'s trust ratio after the decay (You et al. 2017, arXiv:1708.03888).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax
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
  """The rule above; its `update` takes the rates as `rates=`.

  `rates` is a tree like the parameters, or a part of its top, with eps for each
  of them.

  Args:
    momentum: what of a velocity stays, 0.9 in the paper.
    weight_decay: 0.0005 in the paper.
    decay: what multiplies the weight decay, by layer; 1 if it is not there.
    decay_biases: whether biases decay as kernels do.
    trust_coefficient: of LARS; None: without.
    norms: of whole arrays, for LARS, where only parts of them are at hand.

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
    enters,
    _scale_by_rates(),
    _velocity(momentum),
  )


def from_config(
  optim: config_dict.ConfigDict,
  *,
  scaling: config_dict.ConfigDict | None = None,
  norms: Callable[[PyTree], PyTree] = columns.norms,
) -> optax.GradientTransformationExtraArgs:
  """The rule as `config.optim` has it; `scaling`: `config.batch_scaling`."""
  coefficient = None
  if scaling is not None and scaling.lars:
    coefficient = scaling.trust_coefficient
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
  """Adds its layer's decay times w to each gradient."""

  def one(path: tuple[Any, ...], g: Array, w: Array) -> Array:
    layer, kind = path[0].key, path[-1].key
    decays = biases or kind == 'kernel'
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
  """What a rule gives, each kernel's times its trust ratio (LARS):

      u <- coefficient |w| / |u| u,    u = mean(dL/dw) + 0.0005 w

  and u as it is where |w| or |u| is 0. Norms are of the whole array, of both
  columns, which `optax.scale_by_trust_ratio` could not see. As there, |u| is of
  the sum; You et al. add the norms, |dL/dw| + 0.0005 |w|. Biases keep the plain
  rule. The state is `rule`'s, so that a run can change to LARS and back.
  """

  def update(
    updates: PyTree, state: PyTree, params: Any = None
  ) -> tuple[PyTree, PyTree]:
    updates, state = rule.update(updates, state, params)
    sizes = norms([_kernels(updates), _kernels(params)])
    scaled = jax.tree.map(
      lambda kernel, u, w: (
        jnp.where((u == 0) | (w == 0), 1.0, coefficient * w / u) * kernel
      ),
      _kernels(updates),
      *sizes,
    )
    return {k: kinds | scaled[k] for k, kinds in updates.items()}, state

  return optax.GradientTransformation(rule.init, update)


def _kernels(tree: PyTree) -> PyTree:
  """{layer: {'kernel'}} of {layer: {'kernel', 'bias'}}."""
  return {k: {'kernel': kinds['kernel']} for k, kinds in tree.items()}


def _scale_by_rates() -> optax.GradientTransformationExtraArgs:
  """-eps times each array."""

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
  """optax.trace, which leaves alone what has a rate of 0."""
  trace = optax.trace(decay=momentum)

  def update(
    updates: PyTree,
    state: optax.TraceState,
    params: Any = None,
    *,
    rates: PyTree,
  ) -> tuple[PyTree, optax.TraceState]:
    moved, after = trace.update(updates, state, params)
    return (
      _each(lambda rate, v: jnp.where(rate == 0, 0, v), rates, moved),
      optax.TraceState(
        _each(
          lambda rate, new, old: jnp.where(rate == 0, old, new),
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
  """function(rate, array, ...) for each array, `rates` being the trees' top."""
  return jax.tree.map(
    lambda rate, *parts: jax.tree.map(
      lambda *arrays: function(rate, *arrays), *parts
    ),
    rates,
    *trees,
  )
