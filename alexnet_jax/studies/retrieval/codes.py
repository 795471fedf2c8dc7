"""Short binary codes of feature vectors by an auto-encoder (§6.1).

"Computing similarity by using Euclidean distance between two 4096-dimensional,
real-valued vectors is inefficient, but it could be made efficient by training
an auto-encoder to compress these vectors to short binary codes." The paper
trains none; this is our design:

  x  (feature - m) / their root mean square length, with m the mean feature
  z  W x, normalised to mean 0 and standard deviation 1 over the minibatch
  c  tanh(z + noise), noise from N(0, 1/4)
  y  V c + b

The loss is the mean of |x - y|^2, which is 1 for y = 0. The noise pushes z away
from 0, where it would flip the sign. Bit i is W x > its median over the
training features, so that each bit is set in half of them and carries as much
information as it can. Similar features then have codes at a small Hamming
distance.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from jaxtyping import Array, Float, PyTree, Real, UInt8

from alexnet_jax.studies.retrieval import neighbours

_ROWS = 2048  # encoded at once
_MOST_ROWS = 20_000  # to train on, held in memory
_BATCH = 256
_LEARNING_RATE = 3e-3
_NOISE = 0.5
_TINY = 1e-6  # the standard deviation of a constant unit is 0


class AutoEncoder(nn.Module):
  """One linear layer to the bits, and one back."""

  units: int  # length of a feature vector
  bits: int  # length of a code

  @nn.compact
  def __call__(
    self, x: Float[Array, 'b units'], *, key: Array
  ) -> Float[Array, 'b units']:
    """The reconstruction y of x; the key draws the noise."""
    z = nn.Dense(self.bits, use_bias=False, name='encoder')(x)
    z = z - z.mean(axis=0, keepdims=True)
    z = z / (z.std(axis=0, keepdims=True) + _TINY)
    c = jnp.tanh(z + _NOISE * jax.random.normal(key, z.shape))
    # Zeros start y at the mean: |c|^2 is many times |x|^2.
    zeros = nn.initializers.zeros
    return nn.Dense(self.units, kernel_init=zeros, name='decoder')(c)


class Coder(NamedTuple):
  """The encoder of a trained auto-encoder."""

  mean: Float[np.ndarray, ' units']  # of the training features
  kernel: Float[np.ndarray, 'units bits']  # W over their mean length
  thresholds: Float[np.ndarray, ' bits']  # bits are set above these

  def encode(
    self, features: Real[np.ndarray, 'n units']
  ) -> UInt8[np.ndarray, 'n bytes']:
    """Codes, eight bits a byte, of features that may be memory-mapped."""
    bits = (values > self.thresholds[None] for values in self.values(features))
    return np.concatenate([np.packbits(block, axis=1) for block in bits])

  def values(
    self, features: Real[np.ndarray, 'n units']
  ) -> Iterator[Float[np.ndarray, 'b bits']]:
    """Yields what is compared with the thresholds, block by block."""
    for _, rows in neighbours.blocks(features, rows=_ROWS, what='codes'):
      yield (rows - self.mean[None]) @ self.kernel


def train(
  features: Real[np.ndarray, 'n units'],
  *,
  bits: int,
  seed: int = 0,
  steps: int = 300,
) -> Coder:
  """Trains an auto-encoder and returns its encoder.

  Features may be memory-mapped; at most 20,000, drawn from all, are used. A
  code has `bits`, a positive multiple of 8. The seed draws the rows, the
  initial values and the noise; `steps` are of Adam, with minibatches of 256.
  Raises ValueError for other bits, or fewer than two features.
  """
  check_bits(bits)
  if (count := len(features)) < 2:
    raise ValueError(f'{count} features to train codes on: use at least 2')
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


def check_bits(bits: int) -> None:
  """Raises ValueError if bits is not a positive multiple of 8."""
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
  """Trains W with Adam, at a rate that decays to zero."""
  model = AutoEncoder(units=x.shape[1], bits=bits)
  first, noise = jax.random.split(jax.random.key(seed))
  optimizer = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))
  params = model.init(first, jnp.asarray(x[:1]), key=noise)
  state = optimizer.init(params)

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

  title = f'codes of {bits} bits'
  for number in tqdm.trange(steps, desc=title, delay=5, leave=False):
    rows = jnp.asarray(x[rng.integers(0, len(x), _BATCH)])
    params, state = step(params, state, rows, jax.random.fold_in(noise, number))
  return np.asarray(params['params']['encoder']['kernel'])
