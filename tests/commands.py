"""Runs commands as a user types them, without four seconds of imports each.

A server process imports what the commands import, touches no device, and forks
for each command: the child's argv, output and exit code are those of
`python -m MODULE ARGS`.

  python -m tests.commands      the server: a JSON object a line, in and out
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent


class Done(NamedTuple):
  """What a command left."""

  returncode: int
  stdout: str
  stderr: str


class Server:
  """Starts the process; `close` ends it."""

  def __init__(self):
    self._process = subprocess.Popen(
      [sys.executable, '-m', 'tests.commands'],
      cwd=ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def run(self, module, *args, cwd=ROOT):
    """`python -m MODULE ARGS` in a folder."""
    request = {'argv': [module, *map(str, args)], 'cwd': str(cwd)}
    self._process.stdin.write(json.dumps(request) + '\n')
    self._process.stdin.flush()
    return Done(**json.loads(self._process.stdout.readline()))

  def close(self):
    self._process.communicate(timeout=30)


def _serve():
  import alexnet_jax.tools.cli
  import alexnet_jax.train  # noqa: F401
  from alexnet_jax.data import listing, measure, prepare  # noqa: F401

  for line in sys.stdin:
    print(json.dumps(_run(**json.loads(line))._asdict()), flush=True)


def _run(argv, cwd):
  with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
    child = os.fork()
    if not child:
      os.dup2(out.fileno(), 1)
      os.dup2(err.fileno(), 2)
      os._exit(_become(argv, cwd=cwd))
    _, status = os.waitpid(child, 0)
    for file in (out, err):
      file.seek(0)
    return Done(os.waitstatus_to_exitcode(status), out.read(), err.read())


def _become(argv, *, cwd):
  """Runs the module as __main__; the exit code Python would give."""
  import runpy

  os.chdir(cwd)
  sys.argv = argv
  code = 0
  try:
    runpy.run_module(argv[0], run_name='__main__', alter_sys=True)
  except SystemExit as error:
    code = error.code or 0
  except BaseException:
    traceback.print_exc()
    code = 1
  sys.stdout.flush()
  sys.stderr.flush()
  return code if isinstance(code, int) else 1


if __name__ == '__main__':
  _serve()
