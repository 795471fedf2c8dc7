"""The rate schedule of §5: divide by 10 when the validation error plateaus.

The authors divided it "when the validation error rate stopped improving with
the current learning rate", three times before the end, and judged by eye. Here
optax's `reduce_on_plateau` takes the validation error after each epoch, and
training ends at the plateau after the third.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from optax import contrib

State = contrib.ReduceLROnPlateauState


def init() -> State:
  """Returns the state before the first evaluation, with a `scale` of 1."""
  return contrib.reduce_on_plateau().init(jnp.zeros(()))


def observe(
  state: State,
  error: float,
  *,
  factor: float,
  patience_epochs: int,
  min_improvement: float,
) -> State:
  """Returns the state after an evaluation; a plateau lowers its scale.

  Args:
    state: of the evaluations so far; its scale multiplies the learning rate.
    error: validation error, 0 to 1; FloatingPointError if it is not finite.
    factor: by which a plateau multiplies the scale; 0.1 in the paper.
    patience_epochs: evaluations without improvement that make a plateau.
    min_improvement: least improvement, relative to the best error.

  >>> state = init()
  >>> for error in (0.5, 0.4, 0.4, 0.4):
  ...   state = observe(
  ...     state, error, factor=0.1, patience_epochs=2, min_improvement=1e-3
  ...   )
  >>> print(drops(state, factor=0.1), state.scale)
  1 0.1
  """
  if not math.isfinite(error):  # optax would count NaN as a bad epoch
    raise FloatingPointError(f'the validation error is {error}')
  update = _update(factor, patience=patience_epochs, rtol=min_improvement)
  with jax.numpy_dtype_promotion('standard'):  # optax mixes int32 and float32
    _, state = update({}, state, value=jnp.float32(error))  # no gradients
  return state


@functools.cache
def _update(factor: float, **options: float | int) -> Callable[..., Any]:
  """The rule's update as one program: each operation alone compiles too."""
  return jax.jit(contrib.reduce_on_plateau(factor, **options).update)


def drops(state: State, *, factor: float) -> int:
  """Returns how many plateaus have lowered the rate so far."""
  return round(math.log(float(state.scale)) / math.log(factor))  # 0.1^n -> n
