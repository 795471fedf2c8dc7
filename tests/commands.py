"""Commands as a user types them, without starting Python for each.

A process imports once what commands import, which takes seconds, and forks for
each command. What has been imported is then all that differs from a new
`python -m MODULE ARGS`: the fork has its own flags, folder, output, atexit
handlers and exit code, and JAX has no backend before it looks for one.

Environment variables that are read when JAX is imported come too late: those
of JAX are set in its config, by hand.
"""

import atexit
import gc
import importlib
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from typing import NamedTuple

import jax

from tests import buckets

ROOT = pathlib.Path(__file__).parent.parent
# Not the commands themselves: they define their flags when they are run.
_IMPORTED = (
  'alexnet_jax.studies.figures.style',
  'alexnet_jax.studies.report',
  'alexnet_jax.bench.input',
  'alexnet_jax.studies.communication',
  'alexnet_jax.data.prepare.run',
  'alexnet_jax.evaluate.ensemble',
  'alexnet_jax.studies.ablation.page',
  'alexnet_jax.models.summary',
  'alexnet_jax.cli',
  'alexnet_jax.train',
  'alexnet_jax.configs.smoke',
  'tensorflow_datasets',
)


_VALUES = {'0': False, '1': True}  # of JAX_... variables


class Done(NamedTuple):
  """How a command ended, named as in subprocess; a signal is negative."""

  returncode: int
  stdout: str
  stderr: str


class Server:
  """Runs commands one after another until it is left.

  with Server() as server:
    server.run('alexnet_jax.main', '--config=configs/smoke.py')
  """

  def __enter__(self) -> 'Server':
    self._process = subprocess.Popen(
      # -B: that an import leaves a file behind is no doing of the command.
      [sys.executable, '-B', '-m', 'tests.commands'],
      cwd=ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    return self

  def __exit__(self, *error: object) -> None:
    self._process.communicate(timeout=10)  # no more to do: it ends

  def run(self, module: str, *args: str, cwd=ROOT, limit=120, **env) -> Done:
    """python -m MODULE ARGS in a folder, killed after `limit` seconds."""
    request = (module, list(args), str(cwd), limit, env)
    print(json.dumps(request), file=self._process.stdin, flush=True)
    return Done(*json.loads(self._process.stdout.readline()))


def _serve() -> str:
  """Answers requests; returns in a fork alone, which is to run what it says."""
  for request in iter(sys.stdin.readline, ''):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
      with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Python 3.12 warns of numpy's threads
        child = os.fork()
      if not child:
        return become(*json.loads(request), out=out, err=err)
      _, status = os.waitpid(child, 0)
      out.seek(0), err.seek(0)
      texts = [file.read().decode(errors='replace') for file in (out, err)]
      code = os.waitstatus_to_exitcode(status)
      print(json.dumps([code, *texts]), flush=True)
  os._exit(0)


def become(module, args, cwd, limit, env, *, out, err) -> str:
  """Makes this process `python -m MODULE ARGS`, all but running MODULE."""
  with open(os.devnull) as nothing:
    for number, file in enumerate((nothing, out, err)):
      os.dup2(file.fileno(), number)
  signal.alarm(limit)
  os.environ.update(env)
  for name, value in env.items():  # what `import jax` would have read
    if name.lower() in jax.config.values:
      jax.config.update(name.lower(), _VALUES.get(value, value))
  os.chdir(cwd)
  sys.path[:1] = [cwd, str(ROOT)]
  sys.argv[1:] = args
  return module


def leave(module: str) -> None:
  """Runs MODULE, and ends as the interpreter would, but without cleaning up.

  To take all modules apart takes a tenth of a second, several times the rest.
  """
  code: object = 1
  try:
    runpy.run_module(module, run_name='__main__', alter_sys=True)
    code = 0
  except SystemExit as stop:
    code = stop.code or 0
    if not isinstance(code, int):
      print(code, file=sys.stderr)
  except BaseException:
    sys.excepthook(*sys.exc_info())
  threading._shutdown()  # waits for threads, as it does at the end of Python
  atexit._run_exitfuncs()
  sys.stdout.flush()
  os._exit(code if isinstance(code, int) else 1)


def import_all() -> None:
  """Imports what commands import."""
  for name in _IMPORTED:
    importlib.import_module(name)
  # Forks end before much garbage is there: looking for it takes 8 % of the time
  # of one that trains. They would also copy what the collector looks through.
  gc.disable()
  gc.freeze()


if __name__ == '__main__':
  import_all()
  buckets.register()
  leave(_serve())
