"""Connecting the processes of one run, and ending them when one fails.

jax.distributed does the work: process 0 is the coordinator, the others connect
to it, and each sees the devices of all. Addresses and numbers come from a
scheduler that JAX detects (SLURM, Kubernetes, Open MPI, Cloud TPUs) or from
flags.

If a process dies, the others fail in their next collective or miss its
heartbeats, and JAX aborts them with pages of logs. `exit_with` and the handler
of `join` end each process with one line and exit code 1 instead.
"""

import contextlib
import ctypes
import io
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import NamedTuple, NoReturn

import jax
from jax._src import distributed as jax_distributed  # no public name for it

from alexnet_jax.runtime import signals, terminal

_LINGER_SECONDS = 3  # for others to fail with the same error
_LOST = (
  'error: a process of this run has ended or cannot be reached, so this one '
  'ends, too; the log of the first to end says why. Run the same command '
  'again: it resumes from the newest checkpoint\n'
)
_ADDRESS = re.compile(r'^(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d+)$')
_keep: list[object] = []  # the C handler must outlive its installation


class Cluster(NamedTuple):
  """The processes of a run, from flags; None: the scheduler knows."""

  coordinator: str | None  # HOST:PORT of process 0, as the others reach it
  processes: int | None  # how many
  process: int | None  # number of this one, 0 to processes - 1
  timeout: int  # seconds within which all must connect
  heartbeat: int  # seconds without one after which a process counts as dead

  def check(self) -> None:
    """Raises ValueError unless all three flags are given, or none, and fit."""
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
    if not match or not 0 < int(match[2]) < 2**16:  # a TCP port
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

  Afterwards process 0 alone writes to stdout. Raises ValueError if not all
  connect in time, or no scheduler is found.
  """
  cluster.check()
  jax.config.update('jax_enable_preemption_service', False)  # takes SIGTERM
  with _aborts_say(f'error: {_late(cluster)}\n'):
    try:
      _in_thread(lambda: _initialize(cluster))
    except (RuntimeError, ValueError) as error:
      raise ValueError(_refusal(cluster, error)) from error
  _translate_aborts(_LOST, to=2)  # from here on a process can be lost
  _hush()


def _initialize(cluster: Cluster) -> None:
  jax.distributed.initialize(
    cluster.coordinator,
    cluster.processes,
    cluster.process,
    initialization_timeout=cluster.timeout,  # seconds
    heartbeat_timeout_seconds=cluster.heartbeat,  # 20 by default; JAX: 100
    cluster_detection_method=(
      None if cluster.coordinator is None else 'deactivate'
    ),
  )


def _in_thread(act: Callable[[], None]) -> None:
  """Calls a function of C++ that waits, so that signals still act.

  Python's handlers run in the main thread, between its own instructions.
  """
  call: futures.Future[None] = futures.Future()

  def run() -> None:
    try:
      call.set_result(act())
    except BaseException as error:
      call.set_exception(error)

  threading.Thread(target=run, daemon=True).start()
  # Wakes up now and then: the system may give a signal to the other thread.
  while not futures.wait([call], timeout=0.2).done:
    pass
  call.result()


def _refusal(cluster: Cluster, error: Exception) -> str:
  message = str(error).splitlines()[0]
  if cluster.coordinator is None and 'coordinator_address' in message:
    return (
      '--distributed: no scheduler that JAX knows has started this process; '
      'give --coordinator, --num_processes and --process_id'
    )
  return f'{_late(cluster)} ({message})'


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
  """Number of processes of this run; does not initialise devices."""
  return jax_distributed.global_state.num_processes if is_multihost() else 1


def host_index() -> int:
  """Number of this process, from 0 on."""
  return jax_distributed.global_state.process_id if is_multihost() else 0


def is_multihost() -> bool:
  """Whether `join` was called."""
  return jax.distributed.is_initialized()


def is_host0() -> bool:
  """Whether this is host 0, which alone reads and writes the workdir."""
  return host_index() == 0


# Errors of XLA begin with a status; those of this program never do.
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
    named = isinstance(within, (RuntimeError, ValueError))
    if named and _FAILED.match(str(within)):
      return True
    within = within.__cause__ or within.__context__
  return False


def exit_with(error: Exception) -> NoReturn:
  """Ends this process with one line, and thereby the others.

  At an exit JAX would wait for all processes. Here this one waits a moment, so
  that others can print the same error: the end of process 0, the coordinator,
  aborts them.
  """
  sys.stdout.flush()
  defer_aborts()
  if is_lost(error):  # the others are gone: no barrier
    os.write(2, _LOST.encode())
    os._exit(1)
  if isinstance(error, (ValueError, OSError)):
    os.write(2, f'error: {" ".join(str(error).split())}\n'.encode())
  else:  # a bug
    traceback.print_exception(error)
  # A deferred abort may hold a lock that the barrier needs: exit anyway.
  threading.Timer(_LINGER_SECONDS + 1, os._exit, [1]).start()
  client = jax_distributed.global_state.client
  assert client, 'exit_with comes after join'
  with contextlib.suppress(jax.errors.JaxRuntimeError):  # not all are leaving
    client.wait_at_barrier('leave', timeout_in_ms=1000 * _LINGER_SECONDS)
  os._exit(1)


def _hush() -> None:
  """Leaves stdout to Python's prints on process 0; silences libraries."""
  own = os.dup(1)  # the real stdout
  with open(os.devnull, 'w') as nowhere:
    os.dup2(nowhere.fileno(), 1)  # where Gloo logs each connection
  number = own if is_host0() else os.open(os.devnull, os.O_WRONLY)
  assert isinstance(sys.stdout, io.TextIOWrapper)
  sys.stdout = terminal.writer(number, like=sys.stdout, by_line=True)


@contextlib.contextmanager
def _aborts_say(line: str) -> Iterator[None]:
  """Makes `line` the only output of an abort inside."""
  stderr = os.dup(2)  # the real one, for the line
  with open(os.devnull, 'w') as nowhere:
    os.dup2(nowhere.fileno(), 2)
  _translate_aborts(line, to=stderr)
  try:
    with signals.writing_to(stderr):
      yield
  finally:
    os.dup2(stderr, 2)  # the copy stays open: the handler may write to it


def defer_aborts() -> None:
  """Holds aborts from here on, so that this process can finish and exit.

  JAX aborts it when it sees that other processes have ended.
  """

  def wait(_: int) -> None:
    while True:
      time.sleep(60)  # the aborting thread stays here until the exit

  _on_abort(wait)


def _translate_aborts(line: str, *, to: int) -> None:
  """Makes an abort of JAX write `line` and exit with code 1."""

  def end(_: int) -> None:
    os.write(to, line.encode())  # print is not safe in a signal handler
    os._exit(1)

  _on_abort(end)


def _on_abort(do: Callable[[int], None]) -> None:
  """Installs a C handler of SIGABRT, which runs in the aborting thread.

  A Python handler runs between two bytecodes of the main thread, which it never
  reaches again; a C handler runs at once.
  """
  handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(do)
  _keep.append(handler)
  libc = ctypes.CDLL(None)
  libc.signal.restype = ctypes.c_void_p  # a pointer: int would be cut
  libc.signal(signal.SIGABRT, handler)
