"""Keeps orbax's threads from printing pages about what we say in a line.

When a read or a write fails, orbax logs a traceback, callbacks of tensorstore
that come after it find their event loop closed and print one each, and asyncio
tells of each task that failed with it, whenever it is collected. Not in the
paper.
"""

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging as absl_logging

# asyncio says it of tasks, of futures and of gatherings of them.
_UNHEARD = 'exception was never retrieved'


@contextlib.contextmanager
def orbax() -> Iterator[None]:
  """Inside, orbax logs nothing; what comes late stays unheard afterwards."""
  before = sys.unraisablehook
  if getattr(before, 'func', None) is not _hook:  # others use partial, too
    sys.unraisablehook = functools.partial(_hook, before)
  logging.getLogger('asyncio').addFilter(_is_heard)  # twice is once
  verbosity = absl_logging.get_verbosity()
  absl_logging.set_verbosity(absl_logging.FATAL)
  try:
    yield
  finally:
    absl_logging.set_verbosity(verbosity)


def _hook(before: Callable[[Any], Any], args: Any) -> None:
  if str(args.exc_value) != 'Event loop is closed':
    before(args)


def _is_heard(record: logging.LogRecord) -> bool:
  return _UNHEARD not in record.getMessage()
