"""Finds the training images that a network finds most like others (§6.1).

  python -m alexnet_jax.tools.retrieve --restore=WORKDIR

Compares the six training images nearest to each validation image by fc7 and by
pixels, and short binary codes with fc7, for the network and the data set of a
checkpoint, on one device. Writes WORKDIR/retrieval.json, and fc7's features to
WORKDIR/features: 29 kB an image, resumed after an interruption. A split and
each size of a sample of it have a folder of their own; features of another
checkpoint are replaced. With --output both go there.
"""

import pathlib

from absl import flags

from alexnet_jax import cli
from alexnet_jax.checkpoint import compatible, layout, restore
from alexnet_jax.evaluate import load
from alexnet_jax.parallel import mesh
from alexnet_jax.runtime import compile, environment, paths
from alexnet_jax.studies.retrieval import search

_RESTORE = flags.DEFINE_string(
  'restore', '', 'WORKDIR, for its newest checkpoint, or its checkpoints/STEP.'
)
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Where features/ and retrieval.json go, if not to the WORKDIR.'
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', '', 'Where the data set is now, if it was moved.'
)
_QUERIES = flags.DEFINE_integer(
  'queries', 1000, 'Validation images to search for, at most.', lower_bound=1
)
_MOST_IMAGES = flags.DEFINE_integer(
  'most_images', None, 'Training images to search, at most.', lower_bound=1
)
_BITS = flags.DEFINE_list('bits', list(map(str, search.BITS)), 'Of the codes.')
flags.DEFINE_string('index', 'exact', 'For old command lines: exact.')
flags.register_validator(
  'index',
  lambda given: given == 'exact',
  message='exact search is all there is',
)


def main() -> int:
  """Searches, and prints the tables."""
  if not _RESTORE.value:
    raise ValueError(
      '--restore is missing: give a WORKDIR, such as runs/default'
    )
  for text in _BITS.value:
    if not text.isdecimal():
      raise ValueError(f'--bits={text}: use whole numbers, such as 64,128')
  _check_restore(_RESTORE.value)
  step, meta = restore.of_newest(
    _RESTORE.value, read=lambda step: (step, restore.read_meta(step))
  )
  config = compatible.own_config(meta)
  compatible.name_data(config, given=_DATA_DIR.value, path=step)
  config.mesh.data = 1
  mesh.make_cpu_devices(config.mesh.column)
  if environment.backend() != 'cpu':
    config.mesh.column = 1
  compile.keep_programs()
  result = search.search(
    load.network(_RESTORE.value, config=config),
    workdir=_workdir(step),
    queries=_QUERIES.value,
    most_images=_MOST_IMAGES.value,
    bits=[*map(int, _BITS.value)],
  )
  print(search.precision_table(result))
  return 0


def _check_restore(given: str) -> None:
  """Refuses several checkpoints; one folder's name may have commas."""
  if paths.is_remote(given):
    if not _OUTPUT.value:
      raise ValueError(
        f'--restore={given}: say with --output where results are to go'
      )
  elif ',' in given and not paths.expand(given).exists():
    raise ValueError(f'--restore={given}: give one WORKDIR or checkpoint')


def _workdir(step: pathlib.Path) -> pathlib.Path:
  """The folder of the results: --output, or the checkpoint's workdir."""
  if _OUTPUT.value:
    return paths.expand(_OUTPUT.value)
  folder = step.absolute().parent
  if folder.name != layout.FOLDER:
    raise ValueError(
      f'{step} does not lie in the {layout.FOLDER} of a run: say with --output '
      'where results are to go'
    )
  return folder.parent


if __name__ == '__main__':
  cli.run(main)
