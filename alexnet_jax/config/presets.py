"""Configs by name: 'imagenet' for configs/imagenet.py, installed or not."""

import difflib
import pathlib
import runpy
import traceback

from alexnet_jax import configs
from alexnet_jax.config import schema

_DEEPEST = 50  # sequences in sequences: a schedule is 2 deep


def find(given: str) -> pathlib.Path:
  """Returns the file of a config: a file of that path, or one of this package.

  'imagenet' and 'configs/imagenet.py' are found from any folder. Raises
  ValueError if there is neither.
  """
  path = pathlib.Path(given)
  if path.suffix == '.py' and path.is_file():
    return path
  own, name = files(), path.stem
  if name in own and path.as_posix() in (name, f'configs/{name}.py'):
    return own[name]
  near = difflib.get_close_matches(name, own, n=1) or sorted(own)
  raise ValueError(
    f'--config={given}: no such Python file, and no config of this package: '
    f'give a FILE.py, or a name: there is {", ".join(near)}'
  )


def files() -> dict[str, pathlib.Path]:
  """The configs of this package: name -> file."""
  return {
    path.stem: path
    for folder in configs.__path__
    for path in pathlib.Path(folder).glob('*.py')
    if path.stem != '__init__'
  }


def load(given: str) -> schema.Config:
  """Runs a config: NAME or FILE.py, with :ARGUMENT if it takes one.

  Raises ValueError of one line, with the place, whatever is wrong with it.
  """
  name, *argument = given.split(':', 1)  # as ml_collections does
  path = str(find(name))
  try:
    make = runpy.run_path(path).get('get_config', lambda: None)
    config = make(*argument)
    if isinstance(config, schema.Config):
      _walk(config)
  except (Exception, SystemExit) as error:  # a program can raise anything
    frames = traceback.extract_tb(error.__traceback__)
    own = [f'line {f.lineno}: ' for f in frames if f.filename == path]
    raise ValueError(
      f'--config={given} cannot be used: {"".join(own[-1:])}'  # the innermost
      f'{type(error).__name__}: {error}. Mend it, or use --config=default'
    ) from error
  if type(config) is not schema.Config:  # a FrozenConfigDict is one, too
    raise ValueError(
      f'--config={given} gives no ConfigDict: let its get_config() return one, '
      'as that of alexnet_jax.configs.default does'
    )
  return config


def _walk(config: schema.Config) -> None:
  """Raises an error for a placeholder without a value, a cycle or deep nest."""
  for name, value in schema.leaves(config):
    if _is_deep(value):
      raise ValueError(f'config.{name} is nested more than {_DEEPEST} deep')
  config.copy_and_resolve_references()


def _is_deep(value: object) -> bool:
  """Returns whether sequences and mappings nest more than _DEEPEST deep.

  >>> _is_deep(((0, 0.1), (4, 0.01))), _is_deep(eval('[' * 60 + ']' * 60))
  (False, True)
  """
  level = [value]
  for _ in range(_DEEPEST):
    inner = (
      item
      for held in level
      if isinstance(held, (tuple, list, set, frozenset, dict))
      for item in (held.values() if isinstance(held, dict) else held)
    )
    level = list({id(item): item for item in inner}.values())
  return bool(level)
