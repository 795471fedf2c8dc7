"""Error rates of a run, in words and beside the paper's (§6)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from alexnet_jax import paper
from alexnet_jax.steps import metrics
from alexnet_jax.studies.report import gather, notes2012, page

_SPLITS = {'val': 'validation', 'test': 'test'}
_VIEWS = {1: 'centre crop', 9: 'nine views', 10: 'ten views'}
_ILSVRC = {'ILSVRC2012': 'ILSVRC-2012', 'ILSVRC2010': 'ILSVRC-2010'}
_TABLES = {
  'ILSVRC-2010 test': 'Table 1 and §4.1',
  'ILSVRC-2012 val': 'Table 2',
  'ILSVRC-2012 test': 'Table 2',
  'Fall 2009': '10,184 classes, §6',
}


class Evaluation(NamedTuple):
  """One evaluation; errors are 0 to 1."""

  split: str
  views: int
  step: int
  images: int
  top1_error: float
  top5_error: float

  @property
  def seen(self) -> str:
    """The views of each image, in words."""
    return views(self.views)

  @property
  def split_name(self) -> str:
    return _SPLITS.get(self.split, self.split)


def views(number: int) -> str:
  """A number of views, as the paper calls them."""
  return _VIEWS.get(number, f'{number} views')


def newest(run: gather.Run) -> list[Evaluation]:
  """The last evaluation of each split and number of views, newest first."""
  last = {(r['split'], r['views']): r for r in run.evaluations}
  found = [_evaluation(record) for record in last.values()]
  return sorted(found, key=lambda r: (r.step, r.views), reverse=True)


def _evaluation(record: gather.Record) -> Evaluation:
  return Evaluation(
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
  """An error of 0 to 1 in percent with one digit, as the paper has it."""
  return '–' if error is None else f'{100 * error:.1f}\N{NO-BREAK SPACE}%'


def between(error: float, *, images: int) -> str:
  """The 95 % interval of an error counted on that many images."""
  if not (images > 0 and 0 <= error <= 1):
    return '–'
  low, high = metrics.interval(error, images=images)
  return f'{100 * low:.1f}–{100 * high:.1f}\N{NO-BREAK SPACE}%'


def blocks(run: gather.Run) -> Iterator[page.Block]:
  """The run's errors, the paper's tables, and the authors' notes."""
  found = newest(run)
  if found:
    yield evaluation_table(_rows(run, found))
    yield page.Text(
      'Below each error its 95 % interval (Wilson’s) for other images of the '
      'same kind; how much another training run would differ it does not say.',
      'aside',
    )
  else:
    yield page.Missing(
      'No evaluation yet: there is one at the end of each epoch.'
    )
  yield page.Heading('The paper, Tables 1 and 2')
  yield _comparable(run)
  yield _paper_table()
  yield page.Heading('The authors’ notes of 2012')
  yield _notes_table()
  yield page.Text(
    'From the files of computerhistory/AlexNet-Source-Code. * stands for a '
    'sixth convolutional layer and a first training on all of ImageNet.',
    'aside',
  )


def _rows(
  run: gather.Run, found: list[Evaluation]
) -> Iterator[tuple[page.Cell, Evaluation]]:
  """The newest evaluations, and the best centre crop if it was better."""
  for r in found:
    yield page.Cell(r.seen, f'{r.split_name}, step {r.step:,}'), r
  crops = [_evaluation(r) for r in run.evaluations if r['views'] == 1]
  lowest = min(crops, key=lambda r: (r.top1_error, r.step), default=None)
  last = [r for r in found if r.views == 1]
  if lowest and lowest.top1_error < last[0].top1_error:
    second = f'{lowest.split_name}, step {lowest.step:,}, the lowest so far'
    yield page.Cell(lowest.seen, second), lowest


def evaluation_table(
  rows: Iterable[tuple[page.Cell, Evaluation]],
) -> page.Table:
  """Evaluations, each with a cell that names it, and their intervals."""
  return page.Table(
    ('Evaluation', 'Top-1', 'Top-5', 'Images'),
    [
      (
        what,
        *(
          page.Cell(percent(e), between(e, images=r.images), tag='strong')
          for e in (r.top1_error, r.top5_error)
        ),
        f'{r.images:,}',
      )
      for what, r in rows
    ],
    ' nnn',
  )


def _paper_table() -> page.Table:
  """Tables 1 and 2, the best results of others, and Fall 2009."""
  every = paper.ERRORS | paper.OTHERS_ERRORS | paper.FALL_2009_ERRORS
  groups: dict[str, list] = {data: [] for data in _TABLES}
  for name, (top1, top5) in every.items():
    data, _, net = name.partition(', ')
    others = name in paper.OTHERS_ERRORS or net == 'the best before'
    said = f'{net} (others)' if others else net
    groups[data].append((top5, (said, percent(top1), percent(top5))))
  return page.Table(
    ('Net', 'Top-1', 'Top-5'),
    numbers=' nn',
    groups={
      f'{data}, {place}': [row for _, row in sorted(groups[data])[::-1]]
      for data, place in _TABLES.items()
    },
  )


def _notes_table() -> page.Table:
  """Errors from the authors' notes of 2012, with one digit more."""
  groups: dict[str, list] = {}
  for n in notes2012.NOTES:
    what = page.Cell(n.what, f'run {n.run}' + (n.file and f', {n.file}'))
    errors = [f'{100 * e:.2f} %' for e in (n.top1_error, n.top5_error)]
    groups.setdefault(n.data, []).append((what, *errors))
  return page.Table(('Run', 'Top-1', 'Top-5'), numbers=' nn', groups=groups)


def _comparable(run: gather.Run) -> page.Text:
  """Whether this run's errors and the paper's are of the same images."""
  name = run.data_name
  same = [theirs for ours, theirs in _ILSVRC.items() if name.startswith(ours)]
  if same:
    return page.Text(
      f'This run was evaluated on images of {same[0]}: compare it with rows of '
      'the same data, split and views only.',
      'note',
    )
  what = f'“{name}”' if name else 'a data set that is not recorded'
  return page.Text(
    f'This run’s errors are on {what}, the paper’s on ImageNet. A lower '
    'number here says nothing about the paper’s network.',
    'note',
    'Not comparable.',
  )
