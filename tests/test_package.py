"""What pip installs: the command, the configs, the metadata."""

import importlib
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging import requirements, specifiers

import alexnet_jax
from alexnet_jax import tools
from alexnet_jax.config import presets

ROOT = pathlib.Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())
PROJECT = PYPROJECT['project']
NET = '60,965,224'  # parameters of the paper's network


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """The package as a wheel has it, without its metadata."""
  site = tmp_path_factory.mktemp('site')
  caches = shutil.ignore_patterns('__pycache__')
  shutil.copytree(ROOT / 'alexnet_jax', site / 'alexnet_jax', ignore=caches)
  for package, folder in PYPROJECT['tool']['setuptools']['package-dir'].items():
    place = site.joinpath(*package.split('.'))
    shutil.rmtree(place)
    shutil.copytree(ROOT / folder, place, ignore=caches)
  return site


def _python(program, *, site, cwd):
  return subprocess.run(
    [sys.executable, '-P', '-c', program],
    cwd=cwd,
    env=os.environ | {'PYTHONPATH': str(site)},
    capture_output=True,
    text=True,
    check=True,
  ).stdout.split()


def test_importing_the_package_imports_nothing_else(tmp_path):
  program = 'import sys; old = {*sys.modules}; import alexnet_jax\n'
  program += 'print(*({*sys.modules} - old))'
  loaded = _python(program, site=ROOT, cwd=tmp_path)
  own = [name for name in loaded if name.startswith('alexnet_jax')]
  assert own == ['alexnet_jax']
  roots = {name.split('.')[0] for name in loaded}
  assert roots <= {'alexnet_jax', *sys.stdlib_module_names}


def test_configs_are_found_where_they_are_installed(installed, tmp_path):
  program = (
    'from alexnet_jax.config import presets\n'
    'for name in ("imagenet", "configs/imagenet.py"):\n'
    '  print(presets.find(name), presets.load(name).data.source)'
  )
  found = _python(program, site=installed, cwd=tmp_path)
  file = str(installed / 'alexnet_jax' / 'configs' / 'imagenet.py')
  assert found == [file, 'prepared'] * 2


@pytest.mark.parametrize(
  'given', ['imagenet', 'configs/imagenet.py', './configs/imagenet.py']
)
def test_a_config_has_a_name_in_any_folder(given, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert presets.find(given) == ROOT / 'configs' / 'imagenet.py'


def test_a_file_of_the_user_comes_before_one_of_the_package(
  tmp_path, monkeypatch
):
  own = tmp_path / 'configs' / 'imagenet.py'
  own.parent.mkdir()
  own.write_text('from alexnet_jax.configs import smoke\n')
  monkeypatch.chdir(tmp_path)
  assert presets.find('configs/imagenet.py').resolve() == own
  assert presets.find('imagenet') == ROOT / 'configs' / 'imagenet.py'


@pytest.mark.parametrize(
  'args',
  [
    ('summary', '--config=imagenet'),
    ('--mode=summary', '--config', 'configs/imagenet.py'),
  ],
)
def test_the_command_runs_main(args, command, tmp_path):
  done = command('tests.console', *args, cwd=tmp_path)
  assert done.returncode == 0 and done.stdout.count(NET) == 2, done.stderr


def test_a_config_takes_an_argument_by_name(command, tmp_path):
  flags = ('--config=cifar10_lrn:13pct', '--config.optim.momentum=2')
  done = command('tests.console', 'summary', *flags, cwd=tmp_path)
  assert done.returncode == 1 and 'momentum = 2.0' in done.stderr
  done = command('tests.console', 'summary', flags[0] + '9', cwd=tmp_path)
  assert 'cifar10_lrn:13pct9 cannot be used' in done.stderr


def test_the_command_runs_a_tool(command, tmp_path):
  as_module = command('alexnet_jax.tools.checkpoint', '--dir=no', cwd=tmp_path)
  done = command('tests.console', 'checkpoint', '--dir=no', cwd=tmp_path)
  assert done == as_module and done.returncode == 1


@pytest.mark.parametrize('args', [(), ('--help',), ('-h',), ('help',)])
def test_help_has_a_line_for_each_command(args, command, tmp_path):
  done = command('tests.console', *args, cwd=tmp_path)
  assert (done.returncode, done.stderr) == (0, '')
  rows = dict(re.findall(r'^  (\w+) +(.*\.)$', done.stdout, re.MULTILINE))
  files = {path.stem for path in (ROOT / 'alexnet_jax/tools').glob('*.py')}
  assert rows.keys() == {'train', 'eval', 'summary'} | files - {'__init__'}
  for name in files - {'__init__'}:
    module = (ROOT / 'alexnet_jax/tools' / f'{name}.py').read_text()
    assert module.startswith(('"""', 'r"""')) and rows[name] in module


@pytest.mark.parametrize(
  ('name', 'advice'),
  [('trian', 'there is train; '), ('--', ''), ('résumé', ''), ('Predict', '')],
)
def test_an_unknown_command_is_one_line(name, advice, command, tmp_path):
  done = command('tests.console', name, cwd=tmp_path)
  line, end, rest = done.stderr.partition('\n')
  if name == '--':  # no command but flags, of which there are none
    assert done.returncode == 1 and '--config is missing' in line
  else:
    assert done.returncode == 2 and f'{name!r} is no command: {advice}' in line
  assert line.startswith('error: ') and (end, rest) == ('\n', '')


def test_the_command_alone_imports_the_standard_library_only(tmp_path):
  program = 'import sys; from alexnet_jax import tools; tools.usage()\n'
  program += 'print(*sys.modules)'
  loaded = _python(program, site=ROOT, cwd=tmp_path)
  roots = {name.split('.')[0] for name in loaded}
  assert not roots & {'absl', 'jax', 'ml_collections', 'numpy'}


def test_the_metadata_names_what_exists():
  for script in PROJECT['scripts'].values():
    module, name = script.split(':')
    assert getattr(importlib.import_module(module), name) is tools.command
  for package, files in PYPROJECT['tool']['setuptools']['package-data'].items():
    folder = ROOT.joinpath(*package.split('.'))
    for pattern in files:
      assert [*folder.glob(pattern)], (package, pattern)
  assert (ROOT / 'alexnet_jax' / 'py.typed').read_bytes() == b''
  assert 'urls' not in PROJECT
  pythons = specifiers.SpecifierSet(PROJECT['requires-python'])
  prefix = 'Programming Language :: Python :: 3.'
  minors = [c for c in PROJECT['classifiers'] if c.startswith(prefix)]
  assert len(minors) == 4
  assert all(c.rpartition(' ')[2] in pythons for c in minors)


def test_the_lock_pins_what_is_asked_for():
  pins = {}
  for line in (ROOT / 'requirements.lock').read_text().splitlines():
    if not line.startswith('#'):
      pin = requirements.Requirement(line)
      pins.setdefault(pin.name.lower(), []).append(pin.specifier)
  extras = PROJECT['optional-dependencies']
  named = {'cuda12', 'cuda13', 'gpu-compile', 'analysis', 'export', 'docs'}
  assert named | {'dev'} == extras.keys()
  for line in itertools.chain(PROJECT['dependencies'], *extras.values()):
    asked = requirements.Requirement(line)
    for pin in pins[asked.name.lower()]:
      (version,) = pin
      assert version.version in asked.specifier, line


def test_the_citation_is_of_the_paper_and_of_this_version():
  cff = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
  assert cff['version'] == alexnet_jax.__version__
  assert cff['license'] == PROJECT['license']
  assert {'cff-version', 'message', 'title', 'authors'} <= cff.keys()
  paper = cff['preferred-citation']
  assert paper['title'] in ' '.join((ROOT / 'README.md').read_text().split())
  assert (
    paper['year'] == 2012 and f'NIPS {paper["year"]}' in alexnet_jax.__doc__
  )
  names = [author['family-names'] for author in paper['authors']]
  assert names == ['Krizhevsky', 'Sutskever', 'Hinton']
