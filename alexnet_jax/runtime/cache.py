"""Where this machine keeps what can be made again; not in the paper."""

import os
import pathlib


def folder() -> pathlib.Path | None:
  """$XDG_CACHE_HOME/alexnet_jax, or ~/.cache/alexnet_jax; it need not exist.

  None where no home is known.
  """
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  found = pathlib.Path(home) / 'alexnet_jax'
  return found if found.is_absolute() else None
