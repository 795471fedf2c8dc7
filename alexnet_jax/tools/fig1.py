"""Figure 1 made again: epochs to 25 % training error, ReLU and tanh (§3.1).

  python -m alexnet_jax.tools.fig1 --config=configs/cifar10_fig1.py \\
    --config.data.dir=DATA --output=FOLDER

DATA is CIFAR-10, or a part of it, that tools.prepare made with --image_size=32;
or use --config.data.source=tfds --config.data.tfds=cifar10. Searches a rate for
each activation, trains with each seed until an epoch's training error is 25 %,
prints the epochs and their ratio, and writes fig1.png, fig1.svg, fig1.json and
the runs to FOLDER, which is of one data set. The search is lopsided, see
studies/fig1/curves.py. The same command goes on with what is there. Exit
codes: 0 done, 1 an error, 75 stopped by a signal after a clean save.
"""

import pathlib
from collections.abc import Sequence

import jax
from absl import flags

from alexnet_jax import cli, setup
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.models import alexnet
from alexnet_jax.parallel import mesh
from alexnet_jax.runtime import compile, locks, malloc, paths, signals
from alexnet_jax.studies import provenance
from alexnet_jax.studies.fig1 import curves as curves_lib
from alexnet_jax.studies.fig1 import run
from alexnet_jax.studies.report import pictures
from alexnet_jax.train import log

_FOUND = 'fig1.json'
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
  """Makes the runs, the table and the picture."""
  config = flags_lib.value()
  seeds, rates = cli.seeds(_SEEDS.value), _rates()
  _check_flags()
  run.check(config)
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  if jax.default_backend() == 'cpu':
    malloc.keep_freed_memory()
  compile.keep_programs()
  data = provenance.of(setup.load_data(config))
  folder = paths.expand(_OUTPUT.value)
  with locks.locked(folder, fix='give another --output'):
    nets = _nets(config, folder=folder, data=data, seeds=seeds, rates=rates)
    most = _MOST_EPOCHS.value
    found = curves_lib.result(nets, most_epochs=most)
    log.write_json(folder / _FOUND, found | provenance.as_json(data))
    print(f'\n{provenance.describe(data)}')
    print(curves_lib.table(nets, most_epochs=most))
    _draw(nets, folder=folder, of=provenance.describe(data))


def _nets(
  config: run.Config,
  *,
  folder: pathlib.Path,
  data: provenance.Data,
  seeds: Sequence[int],
  rates: Sequence[float],
) -> list[curves_lib.Net]:
  """Each activation's runs, once the folder is known to be of this data."""
  before = log.read_json(folder / _FOUND)
  provenance.refuse_other(before, data, folder=folder)
  if not before:  # so that data are known before there is a result
    log.write_json(folder / _FOUND, provenance.as_json(data))
  experiment = run.Experiment(
    config,
    folder=folder / 'runs',
    most_epochs=_MOST_EPOCHS.value,
    stop=signals.Stop(),
  )
  return [
    experiment.net(
      activation, rates=rates, search_epochs=_SEARCH_EPOCHS.value, seeds=seeds
    )
    for activation in _ACTIVATIONS.value
  ]


def _draw(nets: list[curves_lib.Net], *, folder: pathlib.Path, of: str) -> None:
  """Writes the picture twice, where matplotlib is; the numbers need none."""
  try:
    from alexnet_jax.studies.figures import fig1, style
  except ImportError:
    print(f'no picture: it needs matplotlib; {pictures.INSTALL}')
    return
  curves = {net.activation: list(net.curves.values()) for net in nets}
  with style.theme(dark=False):
    made = fig1.figure(curves, of=of)
    made.set_facecolor('white')  # alone, it has no page behind it
    for name, data in (
      ('fig1.png', style.png(made)),
      ('fig1.svg', style.svg(made)),
    ):
      with log.write_errors(folder / name):
        (folder / name).write_bytes(data)
      print(folder / name)


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


def _rates() -> list[float]:
  try:
    rates = [float(text) for text in _RATES.value]
  except ValueError:
    rates = []
  if not rates or not all(0 < rate < float('inf') for rate in rates):
    raise ValueError(
      f'--rates={",".join(_RATES.value)}: use numbers above 0, such as '
      '0.001,0.003'
    )
  return rates


if __name__ == '__main__':
  cli.run(main)
