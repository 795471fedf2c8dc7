"""Settings of a run beside those of the paper and of its 2012 program.

`paper_settings` has a row for each setting that the paper prints (§2 to §5).
`program_choices` has one for each choice in which its program of 2012 differs
from its text, or decides what the text leaves open (configs/source2012.py).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ml_collections import config_dict

from alexnet_jax import paper
from alexnet_jax.config import ablations, schema
from alexnet_jax.train import warm_start

Config = config_dict.ConfigDict
_UNKNOWN = 'not recorded'
_TRAIN_IMAGES = 'the number of training images'  # which no field holds

# Reads a value from a config: the path of a field, or a function.
_Reader = str | Callable[[Config], Any]


class Setting(NamedTuple):
  """A setting that the paper prints; both values as text."""

  section: str
  what: str
  paper: str
  here: str

  @property
  def differs(self) -> bool:
    return self.paper != self.here


class Choice(NamedTuple):
  """A choice in which text and program of 2012 differ; all values as text."""

  what: str
  text: str
  program: str
  here: str

  @property
  def follows(self) -> str:
    """What the run follows: 'text', 'program', 'both' or 'neither'."""
    text, program = self.here == self.text, self.here == self.program
    if text and program:
      return 'both'
    return 'text' if text else 'program' if program else 'neither'


def paper_settings(
  config: Config, *, train_images: int | None
) -> list[Setting]:
  """Every setting that the paper prints, as this config has it."""
  images = _text(train_images or _UNKNOWN)
  return [
    Setting(
      section,
      what,
      _text(printed),
      images if here == _TRAIN_IMAGES else _read(config, here),
    )
    for section, what, printed, here in _SETTINGS
  ]


def program_choices(config: Config) -> list[Choice]:
  """Where the text and the program of 2012 differ, and what this config has."""
  return [
    Choice(what, text, program, _read(config, here))
    for what, text, program, here in _CHOICES
  ]


def ablated(config: Config) -> dict[str, ablations.Ablation]:
  """The known ablations of a run by name."""
  names = config.get('ablations') or ()
  return {n: ablations.ABLATIONS[n] for n in names if n in ablations.ABLATIONS}


def _read(config: Config, here: _Reader) -> str:
  """The value as text; configs of other versions may lack fields."""
  try:
    if isinstance(here, str):
      return _text(schema.get(config, here))
    return _text(here(config))
  except (AttributeError, KeyError, TypeError, ValueError):
    return _UNKNOWN


def _text(value: Any) -> str:
  """A value as the paper would print it.

  >>> _text(True), _text(0.0005), _text(60965224), _text((5, 2.0)), _text(())
  ('yes', '0.0005', '60,965,224', '5, 2', 'none')
  """
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if isinstance(value, int):
    return f'{value:,}'
  if isinstance(value, float):
    return f'{value:g}'
  if isinstance(value, str):
    return value
  return ', '.join(map(_text, value)) or 'none'


def _pixels(size: int) -> str:
  return f'{size} × {size}'


def _each(numbers: Iterable[int]) -> str:
  return ' · '.join(map(str, numbers))


def _drops(times: int, factor: float) -> str:
  return f'{times} times by {1 / factor:g}'


def _layers(config: Config) -> dict[str, Config]:
  """The layers that the network has, in order."""
  skipped = {*config.model.skip_layers}
  skipped |= set() if config.model.conv6 else {'conv6'}
  order = (*paper.KERNELS, 'conv6', 'fc6', 'fc7', 'fc8')
  return {n: config.model.layer[n] for n in order if n not in skipped}


def _lrn(config: Config) -> str | tuple[float | int, ...]:
  if not any('lrn' in layer.ops for layer in config.model.layer.values()):
    return 'none'
  lrn = config.model.lrn
  return lrn.n, lrn.k, lrn.alpha, lrn.beta


def _initial(config: Config) -> str:
  """The standard deviation of most layers, and of those that differ.

  Of a run that began with layers of another: which, and of the others.
  """
  taken: list[str] = []
  by_width: dict[float, list[str]] = {}
  for name, layer in _layers(config).items():
    if config.init_from and warm_start.TAKEN[config.init_layers](name):
      taken.append(name)
    else:
      by_width.setdefault(layer.stddev, []).append(name)
  first = f'{_text(taken)} of {config.init_from}'
  if not taken:
    most = max(by_width, key=lambda stddev: len(by_width[stddev]))
    del by_width[most]
    first = f'N(0, {most:g})'
  others = [f'N(0, {n:g}) in {_text(of)}' for n, of in by_width.items()]
  return '; '.join([first, *others])


def _rate(config: Config) -> float | str:
  """The learning rate, for how many images it is if it depends on them."""
  rate, scaling = config.optim.learning_rate, config.batch_scaling
  if not scaling.rule:
    return rate
  return f'{rate:g} for {scaling.base_batch_size} images, {scaling.rule}'


_LRN = (paper.LRN_N, paper.LRN_K, paper.LRN_ALPHA, paper.LRN_BETA)
_POOL = (paper.POOL_SIZE, paper.POOL_STRIDE)
_RANDOM, _CENTRE = 'random', 'centre'
_IN_ORDER = 'activation, lrn, pool'
_CLOCK, _PLATEAU = 'by the clock', 'at a plateau'
_FROZEN, _ALIKE = 'slowed, then frozen', 'as the others'
_CROP, _MIDDLE = 'under the crop', 'the centre'
_ANEW, _SAME = 'anew in each epoch', 'the same in each epoch'

# Section, what, the paper's value, and how to read this run's.
_SETTINGS: tuple[tuple[str, str, Any, _Reader], ...] = (
  ('§3.1', 'Activation', 'relu', 'model.activation'),
  ('§3.2', 'Columns', paper.COLUMNS, 'model.columns'),
  ('§3.3', 'Normalisation n, k, α, β', _LRN, _lrn),
  ('§3.4', 'Pooling z, s', _POOL,
   lambda c: (c.model.pool.size, c.model.pool.stride)),
  ('§3.5', 'Kernels of conv1 to conv5', _each(paper.KERNELS.values()),
   lambda c: _each(c.model.layer[name].kernels for name in paper.KERNELS)),
  ('§3.5', 'Units of fc6, fc7, fc8',
   _each((paper.DENSE_UNITS, paper.DENSE_UNITS, paper.NUM_CLASSES)),
   lambda c: _each(
     (c.model.layer.fc6.units, c.model.layer.fc7.units, c.model.num_classes))),
  ('§3.5', 'Layers left out', 'none', 'model.skip_layers'),
  ('§6', 'Sixth convolutional layer', False, 'model.conv6'),
  ('§4.2', 'Dropout rate', paper.DROPOUT_RATE, 'model.dropout_rate'),
  ('§2', 'Training images', paper.ILSVRC2012_TRAIN_IMAGES, _TRAIN_IMAGES),
  ('§2', 'Stored images', _pixels(paper.IMAGE_SIZE),
   lambda c: _pixels(c.data.image_size)),
  ('§4.1', 'Crops', _pixels(paper.CROP_SIZE),
   lambda c: _pixels(c.data.crop_size)),
  ('§4.1', 'Place of crops in training', _RANDOM,
   lambda c: _RANDOM if c.augment.random_crop else _CENTRE),
  ('§4.1', 'Mirror images in training', True, 'augment.mirror'),
  ('§4.1', 'Colour shift, standard deviation', paper.COLOUR_STDDEV,
   'augment.colour_stddev'),
  ('§4.1', 'Views at test time', paper.VIEWS, 'eval.final_views'),
  ('§5', 'Images a minibatch', paper.BATCH_SIZE, 'batch_size'),
  ('§5', 'Length', f'about {paper.NUM_EPOCHS} epochs',
   lambda c: f'about {c.num_epochs} epochs' if c.total_steps is None
   else f'{c.total_steps:,} steps'),
  ('§5', 'Learning rate', paper.LEARNING_RATE, _rate),
  ('§5', 'Rate lowered at a plateau',
   _drops(paper.LEARNING_RATE_DROPS, paper.DROP_FACTOR),
   lambda c: _drops(c.plateau.num_drops, c.plateau.factor)
   if c.plateau.enabled else _CLOCK),
  ('§5', 'Momentum', paper.MOMENTUM, 'optim.momentum'),
  ('§5', 'Weight decay', paper.WEIGHT_DECAY, 'optim.weight_decay'),
  ('§5', 'Initial kernels', f'N(0, {paper.INIT_STDDEV})', _initial),
  ('§5', 'Biases that start at 1', paper.ONE_BIASES,
   lambda c: [n for n, layer in _layers(c).items() if layer.bias == 1]),
)  # fmt: skip

# What, the text's value, the program's, and how to read this run's.
_CHOICES: tuple[tuple[str, str, str, _Reader], ...] = (
  ('conv1, in order', _IN_ORDER, 'lrn, pool, activation',
   'model.layer.conv1.ops'),
  ('conv2, in order', _IN_ORDER, 'activation, lrn, spatial_norm, pool',
   'model.layer.conv2.ops'),
  ('α of the normalisation multiplies', 'the sum', 'the mean',
   lambda c: f'the {c.model.lrn.alpha_of}'),
  ('Initial kernels of conv3 to conv5, N(0, ·)', '0.01', '0.03',
   lambda c: sorted({c.model.layer[f'conv{n}'].stddev for n in (3, 4, 5)})),
  ('Rate of biases', '1 ×', '2 ×', lambda c: f'{c.schedule.bias[0][1]:g} ×'),
  ('Rate of conv1', _ALIKE, _FROZEN,
   lambda c: _FROZEN if len(c.schedule.layer.conv1.kernel) > 1 else _ALIKE),
  ('Rates are lowered', _PLATEAU, _CLOCK,
   lambda c: _PLATEAU if c.plateau.enabled else _CLOCK),
  ('Colours are shifted', 'throughout', 'until epoch 67',
   lambda c: 'throughout' if c.augment.colour_epochs is None
   else f'until epoch {c.augment.colour_epochs + 1}'),
  ('Shifted crops are divided by 1.1', 'no', 'yes', 'augment.divide_by_colour'),
  ('Images that share a crop and a mirror bit', '1', '32',
   'augment.images_per_draw'),
  ('Part of the mean image that is subtracted', _CROP, _MIDDLE,
   lambda c: _MIDDLE if c.data.mean_at == 'centre' else _CROP),
  ('Order of images', _ANEW, _SAME,
   lambda c: _ANEW if c.data.reshuffle else _SAME),
)  # fmt: skip
