"""The peer in PyTorch: the forms it can have, and which is the fastest.

Not in the paper. Which form wins depends on the machine, the batch and the
dtype, so each is tried, in a process of its own, in which a form that cannot
run (torch.compile without a C++ compiler) costs no more than a line.
"""

import dataclasses
import itertools
import json
import pathlib
import sys
from typing import Any, NamedTuple

from alexnet_jax.bench import turns

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
    memory: whether the process keeps what it frees (parallel/host_memory.py).
  """

  layout: str
  mode: str
  lrn: str
  memory: str = 'returned'

  def __str__(self) -> str:
    return '/'.join(self)


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
    forms: to try; empty: all, the fastest of them with kept memory as well.
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

    Raises:
      turns.Failed: if none runs.
    """
    tried: dict[Form, float | str] = {}

    def fastest() -> Form:
      rates = {f: r for f, r in tried.items() if isinstance(r, float)}
      if not rates:
        raise turns.Failed(f'--torch_python={self.python}: {tried[forms[0]]}')
      return max(rates, key=lambda form: rates[form])

    def attempt(form: Form) -> None:
      tried[form] = self._rate(options, form=form, seconds=seconds)
      print(f'peer, {form}: {tried[form]}', file=sys.stderr, flush=True)

    forms = self.forms or tuple(
      itertools.starmap(Form, itertools.product(*list(_CHOICES.values())[:3]))
    )
    for form in forms:
      attempt(form)
    if not self.forms:
      attempt(fastest()._replace(memory='kept'))
    return fastest(), {str(form): rate for form, rate in tried.items()}

  def _rate(
    self, options: dict[str, Any], *, form: Form, seconds: float
  ) -> float | str:
    """Images/s, the better of two rounds; or what is wrong."""
    try:
      with turns.started(self.command(options, form=form)) as process:
        what = options['what']
        rounds = [process.ask(what, seconds=seconds) for _ in range(2)]
    except turns.Failed as error:
      return str(error)
    return round(max(r['images'] / r['seconds'] for r in rounds), 2)
