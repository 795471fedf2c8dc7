"""The --config flag, and its mistakes in one line each (not in the paper).

ml_collections finds most mistakes by itself, but it names a misspelt field
without its path, and says nothing of a missing file before its first use.
"""

import itertools
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections.config_flags import config_flags

from alexnet_jax import config as config_lib

_OVERRIDE = re.compile(r'^--?(no)?config\.([^=]+)')
_FILE = re.compile(r'^--?config=(.*)$')


def define() -> flags.FlagHolder:
  """Defines --config=FILE and --config.FIELD=VALUE."""
  return config_flags.DEFINE_config_file(
    'config', None, 'The config, such as configs/default.py.'
  )


def name() -> str:
  """What the config file is called, without .py."""
  flag: Any = flags.FLAGS['config']  # of ml_collections' own kind
  return pathlib.Path(flag.config_filename).stem


def check(argv: Sequence[str]) -> None:
  """Refuses a config file that is not there and fields that it does not have.

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
  if fields:
    config = config_flags.ConfigFileFlagParser('config').parse(files[-1])
    for field in fields:
      _check_field(config, field)


def _check_field(config: config_lib.Config, field: str) -> None:
  known = {f for f, _ in config_lib.leaves(config)}
  if field not in known and not any(f.startswith(f'{field}.') for f in known):
    there = ', '.join(config_lib.nearest(config, field))
    raise ValueError(
      f'--config.{field}: the config has no such field; there is {there}'
    )
