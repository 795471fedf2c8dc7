"""Interleaved measuring: workers in processes of their own, a round at a time.

A process of its own gives each worker its own peak memory. While one worker
measures, the others wait, so rounds to be compared are seconds apart and other
load on the machine affects all workers alike. Messages are JSON, one object a
line:

  from a worker, once it has started   {"platform": "cpu", ...}
  to a worker                          {"workload": NAME, "seconds": OF A ROUND}
  from a worker                        {"seconds": OF A CALL, "calls": n,
                                        "peak_memory_bytes": ..., FACTS}

A worker builds and compiles a workload when it is first asked for it, makes a
call that does not count in each round, and ends when its stdin closes:
bench/baselines/serve.py is its side.
"""

import contextlib
import functools
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

_Key = TypeVar('_Key')
_Found = TypeVar('_Found')
Answer = dict[str, Any]
# Lines that name the error: the end of a Python traceback, XLA's fatal ones.
_ERROR_LINE = re.compile(r'[\w.]*(Error|Exception): |F\d{4} ')
ROOT = pathlib.Path(__file__).parents[2]


class WorkerError(ValueError):
  """A worker ended before it answered."""


class Worker:
  """A worker's process, as a context manager; `info` is its first message.

  `variables` are set in its environment. If it ends early, it raises
  WorkerError with the error line of its stderr.
  """

  def __init__(
    self, command: Sequence[str], *, variables: Mapping[str, str] | None = None
  ):
    self._errors = tempfile.TemporaryFile('w+')
    self._name = ' '.join(command[:-1])  # the last argument is all options
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    self._process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      text=True,
      env=os.environ
      | {'PYTHONPATH': path.rstrip(os.pathsep), **(variables or {})},
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


def interleave(
  measures: Mapping[_Key, Callable[[], _Found]], *, rounds: int
) -> dict[_Key, list[_Found]]:
  """Calls each measure once a round, and returns their results by key."""
  found: dict[_Key, list[_Found]] = {key: [] for key in measures}
  for _, key in itertools.product(range(rounds), measures):
    found[key].append(measures[key]())
  return found


def measure(
  series: Mapping[_Key, tuple[Worker, str]], *, seconds: float, rounds: int
) -> dict[_Key, list[Answer]]:
  """The answers of workers to their workloads, interleaved."""
  measures = {
    key: functools.partial(worker.measure, workload, seconds=seconds)
    for key, (worker, workload) in series.items()
  }
  return interleave(measures, rounds=rounds)


def jax_command(module: str, options: dict[str, Any]) -> list[str]:
  """The command of a worker of bench/, with its options as JSON."""
  name = f'alexnet_jax.bench.{module}'
  return [sys.executable, '-m', name, json.dumps(options)]
