"""Compares fine-tuning with training from scratch, on drawn images (§6).

  python -m alexnet_jax.tools.transfer --config=configs/transfer.py

A network pre-trained on half of the classes is fine-tuned on the other half.
Prints how many steps that and training from scratch take to a top-1 error, seed
by seed, and which was faster how often. The same command continues where it was
stopped.
"""

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
  rows = transfer.train_seeds(
    config,
    output=paths.expand(_OUTPUT.value or f'runs/{flags_lib.name()}'),
    seeds=seeds,
    error=_ERROR.value,
    stop=stop,
  )
  error, every = _ERROR.value, transfer.resolution(config)
  most = config.total_steps
  print(transfer.describe(rows, error=error, most_steps=most, every=every))


if __name__ == '__main__':
  cli.run(main)
