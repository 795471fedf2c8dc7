"""A study as a page: OUTPUT/index.html, with its figure beside it.

One file that needs no other and no network. Not in the paper.
"""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import alexnet_jax
from alexnet_jax.config import ablations
from alexnet_jax.studies import provenance
from alexnet_jax.studies.ablation import paired, study, table
from alexnet_jax.studies.report import markup, page, pictures
from alexnet_jax.studies.report.markup import Markup, tag

PAGE = 'index.html'


def write(asked: study.Study, *, runs: Sequence[study.Run]) -> pathlib.Path:
  """Writes the page, whatever there is of the study; its path."""
  rows = table.rows(runs, data=asked.data)
  parts = [
    ('tells', 'What the seeds tell', _verdicts(rows, output=asked.output)),
    ('costs', 'What each ablation costs', _costs(rows)),
    ('errors', 'Errors', _errors(rows)),
    ('runs', 'Runs', _runs(runs)),
    ('settings', 'Settings', _settings(asked)),
  ]
  done = sum(run.done for run in runs)
  front = page.front(
    'alexnet_jax · the paper’s comparisons',
    f'{_ablations(len(asked.ablations))} of {pathlib.Path(asked.base).name}',
    f'{done} of {len(runs)} runs are done.',
    page.contents((place, title) for place, title, _ in parts),
  )
  body = [page.section(p, title=title, body=made) for p, title, made in parts]
  text = page.document('A study of ablations · alexnet_jax', [front, *body])
  path = asked.output / PAGE
  pictures.replace(path, text.encode('utf-8', 'replace'))
  return path


def _ablations(count: int) -> str:
  return '1 ablation' if count == 1 else f'{count} ablations'


def _verdicts(rows: Sequence[table.Row], *, output: pathlib.Path) -> Markup:
  return markup.join(
    tag('ul', [tag('li', line) for line in table.verdicts(rows)]),
    pictures.Album(output).picture(
      'costs',
      lambda: _figure(rows),
      form='svg',
      alt='Paired difference of each ablation to the base, with intervals.',
      caption='Right of the line at 0 the ablated net is worse. Filled dots: '
      'the interval leaves out 0. The authors’ marks are those of ImageNet.',
    ),
  )


def _figure(rows: Sequence[table.Row]) -> Any:
  from alexnet_jax.studies.figures import paired as paired_lib

  found = [
    paired_lib.Row(r.name, r.top1_cost, r.loss_cost, r.paper[0], r.notes[0])
    for r in rows
    if r.top1_cost and r.loss_cost
  ]
  if not found:
    raise pictures.NothingToDrawError('No pair of runs is done yet.')
  return paired_lib.figure(found)


def _costs(rows: Sequence[table.Row]) -> Markup:
  ablated = [row for row in rows if row.name != study.BASE]
  header = ('Ablation', 'Pairs', 'Top-1, points', 'Top-5, points', 'Loss')
  return markup.join(
    markup.table(
      (*header, 'Paper', '2012'),
      [
        (
          _named(row.name),
          row.top1_cost.n if row.top1_cost else 0,
          _interval(row.top1_cost),
          _interval(row.top5_cost),
          _interval(row.loss_cost, digits=3),
          table.both(row.paper, bound=row.bound),
          table.both(row.notes),
        )
        for row in ablated
      ],
      numbers=' nnnnnn',
      label='What each ablation costs',
    ),
    markup.paragraph(
      'Ablated minus base, averaged over pairs of one seed: the same images '
      'in the same order, and the same initial values where shapes agree. '
      'Below, 95 % intervals of Student’s t over the pairs; none of '
      'a single pair, or of pairs that are all alike. Of twenty such intervals '
      'one misses, so of many ablations some differ by chance. At the right '
      'points of top-1 / top-5 error on ImageNet: the paper’s as printed, ~ '
      'where its text says “about” and > where it says “over”, and those of '
      'the authors’ notes of 2012, of one run each.',
      kind='aside',
    ),
    _changes(row.name for row in ablated),
  )


def _named(name: str) -> Markup:
  section = ablations.ABLATIONS[name].section
  return markup.join(tag('code', name), markup.second(section))


def _changes(names: Iterable[str]) -> Markup:
  found = [(name, ablations.ABLATIONS[name]) for name in names]
  return markup.folded(
    'What each of them changes',
    markup.table(
      ('Ablation', 'What', 'What it cost the authors'),
      [(_named(name), a.what, a.effect) for name, a in found],
      label='What each ablation changes',
    ),
  )


def _interval(found: paired.Difference | None, *, digits: int = 1) -> Markup:
  mean, *interval = table.cost(found, digits=digits).split(' (')
  return markup.join(mean, [markup.second(i.rstrip(')')) for i in interval])


def _errors(rows: Sequence[table.Row]) -> Markup:
  return markup.join(
    markup.table(
      ('Net', 'Runs', 'Top-1 error, %', 'Top-5 error, %', 'Loss'),
      [
        (
          tag('code', row.name),
          row.top1.n if row.top1 else 0,
          table.errors(row.top1),
          table.errors(row.top5),
          table.errors(row.loss, digits=3),
        )
        for row in rows
      ],
      numbers=' nnnn',
      label='Errors of the base and of each ablation',
    ),
    markup.paragraph(
      'Of the last evaluation on the validation set; mean over seeds ± '
      'standard deviation of the sample.',
      kind='aside',
    ),
  )


def _runs(runs: Sequence[study.Run]) -> Markup:
  return markup.table(
    ('Run', 'Top-1 error, %', 'Loss', 'How it ended'),
    map(_run, runs),
    numbers=' nn',
    label='Runs',
  )


def _run(run: study.Run) -> tuple[markup.Child, ...]:
  name = tag('code', run.key)
  if run.done:
    last = study.final(run)
    errors = f'{100 * last["top1_error"]:.1f}', f'{last["loss"]:.3f}'
    return name, *errors, f'step {last["step"]:,}'
  failed = f'failed: {run.end.error}' if run.end else 'not done yet'
  return name, '–', '–', failed


def _settings(asked: study.Study) -> Markup:
  pairs = [
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
  rows = [tag('div', tag('dt', k), tag('dd', v)) for k, v in pairs]
  return tag('dl', rows)
