"""Worker processes that write shards, and exit when their parent is gone.

A parent that is killed cannot stop its workers, so they watch it.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from alexnet_jax.data.prepare import shards


class _Stop(Exception):
  """Raised in a worker when the run ends early."""


class _Worker:
  """State that a worker process shares with its parent."""

  done: Any  # shared counter of the images of all workers
  stop: Any  # shared event; set when the run ends early

  @classmethod
  def start(cls, done: Any, stop: Any, parent: int) -> None:
    """Initialises a worker process."""
    cls.done, cls.stop = done, stop
    exit_with_parent(parent)

  @classmethod
  def progress(cls, images: int) -> None:
    """Counts images; raises _Stop if the run ends early."""
    if cls.stop.is_set():
      raise _Stop
    with cls.done.get_lock():
      cls.done.value += images


def exit_with_parent(parent: int) -> None:
  """Initialises a worker: ignores signals, and exits when the parent is gone.

  Args:
    parent: process id.
  """
  for number in (signal.SIGINT, signal.SIGTERM):  # the parent handles these
    signal.signal(number, signal.SIG_IGN)
  threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
  """Exits this process once its parent is gone.

  A worker holds both ends of the queue, so it would wait for work for ever.
  """
  while os.getppid() == parent:
    time.sleep(0.2)
  os._exit(1)


def _write(
  write: Callable[..., shards.Result], shard: shards.Shard
) -> shards.Result:
  return write(shard, progress=_Worker.progress)


def write_shards(
  write: Callable[..., shards.Result],
  todo: Sequence[shards.Shard],
  *,
  workers: int,
  progress: Callable[[int], object],
) -> Iterator[shards.Result]:
  """Writes shards in several processes; yields results as they finish.

  Args:
    write: shards.write with its folder and options bound.
    todo: the shards.
    workers: number of processes.
    progress: called with the number of images done since its last call.

  Raises:
    ValueError: if a worker is killed.
  """
  # A matrix product in a worker must not start threads of its own.
  os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
  context = multiprocessing.get_context('spawn')
  done, stop, seen = context.Value('Q', 0), context.Event(), 0
  with concurrent.futures.ProcessPoolExecutor(
    workers,
    context,
    initializer=_Worker.start,
    initargs=(done, stop, os.getpid()),
  ) as pool:
    try:
      pending = {pool.submit(_write, write, shard) for shard in todo}
      while pending:
        finished, pending = concurrent.futures.wait(
          pending, timeout=0.5, return_when='FIRST_COMPLETED'
        )
        now = done.value
        progress(now - seen)
        seen = now
        yield from (future.result() for future in finished)
    except concurrent.futures.process.BrokenProcessPool as error:
      raise ValueError(
        'a worker was killed, perhaps for lack of memory: run again with '
        'fewer --workers; finished shards are kept'
      ) from error
    finally:
      stop.set()
      # Waits, since a worker that is starting opens the shared state by name.
      pool.shutdown(cancel_futures=True)
