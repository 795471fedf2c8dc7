"""The rate schedule of §5: divide by 10 when the validation error plateaus.

"We ... divide the learning rate by 10 when the validation error rate stopped
improving with the current learning rate", three times before the end; training
ends at the next plateau. The authors judged by eye; here it is optax's
`reduce_on_plateau`, told of one validation error after each epoch.
"""

import math

import jax
import jax.numpy as jnp
from optax import contrib

State = contrib.ReduceLROnPlateauState


def init() -> State:
  """Before the first evaluation; `scale` multiplies the learning rate."""
  return contrib.reduce_on_plateau().init(jnp.zeros(()))


def observe(
  state: State,
  error: float,
  *,
  factor: float,
  patience_epochs: int,
  min_improvement: float,
) -> State:
  """The state after an evaluation, its scale lowered if it is a plateau.

  Args:
    state: of the evaluations so far.
    error: validation error, 0 to 1.
    factor: what a plateau multiplies the rate by.
    patience_epochs: evaluations without improvement that make a plateau.
    min_improvement: relative to the best error, what counts as improvement.

  Raises:
    FloatingPointError: if the error is not a finite number. It neither counts
      as improvement nor lowers the rate.

  >>> state = init()
  >>> for error in (0.5, 0.4, 0.4, 0.4):
  ...   state = observe(
  ...     state, error, factor=0.1, patience_epochs=2, min_improvement=1e-3
  ...   )
  >>> print(drops(state, factor=0.1), state.scale)
  1 0.1
  """
  if not math.isfinite(error):
    raise FloatingPointError(f'the validation error is {error}')
  rule = contrib.reduce_on_plateau(
    factor, patience=patience_epochs, rtol=min_improvement
  )
  with jax.numpy_dtype_promotion('standard'):  # optax mixes int32 and float32
    _, state = rule.update({}, state, value=jnp.float32(error))
  return state


def drops(state: State, *, factor: float) -> int:
  """How many plateaus have lowered the rate so far."""
  return round(math.log(float(state.scale)) / math.log(factor))
