"""What a process may use: open files, address space, standard streams."""

import os
import resource

_SPARE = 128  # for libraries, logs and checkpoints
_FEWEST_FILES = 64  # a run of the smallest net has 27 open
_LEAST_MEMORY = 3 * 2**20  # kB of address space: that run maps 2.2 GB


def check() -> None:
  """Raises ValueError where JAX would fail, or wait for ever, further on."""
  allow(_SPARE)
  files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
  if files != resource.RLIM_INFINITY and files < _FEWEST_FILES:
    raise ValueError(
      f'no more than {files} files may be open, and {_FEWEST_FILES} are needed '
      f'at least: use ulimit -n {2 * _SPARE}'
    )
  memory, _ = resource.getrlimit(resource.RLIMIT_AS)
  if memory != resource.RLIM_INFINITY and memory < _LEAST_MEMORY * 1024:
    raise ValueError(
      f'{memory // 1024} kB of address space are too few for JAX: use ulimit '
      f'-v {_LEAST_MEMORY} or more, or no such limit'
    )


def open_standard_streams() -> None:
  """Opens /dev/null where stdin, stdout or stderr are closed (`>&-`).

  Else the next file that is opened would take their numbers, and what is
  printed would go into it.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def allow(number: int) -> int:
  """Raises this process's limit to `number` files, and returns what is allowed.

  Shells often allow 256 (macOS) or 1,024 where the system would allow many
  more. A part is kept for other uses.
  """
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  wanted = number + _SPARE
  if hard != resource.RLIM_INFINITY:
    wanted = min(wanted, hard)
  if soft != resource.RLIM_INFINITY and soft < wanted:
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft = wanted
  if soft == resource.RLIM_INFINITY:
    return number
  return max(1, min(number, soft - _SPARE))
