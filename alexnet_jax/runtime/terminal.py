"""Output whose reader may go: `... | head`, a terminal that is closed."""

import io
import os
import shutil
import sys
import textwrap
from typing import Any

from alexnet_jax.runtime import descriptors

EXIT_CODE = 141  # 128 + SIGPIPE, as shells have it
_goes_on = False


class _Output(io.FileIO):
  """A file descriptor that is exchanged for /dev/null when its reader goes."""

  def __init__(self, number: int):
    super().__init__(number, 'wb', closefd=False)

  def write(self, data: Any) -> int | None:
    try:
      return super().write(data)
    except BrokenPipeError:
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, self.fileno())
      os.close(nowhere)
    if not _goes_on:
      raise SystemExit(EXIT_CODE)  # a quiet end, unwinding what is open
    return len(data)


def writer(
  number: int, *, like: io.TextIOWrapper, by_line: bool = False
) -> io.TextIOWrapper:
  """Text for a file descriptor, whose reader may go, encoded as `like`."""
  return io.TextIOWrapper(
    io.BufferedWriter(_Output(number)),
    encoding=like.encoding,
    errors='backslashreplace',  # file names may not be UTF-8
    line_buffering=like.line_buffering or by_line,
  )


def survive() -> None:
  """Makes stdout and stderr outlive their readers, file names and encodings.

  A command ends quietly when its reader goes, unless it calls `go_on`.
  """
  descriptors.open_standard_streams()
  for name in ('stdout', 'stderr'):
    stream = getattr(sys, name)
    if not isinstance(stream, io.TextIOWrapper):
      continue
    stream.flush()
    by_line = name == 'stderr'
    setattr(sys, name, writer(stream.fileno(), like=stream, by_line=by_line))


def go_on() -> None:
  """Lets the command go on in silence when the reader of its output goes."""
  global _goes_on
  _goes_on = True


def wrapped(text: str) -> str:
  """The text in lines that fit a terminal; as it is where stdout is none.

  Words stay whole, and indented lines are left alone.
  """
  if not sys.stdout.isatty():
    return text
  width = max(shutil.get_terminal_size().columns, 40)
  return '\n'.join(
    line
    if line.startswith(' ')
    else textwrap.fill(
      line,
      width,
      subsequent_indent='  ',
      break_long_words=False,
      break_on_hyphens=False,
    )
    for line in text.split('\n')
  )
