"""The --config and --ablation flags, with one-line errors.

ml_collections names a misspelt field without its path, and reports a missing
file only at its first use: `resolve` finds both earlier.
"""

import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections.config_flags import config_flags

from alexnet_jax.config import (
  ablations,
  durations,
  presets,
  schema,
  validate,
)

_OVERRIDE = re.compile(r'^--?(no)?config\.([^=]*)')
_FILE = re.compile(r'^--?config=(.*)$')
_ABLATION_HELP = re.compile(r'(?:^|\0)--?ablation[=\0]help(?:\0|$)')


_none: list[str] = []  # fields given as None, which ml_collections refuses


def define() -> None:
  """Defines --config=NAME or FILE, --config.FIELD=VALUE and --ablation=NAME."""
  try:
    config_flags.DEFINE_config_file(
      'config',
      None,
      'The config: a name such as default, or a file such as '
      'configs/default.py.',
    )
  except flags.CantOpenFlagFileError as error:  # it looks for --flagfile here
    sys.exit(f'error: {error}; give --flagfile a file of flags')
  flags.DEFINE_multi_string(
    'ablation',
    [],
    "One of the paper's comparisons; may be repeated. help lists them.",
  )


def value(*, before_data: bool = False) -> schema.Config:
  """Returns the file's config with --config.FIELD and --ablation applied.

  `before_data` is for validate.check. Raises ValueError if ablations conflict
  with each other or with a flag, or a value cannot work.
  """
  config = flags.FLAGS.config.copy_and_resolve_references()
  if 'ablations' in _flag().override_values:
    raise ValueError(
      '--config.ablations records what was applied: use --ablation=NAME'
    )
  durations.prefer_typed(config, typed=_flag().override_values)
  with config.ignore_type():
    for field in _none:
      config.update_from_flattened_dict({field: None})
  validate.check_fields(config)  # the file may lack some
  with config.ignore_type():
    config.model.layer.fc8.units = config.model.num_classes
  changed = ablations.apply(config, flags.FLAGS.ablation)  # {field: ablation}
  for field, given in _flag().override_values.items():
    made = schema.get(config, field)
    if field in changed and made != given:
      raise ValueError(
        f'--config.{field}={given}, but --ablation={changed[field]} sets it to '
        f'{made}: use one of the two'
      )
  validate.check(config, before_data=before_data)
  return config


def typed() -> set[str]:
  """Returns the fields that flags or ablations set, not the file."""
  before = flags.FLAGS.config.copy_and_resolve_references()
  return {
    *_flag().override_values,
    *ablations.apply(before, flags.FLAGS.ablation),
  }


def name() -> str:
  """Returns the default name of a run: the config file's, and ablations."""
  stem = pathlib.Path(_flag().config_filename).stem  # configs/smoke.py -> smoke
  return '-'.join([stem, *sorted(flags.FLAGS.ablation)])


def _flag() -> Any:
  return flags.FLAGS['config']  # the flag, with its file name and overrides


def asks_for_ablations(argv: Sequence[str]) -> bool:
  """Whether the command line holds --ablation=help, in one word or two."""
  return bool(_ABLATION_HELP.search('\0'.join(argv)))


def resolve(argv: Sequence[str]) -> list[str]:
  """Returns the command line with --config=NAME as the path of its file.

  Raises ValueError for an unusable config, and fields that it lacks.
  """
  argv = flags.FLAGS.read_flags_from_files(list(argv))  # of --flagfile
  out, given = list(argv), ''
  for i, word in enumerate(argv):
    match = _FILE.match(word)
    if match:
      given = match.group(1)
      out[i] = f'--config={_path(given)}'
    elif i and argv[i - 1] in ('--config', '-config'):
      given = word
      out[i] = _path(given)
  fields = [m.group(2) for m in map(_OVERRIDE.match, argv) if m]
  words = {f'--config.{f}=None': f for f in schema.UNDECIDED}
  words |= {f'--config.{f}=auto': f for f in schema.MEASURED}
  _none[:] = [words[w] for w in out if w in words]
  out = [w for w in out if w not in words]
  if given:
    config = presets.load(given)
    if '--config.total_steps=None' in out:  # ml_collections wants a number
      epochs = [w for w in out if w.startswith('--config.num_epochs=')]
      place = out.index('--config.total_steps=None')
      out[place] = (epochs or [f'--config.num_epochs={config.num_epochs}'])[-1]
    known = [name for name, _ in schema.leaves(config)]
    for field in fields:
      _check_field(field, known=known)
  elif fields or not {'--help', '--helpfull', '--helpshort'} & set(argv):
    raise ValueError('--config is missing: use one such as --config=default')
  return out


def _path(given: str) -> str:
  name, *argument = given.split(':', 1)  # FILE.py:ARGUMENT
  return ':'.join([str(presets.find(name)), *argument])


def _check_field(field: str, *, known: Sequence[str]) -> None:
  inside = [name for name in known if name.startswith(f'{field}.')]
  if inside:
    raise ValueError(
      f'--config.{field} has fields of its own: set one, such as '
      f'--config.{inside[0]}'
    )
  if field not in known:
    near = ', '.join(schema.nearest(field, known=known))
    unknown = f'the config has no such field; there is {near}'
    raise ValueError(
      f'--config.{field}: {schema.rename_advice(field) or unknown}'
    )
