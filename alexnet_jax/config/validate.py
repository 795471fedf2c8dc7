"""Checks that a config can work, before any device is touched.

Every error names the field, its value, the limit and the fix.
"""

import math
from typing import Any

from alexnet_jax.config import schema

Config = schema.Config


def check(config: Config, *, before_data: bool = False) -> None:
  """Raises ValueError if a value cannot work.

  `before_data` allows None in the fields that a data set decides, OF_DATA.
  """
  check_fields(config)  # first: the others read fields that it has checked
  for field in () if before_data else schema.OF_DATA:
    if schema.get(config, field) is None:
      raise ValueError(
        f'config.{field} = None: the data set decides it, and none is opened '
        'here: use a number'
      )
  _check_mesh(config)
  _check_model(config)
  _check_sizes(config)
  _check_maps(config)
  _check_schedule(config)
  _check_batch_scaling(config)


def check_fields(config: Config) -> None:
  """Refuses missing fields, unknown ones, and values that FIELDS forbids."""
  there = dict(schema.leaves(config))
  for path, value in there.items():
    if path not in schema.FIELDS:
      near = ', '.join(schema.nearest(path, known=list(schema.FIELDS)))
      unknown = f'no such field is read by anything; there is {near}'
      raise ValueError(
        f'config.{path}: {schema.rename_advice(path) or unknown}'
      )
    advice = schema.FIELDS[path].advice(value)
    if advice:
      raise ValueError(f'config.{path} = {value!r}: {advice}')
  missing = [path for path in schema.FIELDS if path not in there]
  if missing:
    raise ValueError(
      f'config.{missing[0]} is missing: begin with the get_config() of '
      'alexnet_jax.configs.default, and change that'
    )


def _check_mesh(config: Config) -> None:
  mesh, columns = config.mesh, config.model.columns
  if columns % mesh.column:
    raise ValueError(
      f'config.mesh.column = {mesh.column}: the network has {columns} columns, '
      'use --config.mesh.column=1, one device for all of them, or one for each'
    )
  if config.model.lrn.across_columns and mesh.column > 1:
    raise ValueError(
      f'config.mesh.column = {mesh.column}: with config.model.lrn.'
      'across_columns windows of the normalisation reach into the other '
      'column, which is on another device: use --config.mesh.column=1'
    )
  for field in ('batch_size', 'eval.batch_size'):
    value = schema.get(config, field)
    if value is not None and value % mesh.data:
      fits = value - value % mesh.data or mesh.data
      raise ValueError(
        f'config.{field} = {value} images cannot be split evenly over the '
        f'config.mesh.data = {mesh.data} devices of the data axis: use a '
        f'multiple, such as {fits}'
      )
  parts = config.grad_accumulation_steps or 1
  if (config.batch_size or 0) // mesh.data % parts:  # images of a device
    raise ValueError(
      f'config.grad_accumulation_steps = {parts} does not divide the '
      f'{config.batch_size // mesh.data} images that a device takes '
      '(config.batch_size / config.mesh.data): use a divisor'
    )


def _check_sizes(config: Config) -> None:
  data = config.data
  stddevs = data.channel_stddevs
  if stddevs and (
    len(stddevs) != 3
    or any(schema.Number(above=0).advice(stddev) for stddev in stddevs)
  ):
    raise ValueError(
      f'config.data.channel_stddevs = {tuple(stddevs)!r}: use three numbers '
      'above 0, of red, green and blue, or ()'
    )
  if data.crop_size > data.image_size:
    raise ValueError(
      f'config.data.crop_size = {data.crop_size} is larger than '
      f'config.data.image_size = {data.image_size}: use that or less'
    )
  if bool(data.tfds) != (data.source == 'tfds'):
    raise ValueError(
      f'config.data.tfds = {data.tfds!r} and config.data.source = '
      f'{data.source!r}: use both, such as --config.data.source=tfds '
      '--config.data.tfds=imagenette/full-size-v2, or neither'
    )
  if data.dir and data.source == 'embedded':
    raise ValueError(
      f"config.data.dir = {data.dir}, but config.data.source = 'embedded', "
      'which reads no files: add --config.data.source=prepared, or use '
      '--config=imagenet'
    )


def _check_maps(config: Config) -> None:
  """Refuses kernels and pooling windows larger than the maps they read.

  Sizes are 1 + (size + 2 padding - window) / stride, rounded by model.rounding.
  """
  model, pool, size = config.model, config.model.pool, config.data.crop_size
  for name, layer in model.layer.items():
    if 'kernels' not in layer or (name == 'conv6' and not model.conv6):
      continue
    windows = (
      []
      if name in model.skip_layers
      else [(f'layer.{name}.size', layer.size, layer.stride, layer.padding)]
    )
    pools = list(layer.ops).count('pool')  # kept when a layer is skipped
    windows += [('pool.size', pool.size, pool.stride, 0)] * pools
    for field, window, stride, padding in windows:
      if size + 2 * padding < window:
        raise ValueError(
          f'config.model.{field} = {window} does not fit the {size} x {size} '
          f'maps of {name}: use a larger config.data.crop_size than '
          f'{config.data.crop_size}'
        )
      sign = -1 if model.rounding == 'up' else 1
      size = 1 + sign * ((size + 2 * padding - window) * sign // stride)  # 55


_MOST_EPOCHS = 1e5  # a time in steps must fit an int32


def _check_schedule(config: Config) -> None:
  """Refuses tables that are not ((when, factor), ...), see optim/schedule."""
  end = 1.0 if config.schedule.counts == 'fractions' else _MOST_EPOCHS
  for field, table in schema.leaves(config.schedule):
    problem = '' if field == 'counts' else _table_problem(table, end=end)
    if problem:
      example = '((0, 1), (0.5, 0.1))' if end == 1 else '((0, 1), (24, 0.1))'
      raise ValueError(
        f'config.schedule.{field} = {table!r}: {problem}, such as "{example}"'
      )


def _check_batch_scaling(config: Config) -> None:
  """Refuses a warm-up without a rule, downwards, or longer than the run."""
  scaling, name = config.batch_scaling, 'config.batch_scaling'
  if not scaling.warmup_epochs:
    return
  warmup = f'{name}.warmup_epochs = {scaling.warmup_epochs}'
  if not scaling.rule:
    raise ValueError(
      f'{warmup}, but {name}.rule = {scaling.rule!r} has no rate to rise to: '
      f'add --{name}.rule=linear, or leave it out'
    )
  if (config.batch_size or math.inf) < scaling.base_batch_size:
    raise ValueError(
      f'{warmup} would begin above the rate for config.batch_size = '
      f'{config.batch_size}, which is below {name}.base_batch_size = '
      f'{scaling.base_batch_size}: use 0'
    )
  epochs = config.num_epochs or math.inf
  if config.total_steps is None and scaling.warmup_epochs > epochs:
    raise ValueError(
      f'{warmup} is longer than the run: use config.num_epochs = '
      f'{config.num_epochs} or less'
    )


def _table_problem(table: tuple[Any, ...], *, end: float) -> str:
  """Says what to use in place of a table of the schedule; '' if it is fine."""
  if not all(map(_is_pair, table)):
    return 'use pairs of a time and a factor'
  times = [when for when, _ in table]
  if not times or times[0] != 0 or sorted(set(times)) != times:
    return 'use times that begin with 0 and rise'
  if times[-1] >= end:
    whole = ', the whole run, or counts of epochs' if end == 1 else ''
    return f'use times below {end:,.6g}{whole}'
  if not all(factor >= 0 for _, factor in table):
    return 'use factors of 0 or more'
  return ''


def _is_pair(row: Any) -> bool:
  pair = isinstance(row, (tuple, list)) and len(row) == 2
  return pair and all(not schema.Number().advice(number) for number in row)


_OPERATIONS = {  # of convolutional and of fully-connected layers
  'kernels': ('activation', 'lrn', 'spatial_norm', 'pool', 'dropout'),
  'units': ('activation', 'dropout'),
}


def _check_model(config: Config) -> None:
  model = config.model
  for field in ('lrn.n', 'spatial_norm.size'):
    size = schema.get(model, field)
    if size % 2 == 0:
      raise ValueError(
        f'config.model.{field} = {size}: use an odd number, since a window has '
        'a middle'
      )
  inner = list(model.layer)[1:-1]  # conv1 reads the image, fc8 gives scores
  for name in model.skip_layers:
    if name not in inner:
      raise ValueError(
        f'config.model.skip_layers holds {name!r}: use {", ".join(inner)}'
      )
  if model.pool.stride > model.pool.size:
    raise ValueError(
      f'config.model.pool.stride = {model.pool.stride}: use '
      f'config.model.pool.size = {model.pool.size} or less'
    )
  for name, layer in model.layer.items():
    _check_layer(f'config.model.layer.{name}', layer, columns=model.columns)


def _check_layer(path: str, layer: Config, *, columns: int) -> None:
  units = 'kernels' if 'kernels' in layer else 'units'
  inputs = ('own_column', 'both_columns')  # all but the first and last layer
  if path.endswith(('.conv1', '.fc8')):
    inputs = ('image',) if units == 'kernels' else ('summed',)
  if layer.inputs not in inputs:
    listed = ' or '.join(repr(s) for s in inputs)
    raise ValueError(f'{path}.inputs = {layer.inputs!r}: use {listed}')
  if layer.inputs != 'summed' and layer[units] % columns:
    raise ValueError(
      f'{path}.{units} = {layer[units]}, which {columns} columns cannot share '
      'evenly: use a multiple'
    )
  for op in layer.ops:
    if op not in _OPERATIONS[units]:
      raise ValueError(
        f'{path}.ops holds {op!r}: use {", ".join(_OPERATIONS[units])}'
      )
