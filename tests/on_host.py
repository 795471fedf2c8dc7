"""A command on a host of tests/two_hosts.py: its network, name and addresses.

  python -m tests.on_host HOST MODULE ARGS

As `ip netns exec HOST`, which starts a program, but of a process that runs: a
fork of one that has imported what MODULE needs.
"""

import ctypes
import os
import runpy
import socket
import sys

# Of <sched.h> and <sys/mount.h>; os has them from Python 3.12 on.
_MOUNTS, _NAME, _NETWORK = 0x20000, 0x4000000, 0x40000000
_BIND, _OURS_ALONE = 4096, 1 << 19 | 16384


def move(host):
  """Moves this process, which has one thread, to a host."""
  with open(f'/run/netns/{host}') as network:
    _call('setns', network.fileno(), _NETWORK)
  _call('unshare', _MOUNTS | _NAME)
  _call('mount', b'none', b'/', None, _OURS_ALONE, None)
  addresses = f'/etc/netns/{host}/hosts'.encode()
  _call('mount', addresses, b'/etc/hosts', b'none', _BIND, None)
  socket.sethostname(host)


def _call(name, *args):
  if getattr(ctypes.CDLL(None, use_errno=True), name)(*args):
    number = ctypes.get_errno()
    raise OSError(number, f'{name}: {os.strerror(number)}')


if __name__ == '__main__':
  _, place, module, *rest = sys.argv
  move(place)
  sys.argv[1:] = rest
  runpy.run_module(module, run_name='__main__', alter_sys=True)
