"""Training fed from records, measured beside the step alone."""

import json

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.bench import input as input_bench
from alexnet_jax.data import pipeline
from tests import commands

BENCH = 'alexnet_jax.tools.bench'
SMOKE = f'--config={commands.ROOT}/configs/smoke.py'
FLAGS = (f'--what=end_to_end {SMOKE} --config.data.image_size=256').split()


@pytest.fixture
def source(tmp_path):
  """Class folders of a few pictures."""
  rng = np.random.default_rng(0)
  for split, label, number in np.ndindex(2, 2, 4):
    folder = tmp_path / 'images' / ('train', 'val')[split] / f'class{label}'
    folder.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f'{number}.png')
  return tmp_path / 'images'


def test_steps_from_records_take_turns_with_steps_alone(command, source):
  few = '--images=256 --batch_size=8 --rounds=2 --seconds=0.1 --json'.split()
  done = command(BENCH, *FLAGS, f'--source={source}', *few)
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])
  whats = [row['what'] for row in found['rows']]
  assert whats == ['step alone', 'from raw records', 'from jpeg records']
  for row in found['rows']:
    low, high = row['of_step_alone_range']
    assert 0 < low <= row['of_step_alone'] <= high and row['n'] == 2
    assert row['images_per_second'] > 0 and row['batch_size'] == 8
  assert found['rows'][0]['of_step_alone'] == 1
  assert found['conditions']['images'] == 256


@pytest.mark.parametrize(
  ('flag', 'says'),
  [
    ('--source=', '--source is missing'),
    ('--source=/no/such', '/no/such'),
    ('--batch_size=8,16', '--batch_size=8,16: --what=end_to_end takes one'),
  ],
)
def test_wrong_flags_are_one_line(command, source, flag, says):
  done = command(BENCH, *FLAGS, f'--source={source}', flag)
  assert done.returncode == 1
  assert says in done.stderr and done.stderr.count('\n') == 1


def test_batches_are_made_ready_on_the_device():
  blank = pipeline.blank_batch(2, crop_size=input_bench.CROP)
  assert next(input_bench._on_device(iter([blank]))) is blank
