"""Shows why a net says what it says of your images, or what excites a unit.

  python -m alexnet_jax.tools.explain --restore=RUN IMAGE...
  python -m alexnet_jax.tools.explain --restore=RUN --unit=conv5:17 [IMAGE...]

The first writes OUTPUT/index.html and a PNG of each image: gradient saliency,
Grad-CAM on the last maps, occlusion and guided backpropagation, for the most
probable class or --class. The second looks for the nine images that excite a
unit most, among those given, or in a --split of the data set that the run was
trained on; --unit=help lists the layers. A folder stands for the images in it.
Exit code 1 if an image cannot be read; the others are explained.
"""

import sys
from collections.abc import Iterator

from absl import flags

from alexnet_jax import cli
from alexnet_jax import setup as setup_lib
from alexnet_jax.data import dataset
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import load
from alexnet_jax.runtime import compile, paths
from alexnet_jax.studies.explain import exciting, explained, page

_RESTORE = flags.DEFINE_string(
  'restore', '', 'A WORKDIR, checkpoints/STEP or .safetensors file.'
)
_OUTPUT = flags.DEFINE_string('output', 'explained', 'Folder to write to.')
_CLASS = flags.DEFINE_string(
  'class', '', 'Name of the class to explain; default: the most probable.'
)
_PLACES = flags.DEFINE_integer(
  'places',
  13,
  'Of the occluding square, along each axis; 0: no occlusion, which takes most '
  'of the time.',
  lower_bound=0,
  upper_bound=512,
)
_UNIT = flags.DEFINE_string(
  'unit', '', 'LAYER:NUMBER, as conv5:17 or fc8:3; help lists the layers.'
)
_SPLIT = flags.DEFINE_enum(
  'split', 'val', ['train', 'val'], 'Where --unit looks if no IMAGE is given.'
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', '', 'The data set of the checkpoint, if it has moved.'
)
_AT_ONCE = 16  # images whose maps are held
_MOST = 200  # images of a page


def main() -> int:
  """Checks the flags, and writes the page and its pictures."""
  if not _RESTORE.value:
    raise ValueError('--restore is missing: give a WORKDIR')
  if not (cli.arguments() or _UNIT.value):
    raise ValueError('no images: give their files after the flags')
  compile.keep_programs()
  net = load.load(_RESTORE.value, data_dir=_DATA_DIR.value)
  if _UNIT.value == 'help':
    print(*net.layers, sep='\n')
    return 0
  files = [f for name in cli.arguments() for f in net_lib.files(name)]
  readable, unread = _readable(net, files)
  output = paths.expand(_OUTPUT.value)
  if _UNIT.value and (readable or not cli.arguments()):
    layer, unit = _unit(_UNIT.value)
    given = readable or _split(net)
    patches = exciting.strongest(net, given, layer=layer, unit=unit)
    for one in patches:
      print(f'{one.value:>10.4g}  {cli.printable(one.name)}')
    print(page.write_unit(patches, unit_name=_UNIT.value, folder=output))
  elif readable:
    if len(readable) > _MOST:
      raise ValueError(
        f'{len(readable)} images are too many for a page: give up to {_MOST}'
      )
    print(page.write_images(_parts(net, readable), folder=output))
  return 1 if unread or (cli.arguments() and not readable) else 0


def _readable(
  net: net_lib.Net, files: list[str]
) -> tuple[list[str], list[str]]:
  """The images that can be read, and those that cannot, which are named."""
  readable, unread = [], []
  for file in files:
    try:
      net.squares(file)
      readable.append(file)
    except ValueError as error:
      unread.append(file)
      print(f'error: {cli.printable(str(error))}', file=sys.stderr)
  return readable, unread


def _parts(net: net_lib.Net, files: list[str]) -> Iterator[explained.Explained]:
  """Explanations of some images at a time; prints what is explained."""
  for start in range(0, len(files), _AT_ONCE):
    found = explained.explain(
      net,
      files[start : start + _AT_ONCE],
      label=_CLASS.value,
      places=_PLACES.value,
    )
    for name, what, share in zip(
      found.names, found.classes, found.probabilities, strict=True
    ):
      print(f'{cli.printable(name)}: {cli.printable(what)} {100 * share:.1f} %')
    yield found


def _unit(text: str) -> tuple[str, int]:
  """The layer and the number of --unit."""
  layer, _, number = text.rpartition(':')
  if not layer or not number.isdecimal():
    raise ValueError(
      f'--unit={text}: give a layer and the number of a unit, as conv5:17'
    )
  return layer, int(number)


def _split(net: net_lib.Net) -> dataset.Split:
  """A split of the data set that the net was trained on."""
  config = net.config.copy_and_resolve_references()
  if _DATA_DIR.value:
    config.data.dir = _DATA_DIR.value
  folder = config.data.dir
  if config.data.source == 'prepared' and not (
    paths.is_remote(folder) or paths.expand(folder).is_dir()
  ):
    raise ValueError(
      f'the data set of the checkpoint is not at {folder}: give --data_dir, or '
      'images after the flags'
    )
  return getattr(setup_lib.load_data(config), _SPLIT.value)


if __name__ == '__main__':
  cli.run(main, takes_arguments=True)
