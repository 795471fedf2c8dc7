"""The report of one run: WORKDIR/report/index.html and its figures."""

import pathlib
import statistics
from collections.abc import Callable, Iterable, Iterator

import tqdm

from alexnet_jax.config import ablations
from alexnet_jax.studies.report import (
  gather,
  learned,
  measured,
  page,
  pictures,
  results,
  settings,
)

Run = gather.Run
FOLDER = 'report'
PAGE = 'index.html'


def write(workdir: pathlib.Path) -> pathlib.Path:
  """Writes WORKDIR/report/index.html and its figures; returns the page's path.

  The run may be unfinished, or lack anything but a folder with a config.json
  or a line of metrics.jsonl.

  Raises:
    ValueError: if there is no such folder, or no run in it.
    OSError: if the report cannot be written; an older one is then still there.
  """
  path = workdir / FOLDER / PAGE
  with tqdm.tqdm(
    total=1 + len(SECTIONS), desc='writing the report', delay=5, leave=False
  ) as bar:
    run = gather.read(workdir)
    bar.update()
    text = document(
      run, album=pictures.Album(path.parent), on_section=bar.update
    )
  page.write(path, text)
  return path


def document(
  run: Run,
  *,
  album: pictures.Album,
  on_section: Callable[[], object] = lambda: None,
) -> str:
  """The page as HTML.

  Args:
    run: to report on.
    album: receives the figures as files.
    on_section: called after each section.
  """
  sections = []
  for place, (title, make) in SECTIONS.items():
    found = _blocks(make, run, album, title=title)
    sections.append(page.Section(place, title, found))
    on_section()
  return page.render(
    sections,
    name=run.name,
    over='report of a run',
    title=run.name,
    lead=results.sentence(run),
    key_figures=_key_figures(run),
  )


_Make = Callable[[Run, pictures.Album], Iterable[page.Block]]


def _blocks(
  make: _Make, run: Run, album: pictures.Album, *, title: str
) -> list[page.Block]:
  """A section's blocks, or why a damaged file leaves it without any.

  Raises:
    OSError: if a figure cannot be written, since the page cannot be either.
  """
  try:
    return list(make(run, album))
  except OSError:
    raise
  except Exception as error:
    reason = f'{type(error).__name__}: {error}'
    tqdm.tqdm.write(f'warning: report, {title}: {reason}')
    return [page.Missing(f'This part could not be made ({reason}).')]


def _key_figures(run: Run) -> Iterator[tuple[str, str]]:
  found = results.newest(run)
  if found:
    yield 'Top-1 error', results.percent(found[0].top1_error)
    yield 'Top-5 error', results.percent(found[0].top5_error)
  if run.records:
    last = run.records[-1]
    yield 'Steps', f'{last["step"]:,}'
    yield 'Epochs', f'{last["epoch"]:.1f}'
  if run.train:
    rates = [r['images_per_second'] for r in run.train[1:] or run.train]
    yield 'Images/s', f'{statistics.median(rates):,.1f}'


def _curves(run: Run, album: pictures.Album) -> Iterator[page.Block]:
  if not run.records:
    yield page.Missing(
      'metrics.jsonl has no lines yet: the first comes after a few steps.'
    )
    return
  yield album.picture(
    'curves',
    lambda: {'records': run.records},
    form='svg',
    alt=f'Curves of loss, error and learning rate. {results.sentence(run)}',
    caption='Lines: minibatches in training, with dropout and varied images. '
    'Points: the whole validation set, without. So points may lie below lines.',
  )


def _setup(run: Run, _: pictures.Album) -> Iterator[page.Block]:
  """The settings beside the paper's, ablations, and later changes."""
  if run.config is None:
    yield page.Missing(
      'config.json is missing or damaged: what was run is not known.'
    )
    return
  images = len(run.data.train) if run.data else None
  rows = settings.paper_settings(run.config, train_images=images)
  differing = sum(row.differs for row in rows)
  yield page.Text(
    f'{differing} of the {len(rows)} settings that the paper prints '
    'differ; they are marked with ≠.'
  )
  yield page.Table(
    ('Setting', 'Paper', 'This run'),
    [
      (
        page.Cell(r.what, where=r.section),
        r.paper,
        _own(f'≠ {r.here}' if r.differs else r.here),
      )
      for r in rows
    ],
    kinds=['differs' if r.differs else '' for r in rows],
  )
  yield from _ablations(run.config.get('ablations') or ())
  yield from _history(run)


def _own(value: str) -> page.Cell:
  """This run's value, which stands out where it differs."""
  return page.Cell(value, tag='span', kind='own')


def _ablations(names: Iterable[str]) -> Iterator[page.Block]:
  known = [(n, ablations.ABLATIONS.get(n)) for n in names]
  rows = [
    (page.Cell(n, tag='code'), a.section, a.what, a.effect)
    for n, a in known
    if a
  ]
  if not rows:
    yield page.Text('No ablation was asked for.')
    return
  yield page.Heading('Ablations')
  yield page.Table(('Name', '', 'What', 'What it cost the authors'), rows)


def _history(run: Run) -> Iterator[page.Block]:
  rows = [
    (
      f'{entry.get("step")}',
      page.Cell(f'{c.get("field")}', tag='code'),
      f'{c.get("was")}',
      f'{c.get("is")}',
    )
    for entry in run.history
    for c in entry['changes']
    if isinstance(c, dict)
  ]
  if not rows:
    yield page.Text('Nothing was changed in the middle of the run.')
    return
  yield page.Heading('Changed in the middle of the run')
  yield page.Table(('After step', 'Field', 'Was', 'Is'), rows, 'n')


def _deviations(run: Run, _: pictures.Album) -> Iterator[page.Block]:
  """Where the text and the program of 2012 part, and what this run does."""
  if run.config is None:
    yield measured.NO_CONFIG
    return
  rows = settings.program_choices(run.config)
  follows = [row.follows for row in rows]
  yield page.Text(
    'The program that the authors released differs from their text, or '
    f'settles what it leaves open, in {len(rows)} choices that can be made '
    f'here. {_followed(follows)}'
  )
  yield page.Table(
    ('Choice', 'This run', 'Text', 'Program of 2012'),
    [
      (
        r.what,
        _own(f if f in ('text', 'program') else r.here),
        r.text,
        r.program,
      )
      for r, f in zip(rows, follows, strict=True)
    ],
    kinds=['' if f == 'text' else 'differs' for f in follows],
  )


_FOLLOWS = {'text': 'text', 'program': 'program'}


def _followed(follows: list[str]) -> str:
  """In how many choices the run went with the text or the program."""
  text, program = follows.count('text'), follows.count('program')
  for name, count in (('text', text), ('program', program)):
    if count == len(follows):
      return f'This run follows the {name} in all of them.'
  rest = len(follows) - text - program
  others = f' and neither in {rest}' if rest else ''
  return (
    f'This run follows the text in {text}, the program in {program}{others}.'
  )


# Place in the page: (heading, what makes its blocks).
SECTIONS: dict[str, tuple[str, _Make]] = {
  'results': ('Results', lambda run, _: results.blocks(run)),
  'curves': ('Curves', _curves),
  'setup': ('What was run', _setup),
  'deviations': ('Deviations', _deviations),
  'learned': ('What it learned', learned.blocks),
  'classes': ('Errors by class', learned.by_class),
  'health': ('Health', measured.health),
  'data': ('Data', measured.data),
  'speed': ('Speed', measured.speed),
  'communication': ('Between the columns', measured.communication),
}
