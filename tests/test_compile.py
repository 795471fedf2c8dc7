"""What the compiler is told, and that it keeps what it has made."""

import functools
import pathlib
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import pytest

from alexnet_jax.runtime import compile, environment

SETTINGS = (
  'jax_compilation_cache_dir',
  'jax_persistent_cache_min_compile_time_secs',
)
PROGRAM = """
import sys
import jax
from alexnet_jax.runtime import compile
compile.keep_programs()
print(jax.config.jax_compilation_cache_dir)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.jit(lambda: 1)()
"""

LOADED = """
import sys
from absl import flags
from alexnet_jax import main
flags.FLAGS(sys.argv)
"""


@pytest.fixture
def fresh():
  compile.compiler_options.cache_clear()
  yield
  compile.compiler_options.cache_clear()


def _convolution_calls(options):
  """What becomes of a convolution: XLA's own operation, or a library's."""
  x, kernel = jnp.ones((2, 13, 13, 64)), jnp.ones((3, 3, 64, 64))
  program = jax.jit(
    lambda x, kernel: jax.lax.conv_general_dilated(
      x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    ),
    compiler_options=options,
  )
  text = program.lower(x, kernel).compile().as_text()
  return text.split('ENTRY')[1].count(' convolution(')


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='options of a CPU')
def test_convolutions_are_left_to_xla(fresh):
  options = compile.compiler_options('cpu')
  name = 'xla_cpu_experimental_ynn_fusion_type'
  if name not in options:
    pytest.skip('this jaxlib has no such option')
  theirs = 'LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION'
  assert _convolution_calls(options | {name: theirs}) == 0
  assert _convolution_calls(options) == 1


def test_other_backends_are_told_nothing(fresh):
  assert compile.compiler_options('gpu') == {}


def test_options_that_jaxlib_does_not_know_are_left_out(fresh, monkeypatch):
  known = {'xla_cpu_enable_fast_min_max': False}
  both = {'xla_cpu_no_such_option': True} | known
  monkeypatch.setattr(compile, '_CPU', both)
  assert compile.compiler_options('cpu') == known
  doubled = compile.jit(lambda x: 2 * x)
  assert doubled(jnp.float32(3)) == 6


def test_values_that_jaxlib_does_not_take_are_told_of(fresh, monkeypatch):
  name = next(iter(compile._CPU))
  monkeypatch.setattr(compile, '_CPU', {name: 'NO_SUCH_LIBRARY'})
  with pytest.warns(UserWarning, match=f'refuses {name}=NO_SUCH_LIBRARY'):
    assert compile.compiler_options('cpu') == {}


@pytest.fixture
def optimised():
  """As for users: tests compile without most optimisations."""
  name = 'jax_disable_most_optimizations'
  before = jax.config.read(name)
  jax.config.update(name, False)
  yield
  jax.config.update(name, before)


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='options of a CPU')
def test_a_program_that_runs_once_computes_the_same(fresh, optimised):
  draw = functools.partial(jax.random.normal, jax.random.key(0), (7, 1000))
  often, once = (compile.jit(draw, once=once).lower() for once in (False, True))
  level = 'xla_backend_optimization_level'
  assert compile.compiler_options('cpu', once=True)[level] == 1
  assert level not in compile.compiler_options('cpu')
  assert (once.compile()() == often.compile()()).all()


def test_a_program_compiles_ahead_of_its_first_call():
  traced_in = []

  def double(x):
    traced_in.append(threading.current_thread())
    return 2 * x

  x = jnp.float32(3)
  program = compile.ahead(compile.jit(double), x)
  assert program(x) == 6
  assert program(jnp.float32(4)) == 8
  assert len(traced_in) == 1
  assert traced_in[0] is not threading.main_thread()


def test_an_error_of_compiling_ahead_is_that_of_the_call():
  program = compile.ahead(compile.jit(lambda x: x @ x), jnp.ones((2, 3)))
  with pytest.raises(TypeError, match='dot_general'):
    program(jnp.ones((2, 3)))


def test_a_process_that_ends_while_it_compiles_has_its_own_exit_code():
  program = """
import jax.numpy as jnp
from alexnet_jax.runtime import compile
def deep(x):
  for i in range(50):
    x = jnp.sin(x @ x) * i
  return x
compile.ahead(compile.jit(deep), jnp.ones((64, 64)))
raise SystemExit(7)
"""
  done = subprocess.run(
    [sys.executable, '-c', program],
    capture_output=True,
    text=True,
    cwd=pathlib.Path(__file__).parent.parent,
  )
  assert (done.returncode, done.stderr) == (7, '')


def _run(monkeypatch, **env):
  for name in ('JAX_COMPILATION_CACHE_DIR', 'XDG_CACHE_HOME'):
    monkeypatch.delenv(name, raising=False)
  for name, value in env.items():
    monkeypatch.setenv(name, str(value))
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM],
    capture_output=True,
    text=True,
    check=True,
    cwd=pathlib.Path(__file__).parent.parent,
  )
  assert not done.stderr
  return done.stdout.strip()


def test_programs_are_kept_in_the_users_cache(monkeypatch, tmp_path):
  folder = pathlib.Path(_run(monkeypatch, HOME=tmp_path))
  assert folder.parent == tmp_path / '.cache' / 'alexnet_jax'
  assert folder.name.startswith('programs-')
  assert list(folder.glob('jit_*'))
  for made in (folder, folder.parent):
    assert made.stat().st_mode & 0o777 == 0o700
  found = _run(monkeypatch, XDG_CACHE_HOME=tmp_path)
  assert found == f'{tmp_path}/alexnet_jax/{folder.name}'


def test_another_processor_has_its_own_programs(monkeypatch, tmp_path):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  before = {n: getattr(jax.config, n) for n in SETTINGS}
  found = set()
  try:
    for processor in ('with AVX-512', 'without'):
      monkeypatch.setattr(environment, 'processor', lambda it=processor: it)
      compile.keep_programs()
      found.add(getattr(jax.config, SETTINGS[0]))
  finally:
    for name, value in before.items():
      jax.config.update(name, value)
  assert len(found) == 2


def test_the_users_own_folder_is_used(monkeypatch, tmp_path):
  own = tmp_path / 'own'
  found = _run(monkeypatch, HOME=tmp_path, JAX_COMPILATION_CACHE_DIR=own)
  assert found == str(own)
  assert not (tmp_path / '.cache').exists()


@pytest.mark.parametrize('home', ['/proc/nowhere', 'relative'])
def test_without_a_home_nothing_is_kept(monkeypatch, home):
  assert _run(monkeypatch, HOME=home) == 'None'
  assert not pathlib.Path(home).exists()


def test_a_folder_that_others_can_write_is_not_used(monkeypatch, tmp_path):
  inner = pathlib.Path(_run(monkeypatch, XDG_CACHE_HOME=tmp_path))
  for folder in (inner, inner.parent):
    folder.chmod(0o777)
    assert _run(monkeypatch, XDG_CACHE_HOME=tmp_path) == 'None'
    folder.chmod(0o700)


def test_the_command_keeps_its_programs(monkeypatch, tmp_path):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  program = 'import jax; from alexnet_jax import main; main.main();'
  program += 'print(jax.config.jax_compilation_cache_dir)'
  config = '--config=configs/smoke.py'
  done = subprocess.run(
    [sys.executable, '-c', LOADED + program, config, '--mode=summary'],
    capture_output=True,
    text=True,
    cwd=pathlib.Path(__file__).parent.parent,
  )
  last = done.stdout.splitlines()[-1]
  assert last.startswith(f'{tmp_path}/alexnet_jax/programs-'), done.stderr
