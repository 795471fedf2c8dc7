"""Epochs to 25 % training error, by activation (§3.1).

Figure 1: "A four-layer convolutional neural network with ReLUs reaches a 25%
training error rate on CIFAR-10 six times faster than an equivalent network
with tanh neurons. The learning rates for each network were chosen
independently to make training as fast as possible."

Paper silent: over what the training error is taken.
2012: no program of Figure 1 was released.
Here: over the epoch's minibatches, each before its update. The mean counts for
the epoch's end; between these points the error is interpolated linearly, so
that the time to 25 % is in fractions of an epoch.

The search is biased: a net that reaches the target within it gets its rate by
the reported number, a slower one by its error at the search's end, and the rate
that is best there need not be best at the target. Its seed is the first of
those reported.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from alexnet_jax import paper

TARGET = paper.FIGURE_1_TRAINING_ERROR


class ActivationResult(NamedTuple):
  """The search for an activation's rate, and the runs with that rate."""

  activation: str  # of all layers but the last
  searched: dict[float, list[float]]  # rate -> training error of each epoch
  rate: float  # the chosen one
  curves: dict[int, list[float]]  # seed -> training error of each epoch

  def epochs_to_target(self) -> dict[int, float | None]:
    """Seed -> epochs to the target; None if it was not reached."""
    return {seed: crossing(curve) for seed, curve in self.curves.items()}


def epoch_errors(records: Sequence[Mapping[str, Any]]) -> list[float]:
  """Training error of each whole epoch: the mean over its minibatches.

  A record of metrics.jsonl must end with each epoch, as in a run with
  `stop_when` (train.train).

  >>> line = {'split': 'train', 'step': 1, 'epoch': 0.25, 'top1_error': 0.9}
  >>> epoch_errors([line, line | {'step': 4, 'epoch': 1.0, 'top1_error': 0.5}])
  [0.6]
  """
  errors, wrong, steps, before = [], 0.0, 0, 0
  for line in records:
    if line['split'] != 'train':
      continue
    count, before = line['step'] - before, line['step']
    wrong, steps = wrong + count * line['top1_error'], steps + count
    if math.floor(line['epoch']) > len(errors):
      errors.append(wrong / steps)
      wrong, steps = 0.0, 0
  return errors


def crossing(
  errors: Sequence[float], *, target: float = TARGET
) -> float | None:
  """Epochs until the error is at most the target; None if it never is.

  >>> crossing([0.5, 0.3, 0.2])
  2.5
  """
  if errors and errors[0] <= target:
    return 1.0  # no point lies before it
  for number, (above, error) in enumerate(itertools.pairwise(errors), start=1):
    if error <= target:
      return round(number + (above - target) / (above - error), 9)
  return None


def fastest(searched: Mapping[float, Sequence[float]]) -> float:
  """The rate whose run reached the target first, or came nearest to it.

  Runs that did not reach it are ordered by the error of their last epoch, those
  that diverged last.
  """
  longest = max(map(len, searched.values()))

  def place(rate: float) -> tuple[float, bool, float]:
    errors = searched[rate]
    last = errors[-1] if errors else 1.0
    return crossing(errors) or math.inf, len(errors) < longest, last

  return min(searched, key=place)


def ratios(
  net: ActivationResult, *, first: ActivationResult
) -> dict[int, float | None]:
  """Seed -> epochs of a net over those of the first; None if not reached."""
  theirs = first.epochs_to_target()
  pairs = {s: (e, theirs.get(s)) for s, e in net.epochs_to_target().items()}
  return {seed: a / b if a and b else None for seed, (a, b) in pairs.items()}


def as_json(
  nets: Sequence[ActivationResult], *, most_epochs: int
) -> dict[str, Any]:
  """The content of fig1.json: curves, epochs, ratios by activation and seed."""
  return {
    'target': TARGET,
    'paper_ratio': paper.FIGURE_1_RATIO,
    'most_epochs': most_epochs,
    'nets': {
      net.activation: {
        'rate': net.rate,
        'searched': net.searched,
        'training_error': net.curves,
        'epochs_to_target': net.epochs_to_target(),
        f'ratio_to_{nets[0].activation}': ratios(net, first=nets[0]),
      }
      for net in nets
    },
  }


def describe(nets: Sequence[ActivationResult], *, most_epochs: int) -> str:
  """The search, the epochs of each run, and the ratio next to the paper's."""
  lines = ['training error (%) at the end of the search, by learning rate']
  lines += map(_searched, nets)
  lines += [
    f'A rate is chosen by the epochs to {TARGET:.0%} if its run gets there in '
    'the search,',
    'else by the error at its end, which favours nets that get there. The '
    'search has',
    f'seed {next(iter(nets[0].curves))}, which is one of those below.',
    '',
    f'epochs to {TARGET:.0%} training error, by seed',
  ]
  lines += map(_epochs, nets)
  for net in nets:
    for seed, errors in net.curves.items():
      if crossing(errors) is None:
        end = 'it diverged within an epoch'
        if count := len(errors):
          end = f'{errors[-1]:.1%} after {count} epoch{"s" * (count != 1)}'
          end += ', then it diverged' * (count < most_epochs)
        lines.append(
          f'{net.activation}, seed {seed}: {TARGET:.0%} was not reached: {end}'
        )
  for net in nets[1:]:
    lines += ['', _ratio(net, first=nets[0], most_epochs=most_epochs)]
  return '\n'.join(lines)


def _searched(net: ActivationResult) -> str:
  tried = '  '.join(
    f'{rate:g}: {100 * errors[-1]:.1f}' if errors else f'{rate:g}: diverged'
    for rate, errors in sorted(net.searched.items())
  )
  edges = {min(net.searched), max(net.searched)}
  edge = ' (at an end of --rates: try rates beyond it)'
  told = edge if net.rate in edges and len(net.searched) > 1 else ''
  by = 'this error' if crossing(net.searched[net.rate]) is None else 'epochs'
  return f'  {net.activation:10}{tried}  -> {net.rate:g} by {by}{told}'


def _epochs(net: ActivationResult) -> str:
  found = [*net.epochs_to_target().values()]
  line = f'  {net.activation:10}' + ''.join(f'{_number(e):>8}' for e in found)
  there = [e for e in found if e]
  if len(there) < len(found):
    return line
  span = f'{min(there):.2f} to {max(there):.2f}'
  return f'{line}  mean {statistics.fmean(there):.2f} ({span})'


def _ratio(
  net: ActivationResult, *, first: ActivationResult, most_epochs: int
) -> str:
  """Ratio of means, and of each seed; a bound if the target was not reached."""
  name = f'epochs of {net.activation} over those of {first.activation}'
  for one in (net, first):
    for seed, curve in one.curves.items():
      if crossing(curve) is None and len(curve) < most_epochs:
        return f'{name}: unknown, as {one.activation} seed {seed} diverged'
  bounds = [e or float(most_epochs) for e in net.epochs_to_target().values()]
  others = [e for e in first.epochs_to_target().values() if e]
  if len(others) < len(first.curves):
    return f'{name}: unknown, as {first.activation} did not reach it'
  pairs = ratios(net, first=first)
  more = 'more than ' if None in pairs.values() else ''
  each = ', '.join(_number(ratio) for ratio in pairs.values())
  ratio = statistics.fmean(bounds) / statistics.fmean(others)
  return (
    f'{name}: {more}{ratio:.2f} (by seed: {each}); '
    f'the paper: {paper.FIGURE_1_RATIO:g} times'
  )


def _number(value: float | None) -> str:
  return 'open' if value is None else f'{value:.2f}'
