"""Measured and expected movements beside Figure 2's, for tools/audit.py."""

from typing import Any

from ml_collections import config_dict

from alexnet_jax import paper
from alexnet_jax.models import summary
from alexnet_jax.studies import communication

_HEADER = (
  'layer', 'direction', 'kind', 'axis', 'count', 'bytes an image', 'expected',
  'Figure 2', 'on each device',
)  # fmt: skip
_CELLS = '{:9} {:9} {:15} {:7}{:>5} {:>14} {:>14} {:>14}  {}'


def as_json(report: communication.Report) -> dict[str, Any]:
  """The report as --json prints it."""
  train, evaluation, *expected = (
    [{k: v for k, v in m._asdict().items() if v != ()} for m in movements]
    for movements in report
  )
  return {
    'train': train,
    'eval': evaluation,
    'expected': dict(zip(('train', 'eval'), expected, strict=True)),
    'ok': not report.problems,
  }


def describe(
  report: communication.Report, *, config: config_dict.ConfigDict
) -> str:
  """A table for each step, with the bytes of Figure 2's exchanges."""
  operations = summary.operations(config.model, crop_size=config.data.crop_size)
  lines = [f'mesh: data {config.mesh.data} x column {config.mesh.column}']
  for name, images, found, wanted in (
    ('train', config.batch_size, report.train, report.expected_train),
    ('eval', config.eval.batch_size, report.eval, report.expected_eval),
  ):
    moved = {m.key for m in found}
    nothing = {'count': 0, 'bytes_per_image': 0.0}
    missing = [m._replace(**nothing) for m in wanted if m.key not in moved]
    expected = {m.key: m.bytes_per_image for m in wanted}
    lines += ['', f'{name}, minibatches of {images} images', _line(*_HEADER)]
    lines += [_row(m, expected=expected.get(m.key, 0)) for m in found + missing]
    total = sum(m.bytes_per_image for m in found)
    lines.append(
      f'total: {total:,.0f} bytes an image, '
      f'{1000 * total / operations[name]:.3g} for 1,000 of its '
      f'{operations[name] / 1e6:,.0f} million floating-point operations'
    )
  verdict = 'something else moves' if report.problems else 'nothing else moves'
  return '\n'.join([*lines, '', verdict])


def _row(m: communication.Movement, *, expected: int | float) -> str:
  first, more = m.shapes[:1], len(m.shapes) - 1
  values = paper.FIGURE_2_EXCHANGES.get(m.layer)
  return _line(
    m.layer or 'gradients', m.direction, m.kind, m.axis, str(m.count),
    f'{m.bytes_per_image:,.0f}', f'{expected:,.0f}',
    f'{4 * values:,}' if values else '-',
    ''.join(first) + (f' and {more} more' if more > 0 else '')
    + ', asynchronous' * (m.count == m.asynchronous > 0),
  )  # fmt: skip


def _line(*cells: str) -> str:
  return _CELLS.format(*cells).rstrip()
