"""Fine-tunes on half of the drawn classes a net trained on the other (§6).

  python -m alexnet_jax.tools.transfer --config=configs/transfer.py

Prints how many steps fine-tuning and training from scratch take to a top-1
error, seed by seed, and which was first how often. The same command goes on
where it was stopped.
"""

import pathlib

from absl import flags

from alexnet_jax import stopping
from alexnet_jax.data import paths
from alexnet_jax.experiments import transfer
from alexnet_jax.parallel import compiler, mesh
from alexnet_jax.tools import cli, config_flag

config_flag.define()
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Folder of the runs; default: runs/CONFIG_NAME.'
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'With commas between.')
_ERROR = flags.DEFINE_float(
  'error', 0.1, 'Top-1 validation error to reach.', 0.0, 1.0
)


def main() -> None:
  """Trains, and prints the table."""
  config = config_flag.value()
  seeds = cli.seeds(_SEEDS.value)
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  compiler.keep_programs()
  stop = stopping.Stop()
  stop.listen()
  rows = transfer.run(
    config,
    output=paths.given(_OUTPUT.value)
    if _OUTPUT.value
    else pathlib.Path('runs') / config_flag.name(),
    seeds=seeds,
    error=_ERROR.value,
    stop=stop,
  )
  print(
    transfer.table(
      rows,
      error=_ERROR.value,
      most_steps=config.total_steps,
      every=transfer.resolution(config),
    )
  )


if __name__ == '__main__':
  cli.run(main)
