"""Evaluating several checkpoints, and averages from files alone (§6)."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.evaluate import ensemble
from tests import commands, nets, saved

MAIN, ENSEMBLE = 'alexnet_jax.main', 'alexnet_jax.tools.ensemble'
SMOKE = f'--config={commands.ROOT}/configs/smoke.py'


def _config(seed, **fields):
  config = nets.config(column=2, short=True)
  config.seed = seed
  config.update_from_flattened_dict(fields)
  return config


@pytest.fixture(scope='module')
def steps(tmp_path_factory):
  """Checkpoints of three presets: two columns, tanh, and one column."""
  folder = tmp_path_factory.mktemp('runs')
  presets = {
    'two': {},
    'tanh': {'model.activation': 'tanh', 'data.mean_at': 'centre'},
    'one': {'model.columns': 1, 'mesh.column': 1},
  }
  return [
    saved.checkpoint(folder / name, _config(seed, **fields))
    for seed, (name, fields) in enumerate(presets.items())
  ]


@pytest.fixture(scope='module')
def evaluated(command, steps, tmp_path_factory):
  """The command on all three, and where it kept what they said."""
  folder = tmp_path_factory.mktemp('kept')
  done = command(
    MAIN,
    SMOKE,
    '--mode=eval',
    f'--restore={",".join(map(str, steps))}',
    f'--save_predictions={folder}',
    '--weights=1,1,2',
  )
  assert done.returncode == 0, done.stderr
  return folder, done.stdout


def _errors(text, *, views):
  """(top-1, top-5) of each line that tells of so many views."""
  pattern = r'top-1 error (\S+) % .*top-5 error (\S+) % .*, (.*)$'
  found = re.findall(pattern, text, flags=re.MULTILINE)
  return [
    tuple(round(float(percent) / 100, 4) for percent in pair)
    for *pair, seen in found
    if seen == views
  ]


def _numpy_errors(p, labels):
  right = np.argsort(-p, axis=1, kind='stable') == labels[:, None]
  return tuple(round(np.mean(~right[:, :k].any(axis=1)), 4) for k in (1, 5))


def test_three_presets_and_their_average_err_as_numpy_finds(evaluated):
  folder, out = evaluated
  files = [np.load(folder / f'{n}-7.npz') for n in ('two', 'tanh', 'one')]
  labels = files[0]['labels']
  p = [file['probabilities'].astype(np.float64) for file in files]
  p.append((p[0] + p[1] + 2 * p[2]) / 4)
  assert _errors(out, views='10 views') == [_numpy_errors(q, labels) for q in p]
  assert len(_errors(out, views='centre crop')) == 4
  assert 'of 50), 95 % interval' in out
  assert len({tuple(q[0]) for q in p}) == 4  # different networks


def test_the_files_have_the_same_average_without_networks(
  command, evaluated, tmp_path
):
  folder, out = evaluated
  files = [f'{folder}/{name}-7.npz' for name in ('two', 'tanh', 'one')]
  output = f'--output={tmp_path}/mean.npz'
  done = command(ENSEMBLE, *files, '--weights=1,1,2', output)
  assert done.returncode == 0, done.stderr
  assert _errors(done.stdout, views='10 views') == _errors(
    out, views='10 views'
  )
  again = command(ENSEMBLE, f'{tmp_path}/mean.npz')
  assert again.stdout.count(done.stdout.splitlines()[-2].split(': ')[1]) == 2


@pytest.mark.parametrize(
  ('args', 'line'),
  [
    ('RESTORE --weights=1', '1 weights for 3 networks: give one for each'),
    ('RESTORE --weights=a,b,c', '--weights=a,b,c: use numbers'),
    ('RESTORE --save_predictions=x.npz', 'give a folder'),
    ('RESTORE --config.model.activation=relu', 'leave it out'),
    ('RESTORE --save_predictions=/proc/x', 'cannot be written'),
    ('RESTORE --ablation=no_lrn', 'leave it out'),
  ],
)
def test_mistakes_are_one_line(command, steps, args, line):
  restore = f'--restore={",".join(map(str, steps))}'
  given = args.replace('RESTORE', restore).split()
  done = command(MAIN, SMOKE, '--mode=eval', *given)
  assert done.returncode == 1 and line in done.stderr
  assert done.stderr.count('\n') == 1


@pytest.mark.parametrize(
  ('args', 'line'),
  [
    ([], 'no files: give those that --mode=eval --save_predictions wrote'),
    (['README.md'], 'README.md holds no predictions'),
    (['gone.npz'], 'give one that exists'),
    (['x.npz', '--output=x.txt'], 'is no .npz'),
  ],
)
def test_mistakes_with_files_are_one_line(command, args, line):
  done = command(ENSEMBLE, *args)
  assert done.returncode == 1 and line in done.stderr
  assert done.stderr.count('\n') == 1


def test_one_file_for_one_checkpoint():
  step = pathlib.Path('a/checkpoints/7')
  path = pathlib.Path('x.npz')
  assert ensemble.places(path, checkpoints=[step]) == [path]


def test_no_two_checkpoints_share_a_file():
  steps = ['x-1/checkpoints/2', 'x/checkpoints/1', 'x/checkpoints/1-2']
  steps += ['y/x-1/checkpoints/2', 'x/checkpoints/1']
  paths = ensemble.places(
    pathlib.Path('out'), checkpoints=[pathlib.Path(step) for step in steps]
  )
  assert len(set(paths)) == 5


def test_labels_for_images_of_ones_own(command, steps, tmp_path):
  rng = np.random.default_rng(0)
  for name, size in (('wide', (90, 200)), ('small', (30, 20))):
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'{name}.png')
  (tmp_path / 'bad\x1b.png').write_text('no image')
  names = [f'{tmp_path}/{n}.png' for n in ('wide', 'bad\x1b', 'small')]
  restore = f'--restore={steps[0]},{steps[2]}'
  done = command('alexnet_jax.tools.predict', restore, *names)
  assert done.returncode == 1
  assert (
    done.stderr.count('\n') == 1 and r'bad\x1b.png: no image' in done.stderr
  )
  lines = done.stdout.splitlines()
  assert [lines[0], lines[6]] == [names[0], names[2]] and len(lines) == 12
  shares = [float(line.split()[0]) for line in lines[1:6]]
  assert shares == sorted(shares, reverse=True) and sum(shares) <= 100.2
  alone = command('alexnet_jax.tools.predict', restore, names[2], '--views=10')
  assert alone.returncode == 0 and alone.stdout.splitlines() == lines[6:]


@pytest.mark.parametrize(
  ('args', 'line'),
  [
    (['a.png'], '--restore is missing'),
    (['--restore=nowhere', 'a.png'], 'nowhere does not exist'),
    (['--restore=STEP'], 'no images: give their files after the flags'),
  ],
)
def test_mistakes_with_images_are_one_line(command, steps, args, line):
  args = [arg.replace('STEP', str(steps[0])) for arg in args]
  done = command('alexnet_jax.tools.predict', *args)
  assert done.returncode == 1 and line in done.stderr
  assert done.stderr.count('\n') == 1
