"""Keeps what XLA frees on a CPU with the process; not in the paper.

XLA takes the scratch memory of a program anew at every call, some hundred
megabytes in a training step, and glibc gives blocks of that size back to the
kernel as soon as they are free, which then clears each page once more. Kept,
they make a whole step on two CPU devices about a fifth faster (bench/NOTES.md).
"""

import ctypes
import sys

# Names and numbers of <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> None:
  """Tells glibc not to give memory back; elsewhere this does nothing.

  Call it before the first array is made.
  """
  if sys.platform != 'linux':
    return
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is None:  # another C library, such as musl
    return
  mallopt(_M_MMAP_MAX, 0)  # no block of its own for a large request
  mallopt(_M_TRIM_THRESHOLD, -1)  # never shrink the heap
  mallopt(_M_TOP_PAD, 256 << 20)  # bytes to grow it by
  mallopt(_M_ARENA_MAX, 1)  # one heap, so that threads reuse each other's
