"""What a run writes for people and programs: config, metrics, progress.

A line of metrics.jsonl is written whole or not at all, and each step is there
once: a resumed run first drops what lies beyond its checkpoint. Not in the
paper.
"""

import contextlib
import errno
import json
import os
import pathlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import tqdm
from tensorboardX import record_writer, summary
from tensorboardX.proto import event_pb2

from alexnet_jax.steps import metrics

Record = dict[str, Any]
_LINE_SECONDS = 20  # between progress lines in a log file


def write_json(path: pathlib.Path, value: Any) -> None:
  """Replaces a file as a whole.

  Raises:
    WriteError: if it cannot; the old one is then still there.
  """
  with told(path):
    _replace(path, json.dumps(value, indent=2, sort_keys=True) + '\n')


def _replace(path: pathlib.Path, text: str) -> None:
  """Whenever the power goes, either the old file is there or the new one."""
  scratch = path.with_name(f'.{path.name}.tmp')
  with open(scratch, 'w') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  scratch.replace(path)


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """An object that write_json wrote; {} if there is none, or it is damaged."""
  try:
    value = json.loads(path.read_text())
  except (FileNotFoundError, ValueError):
    return {}
  return value if isinstance(value, dict) else {}


def read_metrics(path: pathlib.Path) -> list[Record]:
  """The whole lines of a metrics.jsonl; none if there is no file."""
  if not path.exists():
    return []
  *lines, _ = path.read_text().split('\n')
  records = []
  for number, line in enumerate(lines, start=1):
    try:
      records.append(json.loads(line))
    except json.JSONDecodeError as error:
      raise ValueError(
        f'{path}, line {number} is damaged: remove that line, or use another '
        '--workdir'
      ) from error
  return records


class WriteError(ValueError):
  """A file of the workdir cannot be written; it is as it was."""

  def __init__(self, path: pathlib.Path, error: OSError):
    super().__init__(
      f'{path} cannot be written: {error.strerror}; make room or mend the '
      'disk, and run the same command again: it goes on from the newest '
      'checkpoint'
    )


@contextlib.contextmanager
def told(path: pathlib.Path) -> Iterator[None]:
  """Turns what goes wrong with the disk inside into a WriteError."""
  try:
    yield
  except OSError as error:
    raise WriteError(path, error) from error


class Metrics:
  """metrics.jsonl and TensorBoard."""

  def __init__(
    self, workdir: pathlib.Path, *, kept: list[Record], writes: bool = True
  ):
    """Opens both after the records to keep; others are dropped.

    Args:
      workdir: of the run.
      kept: what is in metrics.jsonl up to where the run begins.
      writes: whether this process does; if not, it only knows the last record.
    """
    self.last = kept[-1] if kept else None
    self._writes = writes
    self._path = workdir / 'metrics.jsonl'
    if not writes:
      return
    with told(self._path):
      _replace(self._path, ''.join(json.dumps(r) + '\n' for r in kept))
      self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
    self._board = _Board(workdir, first=kept[-1]['step'] + 1 if kept else 0)

  def write(self, record: Record) -> None:
    """Adds a line with the time; numbers go to TensorBoard under the split.

    Raises:
      WriteError: if the disk is full, or the file has gone; no part of the
        line is then written.
    """
    self.last = record | {'time': time.time()}
    if not self._writes:
      return
    with told(self._path):
      self._append((json.dumps(self.last) + '\n').encode())
    views = f'_{record["views"]}_views' if record.get('views', 1) > 1 else ''
    self._board.add(
      {
        f'{record["split"]}{views}/{name}': value
        for name, value in record.items()
        if isinstance(value, float) and name != 'epoch'
      },
      step=record['step'],
    )

  def _append(self, line: bytes) -> None:
    there = os.fstat(self._file)
    if not self._path.exists():  # writing would succeed, into nothing
      raise FileNotFoundError(errno.ENOENT, 'it was removed during the run')
    try:
      written = os.write(self._file, line)
      if written < len(line):
        raise OSError(errno.ENOSPC, 'No space left on device')
    except OSError:
      os.ftruncate(self._file, there.st_size)
      raise

  def sync(self) -> None:
    """Waits until the disk has every line."""
    if not self._writes:
      return
    with told(self._path):
      os.fsync(self._file)
    self._board.sync()

  def close(self) -> None:
    if not self._writes:
      return
    os.close(self._file)
    self._board.close()


class _Board:
  """An event file of TensorBoard; written here, not by a thread of its own.

  tensorboardX's SummaryWriter has one, which ends with a traceback when a disk
  is full.
  """

  def __init__(self, workdir: pathlib.Path, *, first: int):
    """Begins a file; events from step `first` on in others are void."""
    name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}'
    self._path = workdir / name
    with told(self._path):
      self._writer = record_writer.RecordWriter(str(self._path))
    self._put(event_pb2.Event(file_version='brain.Event:2'))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._put(event_pb2.Event(step=first, session_log=start))

  def add(self, scalars: dict[str, float], *, step: int) -> None:
    for name, value in scalars.items():
      self._put(event_pb2.Event(step=step, summary=summary.scalar(name, value)))

  def _put(self, event: event_pb2.Event) -> None:
    event.wall_time = time.time()
    with told(self._path):
      self._writer.write(event.SerializeToString())

  def sync(self) -> None:
    with told(self._path):
      self._writer.flush()

  def close(self) -> None:
    with told(self._path):
      try:
        self._writer.flush()
      finally:  # else Python tries again, and tells that it fails
        self._writer.close()


class Progress:
  """Step, loss, rate, images/s, waiting share: a live line on a terminal.

  Elsewhere, in a log file, a line of its own now and then.
  """

  def __init__(
    self,
    *,
    total_steps: int,
    step: int,
    live: bool | None = None,
    now: Callable[[], float] = time.monotonic,
  ):
    live = sys.stderr.isatty() if live is None else live
    self._total, self._now = total_steps, now
    self._said = now() - _LINE_SECONDS
    self._bar = tqdm.tqdm(
      total=total_steps,
      initial=step,
      unit='step',
      mininterval=0.5,
      dynamic_ncols=True,
      disable=not live,
    )

  def advance(self) -> None:
    """One step further."""
    self._bar.update()

  def show(self, record: Record) -> None:
    """Puts a training record's figures on the line."""
    figures = (
      f'loss {record["loss"]:.3f}, rate {record["learning_rate"]:.2g}, '
      f'{record["images_per_second"]:.1f} images/s, '
      f'{record["input_wait_fraction"]:.0%} waiting'
    )
    if not self._bar.disable:
      self._bar.set_postfix_str(figures, refresh=False)
    elif self._now() - self._said >= _LINE_SECONDS:
      self._said = self._now()
      print(f'step {record["step"]} of {self._total}: {figures}', flush=True)

  def say(self, text: str) -> None:
    """Prints a line above the live one."""
    self._bar.write(text, file=sys.stdout)
    sys.stdout.flush()

  def close(self) -> None:
    self._bar.close()


def describe(record: Record) -> str:
  """A validation record in words."""
  step = f'step {record["step"]}, epoch {record["epoch"]:.2f}'
  errors = metrics.Errors(**{f: record[f] for f in metrics.Errors._fields})
  told = metrics.describe(errors, views=record['views'])
  return f'{step}, {record["split"]}: {told}'
