"""The programs of docs/scaling.md, compiled for H100s that are not there.

  python -m tests.golden.programs    renews gpu_programs.json and the page

It needs the extra gpu-compile and takes five minutes on two cores.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
from typing import Any, NamedTuple

from alexnet_jax import paper

ROOT = pathlib.Path(__file__).parents[2]
FILE = pathlib.Path(__file__).parent / 'gpu_programs.json'
PAGE = ROOT / 'docs' / 'scaling.md'


class Program(NamedTuple):
  """The training step of configs/imagenet.py with these fields."""

  data: int
  column: int
  dtype: str
  images: int
  kernels: str

  def __str__(self) -> str:
    kernels = '' if self.kernels == 'xla' else f' {self.kernels}'
    return f'{self.data}x{self.column} {self.dtype}{kernels}'

  def audit(self) -> subprocess.CompletedProcess[str]:
    """Compiles it in a process of its own, as tools.audit prints it."""
    # Not as fast to compile as other tests have it, but as it would run.
    env = {k: v for k, v in os.environ.items() if not k.startswith('JAX_')}
    env.pop('XLA_FLAGS', None)
    fields = {
      'mesh.data': self.data,
      'mesh.column': self.column,
      'dtype': self.dtype,
      'batch_size': self.images,
      'kernels': self.kernels,
    }
    return subprocess.run(
      [
        *(sys.executable, '-m', 'alexnet_jax.tools.audit', '--json'),
        *('--target=h100', '--config=configs/imagenet.py'),
        *(f'--config.{field}={value}' for field, value in fields.items()),
      ],
      cwd=ROOT,
      env=env | {'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
      timeout=600,
    )


_FORMS = (('float32', 128), ('bfloat16', 512))
PROGRAMS = {
  str(program): program
  for program in (
    *(
      Program(*mesh, *form, 'xla')
      for form in _FORMS
      for mesh in ((1, 1), (1, 2), (2, 2))
    ),
    Program(1, 2, 'float32', 128, 'pallas'),
    Program(1, 1, 'bfloat16', 512, 'pallas'),
  )
}
_BY_LAYER = ('1x2 float32', '1x1 bfloat16')


def main() -> None:
  """Compiles all programs, two at a time; writes the file and the page."""
  with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
    done = list(pool.map(Program.audit, PROGRAMS.values()))
  for one in done:
    one.check_returncode()
  facts = {
    name: summary(json.loads(one.stdout))
    for name, one in zip(PROGRAMS, done, strict=True)
  }
  lines = ',\n'.join(
    f' {json.dumps(n)}: {json.dumps(f)}' for n, f in facts.items()
  )
  FILE.write_text(f'{{\n{lines}\n}}\n')
  PAGE.write_text(rewrite(PAGE.read_text(), facts=facts))


def summary(audit: dict[str, Any]) -> dict[str, Any]:
  """Returns a program's row of docs/scaling.md; bytes are rounded to 1,000."""
  cost = audit['cost']['train']
  parts = cost['parts']
  return {
    'bytes_per_image': round(cost['bytes_per_image'], -3),
    'kernels': sum(part['kernels'] for part in parts),
    'cudnn': sum(part['cudnn'] for part in parts),
    'argument_bytes': cost['argument_bytes'],
    'scratch_bytes': cost['scratch_bytes'],
    'memory_ms': float(f'{1e3 * cost["memory_seconds"]:.3g}'),
    'product_ms': float(f'{1e3 * cost["product_seconds"]:.3g}'),
    'layers': {
      f'{part["layer"] or "other"} {part["direction"]}'.strip(): round(
        part['bytes_per_image'], -4
      )
      for part in parts
    },
  }


def rewrite(page: str, *, facts: dict[str, Any]) -> str:
  """The page with its two tables made from the file."""
  for name, table in (
    ('programs', _programs(facts)),
    ('layers', _layers(facts)),
  ):
    start, end = f'<!-- {name} -->\n', f'<!-- end of {name} -->'
    before, _, rest = page.partition(start)
    page = f'{before}{start}{table}{end}{rest.partition(end)[2]}'
  return page


def _programs(facts: dict[str, Any]) -> str:
  rows = [
    'mesh | dtype | images | config.kernels | MB an image | '
    'kernels, of cuDNN | arguments + scratch | of a GTX 580 | '
    'bound: memory; products',
  ]
  for name, p in PROGRAMS.items():
    f = facts[name]
    sizes = f['argument_bytes'], f['scratch_bytes']
    rows.append(
      f'{p.data} x {p.column} | {p.dtype} | {p.images} | {p.kernels} | '
      f'{f["bytes_per_image"] / 1e6:.1f} | {f["kernels"]}, {f["cudnn"]} | '
      f'{sizes[0] / 1e6:,.0f} + {sizes[1] / 1e6:,.0f} MB | '
      f'{100 * sum(sizes) / paper.GPU_MEMORY:.0f} % | '
      f'{f["memory_ms"]:g} ms; {f["product_ms"]:g} ms'
    )
  return _table(rows)


def _layers(facts: dict[str, Any]) -> str:
  names = ' | '.join(
    f'{p.data} x {p.column}, {p.dtype}: forward | backward'
    for p in map(PROGRAMS.get, _BY_LAYER)
    if p
  )
  rows = [f'layer | {names}']
  found = [facts[name]['layers'] for name in _BY_LAYER]
  layers = dict.fromkeys(key.split()[0] for layers in found for key in layers)
  for layer in sorted(layers, key=_order):
    cells = []
    for each in found:
      forward = each.get(f'{layer} forward', each.get(layer))
      backward = each.get(f'{layer} backward')
      cells += [
        '' if n is None else f'{n / 1e6:.2f}' for n in (forward, backward)
      ]
    rows.append(' | '.join([layer, *cells]))
  return _table(rows)


def _table(rows: list[str]) -> str:
  lines = [f'| {row} |' for row in rows]
  lines.insert(1, '|' + '---|' * (rows[0].count('|') + 1))
  return '\n'.join(lines) + '\n'


def _order(layer: str) -> tuple[bool, str]:
  return not layer.startswith(('conv', 'fc')), layer


if __name__ == '__main__':
  main()
