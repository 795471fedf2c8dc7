"""Finds the training images that a network finds most like others (§6.1).

  python -m alexnet_jax.tools.retrieve --restore=WORKDIR

Takes the network and the data set of the checkpoint, on one device. Compares
the six nearest training images of validation images by fc7 and by pixels, and
codes of a few bits with fc7. Keeps features in WORKDIR/features, 29 kB an
image, and goes on with them if it is interrupted. All images of a split and
samples of it have a folder each; one that is of another checkpoint is replaced.
Writes WORKDIR/retrieval.json. With --output both go there.
"""

import pathlib
from typing import cast, get_args

import jax
from absl import flags

from alexnet_jax import cli
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.evaluate import load
from alexnet_jax.parallel import mesh
from alexnet_jax.runtime import compile, malloc, paths
from alexnet_jax.studies.retrieval import neighbours, search

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
_INDEX = flags.DEFINE_enum(
  'index',
  'exact',
  list(get_args(neighbours.Index)),
  'How to search fc7: an index is quicker for many queries of a large set, and '
  'misses some neighbours.',
)


def main() -> int:
  """Searches, and prints the tables."""
  if not _RESTORE.value:
    raise ValueError(
      '--restore is missing: give a WORKDIR, such as runs/default'
    )
  bits = [_whole(text) for text in _BITS.value]
  step = _step(_RESTORE.value)
  workdir = _workdir(step)
  config = load.own_config(restore.read_meta(step))
  config.data.dir = _DATA_DIR.value or config.data.dir
  config.mesh.data = 1
  mesh.make_cpu_devices(config.mesh.column)
  if jax.default_backend() == 'cpu':
    malloc.keep_freed_memory()
  else:
    config.mesh.column = 1
  compile.keep_programs()
  result = search.search(
    load.network(step, config=config),
    workdir=workdir,
    queries=_QUERIES.value,
    most_images=_MOST_IMAGES.value,
    bits=bits,
    index=cast(neighbours.Index, _INDEX.value),
  )
  print(search.table(result))
  return 0


def _step(given: str) -> pathlib.Path:
  """The checkpoint's folder; commas may be part of its name."""
  if paths.is_remote(given):
    if not _OUTPUT.value:
      raise ValueError(
        f'--restore={given}: say with --output where results are to go'
      )
  elif ',' in given and not paths.given(given).exists():
    raise ValueError(f'--restore={given}: give one WORKDIR or checkpoint')
  return layout.find(given)


def _workdir(step: pathlib.Path) -> pathlib.Path:
  """Where results go; a copy of a checkpoint may lie anywhere."""
  if _OUTPUT.value:
    return paths.given(_OUTPUT.value)
  folder = step.absolute().parent
  if folder.name != layout.FOLDER:
    raise ValueError(
      f'{step} does not lie in the {layout.FOLDER} of a run: say with --output '
      'where results are to go'
    )
  return folder.parent


def _whole(text: str) -> int:
  if not text.isdecimal():
    raise ValueError(f'--bits={text}: use whole numbers, such as 64,128')
  return int(text)


if __name__ == '__main__':
  cli.run(main)
