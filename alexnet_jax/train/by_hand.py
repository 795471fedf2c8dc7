"""Training steps from Python, without a data set or a workdir.

net = alexnet_jax.build('default', classes=['cat', 'dog'])
state, step = alexnet_jax.train_step(net)
for images, labels in minibatches:  # uint8 [B, 256, 256, 3], whole numbers [B]
  state, metrics = step(state, images, labels)
net = net.replace(params=state.params)
"""

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Int32, UInt8

from alexnet_jax.config import durations, validate
from alexnet_jax.data import augment
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import build, metrics
from alexnet_jax.steps import state as state_lib

Step = Callable[..., tuple[state_lib.TrainState, dict[str, Any]]]


def train_step(
  net: net_lib.Net,
  *,
  learning_rate: float | None = None,
  freeze: Collection[str] = (),
  seed: int = 0,
) -> tuple[state_lib.TrainState, Step]:
  """Returns the state before the first step, and the step of §5.

  step(state, images, labels) -> (state, metrics): `images` are what
  Net.preprocess takes, at best uint8 squares [B, 256, 256, 3]; `labels` whole
  numbers [B], in the order of net.classes. They are cropped, mirrored and
  shifted in colour as the net's config says (§4.1). The metrics are 'loss',
  'top1_error', 'top5_error' (None: fewer than six classes) and 'learning_rate'.
  The state that goes in is used up; its `params` are those of Net.replace. The
  first step of each number of images compiles, which takes seconds.

  Args:
    net: whose parameters and config the training starts from.
    learning_rate: constant; None: config.optim.learning_rate.
    freeze: names of layers that do not learn, such as ['conv1'].
    seed: of dropout and augmentation.

  Raises ValueError if there is no such layer, or the rate cannot work.
  """
  config = net.config.copy_and_resolve_references()
  config.seed = seed
  config.grad_accumulation_steps = 1
  if learning_rate is not None:
    config.optim.learning_rate = float(learning_rate)
  frozen = [freeze] if isinstance(freeze, str) else freeze
  always, never = ((0.0, 1.0),), ((0.0, 0.0),)
  config.schedule.kernel = config.schedule.bias = always
  for name in frozen:
    if name not in net.params:
      raise ValueError(f'no layer {name!r}: use {", ".join(net.params)}')
  for name, layer in config.schedule.layer.items():
    layer.kernel = layer.bias = never if name in frozen else always
  config.batch_scaling.rule = ''
  validate.check(config)
  mesh = mesh_lib.create(data=1, column=1)

  @functools.lru_cache(maxsize=8)
  def programs(images: int) -> build.Steps:
    sized = config.copy_and_resolve_references()
    sized.batch_size = images  # the gradient is a mean over so many
    plan = durations.Plan(1, images_per_epoch=images, batch_size=images)
    return build.build(sized, mesh=mesh, plan=plan)

  mean_image = mesh_lib.replicate(net.statistics.mean_image, mesh=mesh)
  first = programs(config.batch_size)
  start = first.init().replace(
    params=jax.tree.map(
      lambda new, spec: jax.device_put(jnp.array(new), spec.sharding),
      net.params,
      first.state.params,
    ),
  )

  def step(
    state: state_lib.TrainState,
    images: net_lib.Input,
    labels: Sequence[int] | Int[np.ndarray, ' b'],
  ) -> tuple[state_lib.TrainState, dict[str, Any]]:
    if state.step.is_deleted():
      raise ValueError(
        'this state is used up: go on with the one that the step returned, '
        'or begin again with train_step'
      )
    _, squares = net.squares(images)
    batch = _batch(config, net, squares, labels=labels, step=int(state.step))
    placed = mesh_lib.put_batch(batch, mesh=mesh)
    train = programs(len(squares)).train
    state, outputs = train(state, mean_image, placed)
    found = {k: v for k, v in outputs.items() if k != 'finite'}
    top5 = metrics.top5(found['top5_error'], classes=len(net.classes))
    return state, found | {'top5_error': top5}

  return start, step


def _batch(
  config: Any,
  net: net_lib.Net,
  squares: UInt8[np.ndarray, 'b s s 3'],
  *,
  labels: Sequence[int] | Int[np.ndarray, ' b'],
  step: int,
) -> dict[str, np.ndarray]:
  """A minibatch as data/pipeline.py makes it, with the draws of this step."""
  data = config.data
  draws = augment.draw_epoch(
    augment.Augment(**config.augment),
    border=data.image_size - data.crop_size,
    num_images=len(squares),
    pca=net.statistics.pca,
    seed=config.seed,
    epoch=step,  # each step has draws of its own
  )
  crops = [
    square[y : y + data.crop_size, x : x + data.crop_size]
    for square, (y, x) in zip(squares, draws.offset, strict=True)
  ]
  fields = {
    name: getattr(draws, name).astype(spec.dtype)
    for name, spec in augment.DRAWS.items()
  }
  own = _whole(labels, images=len(squares), classes=len(net.classes))
  return {'image': np.stack(crops), 'label': own, **fields}


def _whole(
  labels: Any, *, images: int, classes: int
) -> Int32[np.ndarray, ' b']:
  own = np.asarray(labels)
  whole = own.dtype.kind in 'iu' and own.shape == (images,)
  if not whole or own.min() < 0 or own.max() >= classes:
    raise ValueError(
      f'labels {own.tolist()!r:.60} of {images} images: give a whole number '
      f'from 0 to {classes - 1} for each'
    )
  return own.astype(np.int32)
