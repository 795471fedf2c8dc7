"""Checks and expands paths and file names that come from outside."""

import os
import pathlib
import re
import shutil

_URL = re.compile(r'[a-z][a-z0-9+.-]+://')


def is_remote(path: str) -> bool:
  """Whether a path is the address of a bucket rather than a local path.

  >>> [is_remote(path) for path in ('gs://bucket/runs/a', 'runs/a', '/gs/a')]
  [True, False, False]
  """
  return bool(_URL.match(path))


def expand(path: str) -> pathlib.Path:
  """Expands ~ and ~NAME; ValueError if no such user, or a bucket's address."""
  if is_remote(path):
    raise ValueError(
      f'{path} is on a bucket: give a local path; docs/operations.md '
      'lists what may be on a bucket'
    )
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:
    raise ValueError(
      f'{path}: {path.split("/")[0]} has no home folder; give the whole path'
    ) from error


def cache_folder() -> pathlib.Path | None:
  """$XDG_CACHE_HOME/alexnet_jax or ~/.cache/alexnet_jax; it need not exist.

  None where no home folder is known.
  """
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  found = pathlib.Path(home) / 'alexnet_jax'
  return found if found.is_absolute() else None  # '~' stays if unknown


def free_bytes(folder: pathlib.Path) -> int:
  """Free bytes on the disk of a folder, which may not exist yet."""
  place = next(p for p in (folder, *folder.parents) if p.exists())
  return shutil.disk_usage(place).free


def is_plain_name(name: object) -> bool:
  """Whether a file's name is printable and stays inside its folder.

  >>> [is_plain_name(name) for name in ('a.npy', '../a', '/a', '..', 'a\\\\b')]
  [True, False, False, False, False]
  """
  if not isinstance(name, str) or name in ('', '.', '..'):
    return False
  return name.isprintable() and not {'/', '\\'} & set(name)  # and on Windows
