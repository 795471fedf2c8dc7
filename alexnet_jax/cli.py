"""Start and end of every command: flags, errors and exit codes.

Exit codes: 0 done, 1 an error, 2 bad flags, 130 Ctrl-C; a command may return
others. A user's mistake prints one line on stderr. Anything else is a bug and
keeps its traceback.
"""

import contextlib
import errno
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from alexnet_jax.config import ablations, schema
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.runtime import descriptors, terminal

USER_ERRORS = (
  ValueError,
  FileNotFoundError,
  FileExistsError,
  IsADirectoryError,
  NotADirectoryError,
  PermissionError,
)
_HELP = '; --help lists the flags'
_NO_VALUE = (  # absl's message for a bad value, and the fix
  ('invalid literal for int', ': use a whole number'),
  ('could not convert string to float', ': use a number'),
  ('Non-boolean argument', ': use true or false'),
)
_END_SECONDS = 3  # after an error, for threads and exit handlers
_XLA_NO_MEMORY = 'RESOURCE_EXHAUSTED'  # in an error of XLA
_FIX = {  # for errors of the operating system, whose message names the file
  errno.ENOENT: 'give one that exists',
  errno.EEXIST: 'move it away, or give another',
  errno.ENOTDIR: 'give a path in which all but the last is a folder',
  errno.EISDIR: 'give a file',
  errno.EACCES: 'give one that you may read and write',
  errno.EPERM: 'give one that you may read and write',
  errno.ENAMETOOLONG: 'give a shorter one',
  errno.ELOOP: 'a link leads back to itself: give another',
  errno.ENOSPC: 'make room, or give another place',
  errno.EDQUOT: 'make room, or give another place',
  errno.EFBIG: 'allow for larger files, with ulimit -f',
  errno.EMFILE: 'allow more open files, with ulimit -n',
  errno.ENFILE: 'close other programs, or allow more open files',
  errno.EROFS: 'give a place that can be written to',
  **dict.fromkeys(  # of a device, or of a disk that is mounted over a network
    (
      *(errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EBUSY),
      *(errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN),
    ),
    'check the disk, and run the same command again',
  ),
}

_TRACEBACK = flags.DEFINE_bool(
  'traceback', False, 'Show where in the program an error was raised.'
)


_arguments: list[str] | None = None  # None: a command of flags alone


def run(
  main: Callable[[], int | None], *, takes_arguments: bool = False
) -> None:
  """Parses the flags, calls `main`, and exits with what it returns."""
  global _arguments
  _arguments = [] if takes_arguments else None
  terminal.survive()
  code = guard(_begin)
  if code:
    sys.exit(code)
  app.run(lambda _: _end_soon(_flushed(guard(main))), flags_parser=parse)


def _begin() -> None:
  if 'jax' in sys.modules:  # a command that computes
    from alexnet_jax.runtime import environment

    descriptors.check()
    environment.pin()
  if 'config' in flags.FLAGS:
    if flags_lib.asks_for_ablations(sys.argv[1:]):  # needs no --config
      print(ablations.table(), flush=True)
      sys.exit(0)
    sys.argv[1:] = flags_lib.resolve(sys.argv[1:])


def _flushed(code: int) -> int:
  """Prints what is left; ends as terminal.py says if nobody reads it."""
  if sys.stdout:
    sys.stdout.flush()
  return code


def _end_soon(code: int) -> int:
  """Lets no thread of a library keep the process after an error; the code.

  orbax's threads wait ten minutes for a folder that a full disk did not take.
  """

  def end() -> None:
    time.sleep(_END_SECONDS)
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError, ValueError):  # closed, or a full disk
        stream.flush()
    os._exit(code)

  if code == 1:  # others are ends in order: hosts may wait for each other
    threading.Thread(target=end, daemon=True).start()
  return code


def arguments() -> list[str]:
  """Returns the arguments besides flags, after run(takes_arguments=True)."""
  return list(_arguments or [])


def parse(argv: Sequence[str]) -> list[str]:
  """Parses flags into flags.FLAGS; exits with one line and code 2 if wrong."""
  try:
    rest = flags.FLAGS(list(argv))
  except SystemExit as end:  # --help and its kin: absl exits with 1
    sys.exit(end.code if end.code == terminal.EXIT_CODE else _flushed(0))
  except (flags.Error, *USER_ERRORS) as error:
    text, hint = str(error), _HELP
    for message, use in _NO_VALUE:
      if message in text:  # 'flag --NAME=VALUE: ' is in front of it
        text, hint = text[: text.index(message)].rstrip(":(' "), use
    _fail(text, hint=hint)
    sys.exit(2)
  if _arguments is not None:
    _arguments[:] = rest[1:]
  elif rest[1:]:
    _fail(f'{rest[1]!r} is no flag', hint=_HELP)
    sys.exit(2)
  if not flags.FLAGS['verbosity'].present:  # orbax and jax log much at INFO
    logging.set_verbosity(logging.WARNING)
  return rest


def restored(values: Sequence[str]) -> list[str]:
  """Returns the checkpoints of --restore; one path may have commas itself."""
  whole = ','.join(values)
  if len(values) > 1 and pathlib.Path(whole).expanduser().exists():
    return [whole]
  return [value for value in values if value]


def seeds(texts: Sequence[str]) -> tuple[int, ...]:
  """Parses --seeds; raises ValueError if empty, or one is bad or repeated."""
  given = f'--seeds={",".join(texts)}'
  if not texts or not all(map(str.isdecimal, texts)):
    raise ValueError(f'{given}: use one or more whole numbers, such as 0,1,2')
  numbers = tuple(map(int, texts))
  for number in numbers:
    advice = schema.FIELDS['seed'].advice(number)
    if advice:
      raise ValueError(f'{given}: {number}: {advice}')
    if numbers.count(number) > 1:
      raise ValueError(f'{given} has {number} twice: give it once')
  return numbers


def guard(main: Callable[[], int | None]) -> int:
  """Returns the exit code of `main`; prints a user's error as one line."""
  try:
    return main() or 0
  except KeyboardInterrupt:
    _fail('interrupted')
    return 130  # 128 + SIGINT, as shells have it
  except USER_ERRORS as error:
    return _refuse(error)
  except OSError as error:
    if error.errno not in _FIX:  # a bug, not the user's disk
      raise
    return _refuse(error)
  except (MemoryError, RuntimeError) as error:
    if isinstance(error, RuntimeError) and _XLA_NO_MEMORY not in str(error):
      raise
    return _refuse(error, message=f'out of memory: {error}'.split('\n')[0])


def _refuse(error: Exception, *, message: str = '') -> int:
  if flags.FLAGS.is_parsed() and _TRACEBACK.value:
    raise error  # with its traceback
  fix = _FIX.get(error.errno or 0) if isinstance(error, OSError) else None
  if message:
    fix = 'use a smaller --config.batch_size, more devices or fewer --workers'
  _fail(message or error, hint=f': {fix}' if fix else '')
  return 1


def _fail(what: object, *, hint: str = '') -> None:
  line = printable(' '.join(str(what).split()))  # one line, whatever it was
  print(f'error: {line}{hint}', file=sys.stderr)


def printable(text: str) -> str:
  """Escapes control characters, which a hostile file name may hold."""
  return ''.join(
    c if c.isprintable() else c.encode('unicode_escape').decode() for c in text
  )
