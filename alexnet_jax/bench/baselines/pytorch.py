"""The PyTorch baseline: forms of the same network, and the fastest of them.

Which form is fastest depends on the machine, the batch and the dtype, so each
is tried. Each has a process of its own: a form that cannot run (torch.compile
without a C++ compiler) is only left out.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import pathlib
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

from alexnet_jax.bench import workers

SCRIPTS = pathlib.Path(__file__).parent  # the torch_*.py
# A form is one choice of each, such as 'channels_last/eager/shifts/kept'.
_CHOICES = {
  'layout': ('contiguous', 'channels_last'),
  'mode': ('eager', 'compile'),
  'lrn': ('torch', 'shifts', 'cumsum'),  # the last two: ways to sum slices
  'memory': ('returned', 'kept', 'large_pages'),  # see runtime/malloc.py
}
_EACH = map('/'.join, itertools.product(*_CHOICES.values()))
_ALL = tuple(form for form in _EACH if form.endswith('returned'))
_FINALISTS = 3


def parse_form(text: str) -> str:
  """The whole form, given with or without '/returned'; else a ValueError."""
  parts = text.split('/')
  if len(parts) not in (3, 4):
    raise ValueError(f'--peer_forms={text}: use LAYOUT/MODE/LRN[/MEMORY]')
  for part, choices in zip(parts, _CHOICES.values(), strict=False):
    if part not in choices:
      raise ValueError(f'--peer_forms={text}: use {" or ".join(choices)}')
  return '/'.join([*parts, 'returned'][:4])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
  """PyTorch in an interpreter of its own."""

  python: str
  # To try; (): all, and the fastest with each form of memory too
  forms: tuple[str, ...] = ()

  def start(
    self, options: dict[str, Any], *, form: str, script: str = 'torch_step'
  ) -> workers.Worker:
    """Starts a worker in one form."""
    choices = dict(zip(_CHOICES, form.split('/'), strict=True))
    options = options | {'form': choices}
    file = str(SCRIPTS / f'{script}.py')
    large = choices['memory'] == 'large_pages'
    return workers.Worker(
      [self.python, file, json.dumps(options)],
      # Nothing of what this process has for itself.
      variables={'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1' if large else ''},
    )

  def fastest(
    self, options: dict[str, Any], *, seconds: float
  ) -> tuple[str, dict[str, float | str]]:
    """The fastest form; and for each its images/s, or why it does not run.

    Each form runs alone first; the best few are then measured interleaved, in
    rounds of so many seconds. `options` are `what`, `config`, `dtype` and
    `platform` of torch_step.py. Raises WorkerError if no form runs.
    """
    rates, failed = {}, {}
    measure = functools.partial(self._rates, options, seconds=seconds)
    for form in self.forms or _ALL:
      try:
        rates |= measure([form], rounds=2, best=max)
      except workers.WorkerError as error:
        failed[form] = str(error)
        print(f'PyTorch, {form}: {error}', file=sys.stderr)
    if not rates:
      why = next(iter(failed.values()))
      raise workers.WorkerError(f'--torch_python={self.python}: {why}')
    few = sorted(rates, key=lambda form: -rates[form])[:_FINALISTS]
    if not self.forms:
      few += [
        few[0].replace('returned', memory) for memory in _CHOICES['memory'][1:]
      ]
    if len(few) > 1:
      rates |= measure(few, rounds=3, best=statistics.median)
    return max(few, key=lambda form: rates[form]), rates | failed

  def _rates(
    self,
    options: dict[str, Any],
    forms: Sequence[str],
    *,
    seconds: float,
    rounds: int,
    best: Callable[[list[float]], float],
  ) -> dict[str, float]:
    """Images/s of interleaved forms, the best or median of the rounds."""
    with contextlib.ExitStack() as stack:
      series = {}
      for form in forms:
        worker = self.start(options, form=form)
        series[form] = stack.enter_context(worker), options['what']
      found = workers.measure(series, seconds=seconds, rounds=rounds)
    rates = {}
    for form, answers in found.items():
      each = [round(a['images'] / a['seconds'], 2) for a in answers]
      rates[form] = best(each)
      print(f'PyTorch, {form}: {rates[form]}', file=sys.stderr)
    return rates
