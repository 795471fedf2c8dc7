"""Options that let orbax work on host 0 alone, and a filter for its logs.

By default each host writes its parts to a folder that all hosts see. The state
is half a gigabyte at most, and a cluster need not have such a folder: host 0
writes and reads the whole.

When a read or a write fails, each thread of orbax logs a traceback, some long
after the error was raised; later callbacks of tensorstore find their event loop
closed and print one each, and asyncio reports every task that failed with it
whenever it is collected. The program itself reports the failure in one line.
"""

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import orbax.checkpoint as ocp
from absl import logging as absl_logging

from alexnet_jax.parallel import distributed

_REPORTED = (
  # What asyncio logs of tasks, futures and gathers, and of tasks that fail
  # while their loop ends with the first error.
  'exception was never retrieved',
  'unhandled exception during asyncio.run() shutdown',
  # What orbax's threads log of errors that orbax also raises.
  '_SignalingThread.run() raised an exception',
  'in background save thread',
)


def host0_options() -> ocp.options.MultiprocessingOptions:
  """Options with which orbax on host 0 waits for no other host."""
  if not distributed.is_multihost():
    return ocp.options.MultiprocessingOptions()
  return ocp.options.MultiprocessingOptions(
    primary_host=0, active_processes={0}, barrier_sync_key_prefix='first'
  )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Silences orbax inside, and late messages of errors that it raises there."""
  before = sys.unraisablehook
  if getattr(before, 'func', None) is not _hook:  # others use partial, too
    sys.unraisablehook = functools.partial(_hook, before)
  logging.getLogger('asyncio').addFilter(_is_unreported)  # twice is once
  verbosity = absl_logging.get_verbosity()
  absl_logging.set_verbosity(absl_logging.FATAL)
  try:
    yield
  except Exception:
    silence_threads()
    raise
  finally:
    absl_logging.set_verbosity(verbosity)


def silence_threads() -> None:
  """Silences what threads of orbax log late, after an error was raised.

  Each logs the error on its way out, and one of them may be slower than the
  program that reports it.
  """
  absl_logging.get_absl_logger().addFilter(_is_unreported)


def _hook(before: Callable[[Any], Any], args: Any) -> None:
  if str(args.exc_value) != 'Event loop is closed':
    before(args)


def _is_unreported(record: logging.LogRecord) -> bool:
  message = record.getMessage()
  return not any(text in message for text in _REPORTED)
