"""A command with less than it is used to: files, streams, a reader.

  python -m tests.limited LIMITS STREAMS MODULE ARGS

LIMITS are such as NOFILE=16 or FSIZE=9000, or none; of STREAMS `1` is closed at
the other end, and `-012` are closed here.
"""

import os
import resource
import runpy
import sys


def limit(limits, streams):
  if limits:
    name, _, number = limits.partition('=')
    kind = getattr(resource, f'RLIMIT_{name}')
    resource.setrlimit(kind, (int(number), int(number)))
  if streams.startswith('-'):
    for number in map(int, streams[1:]):
      os.close(number)
  elif streams:
    reader, writer = os.pipe()
    os.dup2(writer, int(streams))
    os.close(reader), os.close(writer)


if __name__ == '__main__':
  _, limits, streams, module, *args = sys.argv
  limit(limits, streams)
  sys.argv[1:] = args
  runpy.run_module(module, run_name='__main__', alter_sys=True)
