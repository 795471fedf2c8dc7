"""A study as a page of one file, OUTPUT/index.html, its figure beside it."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

import alexnet_jax
from alexnet_jax.config import ablations
from alexnet_jax.studies import provenance
from alexnet_jax.studies.ablation import results, study
from alexnet_jax.studies.report import page, pictures, several
from alexnet_jax.train import log

PAGE = 'index.html'
Curves = tuple[list[log.Record], list[log.Record]]  # training, evaluations
# The macros of study.html.j2, in order, and the headings of their sections.
_SECTIONS = {
  'tells': 'What the seeds tell',
  'curves': 'Curves',
  'costs': 'What each ablation costs',
  'errors': 'Errors',
  'runs': 'Runs',
  'settings': 'Settings',
}


def write(asked: study.Study, *, runs: Sequence[study.Run]) -> pathlib.Path:
  """Writes the page, however much of the study is done; returns its path."""
  rows, known = results.collect(runs, data=asked.data), ablations.ABLATIONS
  done, count = sum(run.done for run in runs), len(asked.ablations)
  macros = page.macros(
    'ablation/study.html.j2',
    format=results,
    rows=rows,
    costs_figure=pictures.Album(asked.output).picture(
      'costs', lambda: _drawn_costs(rows), module='paired'
    ),
    bands_figure=pictures.Album(asked.output).picture(
      'bands', lambda: _drawn_bands(runs), module='bands'
    ),
    curves_figure=pictures.Album(asked.output).picture(
      'curves', lambda: _drawn_curves(runs), module='compared'
    ),
    drawn=several.MOST,
    ablated=[(r, known[r.name]) for r in rows if r.name != study.BASE],
    ended=[(r, study.last_evaluation(r) if r.done else None) for r in runs],
    asked=asked,
    data=provenance.describe(asked.data),
    version=alexnet_jax.__version__,
  )
  text = page.render(
    [page.Section(p, t, getattr(macros, p)()) for p, t in _SECTIONS.items()],
    name='A study of ablations',
    over='the paper’s comparisons',
    title=f'{count} ablation{"s" * (count != 1)} of '
    f'{pathlib.Path(asked.base).name}',
    lead=f'{done} of {len(runs)} runs are done.',
  )
  path = asked.output / PAGE
  page.write(path, text)
  return path


def _drawn_curves(runs: Sequence[study.Run]) -> dict[str, Any]:
  """The arguments of figures/compared.figure: the first seed of each net."""
  first: dict[str, Curves] = {}
  for run in runs:
    if run.done and run.name not in first:
      records = log.read_metrics(run.workdir / study.METRICS)
      train = [r for r in records if r['split'] == 'train']
      first[run.name] = train, [r for r in records if r['split'] == 'val']
  if not first:
    raise pictures.NothingToDrawError('No run is done yet.')
  shown = [(name, *both) for name, both in first.items()]
  return {'runs': shown[: several.MOST]}


def _drawn_bands(runs: Sequence[study.Run]) -> dict[str, Any]:
  """The arguments of figures/bands.figure: every seed of each net."""
  found: dict[str, list[dict[float, float]]] = {}
  for run in runs:
    if run.done:
      records = log.read_metrics(run.workdir / study.METRICS)
      crops = [r for r in records if r['split'] == 'val' and r['views'] == 1]
      errors = {r['epoch']: r['top1_error'] for r in crops}
      found.setdefault(run.name, []).append(errors)
  if study.BASE not in found or len(found) < 2:
    raise pictures.NothingToDrawError('No pair of runs is done yet.')
  nets = []
  for name, seeds in found.items():
    epochs = sorted(set.intersection(*({*errors} for errors in seeds)))
    values = np.array([[errors[e] for e in epochs] for errors in seeds])
    nets.append((name, epochs, values))
  return {'nets': sorted(nets, key=lambda net: net[0] != study.BASE)}


def _drawn_costs(rows: Sequence[results.NetResult]) -> dict[str, Any]:
  """The arguments of figures/paired.figure."""
  found = [row for row in rows if row.pairs]
  if not found:
    raise pictures.NothingToDrawError('No pair of runs is done yet.')
  return {'rows': found}
