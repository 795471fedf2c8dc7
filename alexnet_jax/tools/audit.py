"""What the steps of a config move between devices, beside Figure 2 (§3.2).

  python -m alexnet_jax.tools.audit --config=configs/default.py

Compiles the training and the evaluation step for the config's mesh and reads
the result; needs no data. Exit code 1 if anything moves that should not, or
does not move that should.
"""

import json
import sys

from absl import flags

from alexnet_jax import communication
from alexnet_jax import config as config_lib
from alexnet_jax.models import summary
from alexnet_jax.parallel import mesh
from alexnet_jax.tools import cli, config_flag

config_flag.define()
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead.')


def main() -> int:
  """Prints what moves, and what should."""
  config = config_flag.value()
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  report = communication.report(config)
  if _JSON.value:
    print(json.dumps(_as_json(report), indent=2))
  else:
    print(_as_text(report, config=config))
  for problem in report.problems:
    print(f'error: {problem}', file=sys.stderr)
  return 1 if report.problems else 0


def _as_json(report: communication.Report) -> dict:
  def rows(movements: list[communication.Movement]) -> list[dict]:
    return [m._asdict() for m in movements]

  return {
    'train': rows(report.train),
    'eval': rows(report.eval),
    'expected': {
      'train': rows(report.expected_train),
      'eval': rows(report.expected_eval),
    },
    'ok': not report.problems,
  }


def _as_text(report: communication.Report, *, config: config_lib.Config) -> str:
  layers = summary.rows(config.model, crop_size=config.data.crop_size)
  macs = sum(row.multiply_adds for row in layers)
  lines = [f'mesh: data {config.mesh.data} x column {config.mesh.column}']
  for name, images, found, wanted, passes in (
    ('train', config.batch_size, report.train, report.expected_train, 3),
    ('eval', config.eval.batch_size, report.eval, report.expected_eval, 1),
  ):
    lines += ['', f'{name}, minibatches of {images} images', _line(*_HEADER)]
    calls_for = {m.key: m.bytes_per_image for m in wanted}
    lines += [_row(m, expected=calls_for.pop(m.key, 0)) for m in found]
    lines += [
      _row(m._replace(count=0, bytes_per_image=0), expected=m.bytes_per_image)
      for m in wanted
      if m.key in calls_for
    ]
    moved = sum(m.bytes_per_image for m in found)
    lines.append(
      f'total: {moved:,.0f} bytes an image, '
      f'{1000 * moved / (2 * passes * macs):.3f} for 1,000 of its '
      f'{2 * passes * macs / 1e9:.2f} G floating-point operations'
    )
  return '\n'.join(lines)


_HEADER = (
  'layer', 'direction', 'kind', 'axis', 'count', 'bytes an image', 'called for',
  'on each device',
)  # fmt: skip


def _row(movement: communication.Movement, *, expected: float) -> str:
  m = movement
  first, more = m.shapes[:1], len(m.shapes) - 1
  return _line(
    m.layer or '-', m.direction, m.kind, m.axis, str(m.count),
    f'{m.bytes_per_image:,.0f}', f'{expected:,.0f}',
    ''.join(first) + (f' and {more} more' if more > 0 else ''),
  )  # fmt: skip


def _line(*cells: str) -> str:
  layer, direction, kind, axis, count, moved, expected, shapes = cells
  return (
    f'{layer:6} {direction:9} {kind:15} {axis:7}{count:>5} {moved:>15} '
    f'{expected:>13}  {shapes}'
  ).rstrip()


if __name__ == '__main__':
  cli.run(main)
