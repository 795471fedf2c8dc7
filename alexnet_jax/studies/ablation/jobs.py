"""Runs commands in processes of their own, several at once.

Each process holds a lock on its log while it lives, even if the study that
started it was killed: a later study waits for it instead of starting it twice.
"""

import contextlib
import fcntl
import glob
import importlib.util
import itertools
import os
import pathlib
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from alexnet_jax.runtime import signals

_POLL_SECONDS = 0.1
_VISIBLE = 'CUDA_VISIBLE_DEVICES'
_ID = re.compile(r'\d+$|(GPU|MIG)-')
_PLUGINS = ('jax_cuda12_plugin', 'jax_cuda13_plugin')

Place = dict[str, str]  # environment variables, such as its GPUs


class Job(NamedTuple):
  """A command, and the file for its output."""

  name: str
  command: tuple[str, ...]
  log: pathlib.Path


class End(NamedTuple):
  """How a command ended; `error` is one line, '' on success."""

  code: int  # exit code; negative for a signal
  error: str


class _Child(NamedTuple):
  job: Job
  place: Place
  process: subprocess.Popen[bytes]
  begin: int  # byte in the log where its output begins

  def end(self) -> End:
    code, said = self.process.wait(), b''
    if not code:
      return End(0, '')
    with contextlib.suppress(FileNotFoundError):  # a user removed it
      said = self.job.log.read_bytes()[self.begin :]
    return End(code, _error(code, said.decode(errors='replace').splitlines()))


def run_all(
  jobs: Sequence[Job],
  *,
  places: Sequence[Place],
  stop: signals.Stop,
  ended: Callable[[Job, End], None],
) -> None:
  """Runs jobs in order, one at a time in each place, and prints each beginning.

  A failure stops no other job. Once `stop` is set, no job starts, and current
  ones are terminated.
  """
  _wait_for_earlier(jobs, stop=stop)
  waiting, free = list(jobs), list(places)
  children: list[_Child] = []
  try:
    while children or (waiting and not stop.asked):
      while waiting and free and not stop.asked:
        job = waiting.pop(0)
        children.append(_start(job, place=free.pop(0)))
        print(f'{job.name}: begins; {job.log}', flush=True)
      if stop.asked:
        _terminate(children)
      for child in [c for c in children if c.process.poll() is not None]:
        children.remove(child)
        free.append(child.place)
        ended(child.job, child.end())
      time.sleep(_POLL_SECONDS)
  finally:
    _terminate(children)  # some are left only after an exception


def _wait_for_earlier(jobs: Sequence[Job], *, stop: signals.Stop) -> None:
  """Waits for processes that a killed study left behind."""
  printed = False
  while not stop.asked and (going := [j.name for j in jobs if _is_going(j)]):
    if not printed:
      print(f'waiting for {", ".join(going)}, which still runs', flush=True)
    printed = True
    time.sleep(_POLL_SECONDS)


def _is_going(job: Job) -> bool:
  with contextlib.suppress(FileNotFoundError), open(job.log, 'rb') as log:
    try:
      fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
      return True
  return False


def _start(job: Job, *, place: Place) -> _Child:
  """Starts it in a session of its own, which Ctrl-C does not reach."""
  job.log.parent.mkdir(parents=True, exist_ok=True)
  with open(job.log, 'ab') as log:
    fcntl.flock(log, fcntl.LOCK_EX)  # the child inherits it
    begin = log.tell()
    process = subprocess.Popen(
      job.command,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      start_new_session=True,
      env=os.environ | place,
    )
  return _Child(job, place, process, begin)


def _terminate(children: Sequence[_Child]) -> None:
  for child in children:
    if child.process.poll() is None:
      child.process.terminate()


def _error(code: int, lines: Sequence[str]) -> str:
  """Why a command failed, in one line."""
  if code < 0:
    return f'killed by {signal.Signals(-code).name}'
  if code == signals.EXIT_CODE:
    return 'stopped by a signal'
  said = [line for line in lines if line.strip()]
  errors = [line for line in said if line.startswith('error: ')] or said
  return errors[-1].removeprefix('error: ') if errors else f'exit code {code}'


def divide_gpus(*, devices: int, jobs: int | None) -> list[Place]:
  """Places for jobs that need so many GPUs each: as many as are asked for.

  None stands for as many as there are GPUs for, on a CPU for one, as a job uses
  all cores. Raises ValueError if `jobs` is more than there are GPUs for.
  """
  found = gpus()
  if not found:
    return [{}] * (jobs or 1)
  most = max(1, len(found) // devices)
  if jobs is not None and jobs > most:
    raise ValueError(
      f'--jobs={jobs} runs at once of {devices} GPUs each, but there are '
      f'{len(found)}: use --jobs={most} or less'
    )
  shares = [found[n * devices : (n + 1) * devices] for n in range(jobs or most)]
  return [{_VISIBLE: ','.join(ids)} for ids in shares]


def gpus() -> list[str]:
  """Ids of the GPUs that JAX would use, found without JAX, which takes them.

  CUDA_VISIBLE_DEVICES and JAX_PLATFORMS exclude some; CUDA ignores all that
  follows the first invalid id in the former.
  """
  on_cpu = os.environ.get('JAX_PLATFORMS') == 'cpu'
  if on_cpu or not any(map(importlib.util.find_spec, _PLUGINS)):
    return []
  if _VISIBLE in os.environ:
    ids = [i.strip() for i in os.environ[_VISIBLE].split(',')]
    return list(itertools.takewhile(_ID.match, ids))
  return [str(n) for n in range(len(glob.glob('/dev/nvidia[0-9]*')))]
