"""Prints the five most probable labels of your own images (§6.1).

  python -m alexnet_jax.tools.predict --restore=CHECKPOINT[,...] IMAGE...

Images are treated as those of the data set were (§2: shorter side of 256
pixels, the middle) and seen in ten views (§4.1); several checkpoints are
averaged. The mean image and the names of the classes are read from the data set
that the checkpoint was trained on; --data_dir says where it is, if it has
moved. Exit code 1 if an image cannot be read; the others are still labelled.
"""

import sys

from absl import flags

from alexnet_jax import cli
from alexnet_jax.checkpoint import layout
from alexnet_jax.evaluate import label
from alexnet_jax.runtime import compile

_RESTORE = flags.DEFINE_list(
  'restore', [], 'WORKDIRs or their checkpoints/STEP, with commas between.'
)
_VIEWS = flags.DEFINE_enum(
  'views', '10', ['1', '9', '10'], '1: the centre crop; 9: see augment.views.'
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', '', 'The data set of the checkpoint, if it has moved.'
)
_BAR = 30  # characters for a probability of 1


def main() -> int:
  """Prints the labels of each image."""
  names = cli.arguments()
  if not _RESTORE.value:
    raise ValueError('--restore is missing: give a WORKDIR, or checkpoints')
  if not names:
    raise ValueError('no images: give their files after the flags')
  compile.keep_programs()
  steps = [layout.find(path) for path in _RESTORE.value if path]
  networks = label.load_networks(steps, data_dir=_DATA_DIR.value)
  size = networks[0].setup.config.data.image_size
  squares, unread = label.read_images(names, size=size)
  for name, reason in unread.items():
    failed = f'error: {cli.printable(name)}: {reason}'
    print(f'{failed}; give a JPEG, PNG or another image', file=sys.stderr)
  if squares:
    found = label.label(networks, squares, views=int(_VIEWS.value))
    for name in filter(found.__contains__, names):
      print(cli.printable(name))
      for what, p in found[name]:
        bar = '#' * round(_BAR * p)
        print(f'  {100 * p:>5.1f} %  {bar:{_BAR}}  {cli.printable(what)}')
  return 1 if unread else 0


if __name__ == '__main__':
  cli.run(main, takes_arguments=True)
