"""Error rates of checkpoints, and of the average of what they say (§6).

§6 averages the predictions of five, and of seven, "similar CNNs": 18.2 % top-5
error of one become 16.4 %, and 15.4 %.
"""

import itertools
import pathlib
from collections.abc import Collection, Iterator, Sequence

from ml_collections import config_dict

from alexnet_jax.checkpoint import restore
from alexnet_jax.evaluate import load, predict, predictions
from alexnet_jax.steps import metrics


def members(
  paths: Sequence[pathlib.Path],
  *,
  config: config_dict.ConfigDict,
  typed: Collection[str] = (),
) -> Iterator[list[predictions.Predictions]]:
  """What each checkpoint says of the validation images, with a line on each.

  Args:
    paths: of steps, of whatever networks.
    config: the data, the devices, and how many views.
    typed: fields that the user set by name, see reload.network.

  Yields:
    Of each checkpoint the predictions from the centre crop, and if the config
    asks for nine or ten views, from those.
  """
  if len(paths) > 1:
    _check_can_be_averaged(paths)
  for path in paths:
    network = load.network(path, config=config, typed=typed)
    if len(paths) > 1:
      print(f'{path}:')
    found = []
    for views in sorted({1, config.eval.final_views}):
      said = predict.predict(network.setup, params=network.params, views=views)
      found.append(said._replace(step=network.step).as_saved())
      for fault in network.setup.bad_records.drain():
        print(f'warning: an image is left out: {fault}')
      told = describe(found[-1])
      at = f'step {network.step}, epoch {network.epoch:.2f}'
      print(f'{at}, val: {told}', flush=True)
    yield found


def _check_can_be_averaged(paths: Sequence[pathlib.Path]) -> None:
  """Before hours are spent on it: all networks have as many classes."""
  units = [
    restore.read_meta(path, check=False)['config']['model']['num_classes']
    for path in paths
  ]
  for path, number in zip(paths, units, strict=True):
    if number != units[0]:
      raise ValueError(
        f'{paths[0]} is a network of {units[0]} classes and {path} of {number}:'
        ' they have no average; evaluate them one by one'
      )


def averages(
  found: Sequence[Sequence[predictions.Predictions]],
  *,
  weights: Sequence[float] | None,
) -> list[predictions.Predictions]:
  """The average over networks, for each number of views that all have."""
  return [
    predictions.average(of_views, weights=weights)
    for of_views in zip(*found, strict=True)
  ]


def describe(found: predictions.Predictions) -> str:
  """Error rates in words, with their intervals."""
  return metrics.describe(found.errors, views=found.views, intervals=True)


def parse_weights(given: Sequence[str], *, members: int) -> list[float] | None:
  """Numbers from a flag; None if there are none.

  Raises:
    ValueError: if they are no numbers, or not one for each network.
  """
  if not given:
    return None
  try:
    weights = [float(weight) for weight in given]
  except ValueError as error:
    raise ValueError(
      f'--weights={",".join(given)}: use numbers, such as 2,1,1'
    ) from error
  predictions.shares(weights, members=members)
  return weights


def places(
  path: pathlib.Path, *, checkpoints: Sequence[pathlib.Path]
) -> list[pathlib.Path]:
  """Where the predictions of each checkpoint go.

  Args:
    path: what the user gave: a file for one checkpoint, else a folder.
    checkpoints: folders of steps, WORKDIR/checkpoints/STEP.

  Raises:
    ValueError: if a file is given for several.

  >>> folder, step = pathlib.Path('out'), pathlib.Path('runs/a/checkpoints/80')
  >>> places(folder, checkpoints=[step, step])[1].as_posix()
  'out/a-80-2.npz'
  """
  if path.suffix == predictions.SUFFIX:
    if len(checkpoints) > 1:
      raise ValueError(
        f'--save_predictions={path} is one file for {len(checkpoints)} '
        'checkpoints: give a folder'
      )
    return [path]
  names: list[str] = []
  for step in checkpoints:
    name = f'{step.absolute().parent.parent.name}-{step.name}'
    others = (f'{name}-{n}' for n in itertools.count(2))
    free = itertools.chain([name], others)
    names.append(next(n for n in free if n not in names))
  return [path / f'{name}{predictions.SUFFIX}' for name in names]
