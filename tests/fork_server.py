"""Runs of several processes, forked from one that has imported what they need.

As tests/commands.py, but for processes that run side by side: whoever starts
them gets their numbers, and can do to them what befalls processes.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import types
import warnings
from unittest import mock

from jax._src import compiler

from tests import buckets, commands

MODULE = 'alexnet_jax.main'


class ForkedRun:
  """The processes of one run; their output is in FOLDER/I.out and I.err."""

  def __init__(self, server, pids, folder):
    self._server = server
    self.pids = pids
    self.folder = folder

  def kill(self, process, number):
    os.kill(self.pids[process], number)

  def finish(self):
    """Waits for all; how each ended."""
    return [self.end(process) for process in range(len(self.pids))]

  def end(self, process):
    """Waits for one; how it ended."""
    (code,) = self._server.ask(['wait', [self.pids[process]]])
    texts = (self._text(process, kind) for kind in ('out', 'err'))
    return commands.Done(code, *texts)

  def wait_for_step(self, workdir, step, seconds=120):
    """Until a line of metrics.jsonl tells of a step."""
    path = pathlib.Path(workdir) / 'metrics.jsonl'
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      with contextlib.suppress(FileNotFoundError):
        if f'"step": {step},' in path.read_text():
          return
      time.sleep(0.01)
    raise TimeoutError(f'no step {step}: {self._text(0, "err")}')

  def wait_for_word(self, *, process, seconds=60):
    """Until a process has printed something."""
    end = time.monotonic() + seconds
    while not self._text(process, 'out'):
      if time.monotonic() > end:
        raise TimeoutError(self._text(process, 'err'))
      time.sleep(0.01)

  def _text(self, process, kind):
    file = self.folder / f'{process}.{kind}'  # made by the fork, once it runs
    return file.read_text(errors='replace') if file.exists() else ''


class Server:
  """Starts runs until it is left; `env` are further environment variables."""

  def __init__(self, **env):
    self._env = env

  def __enter__(self):
    self._process = subprocess.Popen(
      [sys.executable, '-B', '-m', 'tests.fork_server'],
      cwd=commands.ROOT,
      env=os.environ
      | {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}  # as conftest.py
      | self._env,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    return self

  def __exit__(self, *error):
    self._process.communicate(timeout=10)

  def ask(self, request):
    print(json.dumps(request), file=self._process.stdin, flush=True)
    return json.loads(self._process.stdout.readline())

  def start(self, number, *args, folder, own=None, limit=150, **env):
    """Starts so many processes of one run.

    Args:
      number: of processes; 1: none of the flags of several.
      args: of all.
      folder: for their output.
      own: process: further arguments of it alone.
      limit: seconds after which they are killed.
      env: of all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    where = f'127.0.0.1:{free_port()}'
    pids = []
    for process in range(number):
      flags = [] if number == 1 else [
        f'--coordinator={where}',
        f'--num_processes={number}',
        f'--process_id={process}',
        '--coordinator_timeout=60',
      ]  # fmt: skip
      given = [*args, *flags, *(own or {}).get(process, ())]
      output = str(folder / str(process))
      pids.append(self.ask(['start', given, output, limit, env]))
    return ForkedRun(self, pids, folder)

  def run(self, number, *args, **kwargs):
    return self.start(number, *args, **kwargs).finish()


def free_port():
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    return free.getsockname()[1]


def _serve():
  """Answers requests; returns in a fork alone the module that it is to run."""
  for line in iter(sys.stdin.readline, ''):
    what, *request = json.loads(line)
    if what == 'wait':
      statuses = [os.waitpid(pid, 0)[1] for pid in request[0]]
      answer = [os.waitstatus_to_exitcode(status) for status in statuses]
    else:
      with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        answer = os.fork()
      if not answer:
        args, output, limit, env, *module = request
        with open(f'{output}.out', 'w') as out, open(f'{output}.err', 'w') as e:
          root = str(commands.ROOT)
          commands.become(MODULE, args, root, limit, env, out=out, err=e)
        return module[0] if module else MODULE
    print(json.dumps(answer), flush=True)
  os._exit(0)


if __name__ == '__main__':
  commands.import_all()
  buckets.register()
  # JAX keeps what process 0 compiles, for all; on a CPU the others cannot take
  # it, so that each would compile everything in every test.
  one = types.SimpleNamespace(process_id=0, client=None)
  mock.patch.object(
    compiler, 'distributed', types.SimpleNamespace(global_state=one)
  ).start()
  commands.leave(_serve())
