"""Training steps fed from prepared records, beside steps on a fixed batch.

Rounds are interleaved. Feeding decodes, crops and copies a batch to the device
while earlier steps run.
"""

import itertools
from collections.abc import Iterator

import jax
from ml_collections import config_dict

from alexnet_jax import setup
from alexnet_jax.bench import input as input_bench
from alexnet_jax.bench import jax_step, rows, workers
from alexnet_jax.config.schema import MOST_STEPS
from alexnet_jax.data import pipeline
from alexnet_jax.parallel import mesh as mesh_lib

Config = config_dict.ConfigDict
_ALONE = 'step alone'


def measure_end_to_end(
  settings: input_bench.InputSettings, config: Config
) -> list[rows.ResultRow]:
  """A row of the step alone, and one for each encoding of records."""
  input_bench.write_records(settings)
  jax_step.set_up(config)
  trainer = jax_step.Trainer(config)
  workloads = {_ALONE: trainer.workload()} | {
    f'from {encoding} records': _fed(
      trainer, _batches(settings, config, encoding)
    )
    for encoding in ('raw', 'jpeg')
  }
  for workload in workloads.values():
    workers.timed(workload, calls=2)
  usual = workers.timed(workloads[_ALONE], calls=2)
  calls = max(2, round(settings.seconds / usual))
  rates: dict[str, list[float]] = {what: [] for what in workloads}
  for _, what in itertools.product(range(settings.rounds), workloads):
    seconds = workers.timed(workloads[what], calls=calls)
    rates[what].append(config.batch_size / seconds)
  return [
    {
      'bench': 'end_to_end',
      'what': what,
      'batch_size': config.batch_size,
      'mesh': f'{config.mesh.data}x{config.mesh.column}',
      'dtype': config.dtype,
      **rows.spread('images_per_second', found, digits=2),
      **rows.spread('of_step_alone', rows.ratios(found, rates[_ALONE])),
      'n': len(found),
      **jax_step.machine(),
    }
    for what, found in rates.items()
  ]


def _batches(
  settings: input_bench.InputSettings, config: Config, encoding: str
) -> Iterator[pipeline.TrainBatch]:
  """The batches of training on the prepared records."""
  config = config.copy_and_resolve_references()
  config.data.source = 'prepared'
  config.data.dir = str(settings.folder / encoding)
  return setup.train_batches(setup.set_up(config), total_steps=MOST_STEPS)


def _fed(
  trainer: jax_step.Trainer, batches: Iterator[pipeline.TrainBatch]
) -> workers.Workload:
  """Steps, each on the next batch."""
  mesh = trainer.mesh
  return workers.Workload(
    lambda: trainer.step(mesh_lib.put_batch(next(batches), mesh=mesh)),
    jax.block_until_ready,
    facts={},
  )
