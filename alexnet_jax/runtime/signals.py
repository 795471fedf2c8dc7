"""Signals that end a run between two steps; not in the paper.

A scheduler's notice is a SIGTERM some seconds before a SIGKILL (SLURM,
Kubernetes), a user's is Ctrl-C, a SIGINT. The first of either asks the run to
finish its step, save and exit with 75; until there is something to save it ends
the process at once, unless it has to tell others first. After it, one Ctrl-C
more kills the process like a SIGKILL, which loses what came after the newest
checkpoint and nothing else.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command again goes on


class Stopped(SystemExit):
  """The run was asked to stop, and can go on from its newest checkpoint."""

  def __init__(self) -> None:
    super().__init__(EXIT_CODE)


class Stop:
  """Whether the run has been asked to stop.

  >>> stop = Stop()
  >>> stop.check()  # nothing has asked
  >>> with stop.held():
  ...   signal.raise_signal(signal.SIGTERM)
  ...   print(stop.asked)
  True
  """

  def __init__(self) -> None:
    self.asked = False
    self._held = ''  # until when
    self._kills = False  # Ctrl-C does, by now

  def listen(self) -> None:
    """Takes SIGTERM and SIGINT from now on; in the main thread only."""
    signal.signal(signal.SIGTERM, self._take)
    if not self._kills:
      signal.signal(signal.SIGINT, self._take)

  def ignore(self) -> None:
    """Leaves signals to Python again: Ctrl-C is a KeyboardInterrupt."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)

  @contextlib.contextmanager
  def held(self, when: str = 'after this step') -> Iterator[None]:
    """Inside, a signal only sets `asked`: someone looks at it now and then.

    Args:
      when: they do, as the user is told.
    """
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    outer, self._held = self._held, when
    self.listen()
    try:
      yield
    finally:
      self._held = outer
      signal.signal(signal.SIGTERM, before[0])
      if not self._kills or before[1] != self._take:
        signal.signal(signal.SIGINT, before[1])

  def check(self) -> None:
    """Raises Stopped if the run has been asked to stop."""
    if self.asked:
      raise Stopped

  def _take(self, number: int, frame: FrameType | None) -> None:
    del number, frame
    if self.asked:
      return  # a second SIGTERM: it is being done
    self.asked = True
    # From now on Ctrl-C is left to the kernel, whatever the program is at.
    self._kills = True
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Not print: the signal may have come in the middle of one.
    if self._held:
      text = f'stopping {self._held}; Ctrl-C stops without saving\n'
      os.write(2, text.encode())
    else:
      os.write(2, b'stopped before the first step: run the command again\n')
      # Not an exception: in a callback of a library it would go unheard. What
      # is written before the first step is written whole, by renaming.
      os._exit(EXIT_CODE)
