"""Interleaved measuring: workers in processes of their own, a round at a time.

A process of its own gives each worker its own peak memory. While one worker
measures, the others wait, so rounds to be compared are seconds apart and other
load on the machine affects all workers alike. Messages are JSON, one object a
line:

  from a worker, once it has started   {"platform": "cpu", ...}
  to a worker                          {"workload": NAME, "seconds": OF A ROUND}
  from a worker                        {"seconds": OF A CALL, "calls": n,
                                        "peak_memory_bytes": ..., FACTS}

A worker builds, compiles and warms up a workload when it is first asked for it,
and ends when its stdin closes. bench/baselines/torch_step.py speaks the same
protocol.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple

Answer = dict[str, Any]
# Lines that name the error: the end of a Python traceback, XLA's fatal ones.
_ERROR_LINE = re.compile(r'[\w.]*(Error|Exception): |F\d{4} ')
# Calls dispatched ahead, as in train/guard.py. With about thirty, two CPU
# devices deadlock (jax 0.10.2).
_AHEAD = 2
_ROOT = pathlib.Path(__file__).parents[2]


class Workload(NamedTuple):
  """A call that a worker can repeat.

  Attributes:
    start: dispatches one call; returns what `wait` takes.
    wait: blocks until what `start` dispatched is done.
    facts: added to each answer, such as the images of one call.
  """

  start: Callable[[], Any]
  wait: Callable[[Any], Any]
  facts: Answer


class WorkerError(ValueError):
  """A worker ended before it answered."""


class Worker:
  """A worker's process, as a context manager; `info` is its first message.

  Raises:
    WorkerError: with the error line of its stderr, if it ends early.
  """

  def __init__(self, command: Sequence[str]):
    self._errors = tempfile.TemporaryFile('w+')
    self._name = ' '.join(command[:-1])  # the last argument is all options
    path = os.pathsep.join([str(_ROOT), os.environ.get('PYTHONPATH', '')])
    self._process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      text=True,
      env=os.environ | {'PYTHONPATH': path.rstrip(os.pathsep)},
    )
    self.info = self._read()

  def __enter__(self) -> 'Worker':
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def measure(self, workload: str, *, seconds: float) -> Answer:
    """One round of so many seconds, or of one call if that takes longer."""
    assert self._process.stdin is not None
    request = json.dumps({'workload': workload, 'seconds': seconds})
    with contextlib.suppress(BrokenPipeError):  # _read says what is wrong
      self._process.stdin.write(request + '\n')
      self._process.stdin.flush()
    return self._read()

  def close(self) -> None:
    """Closes its stdin, and kills it if it has not ended 10 s later."""
    assert self._process.stdin and self._process.stdout
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    try:
      self._process.wait(timeout=10)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._process.stdout.close()
    self._errors.close()

  def _read(self) -> Answer:
    assert self._process.stdout is not None
    line = self._process.stdout.readline()
    if line:
      return json.loads(line)
    code = self._process.wait()
    self._errors.seek(0)
    lines = self._errors.read().strip().splitlines() or ['no message']
    self.close()
    line = [*lines[-1:], *filter(_ERROR_LINE.match, lines)][-1]
    raise WorkerError(f'{self._name} ended with {code}: {line.strip()[:300]}')


def serve(
  workloads: Mapping[str, Callable[[], Workload]],
  *,
  info: Answer,
  peak_memory: Callable[[], int],
) -> None:
  """The main loop of a worker: answers until stdin closes.

  Args:
    workloads: name -> what builds it.
    info: the first message.
    peak_memory: bytes, measured after each round.
  """
  out = _take_stdout()
  print(json.dumps(info), file=out, flush=True)
  built: dict[str, Workload] = {}
  usual: dict[str, float] = {}
  for line in sys.stdin:
    request = json.loads(line)
    name = request['workload']
    if name not in built:
      built[name] = workloads[name]()
      timed(built[name], calls=1)  # warms up
      usual[name] = timed(built[name], calls=1)
    calls = max(1, round(request['seconds'] / usual[name]))
    usual[name] = timed(built[name], calls=calls)
    answer = {
      'seconds': usual[name],
      'calls': calls,
      'peak_memory_bytes': peak_memory(),
    }
    print(json.dumps(answer | built[name].facts), file=out, flush=True)


def _take_stdout() -> IO[str]:
  """Stdout for messages alone; all other output goes to stderr from now on."""
  out = os.fdopen(os.dup(1), 'w')
  sys.stdout.flush()
  os.dup2(2, 1)
  return out


def timed(workload: Workload, *, calls: int) -> float:
  """Seconds of a call, on average over so many."""
  start, pending = time.perf_counter(), collections.deque()
  for _ in range(calls):
    pending.append(workload.start())
    if len(pending) > _AHEAD:
      workload.wait(pending.popleft())
  while pending:
    workload.wait(pending.popleft())
  return (time.perf_counter() - start) / calls


def host_peak_bytes() -> int:
  """The peak resident memory of this process: VmHWM, or ru_maxrss."""
  status = pathlib.Path('/proc/self/status')
  if status.exists():
    (line,) = (s for s in status.read_text().splitlines() if 'VmHWM' in s)
    return int(line.split()[1]) * 1024
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
