"""The parts of a report: each says what there is, or how to make it."""

from collections.abc import Callable
from typing import NamedTuple

from alexnet_jax.config import ablations
from alexnet_jax.studies.report import (
  gather,
  learned,
  markup,
  measured,
  pictures,
  results,
  settings,
)
from alexnet_jax.studies.report.markup import Markup, tag

Run = gather.Run


class Section(NamedTuple):
  """One part: its place in the page, its heading, and what makes it."""

  place: str
  title: str
  make: Callable[[Run, pictures.Album], Markup]


def _results(run: Run, _: pictures.Album) -> Markup:
  found = results.newest(run)
  own = (
    results.own_table(run)
    if found
    else markup.missing(
      'No evaluation yet: there is one at the end of each epoch.'
    )
  )
  return markup.join(
    own,
    markup.paragraph(
      'Below each error its 95 % interval (Wilson’s) for other images of the '
      'same kind; how much another training run would differ it does not say.',
      kind='aside',
    )
    if found
    else '',
    tag('h3', 'The paper, Tables 1 and 2'),
    results.warning(run),
    results.paper_table(),
    tag('h3', 'The authors’ notes of 2012'),
    results.notes_table(),
    markup.paragraph(
      'From the files of computerhistory/AlexNet-Source-Code. * stands for a '
      'sixth convolutional layer and a first training on all of ImageNet.',
      kind='aside',
    ),
  )


def _setup(run: Run, _: pictures.Album) -> Markup:
  if run.config is None:
    return markup.missing(
      'config.json is missing or damaged: what was run is not known.'
    )
  images = len(run.data.train) if run.data else None
  rows = settings.settings(run.config, train_images=images)
  differing = sum(row.differs for row in rows)
  return markup.join(
    markup.paragraph(
      f'{differing} of the {len(rows)} settings that the paper prints '
      'differ; they are marked with ≠.'
    ),
    markup.table(
      ('Setting', 'Paper', 'This run'),
      [
        (
          markup.join(r.what, tag('span', f' {r.section}', kind='where')),
          r.paper,
          _own(f'≠ {r.here}' if r.differs else r.here),
        )
        for r in rows
      ],
      kinds=['differs' if r.differs else '' for r in rows],
    ),
    _ablations(run.config.get('ablations') or ()),
    _history(run),
  )


def _own(value: str) -> Markup:
  """What this run has, which stands out where it differs."""
  return tag('span', value, kind='own')


def _ablations(names: tuple[str, ...]) -> Markup:
  known = [n for n in names if n in ablations.ABLATIONS]
  if not known:
    return markup.paragraph('No ablation was asked for.')
  rows = []
  for name in known:
    a = ablations.ABLATIONS[name]
    rows.append((tag('code', name), a.section, a.what, a.effect))
  return markup.join(
    tag('h3', 'Ablations'),
    markup.table(('Name', '', 'What', 'What it cost the authors'), rows),
  )


def _history(run: Run) -> Markup:
  rows = [
    (
      f'{entry.get("step")}',
      tag('code', f'{c.get("field")}'),
      f'{c.get("was")}',
      f'{c.get("is")}',
    )
    for entry in run.history
    for c in entry['changes']
    if isinstance(c, dict)
  ]
  if not rows:
    return markup.paragraph('Nothing was changed in the middle of the run.')
  return markup.join(
    tag('h3', 'Changed in the middle of the run'),
    markup.table(('After step', 'Field', 'Was', 'Is'), rows, numbers='n'),
  )


def _curves(run: Run, album: pictures.Album) -> Markup:
  if not run.records:
    return markup.missing(
      'metrics.jsonl has no lines yet: the first comes after a few steps.'
    )
  return album.picture(
    'curves',
    lambda: pictures.curves(run),
    form='svg',
    alt=f'Curves of loss, error and learning rate. {results.sentence(run)}',
    caption='Lines: minibatches in training, with dropout and varied images. '
    'Points: the whole validation set, without. So points may lie below lines.',
  )


def _deviations(run: Run, _: pictures.Album) -> Markup:
  if run.config is None:
    return markup.missing('config.json is missing or damaged.')
  rows = settings.choices(run.config)
  return markup.join(
    markup.paragraph(
      'The program that the authors released differs from their text, or '
      f'settles what it leaves open, in {len(rows)} choices that can be made '
      f'here. {_followed([row.follows for row in rows])}'
    ),
    markup.table(
      ('Choice', 'This run', 'Text', 'Program of 2012'),
      [
        (r.what, _own(_FOLLOWS.get(r.follows, r.here)), r.text, r.program)
        for r in rows
      ],
      kinds=['' if r.follows == 'text' else 'differs' for r in rows],
    ),
  )


_FOLLOWS = {'text': 'text', 'program': 'program'}


def _followed(follows: list[str]) -> str:
  """How often a run went with which."""
  text, program = follows.count('text'), follows.count('program')
  if text == len(follows):
    return 'This run follows the text in all of them.'
  if program == len(follows):
    return 'This run follows the program in all of them.'
  rest = len(follows) - text - program
  others = f' and neither in {rest}' if rest else ''
  return (
    f'This run follows the text in {text}, the program in {program}{others}.'
  )


SECTIONS = (
  Section('results', 'Results', _results),
  Section('curves', 'Curves', _curves),
  Section('setup', 'What was run', _setup),
  Section('deviations', 'Deviations', _deviations),
  Section('learned', 'What it learned', learned.learned),
  Section('classes', 'Errors by class', learned.by_class),
  Section('health', 'Health', measured.health),
  Section('data', 'Data', measured.data),
  Section('speed', 'Speed', measured.speed),
  Section('communication', 'Between the columns', measured.communication),
)
