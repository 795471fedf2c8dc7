"""The PyTorch baseline: forms of the same network, and the fastest of them.

Which form is fastest depends on the machine, the batch and the dtype, so each
is tried. Each has a process of its own: a form that cannot run (torch.compile
without a C++ compiler) is only left out.
"""

import contextlib
import dataclasses
import itertools
import json
import pathlib
import statistics
import sys
from typing import Any, NamedTuple

from alexnet_jax.bench import workers

SCRIPTS = pathlib.Path(__file__).parent  # the torch_*.py
_CHOICES = {
  'layout': ('contiguous', 'channels_last'),
  'mode': ('eager', 'compile'),
  'lrn': ('torch', 'shifts', 'cumsum'),
  'memory': ('returned', 'kept'),
}


class Form(NamedTuple):
  """One way to write the same network.

  Attributes:
    layout: memory format of images and kernels.
    mode: 'eager', or 'compile' for torch.compile.
    lrn: PyTorch's operation, or one of two ways to sum slices.
    memory: whether the process returns or keeps freed memory
      (runtime/malloc.py).
  """

  layout: str
  mode: str
  lrn: str
  memory: str = 'returned'

  def __str__(self) -> str:
    return '/'.join(self)


_ALL = tuple(
  itertools.starmap(Form, itertools.product(*list(_CHOICES.values())[:3]))
)
_FINALISTS = 3


def parse_form(text: str) -> Form:
  """A form from 'channels_last/eager/shifts', with or without '/kept'.

  Raises:
    ValueError: if a part is not among its choices.
  """
  parts = text.split('/')
  if len(parts) not in (3, 4):
    raise ValueError(f'--peer_forms={text}: use LAYOUT/MODE/LRN[/MEMORY]')
  for part, choices in zip(parts, _CHOICES.values(), strict=False):
    if part not in choices:
      raise ValueError(f'--peer_forms={text}: use {" or ".join(choices)}')
  return Form(*parts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
  """PyTorch in an interpreter of its own.

  Attributes:
    python: the interpreter.
    forms: to try; empty: all, and the fastest with kept memory too.
  """

  python: str
  forms: tuple[Form, ...] = ()

  def command(
    self, options: dict[str, Any], *, form: Form, script: str = 'torch_step'
  ) -> list[str]:
    """The command of a worker in one form."""
    path = SCRIPTS / f'{script}.py'
    options = options | {'form': form._asdict()}
    return [self.python, str(path), json.dumps(options)]

  def fastest(
    self, options: dict[str, Any], *, seconds: float
  ) -> tuple[Form, dict[str, float | str]]:
    """The fastest form; and for each its images/s, or why it does not run.

    Each form runs alone first; the best few are then measured interleaved.

    Args:
      options: `what`, `config`, `dtype` and `platform` of torch_step.py.
      seconds: of a round.

    Raises:
      workers.WorkerError: if no form runs.
    """
    tried: dict[Form, float | str] = {}
    for form in self.forms or _ALL:
      tried[form] = self._attempt(options, form=form, seconds=seconds)
    rates = {form: r for form, r in tried.items() if isinstance(r, float)}
    if not rates:
      why = next(iter(tried.values()))
      raise workers.WorkerError(f'--torch_python={self.python}: {why}')
    few = sorted(rates, key=lambda form: -rates[form])[:_FINALISTS]
    if not self.forms:
      few.append(few[0]._replace(memory='kept'))
    rates |= self._finals(options, forms=few, seconds=seconds)
    best = max(few, key=lambda form: rates[form])
    return best, {str(form): rate for form, rate in (tried | rates).items()}

  def _attempt(
    self, options: dict[str, Any], *, form: Form, seconds: float
  ) -> float | str:
    """Images/s, the better of two rounds; or the error."""
    try:
      with workers.Worker(self.command(options, form=form)) as worker:
        rate = max(_rate(worker, options, seconds=seconds) for _ in range(2))
    except workers.WorkerError as error:
      rate = str(error)
    print(f'PyTorch, {form}: {rate}', file=sys.stderr, flush=True)
    return rate

  def _finals(
    self, options: dict[str, Any], *, forms: list[Form], seconds: float
  ) -> dict[Form, float]:
    """Images/s of interleaved forms, the median of three rounds."""
    if len(forms) == 1:
      return {}
    with contextlib.ExitStack() as stack:
      started = [
        stack.enter_context(workers.Worker(self.command(options, form=form)))
        for form in forms
      ]
      rounds = [
        [_rate(worker, options, seconds=seconds) for worker in started]
        for _ in range(3)
      ]
    medians = map(statistics.median, zip(*rounds, strict=True))
    finals = dict(zip(forms, medians, strict=True))
    for form, rate in finals.items():
      print(f'PyTorch, {form}, interleaved: {rate}', file=sys.stderr)
    return finals


def _rate(
  worker: workers.Worker, options: dict[str, Any], *, seconds: float
) -> float:
  """Images/s of one round."""
  answer = worker.measure(options['what'], seconds=seconds)
  return round(answer['images'] / answer['seconds'], 2)
