"""What is refused of TFDS: to run the code of others (not in the paper).

A name with a namespace makes TFDS fetch a program. And features.json names
Python classes, whose modules TFDS imports: a data set from anyone could so run
any module that is installed, or lies in the current folder.
"""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

# NAME, NAME/CONFIG, either with :VERSION.
_NAME = re.compile(r'\w+(/[\w+.-]+)?(:[\d*]+\.[\d*]+\.[\d*]+)?')
_CLASS_FIELDS = ('pythonClassName', 'python_class_name', 'type')
_OURS = 'tensorflow_datasets.'


def refuse_name(name: str) -> None:
  """Raises a ValueError for what is no plain name of a data set."""
  if not _NAME.fullmatch(name):
    raise ValueError(
      f'TFDS has no data set {name!r}: give NAME, NAME/CONFIG or '
      'NAME/CONFIG:VERSION, as https://www.tensorflow.org/datasets/catalog does'
    )


def refuse_foreign(name: str, *, data_dir: str) -> None:
  """Raises a ValueError if files of a data set name classes not of TFDS."""
  from tensorflow_datasets.core import naming
  from tensorflow_datasets.core.utils import file_utils

  own_name = naming.parse_builder_name_kwargs(name)[0].name
  for place in file_utils.list_data_dirs(data_dir or None):
    for path in pathlib.Path(place, own_name).rglob('features.json'):
      try:
        content = json.loads(path.read_text('utf-8'))
      except (ValueError, RecursionError) as error:
        raise ValueError(
          f'{path} is damaged ({error}): prepare {name} with TFDS again'
        ) from error
      for found in _classes(content):
        if not found.startswith(_OURS):
          raise ValueError(
            f'{path} names {found!r}, a class that is not of TFDS: nothing of '
            'it is loaded; prepare a data set with the features of TFDS'
          )


def _classes(content: Any) -> Iterator[str]:
  """Python classes that a part of features.json names."""
  parts = content if isinstance(content, list) else []
  if isinstance(content, dict):
    parts = list(content.values())
    named = (content.get(field) for field in _CLASS_FIELDS)
    yield from (n for n in named if isinstance(n, str) and '.' in n)
  for part in parts:
    yield from _classes(part)
