"""Reading .safetensors files: names, shapes and dtypes before any array."""

import contextlib
import importlib
import pathlib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float32


def library(name: str) -> ModuleType:
  """Imports a package of the extra `export`; ValueError if it is missing."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    package = name.partition('.')[0]
    raise ValueError(
      f"the package {package} is not installed: pip install '.[export]' in a "
      f'checkout of alexnet_jax, or pip install {package}'
    ) from error


def is_one(path: pathlib.Path) -> bool:
  """Whether a file begins as .safetensors does: a length, then JSON."""
  with path.open('rb') as file:
    return file.read(9)[8:] == b'{'


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Any]:
  """Opens a file; its header is checked against its size, nothing is read.

  Raises ValueError if it is damaged. What is yielded is safetensors.safe_open.
  """
  safetensors = library('safetensors')
  try:
    with safetensors.safe_open(str(path), framework='numpy') as file:
      yield file
  except safetensors.SafetensorError as error:
    raise ValueError(
      f'it is no whole .safetensors file ({error}): get it again, or give '
      'another'
    ) from error


def shapes(file: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
  """Dtypes and shapes of the arrays of an open file, by name."""
  slices = {name: file.get_slice(name) for name in file.keys()}
  return {
    name: (part.get_dtype(), tuple(part.get_shape()))
    for name, part in slices.items()
  }


def read(
  file: Any, expected: Mapping[str, tuple[int, ...]]
) -> dict[str, Float32[np.ndarray, '...']]:
  """Reads the arrays of an open file, if they are those that are expected.

  Raises ValueError, before it takes memory, that says what differs.
  """
  there = shapes(file)
  for name in sorted({*there, *expected}):
    if name not in there:
      raise ValueError(f'it lacks the array {name}')
    dtype, shape = there[name]
    if name not in expected:
      raise ValueError(f'its array {name!r:.80} is of no layer of this network')
    if dtype != 'F32' or shape != expected[name]:
      found, ours = (
        f'{" x ".join(map(str, sizes)):.80}'
        for sizes in (shape, expected[name])
      )
      raise ValueError(
        f'its array {name} is {dtype} of {found}: it should be F32 (float32) '
        f'of {ours}'
      )
  return {name: file.get_tensor(name) for name in expected}
