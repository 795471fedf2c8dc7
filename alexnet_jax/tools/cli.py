"""How every command starts and ends (not in the paper).

Exit codes: 0 done, 1 an error, 2 bad flags, 130 Ctrl-C; a command may return
others. A mistake that a user can make costs one line on stderr. Anything else
is a bug and keeps its traceback.
"""

import errno
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from alexnet_jax import ablations
from alexnet_jax.tools import config_flag

USER_ERRORS = (
  ValueError,
  FileNotFoundError,
  FileExistsError,
  IsADirectoryError,
  NotADirectoryError,
  PermissionError,
)
_HELP = '; --help lists the flags'
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

_TRACEBACK = flags.DEFINE_bool(
  'traceback', False, 'Show where in the program an error was raised.'
)


def run(main: Callable[[], int | None]) -> None:
  """Parses the flags, calls `main`, and exits with what it returns."""
  if 'config' in flags.FLAGS:
    if config_flag.asks_for_ablations(sys.argv[1:]):
      print(ablations.table())
      sys.exit(0)
    code = guard(lambda: config_flag.check(sys.argv[1:]))
    if code:
      sys.exit(code)
  app.run(lambda _: guard(main), flags_parser=parse)


def parse(argv: Sequence[str]) -> list[str]:
  """The flags' values into flags.FLAGS; one line and exit code 2 if wrong."""
  try:
    rest = flags.FLAGS(list(argv))
  except SystemExit:  # --help and its kin: absl says 1
    sys.exit(0)
  except (flags.Error, *USER_ERRORS) as error:
    _fail(error, hint=_HELP)
    sys.exit(2)
  if rest[1:]:
    _fail(f'{rest[1]!r} is no flag', hint=_HELP)
    sys.exit(2)
  if not flags.FLAGS['verbosity'].present:  # orbax and jax tell all at INFO
    logging.set_verbosity(logging.WARNING)
  return rest


def guard(main: Callable[[], int | None]) -> int:
  """The exit code of `main`, its user's errors turned into a line."""
  try:
    return main() or 0
  except KeyboardInterrupt:
    _fail('interrupted')
    return 130
  except USER_ERRORS as error:
    return _refuse(error)
  except OSError as error:
    if error.errno not in _FULL:
      raise
    return _refuse(error)


def _refuse(error: Exception) -> int:
  if flags.FLAGS.is_parsed() and _TRACEBACK.value:
    raise error
  _fail(error)
  return 1


def _fail(what: object, *, hint: str = '') -> None:
  line = ' '.join(str(what).split())
  # Names come from files of others: no escape code of theirs may act.
  shown = (c if c.isprintable() else ascii(c)[1:-1] for c in line)
  print(f'error: {"".join(shown)}{hint}', file=sys.stderr)
