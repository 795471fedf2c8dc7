"""Reproduces Figure 1: epochs to 25 % training error, ReLU and tanh (§3.1).

  python -m alexnet_jax.tools.fig1 --config=configs/cifar10_fig1.py \\
    --config.data.dir=DATA --output=FOLDER

DATA is CIFAR-10, or a part of it, that tools.prepare made with --image_size=32;
or use --config.data.source=tfds --config.data.tfds=cifar10. Searches a rate for
each activation, trains with each seed until an epoch's training error is 25 %,
prints the epochs and their ratio, and writes fig1.png, fig1.svg, fig1.json and
the runs to FOLDER, which holds one data set. The search is biased, see
studies/fig1/curves.py. The same command continues from what is there. Exit
codes: 0 done, 1 an error, 75 stopped by a signal after a clean save.
"""

from absl import flags

from alexnet_jax import cli, setup
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.models import alexnet
from alexnet_jax.parallel import mesh
from alexnet_jax.runtime import compile, locks, paths, signals
from alexnet_jax.studies import provenance
from alexnet_jax.studies.fig1 import curves, experiment
from alexnet_jax.studies.report import pictures
from alexnet_jax.train import log

flags_lib.define()
_OUTPUT = flags.DEFINE_string('output', 'runs/fig1', 'The folder it writes to.')
_ACTIVATIONS = flags.DEFINE_list(
  'activations',
  ['relu', 'tanh'],
  f'Two or more of {", ".join(alexnet.ACTIVATIONS)}; ratios are to the first.',
)
_SEEDS = flags.DEFINE_list(
  'seeds', ['0', '1', '2'], 'A run of each activation with each.'
)
_RATES = flags.DEFINE_list(
  'rates',
  ['0.001', '0.002', '0.004', '0.008', '0.016', '0.032'],
  'Learning rates that the search tries, for each activation.',
)
_SEARCH_EPOCHS = flags.DEFINE_integer(
  'search_epochs', 20, 'After which the search compares.', lower_bound=1
)
_MOST_EPOCHS = flags.DEFINE_integer(
  'most_epochs', 200, 'After which a run ends in any case.', lower_bound=1
)


def main() -> None:
  """Trains the runs; writes the table and the figure."""
  config = flags_lib.value()
  seeds = cli.seeds(_SEEDS.value)
  rates = experiment.parse_rates(_RATES.value)
  _check_flags()
  experiment.check(config)
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  compile.keep_programs()
  data = provenance.of(setup.load_data(config))
  folder, most = paths.expand(_OUTPUT.value), _MOST_EPOCHS.value
  file = folder / 'fig1.json'
  with locks.locked(folder, fix='give another --output'):
    before = log.read_json(file)
    provenance.refuse_other(before, data, folder=folder)
    if not before:  # names the data before there is a result
      log.write_json(file, provenance.as_json(data))
    runs = experiment.Experiment(
      config, folder=folder / 'runs', most_epochs=most, stop=signals.Stop()
    )
    search = {'rates': rates, 'search_epochs': _SEARCH_EPOCHS.value}
    results = [
      runs.train_activation(activation, **search, seeds=seeds)
      for activation in _ACTIVATIONS.value
    ]
    found = curves.as_json(results, most_epochs=most)
    log.write_json(file, found | provenance.as_json(data))
    of = provenance.describe(data)
    print(f'\n{of}\n{curves.describe(results, most_epochs=most)}')
    try:
      from alexnet_jax.studies.figures import fig1
    except ImportError:
      print(f'no picture: it needs matplotlib; {pictures.INSTALL}')
      return
    for path in fig1.write(
      results, folder=folder, of=of.partition(', digest')[0]
    ):
      print(path)


def _check_flags() -> None:
  given = _ACTIVATIONS.value
  unknown = [name for name in given if name not in alexnet.ACTIVATIONS]
  if unknown or len(set(given)) < max(2, len(given)):
    raise ValueError(
      f'--activations={",".join(given)}: use two or more of '
      f'{",".join(alexnet.ACTIVATIONS)}, each once'
    )
  if _SEARCH_EPOCHS.value > _MOST_EPOCHS.value:
    raise ValueError(
      f'--search_epochs={_SEARCH_EPOCHS.value} is more than '
      f'--most_epochs={_MOST_EPOCHS.value}: use that or less'
    )


if __name__ == '__main__':
  cli.run(main)
