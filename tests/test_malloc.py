"""Commands ask for large pages, once: memory then costs few page faults."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

_KERNEL = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')
_ROOT = pathlib.Path(__file__).parents[1]
_ASKED = 'glibc.malloc.hugetlb=1'
pytestmark = pytest.mark.skipif(
  not _KERNEL.exists() or '[madvise]' not in _KERNEL.read_text(),
  reason='the kernel gives large pages to all processes, or to none',
)

FILL = """
import ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def fill():
  memory = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(256 << 20)))
  ctypes.memset(memory, 1, 256 << 20)
  libc.free(memory)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
  fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
# Every interpreter that starts writes a line.
CUSTOMIZE = """
import json, os, sys
with open(os.environ['STARTS'], 'a') as file:
  print(json.dumps([os.environ.get('GLIBC_TUNABLES'), sys.flags.utf8_mode]),
        file=file)
"""


def _faults(tunables):
  return int(
    subprocess.check_output(
      [sys.executable, '-c', FILL],
      text=True,
      env=os.environ | {'GLIBC_TUNABLES': tunables},
    )
  )


def test_large_pages_cost_few_page_faults():
  assert _faults(_ASKED) < 6000  # 384 pages of 2 MB, and the ends
  assert _faults('glibc.malloc.hugetlb=0') > 150_000  # of 4 kB


@pytest.fixture
def starts(tmp_path):
  """Runs Python; returns the process, and what each interpreter wrote."""
  (tmp_path / 'sitecustomize.py').write_text(CUSTOMIZE)
  written = tmp_path / 'starts'

  def run(*arguments, tunables=None):
    env = dict(os.environ)
    env.pop('GLIBC_TUNABLES', None)
    if tunables:
      env['GLIBC_TUNABLES'] = tunables
    path = os.pathsep.join([str(tmp_path), str(_ROOT)])
    done = subprocess.run(
      [sys.executable, *arguments],
      env=env | {'PYTHONPATH': path, 'STARTS': str(written)},
      capture_output=True,
      text=True,
    )
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    written.unlink()
    return done, lines

  return run


def test_a_command_starts_anew_with_large_pages(starts):
  done, lines = starts(
    *('-X', 'utf8=1', '-m', 'alexnet_jax.tools.prepare', '--nosuch')
  )
  assert (done.returncode, done.stdout) == (2, '')
  assert done.stderr.count('\n') == 1 and 'nosuch' in done.stderr
  assert lines == [[None, 1], [_ASKED, 1]]


def test_the_installed_command_starts_anew_with_large_pages(starts, tmp_path):
  script = tmp_path / 'alexnet-jax'  # as pip writes it
  script.write_text('from alexnet_jax.tools import command; command()')
  done, lines = starts(str(script), 'prepair')
  assert done.returncode == 2 and 'there is prepare' in done.stderr
  assert [tunables for tunables, _ in lines] == [None, _ASKED]


@pytest.mark.parametrize(
  ('given', 'then'),
  [
    ('glibc.malloc.hugetlb=0', ['glibc.malloc.hugetlb=0']),
    (
      'glibc.malloc.trim_threshold=1',
      [
        'glibc.malloc.trim_threshold=1',
        f'glibc.malloc.trim_threshold=1:{_ASKED}',
      ],
    ),
  ],
)
def test_tunables_that_are_given_stay(starts, given, then):
  _, lines = starts('-m', 'alexnet_jax.tools.prepare', tunables=given)
  assert [tunables for tunables, _ in lines] == then


def test_a_program_that_imports_the_package_is_left_alone(starts, tmp_path):
  package = tmp_path / 'theirs'
  package.mkdir()
  (package / '__init__.py').write_text('import alexnet_jax')
  (package / 'run.py').write_text('import alexnet_jax; print("done")')
  for command in (
    ('-c', 'import alexnet_jax; print("done")'),
    ('-m', 'theirs.run', '-m', 'alexnet_jax.main'),
  ):
    done, lines = starts(*command)
    assert done.stdout == 'done\n' and len(lines) == 1
