"""What the steps of a config move between devices, beside Figure 2 (§3.2).

  python -m alexnet_jax.tools.audit --config=configs/default.py

Compiles the training and the evaluation step for the config's mesh and reads
the result; needs no data. Exit code 1 if anything moves that the config does
not call for, or does not move that should. Figure 2's own column is that of
the paper's network on two columns, whatever the config.
"""

import json
import sys

from absl import flags

from alexnet_jax import cli, paper
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.config import schema
from alexnet_jax.models import summary
from alexnet_jax.parallel import mesh
from alexnet_jax.studies import communication

flags_lib.define()
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead.')


def main() -> int:
  """Prints what moves, and what should."""
  config = flags_lib.value()
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  report = communication.report(config)
  if _JSON.value:
    print(json.dumps(_as_json(report), indent=2))
  else:
    print(_as_text(report, config=config))
  return complain(report)


def complain(report: communication.Report) -> int:
  """A line on stderr for each problem; the exit code."""
  for problem in report.problems:
    print(f'error: {problem}', file=sys.stderr)
  return 1 if report.problems else 0


def _as_json(report: communication.Report) -> dict:
  def rows(movements: list[communication.Movement]) -> list[dict]:
    full = [m._asdict() for m in movements]
    return [{k: v for k, v in m.items() if v != ()} for m in full]

  return {
    'train': rows(report.train),
    'eval': rows(report.eval),
    'expected': {
      'train': rows(report.expected_train),
      'eval': rows(report.expected_eval),
    },
    'ok': not report.problems,
  }


def _as_text(report: communication.Report, *, config: schema.Config) -> str:
  operations = summary.operations(config.model, crop_size=config.data.crop_size)
  lines = [f'mesh: data {config.mesh.data} x column {config.mesh.column}']
  for name, images, found, wanted in (
    ('train', config.batch_size, report.train, report.expected_train),
    ('eval', config.eval.batch_size, report.eval, report.expected_eval),
  ):
    there = {m.key for m in found}
    nothing = {'count': 0, 'bytes_per_image': 0.0}
    rows = found + [m._replace(**nothing) for m in wanted if m.key not in there]
    called_for = {m.key: m.bytes_per_image for m in wanted}
    lines += ['', f'{name}, minibatches of {images} images', _line(*_HEADER)]
    lines += [_row(m, expected=called_for.get(m.key, 0)) for m in rows]
    moved = sum(m.bytes_per_image for m in found)
    lines.append(
      f'total: {moved:,.0f} bytes an image, '
      f'{1000 * moved / operations[name]:.3g} for 1,000 of its '
      f'{operations[name] / 1e6:,.0f} million floating-point operations'
    )
  verdict = 'something else moves' if report.problems else 'nothing else moves'
  return '\n'.join([*lines, '', verdict])


_HEADER = (
  'layer', 'direction', 'kind', 'axis', 'count', 'bytes an image', 'called for',
  'Figure 2', 'on each device',
)  # fmt: skip


def _row(movement: communication.Movement, *, expected: float) -> str:
  m = movement
  first, more = m.shapes[:1], len(m.shapes) - 1
  values = paper.FIGURE_2_EXCHANGES.get(m.layer)
  return _line(
    m.layer or 'gradients', m.direction, m.kind, m.axis, str(m.count),
    f'{m.bytes_per_image:,.0f}', f'{expected:,.0f}',
    f'{4 * values:,}' if values else '-',
    ''.join(first) + (f' and {more} more' if more > 0 else ''),
  )  # fmt: skip


def _line(*cells: str) -> str:
  layer, direction, kind, axis, count, *numbers, shapes = cells
  return (
    f'{layer:9} {direction:9} {kind:15} {axis:7}{count:>5} '
    + ' '.join(f'{number:>14}' for number in numbers)
    + f'  {shapes}'
  ).rstrip()


if __name__ == '__main__':
  cli.run(main)
