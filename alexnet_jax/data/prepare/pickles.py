"""Reads numbers, texts and arrays of bytes in a pickle, and runs nothing of it.

A pickle is a program for a small machine with a stack. pickletools lists its
instructions without obeying them; the few that build plain values are followed
here. NumPy's arrays are the only objects: their bytes stay in the file.
"""

import io
import math
import pickletools
import warnings
from typing import Any, NamedTuple

from alexnet_jax.data.prepare import tar

_NAMES = frozenset(  # stand-ins take the place of these
  {
    'numpy.core.multiarray._reconstruct',
    'numpy._core.multiarray._reconstruct',
    'numpy.ndarray',
    'numpy.dtype',
  }
)
_VALUES = frozenset(  # instructions that push their own argument
  'INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING '
  'SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE '
  'SHORT_BINUNICODE BINUNICODE8'.split()
)
_MARK = object()
_LONG = 3072  # bytes; so many are not kept but left in the file
_HEAD = {'BINSTRING': 5, 'BINBYTES': 5, 'BINBYTES8': 9}


class Array(NamedTuple):
  """An array of bytes: where it begins in the file, and its shape."""

  offset: int
  shape: tuple[int, ...]


class _Span(NamedTuple):
  """Bytes that stay in the file."""

  offset: int
  size: int


class _Object:
  """A stand-in for what a pickle would call, and for the result."""

  def __init__(self, name: str, args: Any = ()):
    self.name, self.args, self.state = name, args, None


def read(member: tar.Member) -> dict[str, Any]:
  """Reads the dictionary that a pickle holds; its keys are texts.

  Arrays of bytes are given as `Array`. Raises ValueError if the pickle asks for
  any other object than NumPy's arrays, or is damaged.
  """
  where = f'{member.name} of {member.path}'
  with open(member.path, 'rb') as file:
    file.seek(member.offset)
    try:
      with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of escapes in damaged texts
        found = _follow(_Window(file, end=member.offset + member.size))
    except (
      IndexError,
      KeyError,
      TypeError,
      AttributeError,
      ValueError,
    ) as error:
      reason = str(error).split('\n')[0] or type(error).__name__
      raise ValueError(
        f'{where} is no pickle of plain values ({reason:.200}): download it '
        'from where it was published'
      ) from error
  if not isinstance(found, dict):
    raise ValueError(f'{where} holds no dictionary: download it again')
  return {str(key): _plain(value) for key, value in found.items()}


class _Window:
  """A part of a file, for pickletools."""

  def __init__(self, file: io.BufferedReader, *, end: int):
    self._file, self._end = file, end
    self.tell = file.tell

  def read(self, size: int) -> bytes:
    return self._file.read(max(0, min(size, self._end - self._file.tell())))

  def readline(self) -> bytes:
    return self._file.readline(max(0, self._end - self._file.tell()))


def _follow(file: _Window) -> Any:
  """Builds the value that the instructions describe."""
  stack: list[Any] = []
  memo: dict[int, Any] = {}
  for op, arg, place in pickletools.genops(file):
    if op.name == 'STOP':
      return stack.pop()
    _step(op.name, arg, place, stack=stack, memo=memo)
  raise ValueError('it has no end')


def _step(
  name: str,
  arg: Any,
  place: int | None,
  *,
  stack: list[Any],
  memo: dict[int, Any],
) -> None:
  """Obeys one instruction; ValueError if it does more than to build values."""
  match name:
    case 'PROTO' | 'FRAME':
      pass
    case 'MARK':
      stack.append(_MARK)
    case 'EMPTY_DICT' | 'EMPTY_LIST' | 'EMPTY_TUPLE':
      stack.append({'D': {}, 'L': [], 'T': ()}[name[6]])
    case 'NONE' | 'NEWTRUE' | 'NEWFALSE':
      stack.append({'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}[name])
    case 'PUT' | 'BINPUT' | 'LONG_BINPUT' | 'MEMOIZE':
      memo[len(memo) if arg is None else arg] = stack[-1]
    case 'GET' | 'BINGET' | 'LONG_BINGET':
      stack.append(memo[arg])
    case 'GLOBAL' | 'STACK_GLOBAL':
      parts = [stack.pop(-2), stack.pop()] if arg is None else arg.split(' ', 1)
      stack.append(_stand_in('.'.join(parts)))
    case 'REDUCE':
      args = stack.pop()
      stack[-1] = _Object(_as(_Object, stack[-1]).name, args)
    case 'BUILD':
      state = stack.pop()
      _as(_Object, stack[-1]).state = state
    case _ if name in _VALUES:
      if isinstance(arg, str | bytes) and len(arg) >= _LONG and name in _HEAD:
        arg = _Span((place or 0) + _HEAD[name], len(arg))
      stack.append(arg)
    case _:
      _collect(name, stack=stack)


def _collect(name: str, *, stack: list[Any]) -> None:
  """Makes or extends a tuple, a list or a dictionary; ValueError if neither."""
  match name:
    case 'TUPLE' | 'LIST' | 'DICT':
      items = _to_mark(stack)
      made = {'TUPLE': tuple, 'LIST': list, 'DICT': _pairs}[name](items)
      stack.append(made)
    case 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
      count = int(name[-1])
      stack[-count:] = [tuple(stack[-count:])]
    case 'APPEND' | 'APPENDS':
      items = [stack.pop()] if name == 'APPEND' else _to_mark(stack)
      _as(list, stack[-1]).extend(items)
    case 'SETITEM' | 'SETITEMS':
      pair = name == 'SETITEM'
      items = [stack.pop(-2), stack.pop()] if pair else _to_mark(stack)
      _as(dict, stack[-1]).update(_pairs(items))
    case _:
      raise ValueError(f'it has the instruction {name}')


def _stand_in(name: str) -> _Object:
  if name not in _NAMES:
    raise ValueError(f'it asks for {name!r:.80}, and nothing of it was run')
  return _Object(name)


def _to_mark(stack: list[Any]) -> list[Any]:
  """Takes what lies above the last mark from the stack, and the mark."""
  place = max(i for i, value in enumerate(stack) if value is _MARK)
  items = stack[place + 1 :]
  del stack[place:]
  return items


def _pairs(items: list[Any]) -> dict[Any, Any]:
  if not all(isinstance(key, str | bytes | int) for key in items[::2]):
    raise ValueError('it has a dictionary whose keys are no texts')
  return dict(zip(map(_text, items[::2]), items[1::2], strict=True))


def _text(value: Any) -> Any:
  """A text of Python 2, which is bytes, as one of Python 3."""
  return value.decode('latin-1') if isinstance(value, bytes) else value


def _as(kind: type, value: Any) -> Any:
  if not isinstance(value, kind):
    raise ValueError(f'it treats a {type(value).__name__} as {kind.__name__}')
  return value


def _plain(value: Any) -> Any:
  """An array of bytes as such, and the texts in a list; None for others."""
  if isinstance(value, list):
    return [_text(each) for each in value]
  return _array(value) if isinstance(value, _Object) else value


def _array(value: _Object) -> Array | None:
  """An array of unsigned bytes, row by row; None for another object."""
  match value.state:
    case (
      _,
      tuple(shape),
      _Object(args=('u1' | b'u1', *_)),
      False,
      _Span(offset=offset, size=size),
    ) if all(type(side) is int for side in shape) and math.prod(shape) == size:
      return Array(offset, shape)
  return None
