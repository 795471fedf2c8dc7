"""Processes that share the work of preparing, and exit with their parent.

A parent that is killed cannot stop its workers, so they watch it.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

_Part = TypeVar('_Part')
_Result = TypeVar('_Result')
Progress = Callable[[int], object]  # called with the images done since then


def cores() -> int:
  """Cores that this process may use, of which taskset takes some away."""
  if hasattr(os, 'sched_getaffinity'):  # not on a Mac
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


class _Shared:
  """State that a worker process shares with its parent."""

  done: Any  # counter of the images of all workers
  stop: Any  # event; set when the run ends early


def run(
  work: Callable[..., _Result],
  parts: Sequence[_Part],
  *,
  workers: int,
  progress: Progress,
) -> Iterator[_Result]:
  """Yields `work(part, progress=...)` of each part in order.

  With one worker this process does the work. Raises ValueError if a worker is
  killed.
  """
  if workers == 1:
    yield from (work(part, progress=progress) for part in parts)
    return
  # A matrix product in a worker must not start threads of its own.
  os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
  context = multiprocessing.get_context('spawn')
  done, stop, seen = context.Value('Q', 0), context.Event(), 0
  with concurrent.futures.ProcessPoolExecutor(
    workers, context, initializer=_start, initargs=(done, stop)
  ) as pool:
    try:
      for future in [pool.submit(work, p, progress=_count) for p in parts]:
        waiting = True
        while waiting:
          waiting = concurrent.futures.wait([future], timeout=0.5).not_done
          now = done.value
          progress(now - seen)
          seen = now
        yield future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
      raise ValueError(
        'a worker was killed, perhaps for lack of memory: run again with '
        'fewer --workers; shards that are finished are kept'
      ) from error
    finally:
      stop.set()
      # Waits, since a worker that is starting opens the shared state by name.
      pool.shutdown(cancel_futures=True)


def _start(done: Any, stop: Any) -> None:
  """Initialises a worker process."""
  _Shared.done, _Shared.stop = done, stop
  for number in (signal.SIGINT, signal.SIGTERM):  # the parent handles these
    signal.signal(number, signal.SIG_IGN)
  threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
  """Exits with the parent: a worker holds both ends of the queue it reads."""
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os._exit(1)


def _count(images: int) -> None:
  """Counts the images done in a worker, which ends its work if told to stop."""
  if _Shared.stop.is_set():
    raise KeyboardInterrupt
  with _Shared.done.get_lock():
    _Shared.done.value += images
