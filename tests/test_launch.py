"""launch/local.sh and launch/test.sh with a Python that only logs its calls."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Writes its arguments and its stdin to files in $NOTES. It has the version of
# the Python that runs the tests, unless VERSION below says otherwise.
FAKE_PYTHON = f"""#!/usr/bin/env bash
case "$*" in
  *'import ensurepip'*) [[ ! -e $NOTES/no-ensurepip.${{0##*/}} ]] ;;
  *'sys.version_info'*)
    exec {sys.executable!r} -S -c "import sys; VERSION
${{@: -1}}" ;;
  '-I -m venv '*)
    sleep "${{VENV_SECONDS:-0}}"
    mkdir -p "$4/bin" && touch "$4/pyvenv.cfg" && cp "$0" "$4/bin/python"
    echo "${{0##*/}}" >"$NOTES/python"
    echo venv >>"$NOTES/log" ;;
  '-I -m pip '*)
    cat >"$NOTES/requirements"
    echo pip >>"$NOTES/log"
    trap "exit 1" INT  # as pip does
    [[ -z ${{KILL-}} ]] || kill -"$KILL" 0
    [[ ! -e $NOTES/offline ]] ;;
  '-P '*)
    printf '%s\\n' "$PWD" "$PYTHONPATH" "${{ALEXNET_JAX_TEST_DATA-}}" "$@" \\
      >"$NOTES/ran"
    exit "${{EXIT_CODE:-0}}" ;;
  *) exec {sys.executable!r} -S "$@" ;;
esac
"""


PYTHONS = ('python3', *(f'python3.{minor}' for minor in range(11, 15)))


class Tree:
  """A checkout with a space in its path, another folder to call it from."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.root = path / 'a checkout'
    self.notes = path / 'notes'
    self.elsewhere = path / 'else where'
    for folder in (self.root, self.notes, self.elsewhere, path / 'bin'):
      folder.mkdir()
    shutil.copytree(ROOT / 'launch', self.root / 'launch')
    for name in ('pyproject.toml', 'requirements.lock'):
      shutil.copy(ROOT / name, self.root)
    for name in PYTHONS:  # no other Python of this machine is found
      self.add_python(name)

  def add_python(self, name: str, *, minor: int | None = None) -> None:
    version = f'sys.version_info = (3, {minor}, 0)' if minor else ''
    self._program(name, FAKE_PYTHON.replace('VERSION', version))

  def offer(self, minors: dict[str, int]) -> None:
    """These Pythons; the other names are shims that fail, as pyenv has them."""
    for name in PYTHONS:
      self._program(name, f'#!/bin/sh\necho "pyenv: {name}" >&2\nexit 127\n')
    for name, minor in minors.items():
      self.add_python(name, minor=minor)

  def _program(self, name: str, text: str) -> None:
    path = self.path / 'bin' / name
    path.write_text(text)
    path.chmod(0o755)

  def start(self, script: str, *args: str, **env: str) -> subprocess.Popen[str]:
    dropped = ('PYTHON', 'PYTHONPATH', 'ALEXNET_JAX_TEST_DATA')
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    kept |= {'PATH': f'{self.path}/bin:{kept["PATH"]}'}
    return subprocess.Popen(
      [self.root / 'launch' / script, *args],
      cwd=self.elsewhere,
      env=kept | {'NOTES': str(self.notes)} | env,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,  # for kill 0, which ends a whole group
    )

  def run(self, script: str, *args: str, **env: str) -> tuple[int, list[str]]:
    """The exit code and the lines of stderr."""
    process = self.start(script, *args, **env)
    errors = process.communicate(timeout=30)[1]
    return process.returncode, errors.splitlines()

  def note(self, name: str) -> list[str]:
    return (self.notes / name).read_text().splitlines()

  def argv(self) -> list[str]:
    return self.note('ran')[3:]


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> Tree:
  return Tree(tmp_path)


def test_args_reach_python_as_they_are(tree: Tree) -> None:
  args = ['--config=a b.py', '', '*', '--config.optim.momentum=0.8']
  assert tree.run('local.sh', *args)[0] == 0
  assert tree.argv() == ['-P', '-m', 'alexnet_jax.main', *args]
  assert tree.note('ran')[:2] == [str(tree.elsewhere), str(tree.root)]


def test_no_args_is_the_default_config(tree: Tree) -> None:
  tree.run('local.sh')
  assert tree.argv()[3:] == [f'--config={tree.root}/configs/default.py']


def test_called_through_a_link_and_with_a_pythonpath(tree: Tree) -> None:
  link = tree.path / 'train'
  link.symlink_to(tree.root / 'launch' / 'local.sh')
  assert tree.run(str(link), '--help', PYTHONPATH='/mine')[0] == 0
  assert tree.note('ran')[1] == f'{tree.root}:/mine'


def test_exit_code_is_that_of_python(tree: Tree) -> None:
  assert tree.run('local.sh', EXIT_CODE='75')[0] == 75


def test_second_run_is_silent_and_installs_nothing(tree: Tree) -> None:
  assert tree.run('local.sh')[1] != []
  assert tree.run('local.sh') == (0, [])
  assert tree.note('log') == ['venv', 'pip']


def test_extras_are_added_and_stay(tree: Tree) -> None:
  tree.run('local.sh')
  assert any(line.startswith('jax>=') for line in tree.note('requirements'))
  assert not any('pytest' in line for line in tree.note('requirements'))
  tree.run('test.sh')
  assert any('pytest' in line for line in tree.note('requirements'))
  assert any('matplotlib' in line for line in tree.note('requirements'))
  assert any('safetensors' in line for line in tree.note('requirements'))
  assert tree.run('local.sh') == (0, [])
  assert tree.note('log') == ['venv', 'pip', 'pip']


@pytest.mark.parametrize('name', ['requirements.lock', 'pyproject.toml'])
def test_changed_pins_are_installed(tree: Tree, name: str) -> None:
  tree.run('test.sh')
  with (tree.root / name).open('a') as file:
    file.write('# newer\n')
  tree.run('local.sh')
  assert any('pytest' in line for line in tree.note('requirements'))
  assert tree.note('log') == ['venv', 'pip', 'pip']


@pytest.mark.parametrize('signal', ['INT', 'KILL'])
def test_interrupted_install_is_made_again(tree: Tree, signal: str) -> None:
  tree.run('local.sh')
  assert tree.run('test.sh', KILL=signal)[0] != 0
  assert tree.run('local.sh')[0] == 0
  assert tree.note('log') == ['venv', 'pip', 'pip', 'venv', 'pip']


def test_moved_checkout_makes_its_own(tree: Tree) -> None:
  tree.run('local.sh')
  tree.root = tree.root.rename(tree.path / 'moved')
  assert tree.run('local.sh')[0] == 0
  assert tree.note('log') == ['venv', 'pip'] * 2


def test_failed_update_leaves_the_older_install(tree: Tree) -> None:
  tree.run('local.sh')
  (tree.notes / 'offline').touch()
  code, errors = tree.run('test.sh')
  assert code == 1 and errors[-1].startswith('launch: pip failed')
  assert tree.run('local.sh') == (0, [])


def test_two_at_once_install_once(tree: Tree) -> None:
  if shutil.which('flock') is None:
    pytest.skip('needs flock')
  both = [tree.start('local.sh', VENV_SECONDS='0.3') for _ in range(2)]
  for process in both:
    process.communicate(timeout=30)
  assert [process.returncode for process in both] == [0, 0]
  assert tree.note('log') == ['venv', 'pip']


def test_venv_of_someone_else_is_left_alone(tree: Tree) -> None:
  (tree.root / '.venv').mkdir()
  (tree.root / '.venv' / 'pyvenv.cfg').touch()
  code, [error] = tree.run('local.sh')
  assert code == 1 and 'move it away' in error


@pytest.mark.parametrize('script', ['local.sh', 'test.sh'])
def test_python_too_old_is_one_line(tree: Tree, script: str) -> None:
  code, [error] = tree.run(script, PYTHON='false')
  assert code == 1 and error.startswith('launch: false is not Python 3.11')


@pytest.mark.parametrize(
  ('minors', 'chosen'),
  [
    ({'python3.13': 13, 'python3.14': 14, 'python3': 11}, 'python3.14'),
    ({'python3.12': 12, 'python3.13': 13, 'python3': 12}, 'python3.13'),
    ({'python3.11': 11, 'python3.12': 12}, 'python3.12'),
    ({'python3.12': 12, 'python3': 13}, 'python3'),  # counts by its version
    ({'python3.12': 12, 'python3': 15}, 'python3.12'),
    ({'python3.13': 10, 'python3': 11}, 'python3'),
    ({'python3.11': 11}, 'python3.11'),  # if there is no other
  ],
)
def test_the_newest_python_is_used(
  tree: Tree, minors: dict[str, int], chosen: str
) -> None:
  tree.offer(minors)
  code, errors = tree.run('local.sh')
  assert code == 0 and not any('pyenv' in line for line in errors)
  assert tree.note('python') == [chosen]


def test_a_python_that_cannot_make_a_venv_is_passed_over(tree: Tree) -> None:
  tree.offer({f'python3.{minor}': minor for minor in range(11, 15)})
  for name in ('python3.14', 'python3.13'):
    (tree.notes / f'no-ensurepip.{name}').touch()
  assert tree.run('local.sh')[0] == 0
  assert tree.note('python') == ['python3.12']


def test_a_named_python_is_used(tree: Tree) -> None:
  tree.offer({'python3.14': 14, 'mine': 11})
  path = str(tree.path / 'bin' / 'mine')
  assert tree.run('local.sh', PYTHON=path)[0] == 0
  assert tree.note('python') == ['mine']


def test_no_python_is_one_line(tree: Tree) -> None:
  tree.offer({})
  code, [error] = tree.run('local.sh')
  assert code == 1 and error.startswith('launch: found no Python 3.11 to 3.14')


def test_missing_venv_module_is_one_line(tree: Tree) -> None:
  tree.offer({'python3.12': 12, 'python3.13': 13})
  for name in PYTHONS:
    (tree.notes / f'no-ensurepip.{name}').touch()
  code, [error] = tree.run('local.sh')
  assert code == 1 and error == (
    'launch: python3.13 cannot make a venv: apt install python3.13-venv'
  )


def test_tests_run_from_anywhere(tree: Tree) -> None:
  tree.run('test.sh', '-k', 'lrn')
  assert tree.argv() == [
    *('-P', '-m', 'pytest', f'--rootdir={tree.root}'),
    *('-c', f'{tree.root}/pyproject.toml'),
    *('--numprocesses=3', '--dist=loadfile', '--no-loadscope-reorder'),
    f'{tree.root}/tests',
    *('-k', 'lrn'),
  ]
  (tree.elsewhere / 'test_mine.py').touch()
  tree.run('test.sh', 'test_mine.py::test_it')
  assert tree.argv()[-1] == 'test_mine.py::test_it'


def test_test_data_beside_the_checkout_is_used(tree: Tree) -> None:
  (tree.path / 'shared' / 'data').mkdir(parents=True)
  tree.run('test.sh')
  assert tree.note('ran')[2] == f'{tree.path}/shared/data'
  tree.run('test.sh', ALEXNET_JAX_TEST_DATA='/mine')
  assert tree.note('ran')[2] == '/mine'


def test_quick_tests_are_files_that_exist(tree: Tree) -> None:
  tree.run('test.sh', '--quick', '-x')
  *_, last = tree.argv()
  files = [
    word for word in tree.argv() if word.startswith(f'{tree.root}/tests')
  ]
  assert last == '-x' and len(files) > 20 and '--quick' not in tree.argv()
  for file in files:
    assert (ROOT / 'tests' / pathlib.Path(file).name).exists(), file


def test_the_site_is_built_strictly_and_only_then_served(tree: Tree) -> None:
  code, errors = tree.run('docs.sh', '--build', 'site')
  assert code == 0 and errors[-1] == f'launch: built {tree.elsewhere}/site'
  words = tree.argv()
  assert words[:3] == ['-P', '-m', 'sphinx'] and '--fail-on-warning' in words
  assert words[-2:] == [str(tree.root), f'{tree.elsewhere}/site']
  assert any(line.startswith('sphinx') for line in tree.note('requirements'))
  assert tree.run('docs.sh', EXIT_CODE='1')[0] == 1
  assert 'http.server' not in tree.argv()
  assert tree.run('docs.sh')[0] == 0
  assert 'http.server' in tree.argv() and '127.0.0.1' in tree.argv()


def test_the_site_takes_no_other_argument(tree: Tree) -> None:
  for args in (['x'], ['--build'], ['--build', 'a', 'b']):
    code, [error] = tree.run('docs.sh', *args)
    assert code == 1 and error == (
      'launch: launch/docs.sh takes no argument, or --build DIR'
    )
