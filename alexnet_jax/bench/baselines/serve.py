"""A worker's side of the protocol of bench/workers.py.

Uses the standard library alone, as PyTorch's interpreter lacks alexnet_jax: the
torch_*.py beside this file import it as `serve`.
"""

import json
import os
import pathlib
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Facts = dict[str, Any]


class Workload(NamedTuple):
  """A call that a worker can repeat."""

  start: Callable[[], Any]  # may return before the call is done
  facts: Facts  # added to each answer, such as the images of one call


def serve(
  workloads: Mapping[str, Callable[[], Workload]],
  *,
  info: Facts,
  timed: Callable[..., float],
  peak_memory: Callable[[], int],
) -> None:
  """The main loop of a worker: answers until stdin closes.

  The first message is `info`. `timed` gives the mean seconds of `calls` calls
  of its argument, and `peak_memory` bytes, measured after each round.
  """
  out = os.fdopen(os.dup(1), 'w')
  sys.stdout.flush()
  os.dup2(2, 1)  # all other output goes to stderr from now on
  print(json.dumps(info), file=out, flush=True)
  built: dict[str, Workload] = {}
  usual: dict[str, float] = {}
  for line in sys.stdin:
    request = json.loads(line)
    name = request['workload']
    if name not in built:
      built[name] = workloads[name]()
    start, facts = built[name]
    # The first call after a pause does not count: a virtual machine may have
    # given freed memory back to its host. In the first round three calls do
    # not count, since torch may compile twice.
    for _ in range(1 if name in usual else 3):
      once = timed(start, calls=1)
    calls = max(1, round(request['seconds'] / usual.get(name, once)))
    usual[name] = timed(start, calls=calls)
    answer = {'seconds': usual[name], 'calls': calls, **facts}
    answer['peak_memory_bytes'] = peak_memory()
    print(json.dumps(answer), file=out, flush=True)


def host_peak_bytes() -> int:
  """The peak resident memory of this process: VmHWM, or ru_maxrss."""
  status = pathlib.Path('/proc/self/status')
  if status.exists():
    (line,) = (s for s in status.read_text().splitlines() if 'VmHWM' in s)
    return int(line.split()[1]) * 1024
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
