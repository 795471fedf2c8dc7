"""Blocks of code in README.md and docs/: they run, or their flags exist.

Python blocks run, but for those that need PyTorch. Commands of `RUN` run on a
small net; the others train for minutes or need data sets, GPUs or a cluster:
their flags, fields, configs and ablations are looked up. docs/python.md has a
test of its own, and so have the lessons of docs/notebooks.
"""

import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax.config import ablations, presets, schema
from alexnet_jax.interop import export
from tests import nets, saved

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
  *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md')),
  ROOT / 'launch' / 'README.md',
  *sorted(ROOT.glob('docs/*.md')),
]
_BLOCK = re.compile(r'(?ms)^```(\w*)\n(.*?)^```')
_TOOL = re.compile(
  r'(?:\S*python -m alexnet_jax\.tools\.|tools\.|alexnet-jax )(\w+)(?: |$)'
)
_MAIN = re.compile(
  r'(?:\S*python -m alexnet_jax\.main|main(?= --)|launch/local\.sh|'
  r'launch/multiprocess\.sh \d+|sbatch launch/slurm\.sbatch)(?: |$)'
)
_MODES = {'train', 'eval', 'summary'}  # alexnet-jax summary is main
# What stands for a user's own: PHOTO.jpg, RUN, ...
RUN = (
  'launch/local.sh --ablation=help',
  'alexnet-jax summary --config=imagenet',
  '.venv/bin/python -m alexnet_jax.tools.predict --restore=runs/default '
  'PHOTO.jpg',
  '.venv/bin/python -m alexnet_jax.tools.checkpoint --dir=runs/default '
  '--verify',
  'python -m alexnet_jax.tools.features --restore=runs/default --images=photos '
  '--layers=conv5,fc7/activation --output=features.npz',
)


def _commands():
  for page in PAGES:
    for language, block in _BLOCK.findall(page.read_text()):
      if language:
        continue
      for line in re.sub(r'\\\n\s*', '', block).splitlines():
        line = re.split(r'\s+# |\s{4,}| \.\.\.', line.removeprefix('$ '))[0]
        if _TOOL.match(line) or _MAIN.match(line):
          yield pytest.param(line, id=f'{page.stem}: {line[:50]}')


COMMANDS = list(_commands())


def _of(line):
  """The tool that a line calls, 'main' for alexnet_jax.main; its words."""
  match = _TOOL.match(line)
  name = match[1] if match else 'main'
  words = shlex.split(line[(match or _MAIN.match(line)).end() :])
  return 'main' if name in _MODES else name, words


def _flags(tool):
  page = (ROOT / 'docs' / 'commands.md').read_text()
  title = 'train, eval, summary' if tool == 'main' else tool
  section = page.partition(f'## {title}\n')[2].partition('\n## ')[0]
  shared = page.partition('<!-- shared -->')[2] if tool == 'main' else ''
  return {'help', *re.findall(r'(?m)^\| `--(\w+)`', section + shared)}


@pytest.mark.parametrize('line', COMMANDS)
def test_flags_of_a_command_exist(line):
  tool, words = _of(line)
  known = _flags(tool)
  assert len(known) > 1, f'no command {tool}'
  for word in words:
    if not word.startswith('--'):
      continue
    name, _, value = word.removeprefix('--').partition('=')
    if name.startswith('config.'):
      assert name.removeprefix('config.') in schema.FIELDS, word
      continue
    assert name in known or name.removeprefix('no') in known, word
    if name == 'config':
      presets.load(value)
    if name == 'ablation':
      assert value == 'help' or value in ablations.ABLATIONS


def test_enough_commands_are_found():
  assert len(COMMANDS) > 40
  assert {*RUN} <= {one.values[0] for one in COMMANDS}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder with a run, photos, and the run in other forms."""
  folder = tmp_path_factory.mktemp('user')
  saved.checkpoint(folder / 'runs' / 'default', nets.config(), statistics=True)
  rng = np.random.default_rng(0)
  for name in ('photo', 'PHOTO', 'photos/a'):
    path = folder / f'{name}.jpg'
    path.parent.mkdir(exist_ok=True)
    pixels = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
  return folder


@pytest.mark.parametrize('line', RUN)
def test_a_command_runs(line, place, command):
  tool, words = _of(line)
  module = 'main' if tool == 'main' else f'tools.{tool}'
  if ' summary ' in line:
    words.append('--mode=summary')
  done = command(f'alexnet_jax.{module}', *words, cwd=place)
  assert done.returncode == 0, done.stderr
  assert done.stdout


def _programs(page):
  text = (ROOT / page).read_text()
  return [block for language, block in _BLOCK.findall(text) if language]


def test_the_program_of_the_readme_runs(place, monkeypatch):
  (program,) = _programs('README.md')
  monkeypatch.chdir(place)
  exec(program, {'alexnet_jax': alexnet_jax})


def test_the_programs_of_the_page_on_weights_run(place, monkeypatch):
  monkeypatch.chdir(place)
  net = alexnet_jax.load('runs/default')
  found = {'images': None}
  answers = []
  for program in _programs('docs/weights.md'):
    if 'torch' in program:  # which is none of our packages
      continue
    kind = 'onnx' if 'onnx' in program else 'stablehlo'
    export.export(net, kind=kind, output=place / f'alexnet.{kind}')
    images = np.asarray(net.preprocess('photo.jpg'))
    there = np.moveaxis(images, -1, 1) if kind == 'onnx' else images
    exec(program, found := {'images': there})
    answers.append(np.asarray(found['probabilities']))
  expected = net.predict('photo.jpg', views=1).probabilities
  assert len(answers) == 2
  for answer in answers:
    np.testing.assert_allclose(
      answer[:, : expected.shape[1]], expected, atol=1e-4
    )
