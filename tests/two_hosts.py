"""Two hosts on one machine: network namespaces with addresses of their own.

A run goes over both, the link between them is cut, and the run that goes on
afterwards ends as if nothing had been. As root, with iproute2:

  python -m tests.two_hosts [FOLDER]
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from tests import fork_server
from tests.faults import runs

HOSTS = ('alexnet-a', 'alexnet-b')
_ADDRESSES = ('10.86.12.1', '10.86.12.2')
_PORT = 29400
LIMIT = 30  # seconds in which both end, with the heartbeat that flags give


def unable():
  """Why there can be no hosts here; '' if there can."""
  if shutil.which('ip') is None:
    return 'needs iproute2'
  made = _ip('netns', 'add', 'alexnet-probe', check=False)
  if made.returncode:
    return f'no network namespaces here: {made.stderr.strip()}'
  _ip('netns', 'del', 'alexnet-probe')
  return ''


class Hosts:
  """Two namespaces and a link, until it is left."""

  def __enter__(self):
    self.__exit__()
    try:
      self._make()
    except BaseException:
      self.__exit__()
      raise
    return self

  def _make(self):
    names = dict(zip(HOSTS, ('veth-a', 'veth-b'), strict=True))
    for host, address in zip(HOSTS, _ADDRESSES, strict=True):
      _ip('netns', 'add', host)
      etc = pathlib.Path('/etc/netns') / host  # lies over its /etc
      etc.mkdir(parents=True, exist_ok=True)
      (etc / 'hosts').write_text(f'127.0.0.1 localhost\n{address} {host}\n')
    _ip('link', 'add', 'veth-a', 'type', 'veth', 'peer', 'name', 'veth-b')
    for (host, link), address in zip(names.items(), _ADDRESSES, strict=True):
      _ip('link', 'set', link, 'netns', host)
      _ip('-n', host, 'addr', 'add', f'{address}/24', 'dev', link)
      _ip('-n', host, 'link', 'set', link, 'up')
      _ip('-n', host, 'link', 'set', 'lo', 'up')

  def __exit__(self, *error):
    for host in HOSTS:
      _ip('netns', 'del', host, check=False)
      shutil.rmtree(f'/etc/netns/{host}', ignore_errors=True)

  def cut(self):
    _ip('-n', HOSTS[1], 'link', 'set', 'veth-b', 'down')

  def mend(self):
    _ip('-n', HOSTS[1], 'link', 'set', 'veth-b', 'up')

  def start(self, server, flags, *, folder):
    """A run with a process on each host, with its own flags."""
    pids = []
    for process, host in enumerate(HOSTS):
      given = (
        *(host, fork_server.MODULE, *flags[process]),
        f'--coordinator={_ADDRESSES[0]}:{_PORT}',
        *('--num_processes=2', f'--process_id={process}'),
        '--coordinator_timeout=60',
      )
      output, module = str(folder / str(process)), 'tests.on_host'
      pids.append(server.ask(['start', given, output, 10 * LIMIT, {}, module]))
    return fork_server.ForkedRun(server, pids, folder)


def _ip(*args, check=True):
  return subprocess.run(
    ['ip', *args], check=check, capture_output=True, text=True
  )


def cut_and_mend(server, folder, *, flags, step):
  """Cuts the link after a step, and goes on; how the processes ended.

  The second has no folder that the first has: its --workdir is elsewhere.

  Returns:
    (exit code, seconds after the cut, last line of stderr) of each process, and
    the same without seconds of the two that went on.
  """
  workdir = folder / 'run'
  given = [
    (*flags, f'--workdir={place}') for place in (workdir, folder / 'nothing')
  ]
  with Hosts() as hosts:
    both = hosts.start(server, given, folder=folder)
    both.wait_for_step(workdir, step)
    hosts.cut()
    cut = time.monotonic()
    ends = []
    for process in range(2):
      done = both.end(process)
      lines = done.stderr.splitlines() or ['']
      ends.append((done.returncode, time.monotonic() - cut, lines[-1]))
    hosts.mend()
    again = hosts.start(server, given, folder=folder).finish()
  return ends, [(done.returncode, done.stderr) for done in again]


def main():
  folder = pathlib.Path(sys.argv[1] if sys.argv[1:] else tempfile.mkdtemp())
  with fork_server.Server(JAX_DISABLE_MOST_OPTIMIZATIONS='0') as server:
    ends, again = cut_and_mend(
      server,
      folder,
      flags=('--config=configs/smoke.py', '--config.total_steps=20'),
      step=8,
    )
  for host, (code, seconds, line) in zip(HOSTS, ends, strict=True):
    print(f'{host}: exit {code} {seconds:.1f} s after the cut: {line}')
  print(f'then: exit {[code for code, _ in again]}')
  print(f'digest {runs.digests(folder / "run")}')


if __name__ == '__main__':
  sys.exit(unable() or main())
