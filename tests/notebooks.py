"""Runs the lessons of docs/notebooks, which are Markdown files of jupytext.

  python -m tests.notebooks            all, in a new folder, with seconds
  python -m tests.notebooks --write    the same, and renews the output in them
  python -m tests.notebooks --short    small numbers, as the tests do

A cell is a block of Python. What it prints stands below it in a block of text,
cut to a few lines; Jupyter shows it as text.
"""

import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parent.parent
LESSONS = sorted((ROOT / 'docs' / 'notebooks').glob('[0-9]*.md'))
CELL = re.compile(
  r'(?m)^```python([^\n]*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?', re.DOTALL
)
_MOST = 16  # lines of output that are kept, besides the last


def run(path: pathlib.Path) -> list[str]:
  """Runs the cells of a lesson in order; what each of them printed."""
  names: dict[str, object] = {'__name__': '__main__'}
  printed = []
  for number, (_, code, _) in enumerate(CELL.findall(path.read_text('utf-8'))):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
      exec(compile(code, f'{path.name}, cell {number + 1}', 'exec'), names)
    printed.append(out.getvalue())
  return printed


def with_output(text: str, *, printed: list[str]) -> str:
  """The lesson's text with this output below its cells."""
  parts = iter(printed)

  def renew(cell: re.Match[str]) -> str:
    code = f'```python{cell[1]}\n{cell[2]}```\n'
    output = _cut(next(parts))
    return code + (f'\n```text\n{output}```\n' if output else '')

  return CELL.sub(renew, text)


def _cut(output: str) -> str:
  lines = [line.rstrip() for line in output.strip('\n').splitlines()]
  if len(lines) > _MOST + 1:
    lines = [*lines[:_MOST], '...', lines[-1]]
  return ''.join(f'{line}\n' for line in lines)


def _main(flags: list[str]) -> None:
  named = [path for path in LESSONS if path.name in flags]
  if '--here' in flags:  # in a process of its own, as JAX wants it
    for path in named:
      text = with_output(path.read_text('utf-8'), printed=run(path))
      if '--write' in flags:
        path.write_text(text, 'utf-8')
    return
  env = os.environ | {'PYTHONPATH': str(ROOT), 'SHORT': '0'}
  env |= {'SHORT': '1'} if '--short' in flags else {}
  with tempfile.TemporaryDirectory(prefix='alexnet_jax-lessons-') as folder:
    env.setdefault('ALEXNET_JAX_CACHE', f'{folder}/cache')
    start = time.monotonic()
    for path in named or LESSONS:
      began = time.monotonic()
      command = [sys.executable, '-P', '-m', 'tests.notebooks', '--here']
      subprocess.run(
        [*command, path.name, *flags], cwd=folder, env=env, check=True
      )
      print(f'{path.name:16} {time.monotonic() - began:6.1f} s', flush=True)
    print(f'{"together":16} {time.monotonic() - start:6.1f} s')


if __name__ == '__main__':
  _main(sys.argv[1:])
