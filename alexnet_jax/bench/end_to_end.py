"""Training steps fed from prepared records, beside steps on a fixed batch.

Rounds are interleaved. Feeding decodes, crops and copies a batch to the device
while earlier steps run.
"""

import functools
import pathlib
import tempfile
from collections.abc import Iterator

from alexnet_jax import setup
from alexnet_jax.bench import input as input_bench
from alexnet_jax.bench import jax_step, rows, workers
from alexnet_jax.bench.settings import Config, Settings
from alexnet_jax.config.schema import MOST_STEPS
from alexnet_jax.data import pipeline


def measure_end_to_end(settings: Settings) -> list[rows.ResultRow]:
  """A row of the step alone, and one for each encoding of records."""
  (mesh,) = settings.meshes
  config = settings.with_mesh(mesh)
  with tempfile.TemporaryDirectory() as folder:
    input_bench.write_records(settings, folder=pathlib.Path(folder))
    jax_step.set_up(config)
    trainer = jax_step.Trainer(config)
    steps = {'step alone': trainer.workload().start}
    for encoding in ('raw', 'jpeg'):
      fed = _batches(config, f'{folder}/{encoding}')
      steps[f'from {encoding} records'] = functools.partial(trainer.feed, fed)
    for step in steps.values():  # warms up
      jax_step.timed(step, calls=2)
    usual = jax_step.timed(steps['step alone'], calls=2)
    calls = max(2, round(settings.seconds / usual))
    timed = functools.partial(jax_step.timed, calls=calls)
    measures = {k: functools.partial(timed, step) for k, step in steps.items()}
    found = workers.interleave(measures, rounds=settings.rounds)
  rates = {
    what: [config.batch_size / seconds for seconds in each]
    for what, each in found.items()
  }
  about = {'bench': 'end_to_end', 'batch_size': config.batch_size}
  about |= {'mesh': str(mesh), 'dtype': config.dtype} | jax_step.machine()
  return [about | row for row in rows.relative(rates, name='of_step_alone')]


def _batches(config: Config, folder: str) -> Iterator[pipeline.TrainBatch]:
  """The batches of training on the prepared records."""
  config = config.copy_and_resolve_references()
  config.data.source, config.data.dir = 'prepared', folder
  return setup.train_batches(setup.set_up(config), total_steps=MOST_STEPS)
