"""Protobuf messages of other programs, from descriptions of their fields.

Only the fields that are read are described; all others are skipped. Arrays of
numbers are described as bytes, which is what packed fields are on the wire, so
that no number becomes a Python object.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import (
  descriptor_pb2,
  descriptor_pool,
  message,
  message_factory,
)
from jaxtyping import Float32

Message = message.Message
_FIELD = re.compile(r'(\*?)(\w+) (\w+) = (\d+)(?: \[(.+)\])?')
_Field = descriptor_pb2.FieldDescriptorProto


@functools.cache
def parser(package: str, name: str, described: str) -> Callable[[bytes], Any]:
  """Returns the function that parses messages `name`.

  Args:
    described: a line with the name of each message, and below it its fields:
      '  *float data = 5', where * stands for repeated, or '  int32 k = 1 [5]'
      with a default value.

  It raises ValueError for bytes that are no such message.
  """
  file = descriptor_pb2.FileDescriptorProto(
    name=f'{package}.proto', package=package, syntax='proto2'
  )
  for line in described.strip('\n').splitlines():
    if not line.startswith(' '):
      file.message_type.add(name=line.strip())
      continue
    match = _FIELD.fullmatch(line.strip())
    assert match, line
    repeated, kind, field, number, default = match.groups()
    scalar = getattr(_Field, f'TYPE_{kind.upper()}', None)
    file.message_type[-1].field.add(
      name=field,
      number=int(number),
      label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
      type=scalar or _Field.TYPE_MESSAGE,
      type_name=None if scalar else f'.{package}.{kind}',
      default_value=default,
    )
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  kind = message_factory.GetMessageClass(
    pool.FindMessageTypeByName(f'{package}.{name}')
  )

  def parse(content: bytes) -> Any:
    try:
      return kind.FromString(content)
    except message.DecodeError as error:
      raise ValueError(str(error)) from error

  return parse


def text(value: bytes) -> str:
  """Decodes a name, whatever it holds."""
  return value.decode(errors='replace')


def floats(
  parts: Mapping[str, Sequence[bytes]], *, shape: Sequence[int], name: str
) -> Float32[np.ndarray, '...']:
  """Joins packed little-endian numbers to an array of a declared shape.

  `parts` are bytes by dtype, '<f4' or '<f8', of which one holds the numbers.
  Raises ValueError, before it takes memory, if there are not as many as the
  shape says.
  """
  dims = tuple(int(size) for size in shape)
  size = functools.reduce(lambda a, b: a * b, dims, 1)  # does not overflow
  declared = ' x '.join(map(str, dims)) or 'one number'
  for dtype, chunks in parts.items():
    there = sum(map(len, chunks))
    if there and min(dims, default=1) > 0:
      if there != size * np.dtype(dtype).itemsize:
        break
      whole = chunks[0] if len(chunks) == 1 else b''.join(chunks)
      return (
        np.frombuffer(whole, dtype).astype(np.float32, copy=False).reshape(dims)
      )
  raise ValueError(
    f'its array {name!r:.60} does not hold the {declared:.80} numbers that it '
    'declares: the file is damaged, get it again'
  )
