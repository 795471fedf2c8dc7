"""Large pages for the memory that XLA allocates on a CPU.

XLA allocates a program's scratch memory at every call, 0.5 to 1.5 GB in a
training step, and glibc returns it to the kernel afterwards. The kernel hands
it out again in cleared pages of 4 kB, a page fault each: 140,000 to 370,000 a
step. With pages of 2 MB a step that has two cores to itself takes about a tenth
less time, in the same memory (bench/NOTES.md).
"""

import os
import pathlib
import sys

_VARIABLE = 'GLIBC_TUNABLES'  # glibc reads it when a process starts
_TUNABLE = 'glibc.malloc.hugetlb'
_SINCE = (2, 35)  # of glibc
_KERNEL_MODE = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')


def is_command(package: str) -> bool:
  """Says whether this process is python -m with a module of the package."""
  given = sys.orig_argv
  module = given[given.index('-m') + 1] if '-m' in given else ''
  return module.startswith(f'{package}.')


def ask_for_large_pages() -> None:
  """Starts this command anew with large pages, if it has to ask for them.

  Call it before anything is imported or opened. Returns where nothing is to be
  gained: GLIBC_TUNABLES says something of large pages, the kernel gives them to
  all or to none, or the C library is not glibc 2.35 or newer.
  """
  if _may_ask():
    given = os.environ.get(_VARIABLE)
    asked = ':'.join([*([given] if given else []), f'{_TUNABLE}=1'])
    os.execve(
      sys.executable,
      [sys.executable, *sys.orig_argv[1:]],
      os.environ | {_VARIABLE: asked},
    )


def _may_ask() -> bool:
  if sys.platform != 'linux' or not sys.executable:
    return False
  if _TUNABLE in os.environ.get(_VARIABLE, ''):  # also the second time
    return False
  try:
    library, version = (os.confstr('CS_GNU_LIBC_VERSION') or '').split()
    modes = _KERNEL_MODE.read_text()
  except (ValueError, OSError):  # another C library; a kernel without them
    return False
  numbers = tuple(map(int, version.split('.')[:2]))
  return library == 'glibc' and numbers >= _SINCE and '[madvise]' in modes
