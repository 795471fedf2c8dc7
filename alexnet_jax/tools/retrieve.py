"""Finds the training images that a network finds most like others (§6.1).

  python -m alexnet_jax.tools.retrieve --restore=WORKDIR

Takes the network and the data set of the checkpoint. Compares the six nearest
training images of validation images by fc7 and by pixels, and codes of a few
bits with fc7. Keeps features in WORKDIR/features, 29 kB an image, and goes on
with them if it is interrupted; writes WORKDIR/retrieval.json.
"""

from typing import cast, get_args

import jax
from absl import flags

from alexnet_jax import reload
from alexnet_jax.analysis import retrieval, search
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.parallel import compiler, host_memory, mesh
from alexnet_jax.tools import cli

_RESTORE = flags.DEFINE_string(
  'restore', '', 'WORKDIR, for its newest checkpoint, or its checkpoints/STEP.'
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
  list(get_args(retrieval.Index)),
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
  step = layout.find(_RESTORE.value)
  config = reload.own_config(restore.read_meta(step))
  config.data.dir = _DATA_DIR.value or config.data.dir
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  if jax.default_backend() == 'cpu':
    host_memory.keep_freed_memory()
  compiler.keep_programs()
  result = search.search(
    reload.network(step, config=config),
    workdir=step.parent.parent,
    queries=_QUERIES.value,
    most_images=_MOST_IMAGES.value,
    bits=bits,
    index=cast(retrieval.Index, _INDEX.value),
  )
  print(search.table(result))
  return 0


def _whole(text: str) -> int:
  if not text.isdecimal():
    raise ValueError(f'--bits={text}: use whole numbers, such as 64,128')
  return int(text)


if __name__ == '__main__':
  cli.run(main)
