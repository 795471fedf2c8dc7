"""The parts of a report: each says what there is, or how to make it."""

import math
import shlex
import statistics as numbers
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from alexnet_jax import ablations, communication, health, paper
from alexnet_jax.analysis.report import (
  gather,
  markup,
  pictures,
  results,
  settings,
)
from alexnet_jax.analysis.report.markup import Markup, tag

Run = gather.Run
_MOST_ROWS = 30  # of a list that may be long


class Section(NamedTuple):
  """One part: its place in the page, its heading, and what makes it."""

  place: str
  title: str
  make: Callable[[Run, pictures.Album], Markup]


def _command(run: Run, text: str) -> str:
  """A command with the workdir put in, as a shell takes it."""
  return text.replace('WORKDIR', shlex.quote(str(run.workdir)))


_PREDICT = (
  'python -m alexnet_jax.main --mode=eval --restore=WORKDIR --config=... '
  '--save_predictions=WORKDIR/predictions.npz'
)
_RETRIEVE = 'python -m alexnet_jax.tools.retrieve --restore=WORKDIR'
_AUDIT = (
  'python -m alexnet_jax.tools.audit --config=... --json > WORKDIR/audit.json'
)
_NO_CHECKPOINT = 'There is no checkpoint yet: the first is written at the end '
_NO_CHECKPOINT += 'of an epoch.'


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


def _learned(run: Run, album: pictures.Album) -> Markup:
  return markup.join(
    [_kernels(run, album), _examples(run, album), _neighbours(run, album)]
  )


def _kernels(run: Run, album: pictures.Album) -> Markup:
  heading = tag('h3', 'Kernels of conv1 (Figure 3)')
  if run.checkpoint is None:
    return markup.join(heading, markup.missing(_NO_CHECKPOINT))
  drawn = album.picture(
    'kernels',
    lambda: pictures.kernels(run),
    form='png',
    alt=f'The kernels of conv1 at step {run.checkpoint.step}, as images.',
    caption=f'At step {run.checkpoint.step:,}. {_selectivity(run)}',
  )
  return markup.join(heading, drawn)


def _selectivity(run: Run) -> str:
  """How much colour the kernels of each column tell apart."""
  from alexnet_jax.analysis import statistics

  assert run.checkpoint
  found = statistics.colour_selectivity(
    run.checkpoint.params['conv1']['kernel']
  )
  columns = pictures.columns(run)
  share = [f'{part.mean():.2f}' for part in found.reshape(columns, -1)]
  if columns == 1:
    return f'Mean colour selectivity (0: grey, 1: colour alone): {share[0]}.'
  return (
    'Mean colour selectivity (0: grey, 1: colour alone) of the columns: '
    f'{" and ".join(share)}. In the paper one column turned to colour.'
  )


def _examples(run: Run, album: pictures.Album) -> Markup:
  heading = tag('h3', 'What it says of images (Figure 4, left)')
  if run.predictions is None:
    return markup.join(heading, _no_predictions(run))
  if run.data is None:
    return markup.join(heading, _no_data(run))
  drawn = album.picture(
    'examples',
    lambda: pictures.examples(run),
    form='png',
    alt='Eight validation images, each with its five likeliest classes.',
    caption='Validation images with the five likeliest classes; up to half of '
    'them are errors. Chosen by their place in the split, not by their looks.',
  )
  return markup.join(heading, drawn)


def _no_predictions(run: Run) -> Markup:
  return markup.missing(
    'There are no predictions image by image (predictions.npz).',
    make=_command(run, _PREDICT),
  )


def _no_data(run: Run) -> Markup:
  return markup.missing(f'The images cannot be shown: {run.no_data}')


def _neighbours(run: Run, album: pictures.Album) -> Markup:
  heading = tag('h3', 'Nearest images (Figure 4, right)')
  if run.retrieval is None:
    missing = markup.missing(
      'Nearest images in fc7 are not looked up yet.',
      make=_command(run, _RETRIEVE),
    )
    return markup.join(heading, missing)
  parts = [heading]
  if run.data is None:
    parts.append(_no_data(run))
  elif run.retrieval['queries']:
    parts.append(
      album.picture(
        'neighbours',
        lambda: pictures.neighbours(run),
        form='png',
        alt='Validation images, each with its nearest training images.',
        caption='Validation images, and the training images nearest to each: '
        'by Euclidean distance in fc7, as in the paper, and in pixels.',
      )
    )
  return markup.join(*parts, _precision(run.retrieval))


def _precision(retrieval: dict[str, Any]) -> Markup:
  """How often a neighbour is of the same class."""
  precision = retrieval['precision']
  rows = [
    ('fc7', results.percent(precision['fc7']), '–'),
    ('pixels', results.percent(precision['pixels']), '–'),
    ('by chance', results.percent(precision['chance']), '–'),
  ]
  rows += [
    (
      f'codes of {code["bits"]} bits',
      results.percent(code['precision']),
      results.percent(code['recall']),
    )
    for code in retrieval.get('codes') or []
  ]
  return markup.join(
    markup.table(
      ('Neighbours by', 'Precision', 'Recall'),
      rows,
      numbers=' nn',
    ),
    markup.paragraph(
      f'{retrieval["num_queries"]:,} images of the {retrieval["split"]} '
      f'split looked up among {retrieval["database_images"]:,} training '
      f'images, step {retrieval["step"]:,}. Precision: neighbours of the '
      'same class. Recall: of the nearest by fc7, those that a code finds.',
      kind='aside',
    ),
  )


def _by_class(run: Run, album: pictures.Album) -> Markup:
  if run.predictions is None:
    return _no_predictions(run)
  return markup.join(
    album.picture(
      'classes',
      lambda: pictures.classes(run),
      form='svg',
      alt='Top-1 and top-5 error of each class.',
      caption=f'{len(run.predictions.labels):,} validation images, '
      f'{results.views(run.predictions.views)}.',
    ),
    _confused(run),
  )


def _confused(run: Run) -> Markup:
  from alexnet_jax.analysis import statistics

  found = run.predictions
  assert found
  predicted = found.probabilities.argmax(axis=1).astype(found.labels.dtype)
  pairs = statistics.most_confused(found.labels, predicted, count=10)
  heading = tag('h3', 'Most confused')
  if not pairs:
    return markup.join(heading, markup.paragraph('No image is mistaken.'))
  names = dict(enumerate(pictures.class_names(run)))
  return markup.join(
    heading,
    markup.table(
      ('Class', 'Taken for', 'Images', 'Of the class'),
      [
        (
          names.get(p.label, f'class {p.label}'),
          names.get(p.predicted, f'class {p.predicted}'),
          f'{p.count:,}',
          results.percent(p.share),
        )
        for p in pairs
      ],
      numbers='  nn',
    ),
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


def _data(run: Run, _: pictures.Album) -> Markup:
  parts = []
  if run.data:
    parts.append(_facts(_of_data(run)))
  else:
    parts.append(
      markup.missing(f'The data set cannot be opened: {run.no_data}')
    )
  if run.prepared is None:
    drawn = run.data is not None and run.data.name == 'embedded'
    why = 'Images are drawn: none' if drawn else 'Not prepared here: no image'
    parts.append(markup.paragraph(f'{why} was left out in preparation.'))
  else:
    parts.append(_skipped(run.prepared.skipped))
  return markup.join(parts)


def _of_data(run: Run) -> Iterator[tuple[str, str]]:
  data = run.data
  assert data
  yield 'Name', data.name
  splits = {'Training': data.train, 'Validation': data.val, 'Test': data.test}
  for name, split in splits.items():
    if split is not None:
      yield f'{name} images', f'{len(split):,}'
  yield 'Classes', f'{len(data.classes):,}'
  yield 'Image size', f'{data.image_size} × {data.image_size}'
  yield 'Fingerprint', data.fingerprint[:16]
  if run.checkpoint and run.checkpoint.meta['fingerprint'] != data.fingerprint:
    yield 'Trained on', 'other data, now replaced'


def _skipped(skipped: tuple) -> Markup:
  if not skipped:
    return markup.paragraph('No file was left out in preparation.')
  more = len(skipped) - _MOST_ROWS
  return markup.join(
    tag('h3', f'Files left out in preparation: {len(skipped):,}'),
    markup.table(
      ('File', 'Why'),
      [(tag('code', s.file), s.reason) for s in skipped[:_MOST_ROWS]],
    ),
    markup.paragraph(f'and {more:,} more, in metadata.json.')
    if more > 0
    else '',
  )


def _health(run: Run, album: pictures.Album) -> Markup:
  return markup.join(
    _facts(_course(run)),
    tag('h3', 'Before the first step'),
    _signal(run),
    album.picture(
      'layers',
      lambda: pictures.layers(run),
      form='svg',
      alt='Spread of the activations of each layer, weights and velocities.',
      caption=f'Left: standard deviation over {run.probed} images before the '
      'first step, and ReLUs that are at zero on all of them. Right: '
      'velocities beside weights at the newest checkpoint.',
    )
    if run.health
    else '',
    _stages(run),
  )


def _course(run: Run) -> Iterator[tuple[str, str]]:
  """How training went."""
  losses = [(r['step'], r['loss']) for r in run.train]
  if losses:
    yield 'First training loss', f'{losses[0][1]:.3f}'
    step, lowest = min(losses, key=lambda pair: pair[1])
    yield 'Lowest training loss', f'{lowest:.3f}, step {step:,}'
    yield 'Last training loss', f'{losses[-1][1]:.3f}'
    known = pictures.class_names(run)
    if len(known) > 1:
      yield f'Chance, ln({len(known):,})', f'{math.log(len(known)):.3f}'
  if not all(math.isfinite(loss) for _, loss in losses):
    yield 'Loss', 'no number at times'
  if run.checkpoint:
    yield 'Steps not applied', f'{run.checkpoint.meta["skipped"]:,}'


def _signal(run: Run) -> Markup:
  if not run.health:
    return markup.missing('health.json is missing or damaged.')
  rows = [
    health.Row(r['stage'], r['stddev'], r.get('dead')) for r in run.health
  ]
  found = health.Report(rows, run.probed)
  floor = 0.0 if run.config is None else run.config.health.min_signal
  warning = health.signal_warning(found, minimum=floor)
  if warning:
    return markup.note(warning.removeprefix('warning: '))
  signal = rows[-1].stddev
  return markup.paragraph(
    f'The logits differ by {signal:.2g} from image to image; a warning would '
    f'come below {floor:g} (config.health.min_signal).'
  )


def _stages(run: Run) -> Markup:
  """The figure's numbers."""
  rows = [
    (
      tag('code', row['stage']),
      f'{row["stddev"]:.3g}',
      '' if row.get('dead') is None else results.percent(row['dead']),
    )
    for row in run.health
  ]
  if not rows:
    return markup.join()
  header = ('Stage', 'Spread over images', 'ReLUs at zero on all')
  return markup.folded(
    f'{len(rows)} stages in numbers', markup.table(header, rows, numbers=' nn')
  )


def _facts(facts: Iterator[tuple[str, str]]) -> Markup:
  """Names and values, a line each."""
  pairs = [
    tag('div', tag('dt', name), tag('dd', value)) for name, value in facts
  ]
  return tag('dl', pairs) if pairs else markup.join()


def _speed(run: Run, _: pictures.Album) -> Markup:
  if not run.train:
    return markup.missing('No training step is recorded yet.')
  return _facts(_of_speed(run))


def _of_speed(run: Run) -> Iterator[tuple[str, str]]:
  settled = run.train[1:] or run.train  # the first waits for the compiler
  rates = [r['images_per_second'] for r in settled]
  yield 'Median', f'{numbers.median(rates):,.1f} images/s'
  waits = [r.get('input_wait_fraction', 0.0) for r in settled]
  yield (
    'Waiting for images',
    f'{results.percent(numbers.fmean(waits))} of the time',
  )
  seconds = run.records[-1]['time'] - run.records[0]['time']
  yield 'From the first line to the last', _duration(seconds)
  if run.config is not None and 'mesh' in run.config:
    mesh = run.config.mesh
    yield 'Devices', f'data {mesh.data} × column {mesh.column}'
  if run.config is not None and 'dtype' in run.config:
    yield 'Numbers', str(run.config.dtype)
  if run.checkpoint:
    versions = run.checkpoint.meta.get('versions', {})
    yield 'Packages', ', '.join(f'{n} {v}' for n, v in versions.items())


def _duration(seconds: float | int) -> str:
  """In two units at most.

  >>> _duration(3725), _duration(61), _duration(0)
  ('1 h 2 min', '1 min 1 s', '0 s')
  """
  minutes, s = divmod(round(max(seconds, 0)), 60)
  hours, m = divmod(minutes, 60)
  if hours:
    return f'{hours:,} h {m} min'
  return f'{m} min {s} s' if m else f'{s} s'


def _communication(run: Run, _: pictures.Album) -> Markup:
  if run.config is None:
    return markup.missing('config.json is missing or damaged.')
  called_for = communication.expected(run.config)
  measured = _measured(run)
  keys = list(dict.fromkeys([*(m.key for m in called_for), *measured]))
  wanted = {m.key: float(m.bytes_per_image) for m in called_for}
  mesh = run.config.mesh
  return markup.join(
    markup.paragraph(
      'Bytes that leave a device for another, for an image of a training '
      f'step, on a mesh of data {mesh.data} × column {mesh.column}. '
      'Figure 2: the same of the paper’s net on two columns, as float32.'
    ),
    markup.table(
      ('Layer', 'Called for', 'Measured', 'Figure 2'),
      [_moved(key, wanted=wanted, measured=measured) for key in keys],
      numbers=' nnn',
    )
    if keys
    else markup.paragraph('One device holds everything: nothing moves.'),
    _verdict(run),
  )


Key = tuple[str, ...]


def _measured(run: Run) -> dict[Key, float]:
  """Bytes of the training step in audit.json, by layer and so on."""
  fields = ('layer', 'direction', 'kind', 'axis')
  rows = run.audit['train'] if run.audit else []
  return {
    tuple(r[f] for f in fields): float(r['bytes_per_image']) for r in rows
  }


def _moved(
  key: Key, *, wanted: dict[Key, float], measured: dict[Key, float]
) -> tuple[str, ...]:
  layer, direction, kind, axis = key
  figure = paper.FIGURE_2_EXCHANGES.get(layer)
  return (
    markup.join(
      f'{layer}, {direction}' if layer else 'gradients',
      markup.second(f'{kind} over {axis}'),
    ),
    f'{wanted.get(key, 0):,.0f}',
    f'{measured[key]:,.0f}' if key in measured else '–',
    f'{4 * figure:,}' if figure else '–',
  )


def _verdict(run: Run) -> Markup:
  if run.audit is None:
    return markup.missing(
      'What the compiled program moves is not measured yet.',
      make=_command(run, _AUDIT),
    )
  said = 'Nothing else moves' if run.audit['ok'] else 'Something else moves'
  return markup.paragraph(f'{said}, in training and evaluation (audit.json).')


SECTIONS = (
  Section('results', 'Results', _results),
  Section('curves', 'Curves', _curves),
  Section('setup', 'What was run', _setup),
  Section('deviations', 'Deviations', _deviations),
  Section('learned', 'What it learned', _learned),
  Section('classes', 'Errors by class', _by_class),
  Section('health', 'Health', _health),
  Section('data', 'Data', _data),
  Section('speed', 'Speed', _speed),
  Section('communication', 'Between the columns', _communication),
)
