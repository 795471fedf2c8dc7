"""What is lost between a step alone and training from prepared records.

Steps on a minibatch that lies on the device take turns with steps on what the
pipeline feeds, decoded, cropped and brought to the device while others run.
Not in the paper.
"""

from collections.abc import Iterator

import jax
from ml_collections import config_dict

from alexnet_jax import setup
from alexnet_jax.bench import input as input_bench
from alexnet_jax.bench import jax_step, rows, workers
from alexnet_jax.config.schema import MOST_STEPS
from alexnet_jax.data import pipeline
from alexnet_jax.parallel import placement

Config = config_dict.ConfigDict
_ALONE = 'step alone'


def run(bench: input_bench.Bench, config: Config) -> list[rows.Row]:
  """A row of the step alone, and one for each way to keep records."""
  input_bench.write_records(bench)
  jax_step.set_up(config)
  trainer = jax_step.Trainer(config)
  works = {_ALONE: trainer.work()} | {
    f'from {kind} records': _fed(trainer, _batches(bench, config, kind))
    for kind in ('raw', 'jpeg')
  }
  rates: dict[str, list[float]] = {what: [] for what in works}
  for work in works.values():
    workers.timed(work, calls=2)
  usual = workers.timed(works[_ALONE], calls=2)
  calls = max(2, round(bench.seconds / usual))
  for _ in range(bench.rounds):
    for what, work in works.items():
      seconds = workers.timed(work, calls=calls)
      rates[what].append(config.batch_size / seconds)
  return [_row(what, rates, config=config) for what in works]


def _batches(
  bench: input_bench.Bench, config: Config, kind: str
) -> Iterator[pipeline.TrainBatch]:
  """What training from the prepared records would get."""
  config = config.copy_and_resolve_references()
  config.data.source, config.data.dir = 'prepared', str(bench.folder / kind)
  return setup.train_batches(setup.set_up(config), total_steps=MOST_STEPS)


def _fed(
  trainer: jax_step.Trainer, batches: Iterator[pipeline.TrainBatch]
) -> workers.Work:
  def once() -> object:
    return trainer.take(placement.put_batch(next(batches), mesh=trainer.mesh))

  return workers.Work(once, jax.block_until_ready, {})


def _row(
  what: str, rates: dict[str, list[float]], *, config: Config
) -> rows.Row:
  return {
    'bench': 'end_to_end',
    'what': what,
    'batch_size': config.batch_size,
    'mesh': f'{config.mesh.data}x{config.mesh.column}',
    'dtype': config.dtype,
    **rows.spread('images_per_second', rates[what], digits=2),
    **rows.spread('of_step_alone', rows.ratios(rates[what], rates[_ALONE])),
    'n': len(rates[what]),
    **jax_step.machine(),
  }
