"""Prints the five most probable labels of your own images (§6.1).

  python -m alexnet_jax.tools.predict --restore=CHECKPOINT[,...] IMAGE...

Images are treated as those of the data set were (§2: shorter side of 256
pixels, the middle) and seen in ten views (§4.1); a folder stands for the images
in it. Several checkpoints are averaged. A net that was exported to a
.safetensors file will do as well. Checkpoints of versions before 0.2 need their
data set, for the mean image: --data_dir says where it is, if it has moved. Exit
code 1 if an image cannot be read; the others are still labelled.
"""

import sys

from absl import flags

from alexnet_jax import cli
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import load
from alexnet_jax.runtime import compile

_RESTORE = flags.DEFINE_list(
  'restore',
  [],
  'WORKDIRs, checkpoints/STEP or .safetensors files, with commas between.',
)
_VIEWS = flags.DEFINE_enum(
  'views',
  '10',
  ['1', '9', '10'],
  '1: the centre crop; 9: as for CIFAR-10; 10: those of §4.1.',
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
  nets = [
    load.load(path, data_dir=_DATA_DIR.value)
    for path in cli.restored(_RESTORE.value)
  ]
  files = [file for name in names for file in net_lib.files(name)]
  unread = {}
  for file in files:
    try:
      nets[0].squares(file)
    except ValueError as error:
      unread[file] = str(error)
      print(f'error: {cli.printable(str(error))}', file=sys.stderr)
  readable = [file for file in files if file not in unread]
  if readable:
    views = int(_VIEWS.value)
    found = net_lib.average(
      [net.predict(readable, views=views) for net in nets]
    )
    for name, best in zip(found.names, found.top(), strict=True):
      print(cli.printable(name))
      for what, p in best:
        bar = '#' * round(_BAR * p)
        print(f'  {100 * p:>5.1f} %  {bar:{_BAR}}  {cli.printable(what)}')
  return 1 if unread else 0


if __name__ == '__main__':
  cli.run(main, takes_arguments=True)
