"""Commands in processes of their own, several at once; not in the paper.

Each has a log for stdout and stderr, which stays locked for as long as the
process lives: also when the one that started it has been killed, so that who
comes after does not start the same again beside it.
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

Place = dict[str, str]  # what it adds to the environment


class Job(NamedTuple):
  """One command, and where its output goes."""

  name: str
  command: tuple[str, ...]
  log: pathlib.Path


class End(NamedTuple):
  """How a command ended; `error` is a line, '' if all went well."""

  code: int  # a signal is negative
  error: str


class _Child(NamedTuple):
  job: Job
  place: Place
  process: subprocess.Popen[bytes]
  begin: int  # of its part of the log, bytes

  def end(self) -> End:
    code = self.process.wait()
    if not code:
      return End(0, '')
    with contextlib.suppress(FileNotFoundError):  # someone has removed it
      said = self.job.log.read_bytes()[self.begin :].decode(errors='replace')
      return End(code, _error(code, said.splitlines()))
    return End(code, _error(code, []))


def run(
  jobs: Sequence[Job],
  *,
  places: Sequence[Place],
  stop: signals.Stop,
  ended: Callable[[Job, End], None],
  began: Callable[[Job], None] = lambda job: None,
) -> None:
  """Runs every job, one at a time in each place; one's end is not the others'.

  Args:
    jobs: in the order in which they begin.
    places: as from `share`.
    stop: once it is asked, none begins any more and all are asked to stop.
    ended: told of each that ended.
    began: told of each that begins.
  """
  _wait_for_earlier(jobs, stop=stop)
  waiting, free = list(jobs), list(places)
  children: list[_Child] = []
  try:
    while children or (waiting and not stop.asked):
      while waiting and free and not stop.asked:
        children.append(_start(waiting.pop(0), place=free.pop(0)))
        began(children[-1].job)
      if stop.asked:
        _terminate(children)
      for child in [c for c in children if c.process.poll() is not None]:
        children.remove(child)
        free.append(child.place)
        ended(child.job, child.end())
      time.sleep(_POLL_SECONDS)
  finally:
    _terminate(children)  # if there still are any, something went wrong here


def _wait_for_earlier(jobs: Sequence[Job], *, stop: signals.Stop) -> None:
  """Waits for processes that are left of a study that was killed."""
  told = False
  while not stop.asked:
    going = [job.name for job in jobs if _is_going(job)]
    if not going:
      return
    if not told:
      print(f'waiting for {", ".join(going)}, which still runs', flush=True)
    told = True
    time.sleep(_POLL_SECONDS)


def _is_going(job: Job) -> bool:
  if not job.log.is_file():
    return False
  with open(job.log, 'rb') as log:
    try:
      fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
      return True
  return False


def _start(job: Job, *, place: Place) -> _Child:
  """Starts it in a session of its own: Ctrl-C is for us to pass on."""
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
  """Why a command failed, in a line."""
  if code < 0:
    return f'killed by {signal.Signals(-code).name}'
  if code == signals.EXIT_CODE:
    return 'stopped by a signal'
  said = [line for line in lines if line.strip()]
  told = [line for line in said if line.startswith('error: ')] or said
  return told[-1].removeprefix('error: ') if told else f'exit code {code}'


def share(*, devices: int, jobs: int | None) -> list[Place]:
  """Places for jobs that need so many devices each; `jobs` of them, if given.

  On GPUs each place has its own, as many places as there are GPUs for; on a
  CPU there is one, since a job has threads for all cores.

  Raises:
    ValueError: if `jobs` is more than there are GPUs for.
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
  """Ids of the GPUs that JAX would use; not asked of it, it would take them.

  What CUDA_VISIBLE_DEVICES or JAX_PLATFORMS leaves out is not among them. Of
  the former, CUDA takes what stands before the first that is no GPU's id.
  """
  if os.environ.get('JAX_PLATFORMS') == 'cpu':
    return []
  if not any(map(importlib.util.find_spec, _PLUGINS)):
    return []
  if _VISIBLE in os.environ:
    ids = [i.strip() for i in os.environ[_VISIBLE].split(',')]
    return list(itertools.takewhile(_ID.match, ids))
  return [str(n) for n in range(len(glob.glob('/dev/nvidia[0-9]*')))]
