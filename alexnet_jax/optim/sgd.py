"""The update rule of §5, as a chain of optax transformations.

    v <- 0.9 v - 0.0005 eps w - eps mean(dL/dw)
    w <- w + v

The rate eps multiplies what *enters* the velocity, so that lowering it leaves
the velocity that is already stored as it is. `optax.sgd` applies the rate to
the velocity instead; the two differ after every drop of the rate.
"""

from typing import Any

import jax
import optax
from jaxtyping import PyTree


def paper_sgd(
  *, momentum: float, weight_decay: float, decay_biases: bool = False
) -> optax.GradientTransformationExtraArgs:
  """The rule above; its `update` takes the rates as `rates=`.

  `rates` is a tree like the parameters, or a part of its top, with eps for each
  of them.

  >>> rule = paper_sgd(momentum=0.9, weight_decay=0.5)
  >>> w = {'kernel': jax.numpy.array([2.0])}
  >>> g = {'kernel': jax.numpy.array([3.0])}
  >>> v, _ = rule.update(g, rule.init(w), w, rates=0.1)  # -0.1 x (3 + 0.5 x 2)
  >>> print(v['kernel'])
  [-0.4]
  """
  return optax.chain(
    optax.add_decayed_weights(
      weight_decay, mask=None if decay_biases else _kernels
    ),
    _scale_by_rates(),
    optax.trace(decay=momentum),
  )


def _kernels(params: PyTree) -> PyTree:
  """True for kernels, False for biases."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == 'kernel', params
  )


def _scale_by_rates() -> optax.GradientTransformationExtraArgs:
  def update(
    updates: PyTree,
    state: optax.EmptyState,
    params: Any = None,
    *,
    rates: PyTree,
  ) -> tuple[PyTree, optax.EmptyState]:
    del params
    scaled = jax.tree.map(
      lambda rate, part: jax.tree.map(lambda u: -rate * u, part), rates, updates
    )
    return scaled, state

  return optax.GradientTransformationExtraArgs(
    lambda params: optax.EmptyState(), update
  )
