"""Joining the processes of one run; not in the paper, whose two GPUs share one.

The engine is JAX's own: process 0 is the coordinator, the others connect to it,
and each sees the devices of all. A cluster's scheduler says who is who (SLURM,
Kubernetes, Open MPI, Cloud TPUs: jax.distributed finds out), or flags do.

A process that dies takes the others with it: they fail in the next thing that
they do together, or miss its heartbeats. What JAX then does is abort, with
pages of its own; `leave` and the handler of `join` end each process with a line
and exit code 1 in its place.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

import jax
from jax._src import distributed as jax_distributed  # its state has no other

_LINGER_SECONDS = 3  # for others to come to the same end
_LOST = (
  'error: a process of this run has ended or cannot be reached, so this one '
  'ends, too; the log of the first to end says why. Run the same command '
  'again: it goes on from the newest checkpoint\n'
)
_ADDRESS = re.compile(r'^(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d+)$')
_keep: list[object] = []  # the C handler must outlive its installation


class Cluster(NamedTuple):
  """Who takes part, as flags say it; None: as the scheduler says.

  Attributes:
    coordinator: HOST:PORT of process 0, as the others reach it.
    processes: how many there are.
    process: which this is, 0 to processes - 1.
    timeout: seconds in which all have to come.
    heartbeat: seconds without a sign of life after which one counts as dead.
  """

  coordinator: str | None
  processes: int | None
  process: int | None
  timeout: int
  heartbeat: int

  def check(self) -> None:
    """Raises ValueError unless all three are given, or none, and they fit."""
    given = {
      '--coordinator': self.coordinator,
      '--num_processes': self.processes,
      '--process_id': self.process,
    }
    missing = [flag for flag, value in given.items() if value is None]
    if len(missing) == len(given):
      return
    if missing:
      raise ValueError(
        f'{", ".join(missing)}: missing; give all of {", ".join(given)}, or '
        '--distributed alone where a scheduler knows them'
      )
    match = _ADDRESS.match(self.coordinator or '')
    if not match or not 0 < int(match[2]) < 2**16:
      raise ValueError(
        f'--coordinator={self.coordinator}: use HOST:PORT of process 0, such '
        'as node0:12345'
      )
    if not 0 <= (self.process or 0) < (self.processes or 0):
      raise ValueError(
        f'--process_id={self.process}: use 0 to --num_processes - 1 = '
        f'{(self.processes or 0) - 1}'
      )


def join(cluster: Cluster) -> None:
  """Connects this process with the others; call it before JAX runs anything.

  From then on process 0 alone writes to stdout.

  Raises:
    ValueError: if they do not come together in time, or no scheduler is found.
  """
  cluster.check()
  jax.config.update('jax_enable_preemption_service', False)  # takes SIGTERM
  with _aborts_say(f'error: {_late(cluster)}\n'):
    try:
      jax.distributed.initialize(
        cluster.coordinator,
        cluster.processes,
        cluster.process,
        initialization_timeout=cluster.timeout,
        heartbeat_timeout_seconds=cluster.heartbeat,
        cluster_detection_method=(
          None if cluster.coordinator is None else 'deactivate'
        ),
      )
    except (RuntimeError, ValueError) as error:
      raise ValueError(_refusal(cluster, error)) from error
  _translate_aborts(_LOST, to=2)
  _hush()


def _refusal(cluster: Cluster, error: Exception) -> str:
  said = str(error).splitlines()[0]
  if cluster.coordinator is None and 'coordinator_address' in said:
    return (
      '--distributed: no scheduler that JAX knows has started this process; '
      'give --coordinator, --num_processes and --process_id'
    )
  return f'{_late(cluster)} ({said})'


def _late(cluster: Cluster) -> str:
  where = cluster.coordinator or "the scheduler's coordinator"
  number = f'{cluster.processes} ' if cluster.processes else ''
  return (
    f'the {number}processes did not come together at {where} within '
    f'{cluster.timeout} s: see that all were started, with the same '
    '--coordinator and --num_processes, and that its port can be reached; '
    '--coordinator_timeout sets the time'
  )


def host_count() -> int:
  """Processes of this run; asks nothing of the devices."""
  return jax_distributed.global_state.num_processes if is_multihost() else 1


def host_index() -> int:
  """Which of them this is."""
  return jax_distributed.global_state.process_id if is_multihost() else 0


def is_multihost() -> bool:
  """Whether `join` was called."""
  return jax.distributed.is_initialized()


def is_host0() -> bool:
  """Whether this process writes what a run leaves."""
  return host_index() == 0


# Of XLA, which begins with a status; an error of this program never does.
_FAILED = re.compile(
  r'(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED):'
  r'|[A-Z_]+: .*(?i:Gloo|NCCL|coordination service|heartbeat|barrier'
  r'|Connection (reset|closed))',
  re.DOTALL,
)


def is_lost(error: BaseException) -> bool:
  """Whether an error says that another process cannot be reached.

  >>> is_lost(ValueError('UNKNOWN: Gloo AllGather failed: Read error'))
  True
  >>> is_lost(ValueError('/data/Gloo does not exist: give one that does'))
  False
  """
  within: BaseException | None = error
  while within:
    if isinstance(within, (RuntimeError, ValueError)) and _FAILED.match(
      str(within)
    ):
      return True
    within = within.__cause__ or within.__context__
  return False


def exit_with(error: Exception) -> NoReturn:
  """Ends this process with a line, and thereby the others.

  What JAX does at an exit is to wait for all processes. Here an error of this
  one waits a moment, for others that have to tell of it, too: the end of
  process 0, the coordinator, aborts them.
  """
  sys.stdout.flush()
  defer_aborts()
  if is_lost(error):
    os.write(2, _LOST.encode())
    os._exit(1)
  if isinstance(error, (ValueError, OSError)):
    os.write(2, f'error: {" ".join(str(error).split())}\n'.encode())
  else:  # a bug
    traceback.print_exception(error)
  # An abort that is held may itself hold what the barrier needs.
  threading.Timer(_LINGER_SECONDS + 1, os._exit, [1]).start()
  client = jax_distributed.global_state.client
  assert client, 'leave comes after join'
  with contextlib.suppress(jax.errors.JaxRuntimeError):  # not all are leaving
    client.wait_at_barrier('leave', timeout_in_ms=1000 * _LINGER_SECONDS)
  os._exit(1)


def _hush() -> None:
  """Leaves stdout to Python's own prints, and to those of process 0."""
  own = os.dup(1)
  with open(os.devnull, 'w') as nowhere:
    os.dup2(nowhere.fileno(), 1)  # where Gloo tells of each connection
  sys.stdout = open(
    own if is_host0() else os.devnull,
    'w',
    buffering=1,
    encoding=sys.stdout.encoding,
    errors=sys.stdout.errors,
  )


@contextlib.contextmanager
def _aborts_say(line: str) -> Iterator[None]:
  """Inside, an abort says this and nothing else."""
  stderr = os.dup(2)
  with open(os.devnull, 'w') as nowhere:
    os.dup2(nowhere.fileno(), 2)
  _translate_aborts(line, to=stderr)
  try:
    yield
  finally:
    os.dup2(stderr, 2)  # the copy stays open: the handler may write to it


def defer_aborts() -> None:
  """From here on this process ends by itself, with what it has to do first.

  An abort of JAX, as others have ended by now, waits for it.
  """

  def wait(number: int) -> None:
    del number
    while True:
      time.sleep(60)

  _on_abort(wait)


def _translate_aborts(line: str, *, to: int) -> None:
  """Lets a line be the last that an abort of JAX says, and 1 its exit code."""

  def end(number: int) -> None:
    del number
    os.write(to, line.encode())
    os._exit(1)

  _on_abort(end)


def _on_abort(do: Callable[[int], None]) -> None:
  """Calls it in the thread that aborts.

  Python's own handlers run between two of its instructions, which an abort in
  another thread never reaches; C's does at once.
  """
  handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(do)
  _keep.append(handler)
  libc = ctypes.CDLL(None)
  libc.signal.restype = ctypes.c_void_p
  libc.signal(signal.SIGABRT, handler)
