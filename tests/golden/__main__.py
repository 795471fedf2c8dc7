"""Renews the files of this folder; review the diff like code.

  python -m tests.golden [--torch_python=PYTHON]

PYTHON needs PyTorch and numpy (tests/golden/requirements.txt, in an environment
of its own). Without the flag the .npz files, which come from PyTorch, stay.
"""

import argparse
import subprocess

import jax

from tests.golden import facts

jax.config.update('jax_num_cpu_devices', 4)

parser = argparse.ArgumentParser(
  description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument('--torch_python')
python = parser.parse_args().torch_python
facts.write()
if python:
  for script in ('torch_net.py', 'torch_published.py'):
    subprocess.run([python, facts.HERE / script], check=True)
else:
  print('no --torch_python: did not renew the .npz files')
