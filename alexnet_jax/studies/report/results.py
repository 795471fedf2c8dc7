"""Error rates of a run, in words and beside the paper's (§6)."""

from typing import NamedTuple

from alexnet_jax import paper
from alexnet_jax.steps import metrics
from alexnet_jax.studies.report import gather, page

_SPLITS = {'val': 'validation', 'test': 'test'}
_VIEWS = {1: 'centre crop', 9: 'nine views', 10: 'ten views'}
_ILSVRC = {'ILSVRC2012': 'ILSVRC-2012', 'ILSVRC2010': 'ILSVRC-2010'}
_TABLES = {
  'ILSVRC-2010 test': 'Table 1 and footnote 5',
  'ILSVRC-2012 val': 'Table 2',
  'ILSVRC-2012 test': 'Table 2',
  'Fall 2009': '10,184 classes, §6',
}


class Evaluation(NamedTuple):
  """One evaluation; errors are 0 to 1."""

  split: str
  views: int
  step: int
  num_images: int
  top1_error: float
  top5_error: float | None  # None: fewer than six classes

  @property
  def where(self) -> str:
    return f'{_SPLITS.get(self.split, self.split)}, step {self.step:,}'

  @property
  def errors(self) -> list[tuple[str, str]]:
    """Top-1 and top-5 error as text, each with its 95 % interval."""
    return [
      (page.percent(error), between(error, images=self.num_images))
      for error in (self.top1_error, self.top5_error)
    ]


def views(number: int) -> str:
  """A number of views, as the paper calls them."""
  return _VIEWS.get(number, f'{number} views')


def newest(run: gather.Run) -> list[Evaluation]:
  """The last evaluation of each split and number of views, newest first."""
  last = {(r['split'], r['views']): r for r in run.evaluations}
  found = map(_evaluation, last.values())
  return sorted(found, key=lambda e: (e.step, e.views), reverse=True)


def _evaluation(record: gather.Record) -> Evaluation:
  return Evaluation(*(record[name] for name in Evaluation._fields))


def newest_and_best(run: gather.Run) -> list[tuple[str, str, Evaluation]]:
  """The newest evaluations, and the best centre crop if it was better."""
  rows = [(views(e.views), e.where, e) for e in newest(run)]
  crops = [
    _evaluation(r)
    for r in run.evaluations
    if (r['split'], r['views']) == ('val', 1)
  ]
  lowest = min(crops, key=lambda e: (e.top1_error, e.step), default=None)
  last = [e for _, _, e in rows if (e.split, e.views) == ('val', 1)]
  if lowest and lowest.top1_error < last[0].top1_error:
    rows.append((views(1), f'{lowest.where}, the lowest so far', lowest))
  return rows


def between(error: float | None, *, images: int) -> str:
  """The 95 % interval of an error counted on that many images."""
  if error is None or not (images > 0 and 0 <= error <= 1):
    return '–'
  low, high = metrics.interval(error, images=images)
  return f'{100 * low:.1f}–{100 * high:.1f}\N{NO-BREAK SPACE}%'


def paper_errors(
  run: gather.Run | None = None,
) -> dict[str, list[tuple[str, float | None, float]]]:
  """Tables 1 and 2, the best results of others, and Fall 2009.

  Title -> (net, top-1 error, top-5 error), errors 0 to 1, the highest first. A
  run's own evaluations stand among those of the same images: a test split in
  Table 1, a validation split in Table 2.
  """
  every = paper.ERRORS | paper.OTHERS_ERRORS | paper.FALL_2009_ERRORS
  found: dict[str, list] = {data: [] for data in _TABLES}
  for name, (top1, top5) in every.items():
    data, _, net = name.partition(', ')
    others = name in paper.OTHERS_ERRORS or net == 'the best before'
    found[data].append((f'{net} (others)' if others else net, top1, top5))
  for own in newest(run) if run else []:
    data = f'{ilsvrc(run.data_name)} {own.split}' if run else ''
    if data in found and own.top5_error is not None:
      name = f'this run, {own.where}, {views(own.views)}'
      found[data].append((name, own.top1_error, own.top5_error))
  return {
    f'{data}, {place}': sorted(found[data], key=lambda row: -row[2])
    for data, place in _TABLES.items()
  }


def ilsvrc(name: str) -> str:
  """The ImageNet data set of the paper that has this name; '' if none has."""
  same = (theirs for ours, theirs in _ILSVRC.items() if name.startswith(ours))
  return next(same, '')
