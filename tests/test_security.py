"""Nothing is unpickled from checkpoints and data sets (SECURITY.md)."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Ends the process at the first class or function that a pickle asks for.
_HOOKED = """
import os, runpy, sys
def hook(event, args):
  if event == 'pickle.find_class':
    os.write(2, f'unpickles {args}'.encode())
    os._exit(99)
sys.addaudithook(hook)
if sys.argv[1] == 'pickle':
  import pickle
  pickle.loads(pickle.dumps(os.getcwd))
sys.argv = ['main', *sys.argv[1:]]
runpy.run_module('alexnet_jax.main', run_name='__main__')
"""


def _run(*args):
  return subprocess.run(
    [sys.executable, '-c', _HOOKED, *args],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_the_hook_sees_pickles():
  assert _run('pickle').returncode == 99


def test_training_and_going_on_unpickle_nothing(tmp_path):
  command = ['--config=configs/smoke.py', f'--workdir={tmp_path}']
  for steps in (1, 2):
    done = _run(*command, f'--config.total_steps={steps}')
    assert done.returncode == 0, done.stderr


def test_statistics_that_are_pickles_are_refused(tmp_path):
  from alexnet_jax.data import records

  array = np.array([print], dtype=object)
  np.save(tmp_path / 'mean_image.npy', array, allow_pickle=True)
  with pytest.raises(ValueError, match='cannot read the statistics'):
    records.read_statistics(tmp_path, image_size=8)
