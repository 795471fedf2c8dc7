"""Commands that make what a run lacks, as a shell takes them."""

import shlex

from alexnet_jax.evaluate import predictions
from alexnet_jax.studies.report import gather

# None of them finds the data and devices of a run by itself.
CONFIG = 'CONFIG.py stands for the config of the run.'
_PYTHON = '.venv/bin/python -m alexnet_jax'


def predict(run: gather.Run) -> str:
  """Makes predictions.npz; needs CONFIG."""
  return _command(
    run,
    'main --mode=eval --restore=WORKDIR --config=CONFIG.py '
    f'--save_predictions=WORKDIR/{predictions.OF_A_RUN}',
  )


def retrieve(run: gather.Run) -> str:
  """Makes retrieval.json."""
  return _command(run, 'tools.retrieve --restore=WORKDIR')


def audit(run: gather.Run) -> str:
  """Makes audit.json; needs CONFIG."""
  return _command(
    run, 'tools.audit --config=CONFIG.py --json > WORKDIR/audit.json'
  )


def _command(run: gather.Run, text: str) -> str:
  workdir = shlex.quote(str(run.workdir))
  return f'{_PYTHON}.{text.replace("WORKDIR", workdir)}'
