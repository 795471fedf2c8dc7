"""What was measured besides errors: health, data, speed, communication."""

import math
import statistics

from alexnet_jax import paper
from alexnet_jax.studies import communication
from alexnet_jax.studies.report import gather, page
from alexnet_jax.train import health

Facts = list[tuple[str, str]]  # names with their values


def data(run: gather.Run) -> Facts:
  """The data set, if it can be opened."""
  found = run.data
  assert found
  splits = {'Training': found.train, 'Validation': found.val}
  splits |= {'Test': found.test} if found.test is not None else {}
  facts = [
    ('Name', found.name),
    *((f'{name} images', f'{len(s):,}') for name, s in splits.items()),
    ('Classes', f'{len(found.classes):,}'),
    ('Image size', f'{found.image_size} × {found.image_size}'),
    ('Fingerprint', found.fingerprint[:16]),
  ]
  if run.checkpoint and run.checkpoint.meta['fingerprint'] != found.fingerprint:
    facts.append(('Trained on', 'other data, now replaced'))
  return facts


def losses(run: gather.Run) -> Facts:
  """How the loss of minibatches went."""
  facts: Facts = []
  found = [(r['step'], r['loss']) for r in run.train]
  if found:
    step, lowest = min(found, key=lambda pair: pair[1])
    facts += [
      ('First training loss', f'{found[0][1]:.3f}'),
      ('Lowest training loss', f'{lowest:.3f}, step {step:,}'),
      ('Last training loss', f'{found[-1][1]:.3f}'),
    ]
    classes = len(run.class_names)
    if classes > 1:
      facts.append((f'Chance, ln({classes:,})', f'{math.log(classes):.3f}'))
  if not all(math.isfinite(loss) for _, loss in found):
    facts.append(('Loss', 'not finite at times'))
  facts += [('Checkpoint', reason) for reason in run.damaged]
  if run.checkpoint:
    facts.append(('Steps not applied', f'{run.checkpoint.meta["skipped"]:,}'))
  return facts


def signal(run: gather.Run) -> tuple[str, str, str]:
  """Whether logits differ before training: (warning or '', spread, limit)."""
  rows = [
    health.ActivationSummary(r['stage'], r['stddev'], r.get('dead'))
    for r in run.health
  ]
  floor = 0.0 if run.config is None else run.config.health.min_signal
  found = health.Report(rows, run.probed)
  warning = health.signal_warning(found, minimum=floor) or ''
  spread = f'{rows[-1].stddev:.2g}'
  return warning.removeprefix('warning: '), spread, f'{floor:g}'


def speed(run: gather.Run) -> Facts:
  """Images per second, and on what."""
  waits = [r.get('input_wait_fraction', 0.0) for r in _settled(run)]
  seconds = run.records[-1]['time'] - run.records[0]['time']
  facts = [
    ('Median', f'{statistics.median(rates(run)):,.1f} images/s'),
    (
      'Waiting for images',
      f'{page.percent(statistics.fmean(waits))} of the time',
    ),
    ('From the first line to the last', _duration(seconds)),
  ]
  config = run.config or {}
  if 'mesh' in config:
    mesh = config['mesh']
    facts.append(('Devices', f'data {mesh.data} × column {mesh.column}'))
  if 'dtype' in config:
    facts.append(('Numbers', str(config['dtype'])))
  if run.checkpoint:
    versions = run.checkpoint.meta.get('versions', {})
    facts.append(
      ('Packages', ', '.join(f'{n} {v}' for n, v in versions.items()))
    )
  return facts


def rates(run: gather.Run) -> list[float]:
  """Images/s of each record of training but the first."""
  return [r['images_per_second'] for r in _settled(run)]


def _settled(run: gather.Run) -> list[gather.Record]:
  return run.train[1:] or run.train  # the first waits for the compiler


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


def exchanges(run: gather.Run) -> list[tuple[str, str, tuple[str, str, str]]]:
  """What moves between devices: (what, how, bytes an image).

  Bytes are those that the config needs, those of the compiled program, and
  those of Figure 2.
  """
  expected = communication.expected(run.config)
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
    found = (
      f'{wanted.get(key, 0):,.0f}',
      f'{measured[key]:,.0f}' if key in measured else '–',
      f'{4 * figure:,}' if figure else '–',
    )
    what = f'{layer}, {direction}' if layer else 'gradients'
    rows.append((what, f'{kind} over {axis}', found))
  return rows
