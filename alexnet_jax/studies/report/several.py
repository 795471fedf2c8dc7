"""Runs side by side on one page: curves, error rates, and what differs."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import config_dict

from alexnet_jax.config import validate
from alexnet_jax.studies.report import gather, markup, page, pictures, results
from alexnet_jax.studies.report.markup import Markup

PAGE = 'compare.html'
MOST = 8  # as many as lines can be told apart
_POINTS = 300  # of a line
# Each line has a stroke of its own besides its colour.
_STROKES = ('-', '--', '-.', ':')


def compare(
  workdirs: Sequence[pathlib.Path], *, output: pathlib.Path
) -> pathlib.Path:
  """Writes one page about several runs; its path.

  Raises:
    ValueError: if there are fewer than two or too many, or one is no run, or
      the page would have the name of its own figure.
  """
  if output.suffix != '.html':
    raise ValueError(
      f'{output} is no name for a page: give one that ends in .html'
    )
  if not 2 <= len(workdirs) <= MOST:
    raise ValueError(
      f'{len(workdirs)} runs to compare: give 2 to {MOST} workdirs'
    )
  runs = [gather.outline(workdir) for workdir in workdirs]
  names = _names(runs)
  parts = [
    ('results', 'Results', _errors(runs, names=names)),
    ('curves', 'Curves', _curves(runs, names=names, output=output)),
    ('settings', 'What differs', _differences(runs, names=names)),
  ]
  front = page.front(
    'alexnet_jax · runs side by side',
    f'{len(runs)} runs',
    ', '.join(names),
    page.contents((place, title) for place, title, _ in parts),
  )
  body = [page.section(p, title=title, body=made) for p, title, made in parts]
  text = page.document(f'{len(runs)} runs · alexnet_jax', [front, *body])
  pictures.replace(output, text.encode('utf-8', 'replace'))
  return output


def _names(runs: Sequence[gather.Run]) -> list[str]:
  """Of the folders; as they were given where two are called the same."""
  short = [run.name for run in runs]
  if len(set(short)) == len(short):
    return short
  return [f'{n}: {run.workdir}' for n, run in enumerate(runs, start=1)]


def _errors(runs: Sequence[gather.Run], *, names: Sequence[str]) -> Markup:
  pairs = list(zip(names, runs, strict=True))
  idle = [name for name, run in pairs if not run.evaluations]
  return markup.join(
    results.evaluations(
      (
        markup.join(
          name, markup.second(f'{r.seen}, {r.split_name}, step {r.step:,}')
        ),
        r,
      )
      for name, run in pairs
      for r in results.newest(run)
    ),
    markup.missing(f'Not evaluated yet: {", ".join(idle)}.') if idle else '',
    markup.paragraph(
      'The newest evaluation of each kind, with 95 % intervals for other '
      'images. One run of each says little about which is better.',
      kind='aside',
    ),
  )


def _curves(
  runs: Sequence[gather.Run], *, names: Sequence[str], output: pathlib.Path
) -> Markup:
  album = pictures.Album(output.parent)
  return album.picture(
    output.stem,
    lambda: _figure(runs, names=names),
    form='svg',
    alt='Training loss and validation error of the runs over epochs.',
    caption='Above: the loss of minibatches in training. Below: the top-1 '
    'error of the centre crop on the validation set.',
  )


def _figure(runs: Sequence[gather.Run], *, names: Sequence[str]) -> Any:
  from matplotlib.figure import Figure

  from alexnet_jax.studies.figures import style

  if not any(run.records for run in runs):
    raise pictures.NothingToDrawError('None of the runs has a line yet.')
  figure = Figure(figsize=(style.WIDTH, 5.6), layout='constrained')
  loss, error = figure.subplots(2, sharex=True)
  for name, run, look in zip(names, runs, _looks(), strict=False):
    train = run.train[:: max(1, len(run.train) // _POINTS)]
    loss.plot(
      *_points(train, 'loss'), **look, label=style.label(name, width=40)
    )
    val = [r for r in run.evaluations if r['views'] == 1]
    error.plot(*_points(val, 'top1_error'), **look, marker='o', markersize=4)
  loss.set_title('training loss')
  error.set_title('validation top-1 error')
  error.set(xlabel='epoch', ylim=(0, 1.02))
  error.yaxis.set_major_formatter(style.percent)
  for axes in (loss, error):
    axes.grid(axis='y')
  figure.legend(loc='outside upper left', ncols=2)
  return figure


def _looks() -> list[dict[str, str]]:
  """How lines look, the most different first."""
  from alexnet_jax.studies.figures import style

  colours = style.palette()
  pairs = [colours.first, colours.second, colours.right, colours.ink]
  return [
    {'color': colour, 'linestyle': _STROKES[(n + turn) % len(_STROKES)]}
    for turn in (0, 2)
    for n, colour in enumerate(pairs)
  ]


def _points(
  records: Sequence[gather.Record], field: str
) -> tuple[list[float], list[float]]:
  return [r['epoch'] for r in records], [r[field] for r in records]


def _differences(runs: Sequence[gather.Run], *, names: Sequence[str]) -> Markup:
  """Fields of the configs that are not the same in all."""
  rows = list(_differing([run.config for run in runs]))
  if not rows:
    return markup.paragraph('Every field of their configs is the same.')
  return markup.table(
    ('Field', *names), [(markup.tag('code', f), *v) for f, v in rows]
  )


def _differing(
  configs: Sequence[config_dict.ConfigDict | None],
) -> Iterator[tuple[str, list[str]]]:
  every = [
    dict(validate.leaves(c or config_dict.ConfigDict())) for c in configs
  ]
  for field in sorted({name for fields in every for name in fields}):
    values = [
      str(fields[field]) if field in fields else '–' for fields in every
    ]
    if len(set(values)) > 1:
      yield field, values
