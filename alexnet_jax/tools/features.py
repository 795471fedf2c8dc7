"""Writes the activations of a folder of images to one .npz file (§6.1).

  python -m alexnet_jax.tools.features --restore=RUN --images=FOLDER \\
      --layers=conv5,fc7/activation --output=features.npz

Each layer is an array of that name, [N, H, W, C] or [N, units], of the centre
crops; 'names' holds the N files. --layers=help lists the layers. After an
interruption the same command goes on where it stopped. Exit code 1 if an image
cannot be read; the others are written.
"""

import sys

from absl import flags

from alexnet_jax import cli
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import load
from alexnet_jax.runtime import compile, paths
from alexnet_jax.studies import features

_RESTORE = flags.DEFINE_string(
  'restore', '', 'A WORKDIR, checkpoints/STEP or .safetensors file.'
)
_IMAGES = flags.DEFINE_string(
  'images', '', 'A folder of images, with those in it; or one image.'
)
_LAYERS = flags.DEFINE_list(
  'layers', ['fc7/activation'], 'Names of activations; help lists them.'
)
_OUTPUT = flags.DEFINE_string(
  'output', 'features.npz', 'File to write; must not exist.'
)
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', 64, 'Images at a time.', lower_bound=1, upper_bound=2**16
)


def main() -> int:
  """Checks the flags, and writes the file."""
  if not _RESTORE.value:
    raise ValueError('--restore is missing: give a WORKDIR')
  compile.keep_programs()
  net = load.load(_RESTORE.value)
  if _LAYERS.value == ['help']:
    print(*net.layers, sep='\n')
    return 0
  if not _IMAGES.value:
    raise ValueError('--images is missing: give a folder of images')
  files = net_lib.files(_IMAGES.value)
  output = paths.expand(_OUTPUT.value)
  if output.suffix != '.npz':
    raise ValueError(f'--output={output}: give a name that ends with .npz')
  found = features.extract(
    net,
    files=files,
    layers=_LAYERS.value,
    output=output,
    batch_size=_BATCH_SIZE.value,
  )
  for reason in found.skipped.values():
    print(f'error: {cli.printable(reason)}', file=sys.stderr)
  print(f'{output}: {", ".join(_LAYERS.value)} of {found.images:,} images')
  return 1 if found.skipped else 0


if __name__ == '__main__':
  cli.run(main)
