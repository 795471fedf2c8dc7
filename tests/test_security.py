"""Nothing is unpickled from checkpoints and data sets (SECURITY.md)."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Ends the process at the first class or function that a pickle asks for.
_HOOKED = """
import os, pathlib, pickle, sys
def hook(event, args):
  if event == 'pickle.find_class':
    os.write(2, f'unpickles {args}'.encode())
    os._exit(99)
from alexnet_jax import train
from alexnet_jax.configs import smoke
sys.addaudithook(hook)
if sys.argv[1] == 'pickle':
  pickle.loads(pickle.dumps(os.getcwd))
config = smoke.get_config()
config.mesh.column = 1
config.model.skip_layers = ("conv2", "conv4", "conv5")
for config.total_steps in (1, 2):
  train.train(config, workdir=pathlib.Path(sys.argv[1]))
"""


def _run(workdir):
  return subprocess.run(
    [sys.executable, '-c', _HOOKED, str(workdir)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_the_hook_sees_pickles():
  assert _run('pickle').returncode == 99


def test_training_and_going_on_unpickle_nothing(tmp_path):
  done = _run(tmp_path)
  assert done.returncode == 0, done.stderr
  assert 'resuming from step 1' in done.stdout


def test_statistics_that_are_pickles_are_refused(tmp_path):
  from alexnet_jax.data import records

  array = np.array([print], dtype=object)
  np.save(tmp_path / 'mean_image.npy', array, allow_pickle=True)
  with pytest.raises(ValueError, match='cannot read the statistics'):
    records.read_statistics(tmp_path, image_size=8)
