"""A trace of a few training steps, for --profile.

It is a timeline of host and device, for TensorBoard's profile plugin and
https://ui.perfetto.dev.
"""

import contextlib
import pathlib

import jax
from jaxtyping import PyTree


def parse(text: str) -> range:
  """Parses 'START:STOP', both included; raises ValueError if it names no step.

  >>> parse('10:12')
  range(10, 13)
  """
  ends = text.split(':')
  if len(ends) == 2 and all(end.isdecimal() for end in ends):
    first, last = map(int, ends)
    if 1 <= first <= last:
      return range(first, last + 1)
  raise ValueError(
    f'--profile={text}: give the first and the last step, as 10:12'
  )


class Profile:
  """Writes a trace of the steps in a range to a folder, and prints where.

  with Profile(range(10, 13), folder) as profile:
    with profile.of(step): ...
    profile.end(step, state=state)
  """

  def __init__(self, steps: range, folder: pathlib.Path):
    self._steps = steps
    self._folder = folder
    self._open = False

  def __enter__(self) -> 'Profile':
    return self

  def __exit__(self, *error: object) -> None:
    if self._open:  # the run ended within the range
      self._close()

  def check(self, *, step: int, total_steps: int) -> str:
    """Returns a message if a run at `step` has passed these steps; else ''.

    Raises ValueError if the run ends before them.
    """
    if not self._steps:
      return ''
    first, last = self._steps[0], self._steps[-1]
    if last > total_steps:
      raise ValueError(
        f'--profile={first}:{last}: the run has {total_steps} steps, give '
        'some of them'
      )
    return f'the steps of --profile={first}:{last} are past' * (last <= step)

  def of(self, step: int) -> contextlib.AbstractContextManager[object]:
    """Returns the context of a step; the range's first starts the trace."""
    if step not in self._steps:
      return contextlib.nullcontext()
    if not self._open:
      jax.profiler.start_trace(self._folder)
      self._open = True
    return jax.profiler.StepTraceAnnotation('train', step_num=step)

  def end(self, step: int, *, state: PyTree) -> None:
    """Waits for the last step of the range, and ends the trace."""
    if self._open and step == self._steps[-1]:
      jax.block_until_ready(state)  # steps run ahead of the host
      self._close()

  def _close(self) -> None:
    """Writes the trace; an error such as a full disk only prints a warning."""
    self._open = False  # also if writing fails
    try:
      jax.profiler.stop_trace()
    except (OSError, RuntimeError) as error:
      print(f'warning: no trace of --profile: {error}', flush=True)
    else:
      print(f'the trace of --profile is in {self._folder}', flush=True)
