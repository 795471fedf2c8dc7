"""Every field of a config, and the values that it may hold.

A config file can assign anything to a field, and add fields that nothing reads:
validate.py compares it with `FIELDS`.
"""

import difflib
import math
from collections import abc
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ml_collections import config_dict

Config = config_dict.ConfigDict


@runtime_checkable
class Rule(Protocol):
  """The values that a field may hold."""

  def advice(self, value: Any) -> str:
    """Says what to use in place of a value; '' if it is allowed."""
    ...


_LARGE = 1e9  # no field needs more; a float32 holds its square


class Number(NamedTuple):
  """A number from `low` to `high`.

  >>> Number(low=0, below=1).advice(1.5)
  'use a number 0 or more and below 1'
  >>> Number(whole=True, low=1, high=9).advice(float('nan'))
  'use a whole number from 1 to 9'
  """

  low: float = -_LARGE
  high: float = _LARGE
  above: float = -math.inf
  below: float = math.inf
  whole: bool = False
  optional: bool = False  # None is allowed

  def advice(self, value: Any) -> str:
    if value is None and self.optional:
      return ''
    kind = int if self.whole else (int, float)  # 1 may stand for 1.0
    if isinstance(value, kind) and not isinstance(value, bool):
      within = self.low <= value <= self.high  # NaN is in no range
      if within and self.above < value < self.below:
        return ''
    return f'use {"a whole" if self.whole else "a"} number{self._range()}'

  def _range(self) -> str:
    if self.low != -_LARGE and self.high != _LARGE:
      return f' from {self.low} to {self.high}'
    limits = (
      (self.low, '{} or more'),
      (self.above, 'above {}'),
      (self.high, 'at most {}'),
      (self.below, 'below {}'),
    )
    parts = [text.format(x) for x, text in limits if _shown(x)]
    return f' {" and ".join(parts)}' if parts else f' within +-{_LARGE:g}'


def _shown(limit: float | int) -> bool:
  return math.isfinite(limit) and abs(limit) != _LARGE


class Choice(NamedTuple):
  """One of a few values."""

  of: tuple[Any, ...]

  def advice(self, value: Any) -> str:
    if any(type(value) is type(one) and value == one for one in self.of):
      return ''
    return f'use {" or ".join(map(repr, self.of))}'


class Switch:
  """True or False."""

  def advice(self, value: Any) -> str:
    return '' if isinstance(value, bool) else 'use True or False'


class Text:
  """Any text."""

  def advice(self, value: Any) -> str:
    return '' if isinstance(value, str) else 'use text in quotes'


class Sequence:
  """A tuple of names, or a table; its readers check what it holds."""

  def advice(self, value: Any) -> str:
    return '' if isinstance(value, (tuple, list)) else 'use a tuple'


def whole(
  low: int, *, most: int | None = None, optional: bool = False
) -> Number:
  """Makes the rule for a whole number from `low` to `most`."""
  high = _LARGE if most is None else most
  return Number(low=low, high=high, whole=True, optional=optional)


NOT_NEGATIVE = Number(low=0)
MOST_STEPS = 2**31 - 1  # the step is an int32
# More than any machine has memory for; the paper's are far smaller.
_IMAGES, _PIXELS, _UNITS, _DEVICES = 2**16, 4096, 10**6, 1024

FIELDS: dict[str, Rule] = {
  'seed': whole(0, most=2**32 - 1),  # fits a uint32
  # Images a step, on all devices; None: see OF_DATA.
  'batch_size': whole(1, most=_IMAGES, optional=True),
  'num_epochs': whole(1, most=10**5, optional=True),  # None: see OF_DATA
  'total_steps': whole(1, most=MOST_STEPS, optional=True),
  # Parts of a minibatch; None: as measured, see steps/measure.py.
  'grad_accumulation_steps': whole(1, most=_IMAGES, optional=True),
  'dtype': Choice(('float32', 'bfloat16')),
  'kernels': Choice(('xla', 'pallas')),
  'native_bfloat16': Choice((True, False, None)),  # None: as measured
  'winograd': Choice((True, False, None)),  # None: as measured
  'ablations': Sequence(),
  'mesh.data': whole(1, most=_DEVICES),  # devices along the data axis
  'mesh.column': whole(1),  # it divides model.columns
  'model.columns': whole(1, most=_DEVICES),
  # Units of fc8; None: see OF_DATA.
  'model.num_classes': whole(2, most=_UNITS, optional=True),
  'model.conv6': Switch(),
  'model.bottleneck': Switch(),
  'model.skip_layers': Sequence(),
  'model.activation': Choice(('relu', 'tanh', 'logistic')),
  'model.dropout_rate': Number(low=0, below=1),  # 1 would drop everything
  'model.dropout_scaling': Choice(('test', 'training')),
  'model.rounding': Choice(('up', 'down')),
  'model.lrn.n': whole(1, most=_PIXELS),  # channels, odd
  'model.lrn.k': Number(above=0),  # 0 would divide by 0
  'model.lrn.alpha': NOT_NEGATIVE,
  'model.lrn.alpha_of': Choice(('sum', 'mean')),
  'model.lrn.beta': Number(),
  'model.lrn.across_columns': Switch(),
  'model.spatial_norm.size': whole(1, most=_PIXELS),
  'model.spatial_norm.k': Number(above=0),
  'model.spatial_norm.alpha': NOT_NEGATIVE,
  'model.spatial_norm.alpha_of': Choice(('sum', 'mean')),
  'model.spatial_norm.beta': Number(),
  'model.pool.size': whole(1, most=_PIXELS),  # z, pixels
  'model.pool.stride': whole(1, most=_PIXELS),  # s, pixels, at most z
  'optim.learning_rate': NOT_NEGATIVE,  # 0 freezes
  'optim.momentum': Number(low=0, below=1),
  'optim.weight_decay': NOT_NEGATIVE,
  'optim.decay_biases': Switch(),
  'batch_scaling.rule': Choice(('', 'linear')),
  'batch_scaling.base_batch_size': whole(1, most=_IMAGES),
  'batch_scaling.warmup_epochs': Number(low=0, high=10**5),  # 0: none
  'batch_scaling.lars': Switch(),
  'batch_scaling.trust_coefficient': Number(above=0),
  'plateau.enabled': Switch(),
  'plateau.factor': Number(above=0, below=1),
  'plateau.num_drops': whole(0),
  'plateau.patience_epochs': whole(1),  # evaluations
  'plateau.min_improvement': Number(above=0, high=1),  # of the best error
  'schedule.counts': Choice(('epochs', 'fractions')),
  'schedule.kernel': Sequence(),
  'schedule.bias': Sequence(),
  'data.source': Choice(('embedded', 'prepared', 'tfds')),
  'data.dir': Text(),
  'data.tfds': Text(),
  'data.image_size': whole(1, most=_PIXELS),
  'data.crop_size': whole(1, most=_PIXELS),
  'data.mean_at': Choice(('crop', 'centre')),
  'data.channel_stddevs': Sequence(),  # grey levels, of R, G and B
  'data.resize': Choice(('crop', 'warp')),
  'data.reshuffle': Switch(),
  'data.embedded_train_images': whole(1, most=10**7),
  'data.embedded_val_images': whole(1, most=10**7),
  'data.embedded_classes': Sequence(),
  'init_from': Text(),
  'init_layers': Choice(('conv', 'all_but_fc8', 'all', 'network')),
  'data.read_threads': whole(0, most=1024),
  'data.prefetch_batches': whole(1, most=1024),
  'data.max_bad_records': whole(0),  # images
  'augment.random_crop': Switch(),
  'augment.mirror': Switch(),
  'augment.images_per_draw': whole(1),
  'augment.colour_stddev': NOT_NEGATIVE,
  'augment.colour_epochs': whole(0, optional=True),  # None: all
  'augment.divide_by_colour': Switch(),
  'eval.every_epochs': whole(1),
  'eval.batch_size': whole(1, most=_IMAGES),
  'eval.final_views': Choice((1, 9, 10)),
  'checkpoint.keep_newest': whole(1),  # steps, besides the best
  'checkpoint.every_epochs': whole(1),
  'checkpoint.every_minutes': NOT_NEGATIVE,  # 0: never
  'guard.max_skipped_steps': whole(0),  # of the whole run
  'log.every_steps': whole(1),
  'report.at_end': Switch(),
  'health.min_signal': NOT_NEGATIVE,
  'health.probe_images': whole(2),  # a spread needs two
  'health.stuck_steps': whole(1),
  'health.stuck_tolerance': NOT_NEGATIVE,  # relative to ln(classes)
  'health.max_input_wait': NOT_NEGATIVE,  # share of the time
}
_LAYER: dict[str, Rule] = {
  'inputs': Choice(('image', 'own_column', 'both_columns', 'summed')),
  'ops': Sequence(),
  'bias': Number(),
  'stddev': NOT_NEGATIVE,
}
_CONV = _LAYER | {
  'kernels': whole(1, most=_UNITS),  # of all columns
  'size': whole(1, most=_PIXELS),
  'stride': whole(1, most=_PIXELS),
  'padding': whole(0, most=_PIXELS),
  'local': Switch(),
}
_DENSE = _LAYER | {'units': whole(1, most=_UNITS)}  # of all columns
LAYERS = {
  **{f'conv{i}': _CONV for i in range(1, 7)},
  **{f'fc{i}': _DENSE for i in range(6, 9)},
  'fc7_bottleneck': _DENSE,
}
for _name, _rules in LAYERS.items():
  FIELDS[f'optim.decay.{_name}'] = NOT_NEGATIVE
  for _kind in ('kernel', 'bias'):
    FIELDS[f'schedule.layer.{_name}.{_kind}'] = Sequence()
  for _field, _rule in _rules.items():
    FIELDS[f'model.layer.{_name}.{_field}'] = _rule
FIELDS['model.layer.fc8.units'] = whole(1, most=_UNITS, optional=True)
# Fields in which None stands for a number that follows from the data set.
OF_DATA = ('model.num_classes', 'batch_size', 'num_epochs')
# The same, of what steps/measure.py measures on the machine, in this order; and
# what programs do while it is None.
MEASURED = {
  'native_bfloat16': False,
  'winograd': False,
  'grad_accumulation_steps': 1,
}
FORMS = ('native_bfloat16', 'winograd')  # of MEASURED: how to multiply
UNDECIDED = (*OF_DATA, *MEASURED)


def get(config: Config, path: str) -> Any:
  """Returns the field at a dotted path."""
  for name in path.split('.'):
    config = config[name]
  return config


def leaves(
  config: Config | abc.Mapping[str, Any], prefix: str = ''
) -> abc.Iterator[tuple[str, Any]]:
  """Yields every field as (dotted path, value), sorted."""
  for name, value in sorted(config.items()):
    if isinstance(value, (Config, abc.Mapping)):
      yield from leaves(value, f'{prefix}{name}.')
    else:
      yield prefix + name, value


def nearest(path: str, *, known: abc.Sequence[str]) -> list[str]:
  """Returns existing fields that are like a misspelt one, for errors."""
  last = path.rsplit('.', 1)[-1]
  found = difflib.get_close_matches(path, known, n=1)
  found += [p for p in known if p.rsplit('.', 1)[-1] == last]
  section = path.rsplit('.', 1)[0] + '.'  # else all of its group
  return (
    found[:1]
    or [p for p in known if p.startswith(section)]
    or sorted({p.split('.')[0] for p in known})
  )


# Former names of fields and values, which the checkpoints of old runs hold.
_OLD_LAYER_FIELDS = {'sees': 'inputs', 'then': 'ops'}
_OLD_INPUTS = {'own': 'own_column', 'both': 'both_columns', 'parts': 'summed'}
_OLD_MODEL_FIELDS = {'leave_out': 'skip_layers'}
# Fields that old runs lack, and the value that does what those did.
_ADDED: dict[str, dict[str, Any]] = {
  '': {'kernels': 'xla', 'native_bfloat16': False, 'winograd': False},
  'model': {'dropout_scaling': 'test', 'rounding': 'up'},
  'lrn': {'across_columns': False},
  'data': {'channel_stddevs': [], 'resize': 'crop'},
}


def rename_advice(path: str) -> str:
  """Says the new name of a renamed field; '' if it was not renamed.

  >>> rename_advice('model.layer.conv2.then')
  'use config.model.layer.conv2.ops, its new name'
  """
  section, _, name = path.rpartition('.')
  in_layer = section.startswith('model.layer.')
  names = _OLD_LAYER_FIELDS if in_layer else _OLD_MODEL_FIELDS
  if name not in names or not (in_layer or section == 'model'):
    return ''
  pairs = ', '.join(f'{old} is {new}' for old, new in _OLD_INPUTS.items())
  values = f' ({pairs})' if name == 'sees' else ''
  return f'use config.{section}.{names[name]}, its new name{values}'


def upgrade(config: abc.Mapping[str, Any]) -> dict[str, Any]:
  """Renames and adds fields of a config.json or an old checkpoint's config.

  Its lists stay lists. Anything that is not like a config passes unchanged.

  >>> old = {'model': {'leave_out': [], 'layer': {'conv2': {'sees': 'own'}}}}
  >>> new = upgrade(old)['model']
  >>> new['layer'], new['skip_layers'], new['rounding']
  ({'conv2': {'inputs': 'own_column'}}, [], 'up')
  """
  data, model = config.get('data'), config.get('model')
  if 'dtype' in config or isinstance(model, abc.Mapping):
    config = {**_ADDED[''], **config}
  if isinstance(data, abc.Mapping):
    config = {**config, 'data': {**_ADDED['data'], **data}}
  if not isinstance(model, abc.Mapping):
    return dict(config)
  model = _ADDED['model'] | _renamed(model, _OLD_MODEL_FIELDS)
  if isinstance(model.get('lrn'), abc.Mapping):
    model['lrn'] = {**_ADDED['lrn'], **model['lrn']}
  layers = model.get('layer')
  if isinstance(layers, abc.Mapping):
    model['layer'] = {
      name: _upgrade_layer(layer) if isinstance(layer, abc.Mapping) else layer
      for name, layer in layers.items()
    }
  return {**config, 'model': model}


def _upgrade_layer(layer: abc.Mapping[str, Any]) -> dict[str, Any]:
  if 'sees' not in layer:
    return dict(layer)
  layer = _renamed(layer, _OLD_LAYER_FIELDS)
  return layer | {'inputs': _OLD_INPUTS.get(layer['inputs'], layer['inputs'])}


def _renamed(
  fields: abc.Mapping[str, Any], names: dict[str, str]
) -> dict[str, Any]:
  old = {new: fields[was] for was, new in names.items() if was in fields}
  return {k: v for k, v in fields.items() if k not in names} | old


def is_plain(config: abc.Mapping[str, Any]) -> bool:
  """Returns whether a config from JSON has field names only, no `__class__`."""
  return all(
    name.isidentifier()
    and not name.startswith('_')
    and (not isinstance(value, abc.Mapping) or is_plain(value))
    for name, value in config.items()
  )


def from_json(config: abc.Mapping[str, Any]) -> dict[str, Any]:
  """Turns the lists of a config from JSON back into tuples."""
  return {
    name: from_json(value)
    if isinstance(value, abc.Mapping)
    else as_tuple(value)
    for name, value in config.items()
  }


def as_tuple(value: Any) -> Any:
  """Turns lists into tuples at any depth; leaves other values."""
  return tuple(map(as_tuple, value)) if isinstance(value, list) else value
