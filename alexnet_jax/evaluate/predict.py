"""Error rates of a network on a split: centre crop or ten views (§4.1).

"... extracting five 224 x 224 patches (the four corner patches and the center
patch) as well as their horizontal reflections (hence ten patches in all), and
averaging the predictions made by the network's softmax layer": probabilities
are averaged, not logits.
"""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tqdm
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import config_dict

from alexnet_jax import paper
from alexnet_jax import setup as setup_lib
from alexnet_jax.data import augment, dataset, pipeline
from alexnet_jax.evaluate import predictions
from alexnet_jax.models import summary
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import preprocess


def predict(
  setup: setup_lib.Setup,
  *,
  variables: PyTree,
  views: int,
  split: dataset.Split | None = None,
  check: Callable[[], None] = lambda: None,
) -> predictions.Predictions:
  """Predicts the class of every image of a split, each exactly once.

  `setup.bad_records` counts damaged images, which are left out. `variables` are
  TrainState.variables, on the mesh. `views` are 1, the centre crop; 10; or 9,
  for CIFAR-10 (augment.views). `split` is by default the validation split.
  `check` runs between minibatches; an error that it raises ends this.
  """
  split = setup.dataset.val if split is None else split
  probabilities_of = _program(setup, views=views, images=len(split))
  names, rows = [], []  # a row: arrays of one minibatch
  for batch in minibatches(setup, split, title=f'views: {views}', check=check):
    mean = probabilities_of(variables, setup.mean_image, batch.images)
    score = setup.programs.score(mean, batch.labels)  # losses [B], ranks [B]
    names += batch.names
    rows.append(
      [array[batch.readable] for array in hosts.to_host((mean, *score))]
      + [batch.host_labels]  # without the padding already
    )
  probabilities, losses, ranks, labels = map(
    np.concatenate, zip(*rows, strict=True)
  )
  return predictions.Predictions(
    names=names,
    labels=labels,
    probabilities=probabilities,  # [N, classes]
    losses=losses,  # [N]
    ranks=ranks,
    views=views,
    classes=[c.id for c in setup.dataset.classes],
  )


# Operations of ten views, from which steps/views.py saves more time than it
# takes to compile, on the two cores that it was measured on.
_SHARED = 1e12


def _program(
  setup: setup_lib.Setup, *, views: int, images: int
) -> Callable[..., Float[Array, 'b classes']]:
  """Returns (variables, mean image, images) -> mean of the probabilities.

  The ten views of many images are computed together: the same up to rounding.
  """
  config, programs = setup.config, setup.programs
  work = summary.operations(config.model, crop_size=config.data.crop_size)
  many = views * images * work['eval'] >= _SHARED
  if programs.predict_ten and views == paper.VIEWS and many:
    return programs.predict_ten
  crops = place_views(config, views=views, mesh=setup.mesh)

  def mean(*args: Any) -> Float[Array, 'b classes']:
    each = [programs.predict(*args, view) for view in crops]
    return functools.reduce(operator.add, each) / len(each)

  return mean


class Minibatch(NamedTuple):
  """Whole images of a split, in order."""

  images: Array  # uint8 [B, S, S, 3], on the mesh; padded at the split's end
  labels: Int[Array, ' b']  # int32, on the mesh; likewise
  readable: np.ndarray  # bool [B], which rows hold an image that could be read
  names: list[str]  # of these N images
  host_labels: Int[np.ndarray, 'n']  # int32, their labels on the host
  indices: Int[np.ndarray, 'n']  # int32, their positions in the split


def minibatches(
  setup: setup_lib.Setup,
  split: dataset.Split,
  *,
  title: str,
  check: Callable[[], None] = lambda: None,
) -> Iterator[Minibatch]:
  """Yields every image of a split once, with a progress bar if it takes long.

  `setup.bad_records` counts damaged images. `check` runs before each minibatch;
  an error that it raises ends this.
  """
  size = _batch_size(setup.config, images=len(split), mesh=setup.mesh)
  own = mesh_lib.host_images(size, mesh=setup.mesh)  # this host's rows
  batches = pipeline.eval_batches(
    split, batch_size=size, rows=own, bad_records=setup.bad_records
  )
  rounds = -(-len(split) // size)  # rounded up
  bar = tqdm.tqdm(
    batches, total=rounds, desc=title, delay=5, leave=False, disable=None
  )
  for batch in bar:
    check()
    images, labels = mesh_lib.put_batch(  # sharded over `data`
      [batch['image'], batch['label']], mesh=setup.mesh, images=size
    )
    facts: dict[str, Any] = {k: v for k, v in batch.items() if k != 'image'}
    if mesh_lib.spans_hosts(setup.mesh):
      facts = hosts.gather_rows(facts, first=own.start)
    # [B], of all hosts; a label below 0 is of a class that no unit stands for.
    mask = facts['mask'] & (facts['label'] >= 0)
    yield Minibatch(
      images=images,
      labels=labels,
      readable=mask,
      names=[facts['name'][row] for row in np.flatnonzero(mask)],
      host_labels=facts['label'][mask],
      indices=facts['index'][mask],
    )


def features(
  setup: setup_lib.Setup, batch: Minibatch, *, variables: PyTree
) -> Float[np.ndarray, 'n units']:
  """Returns fc7 after its ReLU for each readable image (§6.1).

  float32, of the centre crop. At test time fc8 reads them times (1 - rate).
  """
  (centre,) = place_views(setup.config, views=1, mesh=setup.mesh)
  out = setup.programs.features(
    variables, setup.mean_image, batch.images, centre
  )
  return hosts.to_host(out)[batch.readable]  # [N, 4096]


def place_views(
  config: config_dict.ConfigDict, *, views: int, mesh: Mesh
) -> list[preprocess.DeviceView]:
  """Puts the corners and mirror bits of 1, 9 or 10 views on the mesh."""
  sizes = {name: config.data[name] for name in ('image_size', 'crop_size')}
  return [
    mesh_lib.replicate(
      preprocess.DeviceView(
        offset=np.array([view.y, view.x], np.int32),  # pixels
        mirror=np.array(view.mirror),
      ),
      mesh=mesh,
    )
    for view in augment.views(views, **sizes)
  ]


def _batch_size(
  config: config_dict.ConfigDict, *, images: int, mesh: Mesh
) -> int:
  """Returns the images in a batch: equal batches, with little padding."""
  rows = mesh.shape[mesh_lib.DATA]  # devices that share a batch
  rounds = -(-images // config.eval.batch_size)  # rounded up
  return -(-images // (rounds * rows)) * rows  # one shape: compiles once
