"""Worker processes that write shards, and end with their parent.

Not in the paper. A process that is killed cannot tell its workers.
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
  """Raised in a worker when the run is given up."""


class _Worker:
  """What a worker process shares with the first one."""

  done: Any  # a shared count of the images of all workers
  stop: Any  # a shared event; set: give up

  @classmethod
  def start(cls, done, stop, parent: int) -> None:
    cls.done, cls.stop = done, stop
    follow(parent)

  @classmethod
  def progress(cls, images: int) -> None:
    if cls.stop.is_set():
      raise _Stop
    with cls.done.get_lock():
      cls.done.value += images


def follow(parent: int) -> None:
  """Leaves signals to the parent, and ends this process when that is gone."""
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
  threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
  """Ends this process soon after its parent, which may have been killed.

  Else it would wait for work for ever: it holds both ends of the queue.
  """
  while os.getppid() == parent:
    time.sleep(0.2)
  os._exit(1)


def _work(write: Callable[..., shards.Result], shard: shards.Shard):
  return write(shard, progress=_Worker.progress)


def results(
  write: Callable[..., shards.Result],
  todo: Sequence[shards.Shard],
  *,
  workers: int,
  progress: Callable[[int], object],
) -> Iterator[shards.Result]:
  """Results as they come, from processes that share nothing but counts."""
  # Each worker is one of many: a matrix product must not start threads too.
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
      pending = {pool.submit(_work, write, shard) for shard in todo}
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
      # Waits: a worker that still starts looks for what is shared by its name.
      pool.shutdown(cancel_futures=True)
