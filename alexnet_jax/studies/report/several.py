"""Runs side by side on one page: curves, error rates, and what differs."""

import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ml_collections import config_dict

from alexnet_jax.config import schema
from alexnet_jax.studies.report import gather, page, pictures, results

PAGE = 'compare.html'
MOST = 8  # lines that can be told apart

_Named = Sequence[tuple[str, gather.Run]]


def compare(
  workdirs: Sequence[pathlib.Path], *, output: pathlib.Path
) -> pathlib.Path:
  """Writes one page about several runs, with its figure; returns its path.

  Raises:
    ValueError: if there are fewer than 2 or more than 8, one is no run, or the
      output's name does not end in .html.
  """
  if output.suffix != '.html':
    raise ValueError(
      f'{output} is no name for a page: give one that ends in .html'
    )
  if not 2 <= len(workdirs) <= MOST:
    raise ValueError(
      f'{len(workdirs)} runs to compare: give 2 to {MOST} workdirs'
    )
  runs = _named([gather.read_outline(workdir) for workdir in workdirs])
  text = page.render(
    [
      page.Section('results', 'Results', list(_errors(runs))),
      page.Section('curves', 'Curves', [_curves(runs, output=output)]),
      page.Section('settings', 'What differs', [_differences(runs)]),
    ],
    name=f'{len(runs)} runs',
    over='runs side by side',
    title=f'{len(runs)} runs',
    lead=', '.join(name for name, _ in runs),
  )
  page.write(output, text)
  return output


def _named(runs: Sequence[gather.Run]) -> _Named:
  """Runs with their folders' names; with whole paths if two are the same."""
  names = [run.name for run in runs]
  if len(set(names)) < len(names):
    names = [f'{n}: {run.workdir}' for n, run in enumerate(runs, start=1)]
  return list(zip(names, runs, strict=True))


def _errors(runs: _Named) -> Iterator[page.Block]:
  yield results.evaluation_table(
    (page.Cell(name, f'{r.seen}, {r.split_name}, step {r.step:,}'), r)
    for name, run in runs
    for r in results.newest(run)
  )
  idle = [name for name, run in runs if not run.evaluations]
  if idle:
    yield page.Missing(f'Not evaluated yet: {", ".join(idle)}.')
  yield page.Text(
    'The newest evaluation of each kind, with 95 % intervals for other '
    'images. One run of each says little about which is better.',
    'aside',
  )


def _curves(runs: _Named, *, output: pathlib.Path) -> page.Block:
  return pictures.Album(output.parent).picture(
    output.stem,
    lambda: _lines(runs),
    module='compared',
    form='svg',
    alt='Training loss and validation error of the runs over epochs.',
    caption='Above: the loss of minibatches in training. Below: the top-1 '
    'error of the centre crop on the validation set.',
  )


def _lines(runs: _Named) -> dict[str, Any]:
  """The arguments of compared.figure."""
  if not any(run.records for _, run in runs):
    raise pictures.NothingToDrawError('None of the runs has a line yet.')
  return {'runs': [(n, run.train, run.evaluations) for n, run in runs]}


def _differences(runs: _Named) -> page.Block:
  """The config fields that are not the same in all runs."""
  rows = list(_differing(run.config for _, run in runs))
  if not rows:
    return page.Text('Every field of their configs is the same.')
  return page.Table(('Field', *(name for name, _ in runs)), rows)


def _differing(
  configs: Iterable[config_dict.ConfigDict | None],
) -> Iterator[page.Row]:
  every = [dict(schema.leaves(c or config_dict.ConfigDict())) for c in configs]
  for field in sorted({name for fields in every for name in fields}):
    values = [
      str(fields[field]) if field in fields else '–' for fields in every
    ]
    if len(set(values)) > 1:
      yield page.Cell(field, tag='code'), *values
