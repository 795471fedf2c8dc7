"""Writes the report of one run."""

import pathlib
import statistics
from collections.abc import Callable, Iterator

import tqdm

from alexnet_jax.studies.report import (
  gather,
  markup,
  page,
  pictures,
  results,
  sections,
)

FOLDER = 'report'
PAGE = 'index.html'


def write(workdir: pathlib.Path) -> pathlib.Path:
  """Writes WORKDIR/report/index.html and its figures; the page's path.

  The run may be unfinished, or lack any part but a folder with a config.json
  or a line of metrics.jsonl.

  Raises:
    ValueError: if there is no such folder, or no run in it.
    OSError: if the report cannot be written; one that was there still is.
  """
  path = workdir / FOLDER / PAGE
  album = pictures.Album(path.parent)
  parts = 1 + len(sections.SECTIONS)
  with tqdm.tqdm(
    total=parts, desc='writing the report', delay=5, leave=False
  ) as bar:
    run = gather.whole(workdir)
    bar.update()
    text = document(run, album=album, tell=bar.update)
  pictures.replace(path, text.encode('utf-8', 'replace'))
  return path


def document(
  run: gather.Run,
  *,
  album: pictures.Album,
  tell: Callable[[], object] = lambda: None,
) -> str:
  """The page.

  Args:
    run: what it is about.
    album: gets the figures as well.
    tell: is called after each section.
  """
  parts = []
  for s in sections.SECTIONS:
    body = _body(s, run, album=album)
    parts.append(page.section(s.place, title=s.title, body=body))
    tell()
  places = [(s.place, s.title) for s in sections.SECTIONS]
  front = page.front(
    'alexnet_jax · report of a run',
    run.name,
    results.sentence(run),
    page.key_figures(_key_figures(run)),
    page.contents(places),
  )
  return page.document(f'{run.name} · alexnet_jax', [front, *parts])


def _body(
  section: sections.Section, run: gather.Run, *, album: pictures.Album
) -> markup.Markup:
  """A section; one that a damaged file spoils says so, there and here.

  Raises:
    OSError: if a figure cannot be written: nor can the next.
  """
  try:
    return section.make(run, album)
  except OSError:
    raise
  except Exception as error:
    reason = f'{type(error).__name__}: {error}'
    tqdm.tqdm.write(f'warning: report, {section.title}: {reason}')
    return markup.missing(f'This part could not be made ({reason}).')


def _key_figures(run: gather.Run) -> Iterator[tuple[str, str]]:
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
