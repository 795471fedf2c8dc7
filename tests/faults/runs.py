"""smoke.py as a process, and what it leaves; see __main__.py for the faults."""

import contextlib
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from alexnet_jax.checkpoint import checksums, layout, restore

ROOT = pathlib.Path(__file__).parent.parent.parent
# Fewer layers, for runs that are not about them: most of their time goes into
# tracing the net.
SHORT = '--config.model.skip_layers=("conv2","conv4","conv5","fc6")'
UNTIMED = ('time', 'images_per_second', 'input_wait_fraction')
# Three epochs of six steps, and a checkpoint at almost every step besides.
CONFIG = (
  '--config=configs/smoke.py',
  SHORT,
  '--config.total_steps=18',
  '--config.checkpoint.every_minutes=0.001',
)
_SECONDS = 120  # more than any run here may take


class Result(NamedTuple):
  """What a run that was not disturbed any more has left."""

  lines: list[dict]  # of metrics.jsonl, but for what depends on the clock
  digests: dict[int, str]  # of the newest checkpoint


def start(workdir, *args, cache=None):
  """Starts the command; `cache` keeps compiled programs between runs."""
  kept = {
    'JAX_COMPILATION_CACHE_DIR': str(cache),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  return subprocess.Popen(
    [
      *(sys.executable, '-m', 'alexnet_jax.main', f'--workdir={workdir}'),
      *CONFIG,
      *args,
    ],
    cwd=ROOT,
    env=os.environ | (kept if cache else {}),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


class Forked:
  """A command forked from a fork_server.Server, with the methods of Popen."""

  def __init__(
    self, server, workdir, *args, output, module=None, limit=_SECONDS
  ):
    """Starts smoke.py, or another command with its own flags."""
    flags = [f'--workdir={workdir}', *(() if module else CONFIG), *args]
    request = ['start', flags, str(output), limit, {}]
    self.pid = server.ask([*request, *([module] if module else [])])
    self.returncode = None
    self._server, self._output = server, output
    self._end = os.pidfd_open(self.pid)

  def wait(self, timeout):
    if self.returncode is None:
      if not select.select([self._end], [], [], timeout)[0]:
        raise subprocess.TimeoutExpired('forked', timeout)
      os.close(self._end)
      (self.returncode,) = self._server.ask(['wait', [self.pid]])
    return self.returncode

  def poll(self):
    with contextlib.suppress(subprocess.TimeoutExpired):
      self.wait(0)
    return self.returncode

  def send_signal(self, number):
    if self.poll() is None:
      os.kill(self.pid, number)

  def kill(self):
    self.send_signal(signal.SIGKILL)

  def communicate(self, timeout=None):
    self.wait(timeout)
    texts = (pathlib.Path(f'{self._output}.{kind}') for kind in ('out', 'err'))
    return tuple(text.read_text(errors='replace') for text in texts)


def finish(process):
  """Waits; (exit code, stdout, stderr)."""
  out, err = process.communicate(timeout=_SECONDS)
  return process.returncode, out, err


def result(workdir):
  """The lines and digests of a finished run."""
  return Result(lines(workdir), digests(workdir))


def lines(workdir):
  """metrics.jsonl, but for what depends on the clock."""
  text = (pathlib.Path(workdir) / 'metrics.jsonl').read_text()
  records = [json.loads(line) for line in text.splitlines()]
  return [{k: r[k] for k in r if k not in UNTIMED} for r in records]


def digests(workdir):
  """Digest by step, of the newest; read from the arrays, not only from meta."""
  step = layout.find(str(workdir))
  meta = restore.read_meta(step)
  arrays = restore.read_arrays(step, meta=meta)
  return {int(step.name): checksums.digest(arrays).whole}


def wait_for_step(workdir, process, step):
  """Until a line of metrics.jsonl tells of that step, or the run ends."""
  path = pathlib.Path(workdir) / 'metrics.jsonl'
  end = time.monotonic() + _SECONDS
  while process.poll() is None and time.monotonic() < end:
    with contextlib.suppress(FileNotFoundError):
      if f'"step": {step},' in path.read_text():
        return
    time.sleep(0.005)


def wait_for_deletion(workdir, process):
  """Until an old checkpoint is being removed, or the run ends."""
  folder = pathlib.Path(workdir) / layout.FOLDER / layout.DELETED
  end = time.monotonic() + _SECONDS
  while process.poll() is None and time.monotonic() < end:
    with contextlib.suppress(FileNotFoundError):
      if any(folder.iterdir()):
        return
    time.sleep(0.001)


def wait_until_it_listens(process):
  """Until the program takes signals, or ends.

  Before that, while Python starts, they are the kernel's (SIGTERM) or Python's
  own (SIGINT).
  """
  while process.poll() is None:
    status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
    caught = re.search(r'^SigCgt:\t(\w+)$', status, re.MULTILINE)
    if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
      return
    time.sleep(0.005)


def steps_written(workdir):
  """The step that the last line of metrics.jsonl tells of; 0: none."""
  try:
    text = (pathlib.Path(workdir) / 'metrics.jsonl').read_text()
  except FileNotFoundError:
    return 0
  whole = text[: text.rfind('\n') + 1].splitlines()
  return json.loads(whole[-1])['step'] if whole else 0
