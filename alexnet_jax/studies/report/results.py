"""Error rates of a run, in words and as rows beside the paper's (§6)."""

from collections.abc import Iterable
from typing import NamedTuple

from alexnet_jax import paper
from alexnet_jax.steps import metrics
from alexnet_jax.studies.report import gather, markup, notes2012
from alexnet_jax.studies.report.markup import Child, Markup, tag

_SPLITS = {'val': 'validation', 'test': 'test'}
_VIEWS = {1: 'centre crop', 9: 'nine views', 10: 'ten views'}
_ILSVRC = {'ILSVRC2012': 'ILSVRC-2012', 'ILSVRC2010': 'ILSVRC-2010'}


class Result(NamedTuple):
  """One evaluation."""

  split: str
  views: int
  step: int
  images: int
  top1_error: float
  top5_error: float

  @property
  def seen(self) -> str:
    """How many views of each image the network was shown."""
    return views(self.views)

  @property
  def split_name(self) -> str:
    return _SPLITS.get(self.split, self.split)


def views(number: int) -> str:
  """How the paper calls them."""
  return _VIEWS.get(number, f'{number} views')


def newest(run: gather.Run) -> list[Result]:
  """The last evaluation of each split and number of views, most views first."""
  last = {(r['split'], r['views']): r for r in run.evaluations}
  found = [_result(record) for record in last.values()]
  return sorted(found, key=lambda r: (r.step, r.views), reverse=True)


def best(run: gather.Run) -> Result | None:
  """The lowest top-1 error of the centre crop: its checkpoint is kept."""
  rows = [_result(r) for r in run.evaluations if r['views'] == 1]
  return min(rows, key=lambda r: (r.top1_error, r.step), default=None)


def _result(record: gather.Record) -> Result:
  return Result(
    record['split'],
    int(record['views']),
    int(record['step']),
    int(record['num_images']),
    float(record['top1_error']),
    float(record['top5_error']),
  )


def sentence(run: gather.Run) -> str:
  """The result in one sentence."""
  found = newest(run)
  if found:
    r = found[0]
    wrong = round(r.top1_error * r.images)
    return (
      f'Top-1 error {percent(r.top1_error)} ({wrong:,} of {r.images:,}, 95 %: '
      f'{between(r.top1_error, images=r.images)}), top-5 error '
      f'{percent(r.top5_error)}, {r.seen}, {r.split_name}, step {r.step:,}.'
    )
  if run.train:
    last = run.train[-1]
    return (
      f'Not evaluated yet: a training loss of {last["loss"]:.3f} at step '
      f'{last["step"]:,}, epoch {last["epoch"]:.2f}.'
    )
  return 'Nothing is measured yet.'


def percent(error: float | int | None) -> str:
  """With one digit, as the paper has it."""
  return '–' if error is None else f'{100 * error:.1f}\N{NO-BREAK SPACE}%'


def between(error: float, *, images: int) -> str:
  """The 95 % interval of an error counted on that many images."""
  if not (images > 0 and 0 <= error <= 1):
    return '–'
  low, high = metrics.interval(error, images=images)
  return f'{100 * low:.1f}–{100 * high:.1f}\N{NO-BREAK SPACE}%'


def own_table(run: gather.Run) -> Markup:
  """The newest evaluation of each kind, and one that was better."""
  rows = [(_kind(r), r) for r in newest(run)]
  lowest = best(run)
  last = [r for _, r in rows if r.views == 1]
  if lowest and last and lowest.top1_error < last[0].top1_error:
    rows.append((_kind(lowest, 'the lowest so far'), lowest))
  return evaluations(rows)


def _kind(result: Result, *more: str) -> Markup:
  """Views, and below them the split and the step."""
  said = (result.split_name, f'step {result.step:,}', *more)
  return markup.join(result.seen, markup.second(', '.join(said)))


def evaluations(rows: Iterable[tuple[Child, Result]]) -> Markup:
  """A table of evaluations, each with what it is of."""
  return markup.table(
    ('Evaluation', 'Top-1', 'Top-5', 'Images'),
    [
      (
        what,
        _error(r.top1_error, images=r.images),
        _error(r.top5_error, images=r.images),
        f'{r.images:,}',
      )
      for what, r in rows
    ],
    numbers=' nnn',
  )


def _error(error: float, *, images: int) -> Markup:
  """An error rate above its interval."""
  interval = markup.second(between(error, images=images))
  return markup.join(tag('strong', percent(error)), interval)


def paper_table() -> Markup:
  """Tables 1 and 2, the best that others had, and Fall 2009."""
  every = paper.ERRORS | paper.OTHERS_ERRORS | paper.FALL_2009_ERRORS
  groups: dict[str, list] = {data: [] for data in _TABLES}
  for name, (top1, top5) in every.items():
    data, _, net = name.partition(', ')
    others = name in paper.OTHERS_ERRORS or net == 'the best before'
    said = f'{net} (others)' if others else net
    groups[data].append((top5, (said, percent(top1), percent(top5))))
  return markup.grouped(
    ('Net', 'Top-1', 'Top-5'),
    {
      f'{data}, {place}': [row for _, row in sorted(groups[data])[::-1]]
      for data, place in _TABLES.items()
    },
    numbers=' nn',
  )


_TABLES = {
  'ILSVRC-2010 test': 'Table 1 and §4.1',
  'ILSVRC-2012 val': 'Table 2',
  'ILSVRC-2012 test': 'Table 2',
  'Fall 2009': '10,184 classes, §6',
}


def notes_table() -> Markup:
  """What the authors' notes of 2012 say, with one digit more."""
  groups: dict[str, list] = {}
  for n in notes2012.NOTES:
    what = markup.join(
      n.what, markup.second(f'run {n.run}', n.file and f', {n.file}')
    )
    errors = [f'{100 * e:.2f} %' for e in (n.top1_error, n.top5_error)]
    groups.setdefault(n.data, []).append((what, *errors))
  return markup.grouped(('Run', 'Top-1', 'Top-5'), groups, numbers=' nn')


def warning(run: gather.Run) -> Markup:
  """Whether this run's errors and the paper's are of the same images."""
  name = run.data_name
  same = [theirs for ours, theirs in _ILSVRC.items() if name.startswith(ours)]
  if same:
    return markup.note(
      f'This run was evaluated on images of {same[0]}: compare it with rows of '
      'the same data, split and views only.'
    )
  what = f'“{name}”' if name else 'a data set that is not recorded'
  return markup.note(
    tag('strong', 'Not comparable. '),
    f'This run’s errors are on {what}, the paper’s on ImageNet. A lower '
    'number here says nothing about the paper’s network.',
  )
