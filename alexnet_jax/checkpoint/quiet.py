"""Keeps orbax's threads from printing pages about what we say in a line.

When a read or a write fails, orbax logs a traceback, and callbacks of
tensorstore that come after it find their event loop closed and print one each.
Not in the paper.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging


@contextlib.contextmanager
def orbax() -> Iterator[None]:
  """Inside, orbax logs nothing; late callbacks stay unheard afterwards."""
  before = sys.unraisablehook
  if getattr(before, 'func', None) is not _hook:  # others use partial, too
    sys.unraisablehook = functools.partial(_hook, before)
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.FATAL)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


def _hook(before: Callable[[Any], Any], args: Any) -> None:
  if str(args.exc_value) != 'Event loop is closed':
    before(args)
