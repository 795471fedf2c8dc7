"""The --config and --ablation flags, their mistakes in one line each.

ml_collections finds most mistakes by itself, but it names a misspelt field
without its path, and says nothing of a missing file before its first use. Not
in the paper.
"""

import itertools
import pathlib
import re
import runpy
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections.config_flags import config_flags

from alexnet_jax.config import ablations, schema, validate

_OVERRIDE = re.compile(r'^--?(no)?config\.([^=]*)')
_FILE = re.compile(r'^--?config=(.*)$')
_ABLATION_HELP = re.compile(r'^--?ablation=help$')


def define() -> None:
  """Defines --config=FILE, --config.FIELD=VALUE and --ablation=NAME."""
  try:
    config_flags.DEFINE_config_file(
      'config', None, 'The config, such as configs/default.py.'
    )
  except flags.CantOpenFlagFileError as error:  # it looks for --flagfile here
    sys.exit(f'error: {error}; give --flagfile a file of flags')
  flags.DEFINE_multi_string(
    'ablation',
    [],
    "One of the paper's comparisons to make; may be repeated. help lists them.",
  )


def value() -> schema.Config:
  """The config file's config, with --config.FIELD and --ablation applied.

  Raises:
    ValueError: if ablations cannot be made together, one sets a field that the
      command line sets to something else, or a value cannot work.
  """
  config = flags.FLAGS.config.copy_and_resolve_references()
  if 'ablations' in _flag().override_values:
    raise ValueError(
      '--config.ablations is a record of what was made: use --ablation=NAME'
    )
  changed = ablations.apply(config, flags.FLAGS.ablation)
  for field, given in _flag().override_values.items():
    made = schema.get(config, field)
    if field in changed and made != given:
      raise ValueError(
        f'--config.{field}={given}, but --ablation={changed[field]} sets it to '
        f'{made}: use one of the two'
      )
  validate.check(config)
  return config


def typed() -> set[str]:
  """Fields that were set by name, or by an ablation, not by the file."""
  before = flags.FLAGS.config.copy_and_resolve_references()
  return {
    *_flag().override_values,
    *ablations.apply(before, flags.FLAGS.ablation),
  }


def name() -> str:
  """What the run is called: the config file without .py, and ablations."""
  stem = pathlib.Path(_flag().config_filename).stem
  return '-'.join([stem, *sorted(flags.FLAGS.ablation)])


def _flag() -> Any:
  return flags.FLAGS['config']  # of ml_collections' own kind


def asks_for_ablations(argv: Sequence[str]) -> bool:
  """Whether the command line holds --ablation=help."""
  pairs = itertools.pairwise(argv)
  return any(_ABLATION_HELP.match('='.join(pair)) for pair in pairs) or any(
    _ABLATION_HELP.match(arg) for arg in argv
  )


def check(argv: Sequence[str]) -> None:
  """Refuses a config file that cannot be used, and fields that it has not.

  Raises:
    ValueError: one line, with the nearest field that there is.
  """
  files = [m.group(1) for m in map(_FILE.match, argv) if m]
  files += [b for a, b in itertools.pairwise(argv) if a == '--config']
  fields = [m.group(2) for m in map(_OVERRIDE.match, argv) if m]
  if not files:
    if fields or not {'--help', '--helpfull', '--helpshort'} & set(argv):
      raise ValueError('--config is missing: use --config=configs/default.py')
    return
  path = files[-1].split(':')[0]
  if not path.endswith('.py') or not pathlib.Path(path).is_file():
    raise ValueError(
      f'--config={path} is no Python file: use one such as configs/default.py'
    )
  config = _load(files[-1])
  for field in fields:
    _check_field(config, field)


def _load(flag: str) -> schema.Config:
  """Runs a config file; its mistakes in one line, with the place in it."""
  path, *argument = flag.split(':', 1)
  try:
    make = runpy.run_path(path).get('get_config', lambda: None)
    config = make(*argument)
  except Exception as error:  # the file is a program: it can raise anything
    raise ValueError(
      f'--config={flag} cannot be used: {_place(error, path=path)}'
      f'{type(error).__name__}: {error}. Mend it, or use one such as '
      'configs/default.py'
    ) from error
  if not isinstance(config, schema.Config):
    raise ValueError(
      f'--config={flag} gives no ConfigDict: let its get_config() return one, '
      'as that of configs/default.py does'
    )
  return config


def _place(error: Exception, *, path: str) -> str:
  """The last line of the file that had a part in an error."""
  frames = traceback.extract_tb(error.__traceback__)
  lines = [frame.lineno for frame in frames if frame.filename == path]
  return f'line {lines[-1]}: ' if lines else ''


def _check_field(config: schema.Config, field: str) -> None:
  known = [name for name, _ in schema.leaves(config)]
  inside = [name for name in known if name.startswith(f'{field}.')]
  if inside:
    raise ValueError(
      f'--config.{field} has fields of its own: set one, such as '
      f'--config.{inside[0]}'
    )
  if field not in known and schema.rename_advice(field):
    raise ValueError(f'--config.{field}: {schema.rename_advice(field)}')
  if field not in known:
    there = ', '.join(schema.nearest(field, known=known))
    raise ValueError(
      f'--config.{field}: the config has no such field; there is {there}'
    )
