"""What was measured besides errors: health, data, speed, communication."""

import math
import statistics as numbers
from collections.abc import Iterator

from alexnet_jax import paper
from alexnet_jax.studies import communication as communication_lib
from alexnet_jax.studies.report import (
  commands,
  gather,
  markup,
  pictures,
  results,
)
from alexnet_jax.studies.report.markup import Markup, tag
from alexnet_jax.train import health as health_lib

Run = gather.Run
_MOST_ROWS = 30  # of a list that may be long


def data(run: Run, _: pictures.Album) -> Markup:
  parts = []
  if run.data:
    parts.append(markup.facts(_of_data(run)))
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


def health(run: Run, album: pictures.Album) -> Markup:
  return markup.join(
    markup.facts(_course(run)),
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
  for reason in run.damaged:
    yield 'Checkpoint', reason
  if run.checkpoint:
    yield 'Steps not applied', f'{run.checkpoint.meta["skipped"]:,}'


def _signal(run: Run) -> Markup:
  if not run.health:
    return markup.missing('health.json is missing or damaged.')
  rows = [
    health_lib.Row(r['stage'], r['stddev'], r.get('dead')) for r in run.health
  ]
  found = health_lib.Report(rows, run.probed)
  floor = 0.0 if run.config is None else run.config.health.min_signal
  warning = health_lib.signal_warning(found, minimum=floor)
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


def speed(run: Run, _: pictures.Album) -> Markup:
  if not run.train:
    return markup.missing('No training step is recorded yet.')
  return markup.facts(_of_speed(run))


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


def communication(run: Run, _: pictures.Album) -> Markup:
  if run.config is None:
    return markup.missing('config.json is missing or damaged.')
  called_for = communication_lib.expected(run.config)
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
      f'What the compiled program moves is not measured yet. {commands.CONFIG}',
      make=commands.audit(run),
    )
  said = 'Nothing else moves' if run.audit['ok'] else 'Something else moves'
  return markup.paragraph(f'{said}, in training and evaluation (audit.json).')
