"""Checks that a checkpoint fits the config and data it is used with."""

import pathlib
from typing import Any, NamedTuple

from alexnet_jax.checkpoint import layout
from alexnet_jax.config import schema, validate
from alexnet_jax.data import dataset as dataset_lib
from alexnet_jax.data import metadata
from alexnet_jax.runtime import paths

# Fields that change what the network reads of an image, besides config.model.
INPUT = ('data.crop_size', 'data.mean_at', 'data.channel_stddevs')
# Fields that the data set may have decided, see config/of_data.py.
_CLASSES = {'model.num_classes', 'model.layer.fc8.units'}
# Fields that the order of images, or the draws for them, depend on.
_ORDER = ('seed', 'batch_size', 'augment.images_per_draw', 'data.reshuffle')


class Change(NamedTuple):
  """A field whose value differs: as config.json held it, and as it is now."""

  field: str
  old: Any
  new: Any


def check_resumable(
  meta: layout.Meta,
  config: schema.Config,
  *,
  dataset: dataset_lib.Dataset,
  path: pathlib.Path,
) -> None:
  """Refuses to continue a checkpoint with another network, order or data.

  Raises ValueError naming the field that differs, with both values.
  """
  changed = changes(meta['config'], config)
  if {c.field for c in changed if c.field.startswith('model.')} <= _CLASSES:
    check_classes(meta, dataset, path=path)
  _check_network(changed, path=path)  # first: it names the layer that differs
  check_classes(meta, dataset, path=path)
  _check_ablations(changed, path=path)
  for field, old, new in changed:
    if field in _ORDER:
      raise ValueError(
        f'{path}: config.{field} was {old}, is {new}, and cannot change within '
        f'a run; use another --workdir, or {_as_flag(field, old)}'
      )
  if meta['fingerprint'] != dataset.fingerprint:  # of the images, not the place
    fields = [f'{f} was {o}, is {n}' for f, o, n in changed if 'data.' in f]
    names = f'{meta["dataset"]}, now {dataset.name}'
    if meta['dataset'] == dataset.name:
      names = f'{dataset.name}: its images, or its metadata.json, have changed'
    why = '; '.join(fields) or names
    raise ValueError(
      f'{path} was trained on other data ({why}): use another --workdir, or '
      'that data'
    )


def name_data(config: schema.Config, *, given: str, path: pathlib.Path) -> None:
  """Sets config.data.dir of a checkpoint's config to what the user gave.

  Raises ValueError if nothing was given and the checkpoint, which may be a
  stranger's, names an address: only addresses that the user names are opened.
  """
  if not given and paths.is_remote(config.data.dir):
    raise ValueError(
      f'{path} names data at {config.data.dir}, and only addresses that you '
      f'name are opened: add --data_dir={config.data.dir}, or a local folder'
    )
  if not given and config.data.source == 'prepared':
    folder = paths.expand(config.data.dir)
    if not (folder / metadata.FILE).is_file():
      raise ValueError(
        f'{path} was trained on the data set at {folder}, which is not there: '
        'give its new place, --data_dir=DIR'
      )
  config.data.dir = given or config.data.dir


def own_config(meta: layout.Meta) -> schema.Config:
  """The config that a checkpoint was trained with, data set and all.

  Raises ValueError if this version of the program cannot work with it.
  """
  config = schema.Config(schema.from_json(meta['config']))
  try:
    validate.check(config)
  except ValueError as error:
    wrote = meta['versions'].get('alexnet_jax')
    raise ValueError(
      f'a checkpoint of alexnet_jax {wrote} cannot be used by this one '
      f'({error}): use the version that wrote it'
    ) from error
  return config


def check_classes(
  meta: layout.Meta, dataset: dataset_lib.Dataset, *, path: pathlib.Path
) -> None:
  """Raises ValueError if a checkpoint's classes are not those of the data.

  Their ids count: sources of the same classes have other words for some.
  """
  ours = [c.id for c in dataset.classes]
  theirs = [c['id'] for c in meta['classes']]
  if theirs == ours:
    return
  which = ''
  if len(theirs) == len(ours):
    pairs = enumerate(zip(theirs, ours, strict=True))
    number, (old, new) = next(p for p in pairs if p[1][0] != p[1][1])
    which = (
      f' (class {number} is {old!r} there and {new!r} in these data, of '
      f'prepared data in {metadata.FILE})'
    )
  raise ValueError(
    f'{path} knows the {len(theirs)} classes of {meta["dataset"]}, not the '
    f'{len(ours)} of {dataset.name}{which}: use that data, or another workdir'
  )


def changes(before: dict[str, Any], now: schema.Config) -> list[Change]:
  """Fields that differ between a config of config.json and one of today.

  A field that the data or the machine decide, and where today's config has
  None, does not differ: it became what config.json has.
  """
  old = dict(schema.leaves(before))
  new = dict(schema.leaves(now))
  pairs = {f: (_plain(old.get(f)), _plain(new.get(f))) for f in {*old, *new}}
  return [
    Change(f, old, new)
    for f, (old, new) in sorted(pairs.items())
    if old != new and (new is not None or f not in schema.UNDECIDED)
  ]


def _check_network(changed: list[Change], *, path: pathlib.Path) -> None:
  other = [
    c for c in changed if c.field.startswith('model.') or c.field in INPUT
  ]
  if not other:
    return
  _check_ablations(changed, path=path)
  field, old, new = other[0]
  more = f', and {len(other) - 1} fields more' if len(other) > 1 else ''
  raise ValueError(
    f'{path} is a checkpoint of another network: config.{field} was {old}, '
    f'is {new}{more}; use {_as_flag(field, old)}, or another checkpoint or '
    'workdir'
  )


def _check_ablations(changed: list[Change], *, path: pathlib.Path) -> None:
  for field, old, _ in changed:
    if field == 'ablations':
      same = ' '.join(f'--ablation={name}' for name in old) or 'no --ablation'
      raise ValueError(
        f'{path} is of a run with {same}: use the same, or another workdir'
      )


def _as_flag(field: str, value: Any) -> str:
  """The flag that sets a field to a value; tuples need quotes in a shell."""
  if isinstance(value, list):
    return f'--config.{field}="{schema.as_tuple(value)}"'
  return f'--config.{field}={value}'


def _plain(value: Any) -> Any:
  """A value as it comes back from JSON."""
  return [_plain(v) for v in value] if isinstance(value, tuple) else value
