"""A trace of a few training steps, for --profile (not in the paper).

It holds what host and device do, and when; TensorBoard's profile plugin and
https://ui.perfetto.dev show it.
"""

import contextlib
import pathlib

import jax
from jaxtyping import PyTree


def parse(text: str) -> range:
  """The steps of 'START:STOP', STOP among them.

  >>> parse('10:12')
  range(10, 13)

  Raises:
    ValueError: if it names none.
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
  """Writes a trace of the steps in a range to a folder, and then says so.

  with Profile(range(10, 13), folder) as profile:
    with profile.of(step): ...
    said = profile.end(step, state=state)
  """

  def __init__(self, steps: range, folder: pathlib.Path):
    self._steps = steps
    self._folder = folder
    self._trace = contextlib.ExitStack()
    self._begun = False

  def __enter__(self) -> 'Profile':
    return self

  def __exit__(self, *error: object) -> None:
    self._trace.close()

  def check(self, *, step: int, total_steps: int) -> None:
    """Whether a run that is at a step will come to these.

    Raises:
      ValueError: if it will not.
    """
    if not self._steps:
      return
    if not step < self._steps[-1] <= total_steps:
      raise ValueError(
        f'--profile={self._steps[0]}:{self._steps[-1]}: this run takes steps '
        f'{step + 1} to {total_steps}, give some of them'
      )

  def of(self, step: int) -> contextlib.AbstractContextManager[object]:
    """To take a step in; begins the trace if it is the first of them."""
    if step not in self._steps:
      return contextlib.nullcontext()
    if not self._begun:
      self._trace.enter_context(jax.profiler.trace(self._folder))
      self._begun = True
    return jax.profiler.StepTraceAnnotation('train', step_num=step)

  def end(self, step: int, *, state: PyTree) -> str:
    """Ends the trace after the last of them; what to tell the user, or ''."""
    if not self._begun or step != self._steps[-1]:
      return ''
    jax.block_until_ready(state)
    self._trace.close()
    return f'the trace of --profile is in {self._folder}'
