"""Fine-tunes on half of the drawn classes a net trained on the other (§6).

  python -m alexnet_jax.tools.transfer --config=configs/transfer.py

Prints how many steps fine-tuning and training from scratch take to a top-1
error, seed by seed, and which was first how often. The same command goes on
where it was stopped.
"""

import pathlib

from absl import flags

from alexnet_jax import cli
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.parallel import mesh
from alexnet_jax.runtime import compile, paths, signals
from alexnet_jax.studies import transfer

flags_lib.define()
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Folder of the runs; default: runs/CONFIG_NAME.'
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'With commas between.')
_ERROR = flags.DEFINE_float(
  'error', 0.1, 'Top-1 validation error to reach.', 0.0, 1.0
)


def main() -> None:
  """Trains, and prints the table."""
  config = flags_lib.value()
  seeds = cli.seeds(_SEEDS.value)
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  compile.keep_programs()
  stop = signals.Stop()
  stop.listen()
  rows = transfer.run(
    config,
    output=paths.expand(_OUTPUT.value)
    if _OUTPUT.value
    else pathlib.Path('runs') / flags_lib.name(),
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
