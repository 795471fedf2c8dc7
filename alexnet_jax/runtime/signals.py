"""Signals: a run stops between two steps and saves.

A scheduler sends SIGTERM or SIGUSR1 some seconds before SIGKILL (SLURM,
Kubernetes), a terminal that goes SIGHUP, a user presses Ctrl-C (SIGINT). The
first of these makes the run finish its step,
save and exit with code 75. Before the first step it ends the process at once,
unless other hosts must learn of it first. A second Ctrl-C kills the process
like SIGKILL: only the steps after the newest checkpoint are lost.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

# What ends a run: a scheduler, a terminal that closes (unless nohup ignores
# that), SLURM's --signal=USR1.
STOPPING = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_stderr = 2
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command resumes the run


@contextlib.contextmanager
def writing_to(number: int) -> Iterator[None]:
  """Inside, the lines on signals go to another file descriptor than 2."""
  global _stderr
  before, _stderr = _stderr, number
  try:
    yield
  finally:
    _stderr = before


class Stopped(SystemExit):
  """The run was asked to stop, and can resume from its newest checkpoint."""

  def __init__(self) -> None:
    super().__init__(EXIT_CODE)


@contextlib.contextmanager
def sigterm_exits(code: int = 128 + signal.SIGTERM) -> Iterator[None]:
  """Inside, SIGTERM raises SystemExit, which unwinds what is open."""
  before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(code))
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


class Stop:
  """Whether the run has been asked to stop.

  >>> stop = Stop()
  >>> stop.check()  # nothing has asked
  >>> with stop.defer():
  ...   signal.raise_signal(signal.SIGTERM)
  ...   print(stop.asked)
  True
  """

  def __init__(self) -> None:
    self.asked = False
    self._deferred = ''  # until when, for the message; '': not deferred
    self._kills = False  # whether the next Ctrl-C kills the process

  def listen(self) -> None:
    """Handles signals from now on; call it in the main thread."""
    for number in STOPPING:
      if signal.getsignal(number) != signal.SIG_IGN:  # nohup
        signal.signal(number, self._take)
    if not self._kills:
      signal.signal(signal.SIGINT, self._take)

  def ignore(self) -> None:
    """Gives signals back to Python: Ctrl-C raises KeyboardInterrupt."""
    for number in STOPPING:
      if signal.getsignal(number) == self._take:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)

  def end(self) -> None:
    """Ignores further signals: the exit code is settled."""
    for number in STOPPING:  # Python itself gives up its handlers on the way
      signal.signal(number, signal.SIG_IGN)

  @contextlib.contextmanager
  def defer(self, when: str = 'after this step') -> Iterator[None]:
    """Inside, a signal only sets `asked`; `when` is for the user's message."""
    before = {n: signal.getsignal(n) for n in (*STOPPING, signal.SIGINT)}
    outer, self._deferred = self._deferred, when  # defer() can be nested
    self.listen()
    try:
      yield
    finally:
      self._deferred = outer
      for number in STOPPING:
        signal.signal(number, before[number])
      own = before[signal.SIGINT]
      if not self._kills or own != self._take:  # SIG_DFL must stay
        signal.signal(signal.SIGINT, own)

  def check(self) -> None:
    """Raises Stopped if the run has been asked to stop."""
    if self.asked:
      raise Stopped

  def _take(self, number: int, frame: FrameType | None) -> None:
    del number, frame
    if self.asked:
      return  # a second SIGTERM changes nothing
    self.asked = True
    # From now on the kernel handles Ctrl-C, whatever the program is doing.
    self._kills = True
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Not print: the signal may have come in the middle of one.
    if self._deferred:
      text = f'stopping {self._deferred}; Ctrl-C stops without saving\n'
      os.write(_stderr, text.encode())
    else:
      os.write(
        _stderr, b'stopped before the first step: run the command again\n'
      )
      # Not an exception: a library's callback could swallow it. Files of the
      # workdir are replaced whole, by renaming; JAX's cache may be left with
      # half an entry, of which JAX warns, and compiles.
      os._exit(EXIT_CODE)
