"""Processes that measure in turns, one round at a time; not in the paper.

Each has a peak of memory of its own, and while one works the others wait, so
that a neighbour's load falls on all of them alike. They talk in JSON, an object
a line:

  from the process, once it has begun   {"platform": "cpu", ...}
  to it                                 {"work": NAME, "run": SECONDS}
  from it                               {"seconds": ONE GO, "calls": n,
                                         "peak_memory_bytes": ..., FACTS}

A work is built, compiled and warmed up when it is first asked for. The process
ends when its input does. bench/baselines/torch_step.py has the same for PyTorch.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Answer = dict[str, Any]
# What Python says after a trace of the stack, and XLA before one.
_TELLING = re.compile(r'[\w.]*(Error|Exception): |F\d{4} ')
# Goes on their way at once, as steps in train/guard.py. With some thirty, two
# devices of a CPU wait for each other for ever (jax 0.10.2).
_LAG = 2
_ROOT = pathlib.Path(__file__).parents[2]


class Work(NamedTuple):
  """Something that a process can do again and again.

  Attributes:
    once: begins to do it; returns what `wait` waits for.
    wait: until what `once` began is done.
    facts: what else to answer, such as the images of one go.
  """

  once: Callable[[], Any]
  wait: Callable[[Any], Any]
  facts: Answer


class Failed(ValueError):
  """A process ended before it had answered."""


class Process:
  """A process that measures; `machine` is what it said first."""

  def __init__(self, command: Sequence[str]):
    self._errors = tempfile.TemporaryFile('w+')
    self._name = ' '.join(command[:-1])  # the last are the options
    path = os.pathsep.join([str(_ROOT), os.environ.get('PYTHONPATH', '')])
    self._process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      text=True,
      env=os.environ | {'PYTHONPATH': path.rstrip(os.pathsep)},
    )
    self.machine = self._read()

  def ask(self, work: str, *, seconds: float) -> Answer:
    """A round of that many seconds, or of one go if that takes longer."""
    assert self._process.stdin is not None
    request = json.dumps({'work': work, 'run': seconds})
    with contextlib.suppress(BrokenPipeError):  # _read says what is wrong
      self._process.stdin.write(request + '\n')
      self._process.stdin.flush()
    return self._read()

  def close(self) -> None:
    """Lets it end, or ends it."""
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
    said = self._errors.read().strip().splitlines() or ['nothing said']
    self.close()
    line = [*said[-1:], *filter(_TELLING.match, said)][-1]
    raise Failed(f'{self._name} ended with {code}: {line.strip()[:300]}')


@contextlib.contextmanager
def started(command: Sequence[str]) -> Iterator[Process]:
  """A process, until the end of the block.

  Raises:
    Failed: with the last line that it wrote to stderr, if it ends early.
  """
  process = Process(command)
  try:
    yield process
  finally:
    process.close()


def serve(
  works: Mapping[str, Callable[[], Work]],
  *,
  facts: Answer,
  peak_memory: Callable[[], int],
) -> None:
  """What such a process does, from its first answer until stdin ends."""
  answers = _own_stdout()
  print(json.dumps(facts), file=answers, flush=True)
  built: dict[str, Work] = {}
  usual: dict[str, float] = {}
  for line in sys.stdin:
    request = json.loads(line)
    name = request['work']
    if name not in built:
      built[name] = works[name]()
      usual[name] = _warm_up(built[name])
    calls = max(1, round(request['run'] / usual[name]))
    usual[name] = timed(built[name], calls=calls)
    answer = {
      'seconds': usual[name],
      'calls': calls,
      'peak_memory_bytes': peak_memory(),
    }
    print(json.dumps(answer | built[name].facts), file=answers, flush=True)


def _own_stdout() -> Any:
  """The stdout there was; whatever else is printed from now on is stderr's."""
  kept = os.fdopen(os.dup(1), 'w')
  sys.stdout.flush()
  os.dup2(2, 1)
  return kept


def _warm_up(work: Work) -> float:
  """Seconds of a go, after a first one."""
  timed(work, calls=1)
  return timed(work, calls=1)


def timed(work: Work, *, calls: int) -> float:
  """Seconds of one of that many goes."""
  start, begun = time.perf_counter(), collections.deque()
  for _ in range(calls):
    begun.append(work.once())
    if len(begun) > _LAG:
      work.wait(begun.popleft())
  while begun:
    work.wait(begun.popleft())
  return (time.perf_counter() - start) / calls


def host_peak_bytes() -> int:
  """The most memory that this process has had: VmHWM, or what is like it."""
  status = pathlib.Path('/proc/self/status')
  if status.exists():
    (line,) = (s for s in status.read_text().splitlines() if 'VmHWM' in s)
    return int(line.split()[1]) * 1024
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
