"""A study as a page: OUTPUT/index.html, with its figure beside it.

The page is one file that needs no other file and no network.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import alexnet_jax
from alexnet_jax.config import ablations
from alexnet_jax.studies import provenance
from alexnet_jax.studies.ablation import paired, results, study
from alexnet_jax.studies.report import page, pictures

PAGE = 'index.html'


def write(asked: study.Study, *, runs: Sequence[study.Run]) -> pathlib.Path:
  """Writes the page, however much of the study is done; returns its path."""
  rows = results.collect(runs, data=asked.data)
  done, count = sum(run.done for run in runs), len(asked.ablations)
  verdicts = list(_verdicts(rows, output=asked.output))
  text = page.render(
    [
      page.Section('tells', 'What the seeds tell', verdicts),
      page.Section('costs', 'What each ablation costs', list(_costs(rows))),
      page.Section('errors', 'Errors', list(_errors(rows))),
      page.Section('runs', 'Runs', [_runs(runs)]),
      page.Section('settings', 'Settings', [_settings(asked)]),
    ],
    name='A study of ablations',
    over='the paper’s comparisons',
    title=f'{count} ablation{"s" * (count != 1)} of '
    f'{pathlib.Path(asked.base).name}',
    lead=f'{done} of {len(runs)} runs are done.',
  )
  path = asked.output / PAGE
  page.write(path, text)
  return path


def _verdicts(
  rows: Sequence[results.NetResult], *, output: pathlib.Path
) -> Iterator[page.Block]:
  yield page.Bullets(results.verdicts(rows))
  yield pictures.Album(output).picture(
    'costs',
    lambda: _drawn_costs(rows),
    module='paired',
    form='svg',
    alt='Paired difference of each ablation to the base, with intervals.',
    caption='Right of the line at 0 the ablated net is worse. Filled dots: '
    'the interval leaves out 0. The authors’ marks are those of ImageNet.',
  )


def _drawn_costs(rows: Sequence[results.NetResult]) -> dict[str, Any]:
  """The arguments of figures/paired.figure."""
  from alexnet_jax.studies.figures import paired as paired_lib

  found = [
    paired_lib.Cost(
      r.name, r.costs['top1'], r.costs['loss'], r.paper[0], r.notes[0]
    )
    for r in rows
    if r.pairs
  ]
  if not found:
    raise pictures.NothingToDrawError('No pair of runs is done yet.')
  return {'rows': found}


def _costs(rows: Sequence[results.NetResult]) -> Iterator[page.Block]:
  ablated = [
    (row, ablations.ABLATIONS[row.name])
    for row in rows
    if row.name != study.BASE
  ]
  names = [page.Cell(r.name, a.section, tag='code') for r, a in ablated]
  header = ('Ablation', 'Pairs', 'Top-1, points', 'Top-5, points', 'Loss')
  yield page.Table(
    (*header, 'Paper', '2012'),
    [
      (
        name,
        row.pairs,
        _interval(row.costs.get('top1')),
        _interval(row.costs.get('top5')),
        _interval(row.costs.get('loss'), digits=3),
        results.both(row.paper, bound=row.bound),
        results.both(row.notes),
      )
      for name, (row, _) in zip(names, ablated, strict=True)
    ],
    ' nnnnnn',
    label='What each ablation costs',
  )
  yield page.Text(
    'Ablated minus base, averaged over pairs of one seed: the same images '
    'in the same order, and the same initial values where shapes agree. '
    'Below, 95 % intervals of Student’s t over the pairs; none of '
    'a single pair, or of pairs that are all alike. Of twenty such intervals '
    'one misses, so of many ablations some differ by chance. At the right '
    'points of top-1 / top-5 error on ImageNet: the paper’s as printed, ~ '
    'where its text says “about” and > where it says “over”, and those of '
    'the authors’ notes of 2012, of one run each.',
    'aside',
  )
  yield page.Table(
    ('Ablation', 'What', 'What it cost the authors'),
    [
      (name, a.what, a.effect)
      for name, (_, a) in zip(names, ablated, strict=True)
    ],
    label='What each ablation changes',
    folded='What each of them changes',
  )


def _interval(found: paired.Difference | None, *, digits: int = 1) -> page.Cell:
  mean, _, interval = results.cost(found, digits=digits).partition(' (')
  return page.Cell(mean, interval.rstrip(')'))


def _errors(rows: Sequence[results.NetResult]) -> Iterator[page.Block]:
  yield page.Table(
    ('Net', 'Runs', 'Top-1 error, %', 'Top-5 error, %', 'Loss'),
    [
      (
        page.Cell(row.name, tag='code'),
        row.runs,
        results.errors(row.errors.get('top1')),
        results.errors(row.errors.get('top5')),
        results.errors(row.errors.get('loss'), digits=3),
      )
      for row in rows
    ],
    ' nnnn',
    label='Errors of the base and of each ablation',
  )
  yield page.Text(
    'Of the last evaluation on the validation set; mean over seeds ± '
    'standard deviation of the sample.',
    'aside',
  )


def _runs(runs: Sequence[study.Run]) -> page.Table:
  header = ('Run', 'Top-1 error, %', 'Loss', 'How it ended')
  return page.Table(header, [_run_row(r) for r in runs], ' nn', label='Runs')


def _run_row(run: study.Run) -> page.Row:
  name = page.Cell(run.key, tag='code')
  if run.done:
    last = study.last_evaluation(run)
    errors = f'{100 * last["top1_error"]:.1f}', f'{last["loss"]:.3f}'
    return name, *errors, f'step {last["step"]:,}'
  failed = f'failed: {run.end.error}' if run.end else 'not done yet'
  return name, '–', '–', failed


def _settings(asked: study.Study) -> page.Facts:
  return page.Facts(
    [
      ('Base', asked.base),
      ('Data', provenance.describe(asked.data)),
      ('Validation images', f'{asked.data.val_images:,}'),
      ('Version', alexnet_jax.__version__),
      ('Steps of each run', f'{asked.config.total_steps or "as the data has"}'),
      ('Images a step', f'{asked.config.batch_size}'),
      ('Views at the end', f'{asked.config.eval.final_views}'),
      ('Seeds', ', '.join(map(str, asked.seeds))),
      *(('Set', field) for field in asked.fields),
    ]
  )
