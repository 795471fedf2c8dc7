"""What a run did, beside what the paper prints and what its program did.

Rows of two tables: every setting that the paper prints (§2 to §5), and the
choices in which its program of 2012 differs from its text or decides what the
text leaves open (configs/source2012.py).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ml_collections import config_dict

from alexnet_jax import paper
from alexnet_jax.config import validate

Config = config_dict.ConfigDict
_UNKNOWN = 'not recorded'


class Setting(NamedTuple):
  """One that the paper prints; both values as text."""

  section: str
  what: str
  paper: str
  here: str

  @property
  def differs(self) -> bool:
    return self.paper != self.here


class Choice(NamedTuple):
  """One in which text and program of 2012 differ; all values as text."""

  what: str
  text: str
  program: str
  here: str

  @property
  def follows(self) -> str:
    """Which of the two: 'text', 'program', 'both' or 'neither'."""
    text, program = self.here == self.text, self.here == self.program
    return {
      (True, True): 'both',
      (True, False): 'text',
      (False, True): 'program',
      (False, False): 'neither',
    }[text, program]


def settings(config: Config, *, train_images: int | None) -> list[Setting]:
  """Every setting that the paper prints."""
  return [
    Setting(section, what, printed, _read(config, here))
    for section, what, printed, here in _settings(train_images)
  ]


def _read(config: Config, value: Callable[[Config], str]) -> str:
  """A config of another version may lack fields."""
  try:
    return value(config)
  except (AttributeError, KeyError, TypeError, ValueError):
    return _UNKNOWN


Row = tuple[str, str, str, Callable[[Config], str]]


def _settings(train_images: int | None) -> Iterator[Row]:
  yield from _network()
  yield (
    '§2',
    'Training images',
    f'{paper.ILSVRC2012_TRAIN_IMAGES:,}',
    lambda _: f'{train_images:,}' if train_images else _UNKNOWN,
  )
  yield '§2', 'Stored images', _pixels(paper.IMAGE_SIZE), _size('image_size')
  yield '§4.1', 'Crops', _pixels(paper.CROP_SIZE), _size('crop_size')
  yield '§4.1', 'Place of crops in training', 'random', _crops
  yield '§4.1', 'Mirror images in training', 'yes', _switch('augment.mirror')
  yield _number(
    '§4.1',
    'Colour shift, standard deviation',
    paper.COLOUR_STDDEV,
    'augment.colour_stddev',
  )
  yield _number('§4.1', 'Views at test time', paper.VIEWS, 'eval.final_views')
  yield from _learning()


def _network() -> Iterator[Row]:
  kernels = ' · '.join(map(str, paper.KERNELS.values()))
  dense = f'{paper.DENSE_UNITS} · {paper.DENSE_UNITS} · {paper.NUM_CLASSES}'
  norm = (paper.LRN_N, paper.LRN_K, paper.LRN_ALPHA, paper.LRN_BETA)
  pool = (paper.POOL_SIZE, paper.POOL_STRIDE)
  yield '§3.1', 'Activation', 'relu', lambda c: c.model.activation
  yield _number('§3.2', 'Columns', paper.COLUMNS, 'model.columns')
  yield '§3.3', 'Normalisation n, k, α, β', _listed(norm), _lrn
  yield '§3.4', 'Pooling z, s', _listed(pool), _pool
  yield '§3.5', 'Kernels of conv1 to conv5', kernels, _kernels
  yield '§3.5', 'Units of fc6, fc7, fc8', dense, _units
  yield '§3.5', 'Layers left out', 'none', _left_out
  yield (
    '§6',
    'Sixth convolutional layer',
    'no',
    _switch('model.conv6'),
  )
  yield _number(
    '§4.2', 'Dropout rate', paper.DROPOUT_RATE, 'model.dropout_rate'
  )


def _learning() -> Iterator[Row]:
  drops = f'{paper.LEARNING_RATE_DROPS} times by {1 / paper.DROP_FACTOR:g}'
  yield _number('§5', 'Images a minibatch', paper.BATCH_SIZE, 'batch_size')
  yield '§5', 'Length', f'about {paper.NUM_EPOCHS} epochs', _length
  yield _number(
    '§5', 'Learning rate', paper.LEARNING_RATE, 'optim.learning_rate'
  )
  yield '§5', 'Rate lowered at a plateau', drops, _drops
  yield _number('§5', 'Momentum', paper.MOMENTUM, 'optim.momentum')
  yield _number('§5', 'Weight decay', paper.WEIGHT_DECAY, 'optim.weight_decay')
  yield '§5', 'Initial kernels', f'N(0, {paper.INIT_STDDEV})', _initial
  yield '§5', 'Biases that start at 1', _names(paper.ONE_BIASES), _ones


def _number(section: str, what: str, printed: float | int, path: str) -> Row:
  return section, what, f'{printed:g}', lambda c: f'{validate.get(c, path):g}'


def _switch(path: str) -> Callable[[Config], str]:
  return lambda c: 'yes' if validate.get(c, path) else 'no'


def _size(name: str) -> Callable[[Config], str]:
  return lambda c: _pixels(c.data[name])


def _pixels(size: int) -> str:
  return f'{size} × {size}'


def _listed(values: tuple[float | int, ...]) -> str:
  return ', '.join(f'{v:g}' for v in values)


def _names(names: Any) -> str:
  return ', '.join(names) or 'none'


def _crops(config: Config) -> str:
  return 'random' if config.augment.random_crop else 'centre'


def _lrn(config: Config) -> str:
  if not any('lrn' in layer.then for layer in config.model.layer.values()):
    return 'none'
  lrn = config.model.lrn
  return _listed((lrn.n, lrn.k, lrn.alpha, lrn.beta))


def _pool(config: Config) -> str:
  return _listed((config.model.pool.size, config.model.pool.stride))


def _kernels(config: Config) -> str:
  layers = config.model.layer
  return ' · '.join(str(layers[name].kernels) for name in paper.KERNELS)


def _units(config: Config) -> str:
  layers = config.model.layer
  return f'{layers.fc6.units} · {layers.fc7.units} · {config.model.num_classes}'


def _left_out(config: Config) -> str:
  return _names(config.model.leave_out)


def _length(config: Config) -> str:
  if config.total_steps is not None:
    return f'{config.total_steps:,} steps'
  return f'about {config.num_epochs} epochs'


def _drops(config: Config) -> str:
  plateau = config.plateau
  if not plateau.enabled:
    return 'by the clock'
  return f'{plateau.num_drops} times by {1 / plateau.factor:g}'


def _layers(config: Config) -> dict[str, Config]:
  """Those that the network has, in order."""
  left_out = {*config.model.leave_out}
  left_out |= set() if config.model.conv6 else {'conv6'}
  order = (*paper.KERNELS, 'conv6', 'fc6', 'fc7', 'fc8')
  return {n: config.model.layer[n] for n in order if n not in left_out}


def _initial(config: Config) -> str:
  by_width: dict[float, list[str]] = {}
  for name, layer in _layers(config).items():
    by_width.setdefault(layer.stddev, []).append(name)
  most = max(by_width, key=lambda stddev: len(by_width[stddev]))
  others = [
    f'N(0, {stddev:g}) in {_names(names)}'
    for stddev, names in by_width.items()
    if stddev != most
  ]
  return '; '.join([f'N(0, {most:g})', *others])


def _ones(config: Config) -> str:
  return _names([n for n, layer in _layers(config).items() if layer.bias == 1])


def choices(config: Config) -> list[Choice]:
  """Where the text and the program of 2012 part, and what this run does."""
  return [
    Choice(what, text, program, _read(config, here))
    for what, text, program, here in _CHOICES
  ]


def _then(layer: str) -> Callable[[Config], str]:
  return lambda c: ', '.join(c.model.layer[layer].then)


def _rates(config: Config) -> str:
  """Of biases, as a multiple of the kernels'."""
  return f'{config.schedule.bias[0][1]:g} ×'


def _conv1_rate(config: Config) -> str:
  slowed = len(config.schedule.layer.conv1.kernel) > 1
  return 'slowed, then frozen' if slowed else 'as the others'


def _middle(config: Config) -> str:
  stddevs = {config.model.layer[n].stddev for n in ('conv3', 'conv4', 'conv5')}
  return ', '.join(f'{s:g}' for s in sorted(stddevs))


def _colour_epochs(config: Config) -> str:
  epochs = config.augment.colour_epochs
  return 'throughout' if epochs is None else f'until epoch {epochs + 1}'


def _when_lowered(config: Config) -> str:
  return 'at a plateau' if config.plateau.enabled else 'by the clock'


_CHOICES = (
  (
    'conv1, in order',
    'activation, lrn, pool',
    'lrn, pool, activation',
    _then('conv1'),
  ),
  (
    'conv2, in order',
    'activation, lrn, pool',
    'activation, lrn, spatial_norm, pool',
    _then('conv2'),
  ),
  (
    'α of the normalisation multiplies',
    'the sum',
    'the mean',
    lambda c: f'the {c.model.lrn.alpha_of}',
  ),
  ('Initial kernels of conv3 to conv5, N(0, ·)', '0.01', '0.03', _middle),
  ('Rate of biases', '1 ×', '2 ×', _rates),
  ('Rate of conv1', 'as the others', 'slowed, then frozen', _conv1_rate),
  ('Rates are lowered', 'at a plateau', 'by the clock', _when_lowered),
  ('Colours are shifted', 'throughout', 'until epoch 67', _colour_epochs),
  (
    'Shifted crops are divided by 1.1',
    'no',
    'yes',
    _switch('augment.divide_by_colour'),
  ),
  (
    'Images that share a crop and a mirror bit',
    '1',
    '32',
    lambda c: f'{c.augment.images_per_draw}',
  ),
  (
    'Part of the mean image that is subtracted',
    'under the crop',
    'the centre',
    lambda c: 'the centre' if c.data.mean_at == 'centre' else 'under the crop',
  ),
  (
    'Order of images',
    'anew in each epoch',
    'the same in each epoch',
    lambda c: (
      'anew in each epoch' if c.data.reshuffle else 'the same in each epoch'
    ),
  ),
)
