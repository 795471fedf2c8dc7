"""Output of a run: JSON files, metrics, TensorBoard and progress.

A line of metrics.jsonl is written whole or not at all, and each step is logged
once: a resumed run first drops the lines beyond its checkpoint.
"""

import contextlib
import errno
import json
import operator
import os
import pathlib
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tqdm
from tensorboardX import record_writer, summary
from tensorboardX.proto import event_pb2

from alexnet_jax.runtime import paths, terminal
from alexnet_jax.steps import metrics
from alexnet_jax.train import board

Record = dict[str, Any]
_LINE_SECONDS = 20  # between progress lines in a log file


def write_json(path: pathlib.Path, value: Any) -> None:
  """Replaces a file by an object as JSON; on a WriteError the old one stays."""
  with write_errors(path):
    _replace(path, json.dumps(value, indent=2, sort_keys=True) + '\n')


def _replace(path: pathlib.Path, text: str) -> None:
  with paths.replacing(path) as file:
    file.write(text.encode())


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads what write_json wrote; {} if there is no file or it is damaged."""
  try:
    value = json.loads(path.read_text())
  except (FileNotFoundError, ValueError, RecursionError):
    return {}
  return value if isinstance(value, dict) else {}


def read_metrics(path: pathlib.Path) -> list[Record]:
  """Reads the whole lines of a metrics.jsonl; [] if there is no file.

  Raises ValueError, with its number, if a line is damaged.
  """
  if not path.exists():
    return []
  *lines, _ = path.read_text().split('\n')  # a killed process left half a line
  records = []
  for number, line in enumerate(lines, start=1):
    try:
      records.append(_record(line))
    except _NO_RECORD as error:
      raise ValueError(
        f'{path}, line {number} is damaged: remove that line, or use another '
        '--workdir'
      ) from error
  return records


_EVALUATION = ('num_images', 'views')
_NUMBERS = {  # of each line, by split: what a resumed run and its report read
  split: operator.itemgetter(
    *('step', 'epoch', 'time', 'loss', 'top1_error', *names)
  )
  for split, names in {
    'train': ('learning_rate',),
    'val': _EVALUATION,
    'test': _EVALUATION,
  }.items()
}


def _record(line: str) -> Record:
  """Parses a line; raises ValueError or another of _NO_RECORD if it is none."""
  found = json.loads(line)
  step, *numbers = _NUMBERS[found['split']](found)
  if type(step) is not int or step < 1:
    raise ValueError('no step')
  if found['top5_error'] is not None:  # of fewer than six classes
    numbers.append(found['top5_error'])
  if not {*map(type, numbers)} <= {int, float}:  # no bool, either
    raise ValueError('no number')
  return found


_NO_RECORD = (ValueError, KeyError, TypeError, RecursionError)


class WriteError(ValueError):
  """A file of the workdir cannot be written; it is unchanged."""

  def __init__(self, path: pathlib.Path, error: OSError):
    super().__init__(
      f'{path} cannot be written: {error.strerror}; make room or check the '
      'disk, and run the same command again: it resumes from the newest '
      'checkpoint'
    )


@contextlib.contextmanager
def write_errors(path: pathlib.Path) -> Iterator[None]:
  """Turns an OSError inside into a WriteError that names the path."""
  try:
    yield
  except OSError as error:
    raise WriteError(path, error) from error


class MetricsLog:
  """Writes records to metrics.jsonl and to TensorBoard."""

  def __init__(self, workdir: pathlib.Path, *, kept: list[Record]):
    """Opens both; of metrics.jsonl only the records `kept` remain."""
    self._path = workdir / 'metrics.jsonl'
    with write_errors(self._path):
      _replace(self._path, ''.join(json.dumps(r) + '\n' for r in kept))
      self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
    self._board = _Board(workdir, first=kept[-1]['step'] + 1 if kept else 0)

  def write(self, record: Record) -> None:
    """Appends a line; its floats go to TensorBoard under the split.

    Raises WriteError if the disk is full, or the file was removed; no part of
    the line is then written.
    """
    with write_errors(self._path):
      self._append((json.dumps(record) + '\n').encode())
    views = f'_{record["views"]}_views' if record.get('views', 1) > 1 else ''
    self._board.add(
      {
        f'{record["split"]}{views}/{name}': value
        for name, value in record.items()
        if isinstance(value, float) and name != 'epoch'  # counts are no curves
      },
      step=record['step'],
    )

  def show(self, summaries: Sequence[board.Summary], *, step: int) -> None:
    """Adds pictures and texts of board.py to TensorBoard."""
    for one in summaries:
      self._board.put(one, step=step)

  def _append(self, line: bytes) -> None:
    there = os.fstat(self._file)  # its size, to undo half a line
    if not self._path.exists():  # writing would succeed, into nothing
      raise FileNotFoundError(errno.ENOENT, 'it was removed during the run')
    try:
      written = os.write(self._file, line)
      if written < len(line):
        raise OSError(errno.ENOSPC, 'No space left on device')
    except OSError:
      os.ftruncate(self._file, there.st_size)  # whole lines alone
      raise

  def sync(self) -> None:
    """Waits until every line is on the disk."""
    with write_errors(self._path):
      os.fsync(self._file)
    self._board.sync()

  def close(self) -> None:
    os.close(self._file)
    self._board.close()


class _Board:
  """An event file of TensorBoard.

  It is written in this thread: tensorboardX's SummaryWriter has a thread of its
  own, which ends with a traceback when a disk is full.
  """

  def __init__(self, workdir: pathlib.Path, *, first: int):
    """Starts a file; TensorBoard drops events from `first` on in older ones."""
    name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}'
    self._path = workdir / name
    with write_errors(self._path):
      self._writer = record_writer.RecordWriter(str(self._path))
    self._put(event_pb2.Event(file_version='brain.Event:2'))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._put(event_pb2.Event(step=first, session_log=start))

  def add(self, scalars: dict[str, float], *, step: int) -> None:
    for name, value in scalars.items():
      self.put(summary.scalar(name, value), step=step)

  def put(self, one: board.Summary, *, step: int) -> None:
    self._put(event_pb2.Event(step=step, summary=one))

  def _put(self, event: event_pb2.Event) -> None:
    event.wall_time = time.time()
    with write_errors(self._path):
      self._writer.write(event.SerializeToString())

  def sync(self) -> None:
    with write_errors(self._path):
      self._writer.flush()

  def close(self) -> None:
    with write_errors(self._path):
      try:
        self._writer.flush()
      finally:  # else Python flushes again at exit, and prints an error
        self._writer.close()


class _Bar(tqdm.tqdm):
  """A bar that leaves compiling, in the first step, out of the time left."""

  began: tuple[int, float] | None = None  # after the first: step, seconds
  now = staticmethod(time.monotonic)

  @property
  def format_dict(self) -> dict[str, Any]:
    """The fields of bar_format, and `left`."""
    found = super().format_dict
    return found | {'left': self._left(found['n'], found['total'])}

  def _left(self, step: int, total: int) -> str:
    if self.began is None or step <= self.began[0]:
      return '--:--'
    first, since = self.began
    seconds = (self.now() - since) / (step - first) * (total - step)
    return self.format_interval(seconds)


class Progress:
  """Shows step, time left, loss, training error and images/s.

  On a terminal this is one live line of its width; in a log file, a line every
  20 s, with the learning rate and the share of time spent waiting for images.
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
    self._printed_at = now() - _LINE_SECONDS  # the first line comes at once
    self._bar = _Bar(
      total=total_steps,
      initial=step,
      bar_format='{n_fmt}/{total_fmt} {bar} {left} left{postfix}',
      mininterval=0.5,  # seconds
      dynamic_ncols=True,
      colour=None if 'NO_COLOR' in os.environ else 'green',
      disable=not live,  # a log file has no live line
    )
    self._bar.now = now

  def advance(self) -> None:
    """Counts one step."""
    self._bar.update()
    if self._bar.began is None and not self._bar.disable:
      self._bar.began = self._bar.n, self._bar.now()

  def show(self, record: Record) -> None:
    """Shows the figures of a training record."""
    loss, speed = f'loss {record["loss"]:.3f}', record['images_per_second']
    if not self._bar.disable:
      error = metrics.percent(record['top1_error'])
      short = f'{loss}, error {error}, {speed:.0f} img/s'
      self._bar.set_postfix_str(short, refresh=False)
    elif self._now() - self._printed_at >= _LINE_SECONDS:
      self._printed_at = self._now()
      print(
        f'step {record["step"]} of {self._total}: {loss}, '
        f'rate {record["learning_rate"]:.2g}, {speed:.1f} images/s, '
        f'{record["input_wait_fraction"]:.0%} waiting',
        flush=True,
      )

  def say(self, text: str) -> None:
    """Prints a line above the live one."""
    self._bar.write(terminal.wrapped(text), file=sys.stdout)
    sys.stdout.flush()

  def close(self) -> None:
    self._bar.close()


def describe(record: Record) -> str:
  """Describes a validation record in one line."""
  step = f'step {record["step"]}, epoch {record["epoch"]:.2f}'
  errors = metrics.Errors(**{f: record[f] for f in metrics.Errors._fields})
  rates = metrics.describe(errors, views=record['views'])
  return f'{step}, {record["split"]}: {rates}'


def ending(
  records: list[Record], *, workdir: str, has_report: bool, drawn: bool
) -> str:
  """The last three lines of a run: what came out, what to open, what to try.

  `workdir` is what the user called it; `drawn`: the images were drawn.
  """
  last = [r for r in records if r['split'] == 'val'][-1]
  views = f'{last["views"]} views' if last['views'] > 1 else 'centre crop'
  file = 'report/index.html' if has_report else 'metrics.jsonl'
  program = '.venv/bin/python -m alexnet_jax.tools.predict'
  if shutil.which('alexnet-jax'):  # launch/local.sh does not install it
    program = 'alexnet-jax predict'
  following = (
    'the same command with --ablation=no_lrn: what does normalisation do?'
    if drawn
    else f'{program} --restore={workdir} PHOTO.jpg'
  )
  return (
    f'result: top-1 error {metrics.percent(last["top1_error"])} of '
    f'{last["num_images"]:,} validation images, {views}\n'
    f'open:   {workdir}/{file}\n'
    f'next:   {following}'
  )
