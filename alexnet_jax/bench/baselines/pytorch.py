"""The peer in PyTorch: the forms it can have, and which is the fastest.

Not in the paper. Which form wins depends on the machine, the batch and the
dtype, so each is tried, in a process of its own, in which a form that cannot
run (torch.compile without a C++ compiler) costs no more than a line.
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

_SCRIPT = pathlib.Path(__file__).with_name('torch_step.py')
_CHOICES = {
  'layout': ('contiguous', 'channels_last'),
  'mode': ('eager', 'compile'),
  'lrn': ('torch', 'shifts', 'cumsum'),
  'memory': ('returned', 'kept'),
}


class Form(NamedTuple):
  """One way to write the same net.

  Attributes:
    layout: of images and kernels in memory.
    mode: 'compile': by torch.compile.
    lrn: by PyTorch's own operation, or by one of two sums of slices.
    memory: whether the process keeps what it frees (runtime/malloc.py).
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


def parse(text: str) -> Form:
  """A form from 'channels_last/eager/shifts', with '/kept' or without.

  Raises:
    ValueError: if a part is none of its choices.
  """
  parts = text.split('/')
  if len(parts) not in (3, 4):
    raise ValueError(f'--peer_forms={text}: use LAYOUT/MODE/LRN[/MEMORY]')
  for part, choices in zip(parts, _CHOICES.values(), strict=False):
    if part not in choices:
      raise ValueError(f'--peer_forms={text}: use {" or ".join(choices)}')
  return Form(*parts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
  """PyTorch in an interpreter of its own.

  Attributes:
    python: the interpreter.
    forms: to try; empty: all, the fastest one with kept memory as well.
  """

  python: str
  forms: tuple[Form, ...] = ()

  def command(self, options: dict[str, Any], *, form: Form) -> list[str]:
    """What starts its process."""
    options = options | {'form': form._asdict()}
    return [self.python, str(_SCRIPT), json.dumps(options)]

  def best(
    self, options: dict[str, Any], *, seconds: float
  ) -> tuple[Form, dict[str, float | str]]:
    """The fastest form; of each its images/s, or why it does not run.

    Each is tried by itself, then the best few take turns.

    Raises:
      turns.Failed: if none runs.
    """
    tried: dict[Form, float | str] = {}
    for form in self.forms or _ALL:
      tried[form] = self._attempt(options, form=form, seconds=seconds)
    rates = {form: r for form, r in tried.items() if isinstance(r, float)}
    if not rates:
      why = next(iter(tried.values()))
      raise workers.Failed(f'--torch_python={self.python}: {why}')
    few = sorted(rates, key=lambda form: -rates[form])[:_FINALISTS]
    if not self.forms:
      few.append(few[0]._replace(memory='kept'))
    finals = self._finals(options, forms=few, seconds=seconds)
    rates |= finals
    best = max(few, key=lambda form: rates[form])
    return best, {str(form): rate for form, rate in (tried | rates).items()}

  def _attempt(
    self, options: dict[str, Any], *, form: Form, seconds: float
  ) -> float | str:
    """Images/s, the better of two rounds; or what is wrong."""
    try:
      with workers.started(self.command(options, form=form)) as process:
        rate = max(_rate(process, options, seconds=seconds) for _ in range(2))
    except workers.Failed as error:
      rate = str(error)
    print(f'peer, {form}: {rate}', file=sys.stderr, flush=True)
    return rate

  def _finals(
    self, options: dict[str, Any], *, forms: list[Form], seconds: float
  ) -> dict[Form, float]:
    """Images/s of forms that take turns, the median of three rounds."""
    if len(forms) == 1:
      return {}
    with contextlib.ExitStack() as stack:
      processes = [
        stack.enter_context(workers.started(self.command(options, form=form)))
        for form in forms
      ]
      rounds = [
        [_rate(process, options, seconds=seconds) for process in processes]
        for _ in range(3)
      ]
    medians = map(statistics.median, zip(*rounds, strict=True))
    finals = dict(zip(forms, medians, strict=True))
    for form, rate in finals.items():
      print(f'peer, {form}, in turns: {rate}', file=sys.stderr, flush=True)
    return finals


def _rate(
  process: workers.Process, options: dict[str, Any], *, seconds: float
) -> float:
  """Images/s of a round."""
  answer = process.ask(options['what'], seconds=seconds)
  return round(answer['images'] / answer['seconds'], 2)
