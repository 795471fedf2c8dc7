"""The report of one run: WORKDIR/report/index.html and its figures."""

import math
import pathlib
from collections.abc import Callable
from typing import Any

import tqdm

from alexnet_jax.studies.report import (
  advice,
  gather,
  measured,
  notes2012,
  page,
  pictures,
  results,
  settings,
  statistics,
)

FOLDER = 'report'
PAGE = 'index.html'
# The macros of run.html.j2, in order, and the headings of their sections.
SECTIONS = {
  'curves': 'Curves',
  'learned': 'What it learned',
  'explained': 'Why it says so',
  'classes': 'Errors by class',
  'next': 'What to try next',
  'results': 'Results',
  'health': 'Health',
  'setup': 'What was run',
  'deviations': 'Deviations',
  'data': 'Data',
  'speed': 'Speed',
  'communication': 'Between the columns',
}


def write(workdir: pathlib.Path, *, data_dir: str = '') -> pathlib.Path:
  """Writes WORKDIR/report/index.html and its figures; returns the page's path.

  The run may be unfinished, or lack anything but a folder with a config.json
  or a line of metrics.jsonl; else it raises ValueError. An OSError leaves an
  older report there. `data_dir` is the data set, if it has moved.
  """
  path = workdir / FOLDER / PAGE
  parts, title = 1 + len(SECTIONS), 'writing the report'
  with tqdm.tqdm(
    total=parts, desc=title, delay=5, leave=False, disable=None
  ) as bar:
    run = gather.read(workdir, data_dir=data_dir)
    bar.update()
    album = pictures.Album(path.parent)
    page.write(path, document(run, album=album, on_section=bar.update))
  return path


def document(
  run: gather.Run,
  *,
  album: pictures.Album,
  on_section: Callable[[], object] = lambda: None,
) -> str:
  """The page as HTML, with its figures in the album; counts the sections."""
  macros = page.macros(
    'report/run.html.j2',
    run=run,
    draw=lambda name: pictures.draw_run(run, name, album=album),
    evaluated=results.newest_and_best(run),
    ilsvrc=results.ilsvrc(run.data_name),
    paper_errors=results.paper_errors(run),
    notes=notes2012.NOTES,
    views=results.views,
    between=results.between,
    log=math.log,
    measured=measured,
    advice=advice,
    worst=pictures.worst,
    settings=settings,
    statistics=statistics,
  )
  sections = []
  for place, title in SECTIONS.items():
    sections.append(page.Section(place, title, _html(macros, place)))
    on_section()
  return page.render(
    sections,
    name=run.name,
    over='report of a run',
    title=run.name,
    lead=macros.lead(),
    key_figures=macros.key_figures(),
  )


def _html(macros: Any, place: str) -> str:
  """A section, or why a damaged file leaves it empty."""
  try:
    return getattr(macros, place)()
  except OSError:  # a figure cannot be written, so the page cannot be either
    raise
  except Exception as error:
    reason = f'{type(error).__name__}: {error}'
    tqdm.tqdm.write(f'warning: report, {SECTIONS[place]}: {reason}')
    return macros.failed(reason)
