"""Paths that a user gives, and names that a file gives; not in the paper."""

import pathlib


def given(path: str) -> pathlib.Path:
  """A path as a user means it: ~ and ~NAME are home folders.

  Raises:
    ValueError: if there is no such user.
  """
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
