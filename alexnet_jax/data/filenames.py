"""The files below a folder, without what systems and programs leave there."""

import os
import pathlib
from collections.abc import Iterator

_SYSTEM = frozenset(  # folders and files that systems leave, in lower case
  {
    'thumbs.db', 'ehthumbs.db', 'desktop.ini', 'icon\r', 'picasa.ini',
    '__macosx', '__pycache__', '@eadir', '@tmp', '@recycle', '#recycle',
    '@recently-snapshot', '@sharebin', '@synoeastream', '@synoresource',
    '#snapshot', '~snapshot', 'lost+found', '$recycle.bin', 'recycler',
    'found.000',
    'system volume information', 'network trash folder', 'temporary items',
  }
)  # fmt: skip


def is_system(name: str) -> bool:
  """Returns whether a name is hidden, or of a file that a system leaves.

  >>> [is_system(n) for n in ('.DS_Store', '@eaDir', 'Thumbs.db', 'cat')]
  [True, True, True, False]
  """
  hidden = name[:1] == '.' and name not in ('.', '..')
  return hidden or name.lower() in _SYSTEM


def walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields all files below a folder but hidden ones and those of systems.

  It follows links to folders, visits each folder once, and does not sort.
  """
  seen = set()
  for place, inner, files in os.walk(folder, followlinks=True):
    real = os.path.realpath(place)
    if real in seen:  # a circle of links
      inner.clear()
      continue
    seen.add(real)
    inner[:] = [name for name in inner if not is_system(name)]
    yield from (
      path
      for file in files
      if not is_system(file) and (path := pathlib.Path(place, file)).exists()
    )
