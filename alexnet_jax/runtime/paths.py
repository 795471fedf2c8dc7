"""Paths that a user gives, and names that a file gives; not in the paper."""

import pathlib
import re

_URL = re.compile(r'[a-z][a-z0-9+.-]+://')


def is_remote(path: str) -> bool:
  """Whether that is the address of a bucket, and no path of this machine.

  >>> [is_remote(path) for path in ('gs://bucket/runs/a', 'runs/a', '/gs/a')]
  [True, False, False]
  """
  return bool(_URL.match(path))


def given(path: str) -> pathlib.Path:
  """A path of this machine as a user means it: ~ and ~NAME are home folders.

  Raises:
    ValueError: if there is no such user, or it is the address of a bucket.
  """
  if is_remote(path):
    raise ValueError(
      f'{path}: here a path of this machine has to be given; --workdir, '
      '--restore and --config.data.dir may be on a bucket'
    )
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:
    raise ValueError(
      f'{path}: {path.split("/")[0]} has no home folder; give the whole path'
    ) from error


def is_plain_name(name: object) -> bool:
  """Whether that is the name of a file in a folder, and leads nowhere else.

  >>> [is_plain_name(name) for name in ('a.npy', '../a', '/a', '..', 'a\\\\b')]
  [True, False, False, False, False]
  """
  if not isinstance(name, str) or name in ('', '.', '..'):
    return False
  return name.isprintable() and not {'/', '\\'} & set(name)
