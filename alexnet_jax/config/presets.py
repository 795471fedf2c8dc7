"""Configs by name: 'imagenet' for configs/imagenet.py, installed or not."""

import pathlib
import runpy
import traceback

from alexnet_jax import configs
from alexnet_jax.config import schema


def find(given: str) -> pathlib.Path:
  """Returns the file of a config: a file of that path, or one of this package.

  'imagenet' and 'configs/imagenet.py' are found from any folder. Raises
  ValueError if there is neither.
  """
  path = pathlib.Path(given)
  if path.suffix == '.py' and path.is_file():
    return path
  own = files()
  if path.stem in own and given in (path.stem, f'configs/{path.stem}.py'):
    return own[path.stem]
  raise ValueError(
    f'--config={given} is no Python file: use one such as configs/default.py, '
    f'or a name: {", ".join(sorted(own))}'
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
  except Exception as error:  # the file is a program: it can raise anything
    frames = traceback.extract_tb(error.__traceback__)
    own = [f'line {f.lineno}: ' for f in frames if f.filename == path]
    raise ValueError(
      f'--config={given} cannot be used: {"".join(own[-1:])}'  # the innermost
      f'{type(error).__name__}: {error}. Mend it, or use one such as '
      'configs/default.py'
    ) from error
  if not isinstance(config, schema.Config):
    raise ValueError(
      f'--config={given} gives no ConfigDict: let its get_config() return one, '
      'as that of configs/default.py does'
    )
  return config
