"""Prepares a data set for training (paper §2): see data/prepare.py.

  python -m alexnet_jax.tools.prepare --source=PATH --output=DIR

PATH is the folder of the official ILSVRC2012 downloads. DIR then holds records
of 256 x 256 images, the mean image and the RGB components, and appears only
when it is complete. Stopped, the same command goes on where it was.
"""

import os
import pathlib
import shutil
from typing import cast

import tqdm
from absl import flags

from alexnet_jax.data import layouts, prepare, records, shards
from alexnet_jax.tools import cli

_SOURCE = flags.DEFINE_string(
  'source', None, 'Folder of the official ILSVRC2012 tars.', required=True
)
_OUTPUT = flags.DEFINE_string(
  'output', None, 'Folder to make; must not exist yet.', required=True
)
_IMAGE_SIZE = flags.DEFINE_integer(
  'image_size', 256, 'Pixels a side of the stored squares.', lower_bound=1
)
_ENCODING = flags.DEFINE_enum(
  'encoding',
  'raw',
  ['raw', 'jpeg'],
  'raw: fastest to train from, 197 kB an image. jpeg: about 25 kB.',
)
_JPEG_QUALITY = flags.DEFINE_integer(
  'jpeg_quality', 90, 'Of --encoding=jpeg.', lower_bound=1, upper_bound=95
)
_WORKERS = flags.DEFINE_integer(
  'workers',
  os.cpu_count() or 1,
  'Processes. Any number gives the same files.',
  1,
)


def main() -> None:
  """Lists the source, says what is to be done, and does it."""
  output = pathlib.Path(_OUTPUT.value).expanduser()
  prepare.refuse_existing(output)
  print(f'Listing {_SOURCE.value} ...', flush=True)
  options = shards.Options(
    image_size=_IMAGE_SIZE.value,
    encoding=cast(records.Encoding, _ENCODING.value),
    jpeg_quality=_JPEG_QUALITY.value,
  )
  layout = layouts.find(pathlib.Path(_SOURCE.value).expanduser())
  work = prepare.plan(layout, options=options)
  _announce(work, output=output)
  with tqdm.tqdm(total=work.num_images, unit=' images') as bar:
    metadata = prepare.run(
      work, output=output, workers=_WORKERS.value, progress=bar.update
    )
  for skipped in metadata.skipped:
    print(f'skipped {skipped.file}: {skipped.reason}')
  counts = ', '.join(f'{s.num_images} {k}' for k, s in metadata.splits.items())
  print(f'{output}: {counts}, {len(metadata.skipped)} skipped')


def _announce(work: prepare.Plan, *, output: pathlib.Path) -> None:
  counts = ', '.join(f'{len(v)} {k}' for k, v in work.layout.splits.items())
  seconds = work.num_images / prepare.IMAGES_PER_SECOND / _WORKERS.value
  place = next(p for p in output.absolute().parents if p.exists())
  print(
    f'{work.layout.name}: {counts} images, {len(work.layout.classes)} classes'
    f' -> {len(work.shards)} shards in {output}\n'
    f'about {work.num_bytes / 1e9:.1f} GB of '
    f'{shutil.disk_usage(place).free / 1e9:.0f} GB free, and '
    f'{seconds / 60:.0f} minutes with {_WORKERS.value} workers',
    flush=True,
  )


if __name__ == '__main__':
  cli.run(main)
