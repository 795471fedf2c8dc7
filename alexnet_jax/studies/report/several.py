"""Runs side by side on one page: curves, error rates, and what differs."""

import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import config_dict

from alexnet_jax.config import schema
from alexnet_jax.studies.report import gather, page, pictures, results

PAGE = 'compare.html'
MOST = 8  # lines that can be told apart
_SECTIONS = {
  'results': 'Results',
  'curves': 'Curves',
  'settings': 'What differs',
}


def compare(
  workdirs: Sequence[pathlib.Path], *, output: pathlib.Path
) -> pathlib.Path:
  """Writes one page about several runs, with its figure; returns its path.

  Raises ValueError if there are fewer than 2 or more than 8, one is no run, or
  the output's name does not end in .html.
  """
  if output.suffix != '.html':
    raise ValueError(
      f'{output} is no name for a page: give one that ends in .html'
    )
  if not 2 <= (count := len(workdirs)) <= MOST:
    raise ValueError(f'{count} runs to compare: give 2 to {MOST} workdirs')
  runs = [gather.read_outline(workdir) for workdir in workdirs]
  names = [run.name for run in runs]
  if len(set(names)) < len(names):
    names = _short([run.workdir for run in runs])
  named = dict(zip(names, runs, strict=True))
  macros = page.macros(
    'report/several.html.j2',
    names=names,
    evaluated=[
      (name, f'{results.views(e.views)}, {e.where}', e)
      for name, run in named.items()
      for e in results.newest(run)
    ],
    idle=[name for name, run in named.items() if not run.evaluations],
    lines=pictures.Album(output.parent).picture(
      output.stem, lambda: _lines(named), module='compared'
    ),
    differing=_differing(runs),
  )
  text = page.render(
    [page.Section(p, t, getattr(macros, p)()) for p, t in _SECTIONS.items()],
    name=f'{len(runs)} runs',
    over='runs side by side',
    title=f'{len(runs)} runs',
    lead=', '.join(names),
  )
  page.write(output, text)
  return output


def _short(workdirs: Sequence[pathlib.Path]) -> list[str]:
  """The parts of paths that differ; a number if a run is given twice.

  >>> _short([pathlib.Path(p) for p in ('/runs/a/net', '/runs/b/net')])
  ['a', 'b']
  >>> _short([pathlib.Path(p) for p in ('/runs/a/net', '/runs/a/net')])
  ['1: net', '2: net']
  """
  every = [workdir.parts for workdir in workdirs]
  first, last = _alike(every), _alike([parts[::-1] for parts in every])
  short = [
    '/'.join(parts[first : len(parts) - last] or parts[-1:]) for parts in every
  ]
  if len({*short}) == len(short):
    return short
  return [f'{n}: {name}' for n, name in enumerate(short, start=1)]


def _alike(every: Sequence[tuple[str, ...]]) -> int:
  """The number of parts that all begin with."""
  alike = (len({*parts}) == 1 for parts in zip(*every, strict=False))
  return len([*itertools.takewhile(bool, alike)])


def _lines(named: dict[str, gather.Run]) -> dict[str, Any]:
  """The arguments of compared.figure."""
  if not any(run.records for run in named.values()):
    raise pictures.NothingToDrawError('None of the runs has a line yet.')
  return {'runs': [(k, r.train, r.evaluations) for k, r in named.items()]}


def _differing(runs: Sequence[gather.Run]) -> dict[str, list[str]]:
  """Config fields that are not the same in all runs -> their values."""
  nothing = config_dict.ConfigDict()
  every = [dict(schema.leaves(run.config or nothing)) for run in runs]
  found = {
    field: [str(own[field]) if field in own else '–' for own in every]
    for field in sorted({name for own in every for name in own})
  }
  return {f: values for f, values in found.items() if len({*values}) > 1}
