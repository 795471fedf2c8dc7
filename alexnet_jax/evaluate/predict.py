"""Error rates of a network on a split: centre crop or ten views (§4.1).

"... extracting five 224 x 224 patches (the four corner patches and the center
patch) as well as their horizontal reflections (hence ten patches in all), and
averaging the predictions made by the network's softmax layer": probabilities
are averaged, not logits.
"""

import functools
import json
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tqdm
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import config_dict

from alexnet_jax import setup as setup_lib
from alexnet_jax.data import augment, dataset, pipeline
from alexnet_jax.evaluate import predictions
from alexnet_jax.parallel import hosts, placement
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import preprocess


def predict(
  setup: setup_lib.Setup,
  *,
  params: PyTree,
  views: int,
  split: dataset.Split | None = None,
  check: Callable[[], None] = lambda: None,
) -> predictions.Predictions:
  """What the network says of every image of a split, each exactly once.

  Args:
    setup: the run's; its `faults` counts damaged images, which are left out.
    params: of the network, on the mesh.
    views: 1, the centre crop; 10; or 9, of CIFAR-10 (augment.views).
    split: none given: the validation images.
    check: called between minibatches; may raise, to end it.
  """
  crops = place_views(setup.config, views=views, mesh=setup.mesh)
  names, rows = [], []
  for batch in minibatches(
    setup,
    setup.dataset.val if split is None else split,
    what=f'views: {views}',
    check=check,
  ):
    each = [
      setup.programs.predict(params, setup.mean_image, batch.images, view)
      for view in crops
    ]
    mean = functools.reduce(operator.add, each) / len(each)
    score = setup.programs.score(mean, batch.labels)
    names += batch.names
    rows.append(
      [array[batch.there] for array in hosts.fetch((mean, *score))]
      + [batch.own_labels]
    )
  probabilities, losses, ranks, labels = map(
    np.concatenate, zip(*rows, strict=True)
  )
  return predictions.Predictions(
    names=names,
    labels=labels,
    probabilities=probabilities,
    losses=losses,
    ranks=ranks,
    views=views,
    classes=[c.id for c in setup.dataset.classes],
  )


class Minibatch(NamedTuple):
  """Whole images of a split, in order.

  Attributes:
    images: uint8, on the mesh; padding at the end of the last one.
    labels: on the mesh, likewise.
    there: bool, which of both are images that could be read.
    names: of those, as all that follows.
    own_labels: on the host.
    index: in the split.
  """

  images: Array
  labels: Int[Array, ' b']
  there: np.ndarray
  names: list[str]
  own_labels: Int[np.ndarray, 'n']
  index: Int[np.ndarray, 'n']


def minibatches(
  setup: setup_lib.Setup,
  split: dataset.Split,
  *,
  what: str,
  check: Callable[[], None] = lambda: None,
) -> Iterator[Minibatch]:
  """Every image of a split once, with a progress bar if it takes long.

  Args:
    setup: the run's; its `faults` counts damaged images.
    split: of its data set, or a part of one.
    what: name of the bar.
    check: called before each; may raise, to end it.
  """
  size = _batch_size(setup.config, images=len(split), mesh=setup.mesh)
  batches = pipeline.eval_batches(
    split,
    batch_size=size,
    rows=placement.images_here(size, mesh=setup.mesh),
    faults=setup.faults,
  )
  rounds = -(-len(split) // size)
  for batch in tqdm.tqdm(
    batches, total=rounds, desc=what, delay=5, leave=False
  ):
    check()
    images, labels = placement.put_batch(
      [batch['image'], batch['label']], mesh=setup.mesh, images=size
    )
    whole = _whole(batch, images=size, mesh=setup.mesh)
    there = whole['mask']
    yield Minibatch(
      images=images,
      labels=labels,
      there=there,
      names=[whole['name'][row] for row in np.flatnonzero(there)],
      own_labels=whole['label'][there],
      index=whole['index'][there],
    )


def _whole(
  batch: pipeline.EvalBatch, *, images: int, mesh: Mesh
) -> dict[str, Any]:
  """What the processes have read, pixels apart, of their parts of a batch."""
  parts: dict[str, Any] = {k: v for k, v in batch.items() if k != 'image'}
  if not mesh_lib.spans_processes(mesh):
    return parts
  first = placement.images_here(images, mesh=mesh).start
  plain = {name: np.asarray(part).tolist() for name, part in parts.items()}
  rows: dict[int, list[Any]] = {}
  for text in hosts.gather(json.dumps([first, plain])):
    start, theirs = json.loads(text)
    for row, values in enumerate(zip(*theirs.values(), strict=True), start):
      rows[row] = list(values)
  columns = zip(*(rows[row] for row in range(images)), strict=True)
  whole = dict(zip(plain, columns, strict=True))
  dtypes = {name: getattr(part, 'dtype', None) for name, part in parts.items()}
  return {
    name: np.array(values, dtypes[name]) if dtypes[name] else list(values)
    for name, values in whole.items()
  }


def features(
  setup: setup_lib.Setup, batch: Minibatch, *, params: PyTree
) -> Float[np.ndarray, 'n units']:
  """What fc7 makes of the centre crop of each image that could be read (§6.1).

  float32, after the ReLU; at test time fc8 sees them times 1 - dropout rate.
  """
  (centre,) = place_views(setup.config, views=1, mesh=setup.mesh)
  out = setup.programs.features(params, setup.mean_image, batch.images, centre)
  return hosts.fetch(out)[batch.there]


def place_views(
  config: config_dict.ConfigDict, *, views: int, mesh: Mesh
) -> list[preprocess.View]:
  """The views' corners and mirror bits on the mesh; 1: the centre alone."""
  sizes = {name: config.data[name] for name in ('image_size', 'crop_size')}
  return [
    placement.replicate(
      preprocess.View(
        offset=np.array([view.y, view.x], np.int32),
        mirror=np.array(view.mirror),
      ),
      mesh=mesh,
    )
    for view in augment.views(views, **sizes)
  ]


def _batch_size(
  config: config_dict.ConfigDict, *, images: int, mesh: Mesh
) -> int:
  """At most the configured one, with the last batch as full as the others."""
  rows = mesh.shape[mesh_lib.DATA]
  rounds = -(-images // config.eval.batch_size)
  return -(-images // (rounds * rows)) * rows
