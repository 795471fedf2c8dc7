"""Error rates of checkpoints, and of the average of their predictions (§6).

§6 averages the predictions of five and of seven "similar CNNs": the top-5 error
falls from 18.2 % of one network to 16.4 % and 15.4 %.
"""

import functools
import itertools
import pathlib
from collections.abc import Callable, Collection, Iterator, Sequence

from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.config import schema
from alexnet_jax.evaluate import load, other, predict, predictions
from alexnet_jax.parallel import hosts
from alexnet_jax.runtime import paths as paths_lib
from alexnet_jax.runtime import terminal
from alexnet_jax.steps import metrics


def evaluate(
  checkpoints: Sequence[str],
  *,
  config: schema.Config,
  typed: Collection[str] = (),
  weights: Sequence[str] = (),
  save_predictions: str = '',
  split: str = 'val',
  asked: other.Asked = other.NOTHING,
) -> None:
  """Prints the error rates of checkpoints, and those of their average.

  `checkpoints` are WORKDIRs or steps, here or on buckets. `config` gives the
  data, the devices and the number of views; `typed`: see load.network. Without
  `weights` they count equally. `save_predictions` is a file or a folder; '':
  none. `split` is 'val' or 'test'; `asked` may name other data and labels.
  Raises ValueError if a checkpoint, a weight, the data or the place cannot be
  used, or there is no such split.
  """
  given = [path for path in checkpoints if path]
  steps = [layout.find(path) for path in given]
  if not steps:
    raise ValueError('--restore names no checkpoint: give a WORKDIR')
  shares = parse_weights(weights, members=len(steps))  # before hours of work
  save_as = hosts.from_host0(  # fails early if it cannot be written
    lambda: _writable_places(save_predictions, checkpoints=steps)
  )
  found = []
  each = members(given, config=config, typed=typed, split=split, asked=asked)
  for number, member in enumerate(each):
    found.append(member)
    if save_as:
      # The run may have removed the step that was the newest.
      steps[number] = steps[number].with_name(str(member[-1].step))
      path = places(paths_lib.expand(save_predictions), checkpoints=steps)[
        number
      ]
      hosts.on_host0(functools.partial(predictions.save, member[-1], path))
      labels = ', with the labels of the data' if asked.real_labels else ''
      print(f'saved as {path}{labels}')
  if len(found) > 1:
    print(f'average of {len(found)} networks:')
    label = asked.data or split
    label += ', reassessed labels' if asked.real_labels else ''
    rated = _rating(asked)
    for mean in averages(found, weights=shares):
      print(terminal.wrapped(f'{label}: {describe(rated(mean))}'))


def _rating(
  asked: other.Asked,
) -> Callable[[predictions.Predictions], predictions.Predictions]:
  """What gives predictions the labels that their errors are counted by."""
  if not asked.real_labels:
    return lambda found: found
  path = asked.real_labels
  labels = hosts.from_host0(
    lambda: other.read_real_labels(paths_lib.expand(path))
  )
  return lambda found: other.reassessed(found, labels=labels, path=path)


def _writable_places(
  save_predictions: str, *, checkpoints: Sequence[pathlib.Path]
) -> list[str]:
  """Files for the predictions of each checkpoint; [] if none are asked for."""
  if not save_predictions:
    return []
  save_as = places(paths_lib.expand(save_predictions), checkpoints=checkpoints)
  for path in save_as:
    predictions.probe(path)
  return list(map(str, save_as))


def members(
  paths: Sequence[str],
  *,
  config: schema.Config,
  typed: Collection[str] = (),
  split: str = 'val',
  asked: other.Asked = other.NOTHING,
) -> Iterator[list[predictions.Predictions]]:
  """Yields each step's predictions for a split, and prints their errors.

  They are from the centre crop and, if the config asks for nine or ten views,
  from those. `paths` are WORKDIRs or steps, of any networks; `config` and
  `typed` as in `evaluate`.
  """
  if len(paths) > 1:
    _check_can_be_averaged(paths)
  rated = _rating(asked)
  for path in paths:
    network = load.network(
      path, config=config, typed=typed, eval_data=asked.data
    )
    if len(paths) > 1:
      print(f'{network.path}:')
    images = getattr(network.setup.dataset, split)
    if images is None:
      raise ValueError(
        f'--split={split}: {network.setup.dataset.name} has no such split: use '
        '--split=val, or data with test images'
      )
    found = []
    for views in sorted({1, config.eval.final_views}):  # 1 alone, or 1 and 10
      made = predict.predict(
        network.setup,
        variables=network.variables,
        views=views,
        split=images,
      )
      for fault in network.setup.bad_records.drain():
        print(f'warning: an image is left out: {fault}')
      _say_left_out(network, len(made.names), of=len(images), views=views)
      if asked.classes == 'data':
        made = other.restricted(made, units=made.labels.tolist())
      found.append(made._replace(step=network.step).as_saved())
      text = describe(rated(found[-1]))
      line = f'{_at(network, split=split, asked=asked)}: {text}'
      print(terminal.wrapped(line), flush=True)
    yield found


def _at(network: load.Network, *, split: str, asked: other.Asked) -> str:
  """What is evaluated: a step of the network, and images."""
  words = [f'step {network.step}']
  if asked.data:
    words.append(network.setup.dataset.name)
  else:
    epoch = network.epoch
    words += [] if epoch is None else [f'epoch {epoch:.2f}']
    words.append(split)
  if asked.classes == 'data':
    words.append('among its classes')
  if asked.real_labels:
    words.append('reassessed labels')
  return ', '.join(words)


def _say_left_out(
  network: load.Network, read: int, *, of: int, views: int
) -> None:
  """Tells once which classes are known, and how many images count."""
  if network.match is None or views > 1:
    return
  name = network.setup.dataset.name
  line = other.describe(network.match, data=name)
  if read < of:
    line += f'; {of - read:,} of {of:,} images are left out'
  print(line, flush=True)


def _check_can_be_averaged(paths: Sequence[str]) -> None:
  """Refuses networks of different numbers of classes, before hours of work."""
  units = [restore.of_newest(path, read=_num_classes) for path in paths]
  for path, number in zip(paths, units, strict=True):
    if number != units[0]:
      raise ValueError(
        f'{paths[0]} is a network of {units[0]} classes and {path} of {number}:'
        ' they have no average; evaluate them one by one'
      )


def _num_classes(step: pathlib.Path) -> int:
  meta = restore.read_meta(step, check=False)
  return meta['config']['model']['num_classes']


def averages(
  found: Sequence[Sequence[predictions.Predictions]],
  *,
  weights: Sequence[float] | None,
) -> list[predictions.Predictions]:
  """Averages the predictions of networks, for each number of views."""
  return [
    predictions.average(of_views, weights=weights)
    for of_views in zip(*found, strict=True)  # centre crops, then ten views
  ]


def describe(found: predictions.Predictions) -> str:
  """Describes error rates with their 95 % intervals."""
  return metrics.describe(found.errors, views=found.views, intervals=True)


def parse_weights(given: Sequence[str], *, members: int) -> list[float] | None:
  """Parses the weights of a flag; None if there are none.

  Raises ValueError if one is not a number, or there is not one a network.
  """
  if not given:
    return None
  try:
    weights = [float(weight) for weight in given]
  except ValueError as error:
    raise ValueError(
      f'--weights={",".join(given)}: use numbers, such as 2,1,1'
    ) from error
  predictions.shares(weights, members=members)  # raises if they do not fit
  return weights


def places(
  path: pathlib.Path, *, checkpoints: Sequence[pathlib.Path]
) -> list[pathlib.Path]:
  """Returns the file for the predictions of each checkpoint.

  `path` is a file for one checkpoint, else a folder; `checkpoints` are folders
  WORKDIR/checkpoints/STEP. Raises ValueError if a file is given for several.

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
    name = f'{step.absolute().parent.parent.name}-{step.name}'  # RUN-STEP
    others = (f'{name}-{n}' for n in itertools.count(2))
    free = itertools.chain([name], others)
    names.append(next(n for n in free if n not in names))
  return [path / f'{name}{predictions.SUFFIX}' for name in names]
