"""Short binary codes of feature vectors by an auto-encoder (§6.1).

"Computing similarity by using Euclidean distance between two 4096-dimensional,
real-valued vectors is inefficient, but this could be made efficient by training
an auto-encoder to compress these vectors to short binary codes." The paper
trains none, so that all of this is ours:

  x  features less their mean m, over their root mean square length
  z  W x, less its mean over the minibatch, over its standard deviation there
  c  tanh(z + noise), noise from N(0, 1/4)
  y  V c + b; minimised is the mean of |x - y|^2, so that 1 is no better than m

The noise makes it worth while to move z away from 0, where it would change the
sign. Bit i is W x > its median over the training features: each bit is set in
half of them, which lets it tell as much as it can. Codes that are close in
Hamming distance then stand for features that are close.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from jaxtyping import Array, Float, PyTree, Real, UInt8

from alexnet_jax.studies.retrieval import neighbours

_ROWS = 2048  # that are encoded at once
_MOST_ROWS = 20_000  # that are held in memory to train on
_BATCH = 256
_LEARNING_RATE = 3e-3
_NOISE = 0.5
_TINY = 1e-6  # a unit that is always the same has no spread

# Of (parameters, state of the optimiser, minibatch, key): both, one step on.
_Step = Callable[[PyTree, PyTree, Array, Array], tuple[PyTree, PyTree]]


class AutoEncoder(nn.Module):
  """One layer to the bits, one back.

  Attributes:
    units: of the features.
    bits: of a code.
  """

  units: int
  bits: int

  @nn.compact
  def __call__(
    self, x: Float[Array, 'b units'], *, key: Array
  ) -> Float[Array, 'b units']:
    """y of x, with noise drawn from the key."""
    z = nn.Dense(self.bits, use_bias=False, name='encoder')(x)
    z = z - z.mean(axis=0, keepdims=True)
    z = z / (z.std(axis=0, keepdims=True) + _TINY)
    c = jnp.tanh(z + _NOISE * jax.random.normal(key, z.shape))
    # From zeros, y begins at the mean: |c|^2 is many times |x|^2.
    decoder = nn.Dense(
      self.units, kernel_init=nn.initializers.zeros, name='decoder'
    )
    return decoder(c)


class Coder(NamedTuple):
  """What makes codes: half of a trained auto-encoder.

  Attributes:
    mean: of the features that it was trained on.
    kernel: W, over the features' length.
    thresholds: above which a bit is set.
  """

  mean: Float[np.ndarray, ' units']
  kernel: Float[np.ndarray, 'units bits']
  thresholds: Float[np.ndarray, ' bits']

  def encode(
    self, features: Real[np.ndarray, 'n units']
  ) -> UInt8[np.ndarray, 'n bytes']:
    """The code of each, eight bits a byte; features may be memory-mapped."""
    return np.concatenate(
      [
        np.packbits(values > self.thresholds[None], axis=1)
        for values in self.values(features)
      ]
    )

  def values(
    self, features: Real[np.ndarray, 'n units']
  ) -> Iterator[Float[np.ndarray, 'b bits']]:
    """What is compared with the thresholds, block by block."""
    for _, rows in neighbours.blocks(features, rows=_ROWS, what='codes'):
      yield (rows - self.mean[None]) @ self.kernel


def train(
  features: Real[np.ndarray, 'n units'],
  *,
  bits: int,
  seed: int = 0,
  steps: int = 300,
) -> Coder:
  """An auto-encoder for codes of so many bits.

  Args:
    features: to learn from, may be memory-mapped; 20,000 of them are used.
    bits: a multiple of 8.
    seed: of the rows, the first values and the noise.
    steps: minibatches of 256.

  Raises:
    ValueError: if bits are no multiple of 8, or there are fewer than two
      features.
  """
  check(bits)
  if len(features) < 2:
    raise ValueError(
      f'{len(features)} features to train codes on: use at least 2'
    )
  rng = np.random.default_rng(seed)
  few = min(len(features), _MOST_ROWS)
  chosen = np.sort(rng.choice(len(features), few, replace=False))
  x = np.array(features[chosen], np.float32)
  mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
  x -= mean[None]
  length = np.sqrt(np.square(x).sum(axis=1).mean()) or np.float32(1)
  x /= length
  with jax.numpy_dtype_promotion('standard'):  # optax counts in integers
    kernel = _fit(x, bits=bits, seed=seed, steps=steps, rng=rng)
  coder = Coder(mean, kernel / length, np.zeros(bits, np.float32))
  values = np.concatenate(list(coder.values(features[chosen])))
  return coder._replace(thresholds=np.median(values, axis=0))


def check(bits: int) -> None:
  """Refuses codes that are not whole bytes.

  Raises:
    ValueError: if bits are no multiple of 8.
  """
  if bits < 8 or bits % 8:
    raise ValueError(f'codes of {bits} bits: use a multiple of 8, such as 128')


def _fit(
  x: Float[np.ndarray, 'n units'],
  *,
  bits: int,
  seed: int,
  steps: int,
  rng: np.random.Generator,
) -> Float[np.ndarray, 'units bits']:
  """W after so many steps of Adam, at a rate that falls to zero."""
  model = AutoEncoder(units=x.shape[1], bits=bits)
  first, noise = jax.random.split(jax.random.key(seed))
  optimizer = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))
  params = model.init(first, jnp.asarray(x[:1]), key=noise)
  state = optimizer.init(params)
  step = _step(model, optimizer)
  for number in tqdm.trange(
    steps, desc=f'codes of {bits} bits', delay=5, leave=False
  ):
    rows = jnp.asarray(x[rng.integers(0, len(x), _BATCH)])
    params, state = step(params, state, rows, jax.random.fold_in(noise, number))
  return np.asarray(params['params']['encoder']['kernel'])


def _step(model: AutoEncoder, optimizer: optax.GradientTransformation) -> _Step:
  def loss(params: PyTree, x: Array, key: Array) -> Float[Array, '']:
    y = cast(Array, model.apply(params, x, key=key))
    return jnp.square(x - y).sum(axis=1).mean()

  @jax.jit
  def step(
    params: PyTree, state: PyTree, x: Array, key: Array
  ) -> tuple[PyTree, PyTree]:
    gradients = jax.grad(loss)(params, x, key)
    updates, state = optimizer.update(gradients, state)
    return optax.apply_updates(params, updates), state

  return step
