"""Error rates of a network on a split: centre crop or ten views (§4.1).

"... extracting five 224 x 224 patches (the four corner patches and the center
patch) as well as their horizontal reflections (hence ten patches in all), and
averaging the predictions made by the network's softmax layer": probabilities
are averaged, not logits.
"""

import functools
import operator
from collections.abc import Callable

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import config_dict

from alexnet_jax import inputs, metrics
from alexnet_jax import run as run_lib
from alexnet_jax.data import augment, pipeline
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.parallel import placement


def error_rates(
  setup: run_lib.Setup,
  *,
  params: PyTree,
  views: int,
  check: Callable[[], None] = lambda: None,
) -> metrics.Errors:
  """Loss, top-1 and top-5 error over every validation image exactly once.

  Args:
    setup: the run's; its `faults` counts damaged images, which are left out.
    params: of the network, on the mesh.
    views: 1, the centre crop, or 10.
    check: called between minibatches; may raise, to end it.
  """
  config, split, mesh = setup.config, setup.dataset.val, setup.mesh
  batch_size = _batch_size(config, images=len(split), mesh=mesh)
  crops = place_views(config, views=views, mesh=mesh)
  losses, ranks = [], []
  batches = pipeline.eval_batches(
    split, batch_size=batch_size, faults=setup.faults
  )
  rounds = -(-len(split) // batch_size)
  for batch in tqdm.tqdm(
    batches, total=rounds, desc=f'views: {views}', delay=5, leave=False
  ):
    check()
    images, labels = placement.put_batch(
      [batch['image'], batch['label']], mesh=mesh
    )
    each = [
      setup.programs.predict(params, setup.mean_image, images, view)
      for view in crops
    ]
    mean = functools.reduce(operator.add, each) / len(each)
    loss, rank = jax.device_get(setup.programs.score(mean, labels))
    losses.append(loss[batch['mask']])
    ranks.append(rank[batch['mask']])
  return metrics.errors(
    losses=np.concatenate(losses), ranks=np.concatenate(ranks)
  )


def place_views(
  config: config_dict.ConfigDict, *, views: int, mesh: Mesh
) -> list[inputs.View]:
  """The views' corners and mirror bits on the mesh; 1: the centre alone."""
  sizes = {name: config.data[name] for name in ('image_size', 'crop_size')}
  ten = views == 10
  chosen = augment.views(**sizes) if ten else [augment.centre_view(**sizes)]
  return [
    placement.replicate(
      inputs.View(
        offset=np.array([view.y, view.x], np.int32),
        mirror=np.array(view.mirror),
      ),
      mesh=mesh,
    )
    for view in chosen
  ]


def _batch_size(
  config: config_dict.ConfigDict, *, images: int, mesh: Mesh
) -> int:
  """At most the configured one, with the last batch as full as the others."""
  rows = mesh.shape[mesh_lib.DATA]
  rounds = -(-images // config.eval.batch_size)
  return -(-images // (rounds * rows)) * rows
