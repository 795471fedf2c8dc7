"""What was measured besides errors: health, data, speed, communication."""

import math
import statistics as numbers
from collections.abc import Iterator
from typing import Any

from alexnet_jax import paper
from alexnet_jax.studies import communication as communication_lib
from alexnet_jax.studies.report import (
  gather,
  page,
  pictures,
  results,
  statistics,
)
from alexnet_jax.train import health as health_lib

Run = gather.Run
_MOST_ROWS = 30  # of a list that may be long
NO_CONFIG = page.Missing('config.json is missing or damaged.')


def data(run: Run, _: pictures.Album) -> Iterator[page.Block]:
  """The data set, and what its preparation left out."""
  if run.data:
    yield page.Facts(list(_data_facts(run)))
  else:
    yield page.Missing(f'The data set cannot be opened: {run.no_data}')
  if run.prepared is None:
    drawn = run.data is not None and run.data.name == 'embedded'
    why = 'Images are drawn: none' if drawn else 'Not prepared here: no image'
    yield page.Text(f'{why} was left out in preparation.')
    return
  skipped = run.prepared.skipped
  if not skipped:
    yield page.Text('No file was left out in preparation.')
    return
  yield page.Heading(f'Files left out in preparation: {len(skipped):,}')
  shown = skipped[:_MOST_ROWS]
  rows = [(page.Cell(s.file, tag='code'), s.reason) for s in shown]
  yield page.Table(('File', 'Why'), rows)
  if len(skipped) > len(shown):
    more = len(skipped) - len(shown)
    yield page.Text(f'and {more:,} more, in metadata.json.')


def _data_facts(run: Run) -> Iterator[tuple[str, str]]:
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


def health(run: Run, album: pictures.Album) -> Iterator[page.Block]:
  """How the loss went, and what each layer passes on."""
  yield page.Facts(list(_loss_facts(run)))
  yield page.Heading('Before the first step')
  if not run.health:
    yield page.Missing('health.json is missing or damaged.')
    return
  yield _signal(run)
  yield album.picture(
    'layers',
    lambda: {'health_rows': run.health, 'statistics': _layer_rows(run)},
    form='svg',
    alt='Spread of the activations of each layer, weights and velocities.',
    caption=f'Left: standard deviation over {run.probed} images before the '
    'first step, and ReLUs that are at zero on all of them. Right: '
    'velocities beside weights at the newest checkpoint.',
  )
  rows = [
    (
      page.Cell(row['stage'], tag='code'),
      f'{row["stddev"]:.3g}',
      '' if row.get('dead') is None else results.percent(row['dead']),
    )
    for row in run.health
  ]
  header = ('Stage', 'Spread over images', 'ReLUs at zero on all')
  title = f'{len(rows)} stages in numbers'
  yield page.Table(header, rows, ' nn', folded=title)


def _layer_rows(run: Run) -> list[dict[str, Any]]:
  """Weights and velocities of the newest checkpoint, if it has both."""
  found = run.checkpoint
  if found is None or found.velocities is None:
    return []
  return statistics.layer_statistics(found.params, found.velocities)


def _loss_facts(run: Run) -> Iterator[tuple[str, str]]:
  losses = [(r['step'], r['loss']) for r in run.train]
  if losses:
    yield 'First training loss', f'{losses[0][1]:.3f}'
    step, lowest = min(losses, key=lambda pair: pair[1])
    yield 'Lowest training loss', f'{lowest:.3f}, step {step:,}'
    yield 'Last training loss', f'{losses[-1][1]:.3f}'
    classes = len(run.class_names)
    if classes > 1:
      yield f'Chance, ln({classes:,})', f'{math.log(classes):.3f}'
  if not all(math.isfinite(loss) for _, loss in losses):
    yield 'Loss', 'not finite at times'
  for reason in run.damaged:
    yield 'Checkpoint', reason
  if run.checkpoint:
    yield 'Steps not applied', f'{run.checkpoint.meta["skipped"]:,}'


def _signal(run: Run) -> page.Text:
  """Whether the logits differ from image to image before training."""
  rows = [
    health_lib.ActivationSummary(r['stage'], r['stddev'], r.get('dead'))
    for r in run.health
  ]
  found = health_lib.Report(rows, run.probed)
  floor = 0.0 if run.config is None else run.config.health.min_signal
  warning = health_lib.signal_warning(found, minimum=floor)
  if warning:
    return page.Text(warning.removeprefix('warning: '), 'note')
  return page.Text(
    f'The logits differ by {rows[-1].stddev:.2g} from image to image; a '
    f'warning would come below {floor:g} (config.health.min_signal).'
  )


def speed(run: Run, _: pictures.Album) -> Iterator[page.Block]:
  """Images per second, and on what."""
  yield (
    page.Facts(list(_speed_facts(run)))
    if run.train
    else page.Missing('No training step is recorded yet.')
  )


def _speed_facts(run: Run) -> Iterator[tuple[str, str]]:
  settled = run.train[1:] or run.train  # the first waits for the compiler
  rates = [r['images_per_second'] for r in settled]
  yield 'Median', f'{numbers.median(rates):,.1f} images/s'
  waits = [r.get('input_wait_fraction', 0.0) for r in settled]
  waiting = results.percent(numbers.fmean(waits))
  yield 'Waiting for images', f'{waiting} of the time'
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
  """A time in two units at most.

  >>> _duration(3725), _duration(61), _duration(0)
  ('1 h 2 min', '1 min 1 s', '0 s')
  """
  minutes, s = divmod(round(max(seconds, 0)), 60)
  hours, m = divmod(minutes, 60)
  if hours:
    return f'{hours:,} h {m} min'
  return f'{m} min {s} s' if m else f'{s} s'


def communication(run: Run, _: pictures.Album) -> Iterator[page.Block]:
  """Bytes between devices: the model's, the compiled program's, the paper's."""
  if run.config is None:
    yield NO_CONFIG
    return
  mesh = run.config.mesh
  yield page.Text(
    'Bytes that leave a device for another, for an image of a training '
    f'step, on a mesh of data {mesh.data} × column {mesh.column}. '
    'Figure 2: the same of the paper’s net on two columns, as float32.'
  )
  rows = _exchanges(run)
  header = ('Layer', 'Called for', 'Measured', 'Figure 2')
  yield (
    page.Table(header, rows, ' nnn')
    if rows
    else page.Text('One device holds everything: nothing moves.')
  )
  if run.audit is None:
    yield page.Missing(
      f'What the compiled program moves is not measured yet. {gather.CONFIG}',
      run.command('tools.audit --config=CONFIG.py --json > WORKDIR/audit.json'),
    )
    return
  said = 'Nothing else moves' if run.audit['ok'] else 'Something else moves'
  yield page.Text(f'{said}, in training and evaluation (audit.json).')


def _exchanges(run: Run) -> list[page.Row]:
  """A row per layer, direction, kind of collective and mesh axis."""
  expected = communication_lib.expected(run.config)
  wanted = {e.key: float(e.bytes_per_image) for e in expected}
  fields = ('layer', 'direction', 'kind', 'axis')
  measured = {
    tuple(r[f] for f in fields): float(r['bytes_per_image'])
    for r in (run.audit['train'] if run.audit else [])
  }
  rows = []
  for key in dict.fromkeys([*wanted, *measured]):
    layer, direction, kind, axis = key
    figure = paper.FIGURE_2_EXCHANGES.get(layer)
    what = f'{layer}, {direction}' if layer else 'gradients'
    rows.append(
      (
        page.Cell(what, f'{kind} over {axis}'),
        f'{wanted.get(key, 0):,.0f}',
        f'{measured[key]:,.0f}' if key in measured else '–',
        f'{4 * figure:,}' if figure else '–',
      )
    )
  return rows
