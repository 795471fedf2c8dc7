"""Prepares a data set for training: squares, mean image, RGB components (§2).

  python -m alexnet_jax.tools.prepare --source=SOURCE --output=DIR

SOURCE is a folder with the official tars of ILSVRC2012 or ILSVRC2010, class
folders (train/CLASS/IMAGE and val/CLASS/IMAGE), flat folders with files of
labels, an archive of either, or tfds:NAME; docs/data.md lists all layouts. What
was found is printed, and where its labels come from. DIR then holds records of
256 x 256 images, the mean image and the RGB components, and appears only when
it is complete. After an interruption the same command continues where it
stopped.

--stats_only computes the mean image and the components only: again for
a prepared DIR, or for tfds:NAME, to train from that data set as it is.
"""

import pathlib
import shutil
import signal
from typing import cast

import tqdm
from absl import flags

from alexnet_jax import cli
from alexnet_jax.data import dataset, images, records, tfds
from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.data.prepare import (
  layouts,
  run,
  shards,
  sources,
  statistics,
  workers,
)
from alexnet_jax.runtime import bucket as bucket_lib
from alexnet_jax.runtime import paths

_SOURCE = flags.DEFINE_string('source', '', f'What to prepare: {sources.KNOWN}')
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Folder to create, local or on a bucket; must not exist.'
)
_IMAGE_SIZE = flags.DEFINE_integer(
  'image_size',
  256,
  'Height and width of the stored squares, in pixels.',
  lower_bound=1,
  upper_bound=4096,
)
_ENCODING = flags.DEFINE_enum(
  'encoding',
  'raw',
  ['raw', 'jpeg'],
  'raw: fastest to train from, 197 kB per image. jpeg: about 25 kB.',
)
_RESIZE = flags.DEFINE_enum(
  'resize',
  'crop',
  ['crop', 'warp'],
  'crop: scale the shorter side and take the middle, as the paper. warp: scale '
  'both sides, as Caffe. Training needs the same --config.data.resize.',
)
_JPEG_QUALITY = flags.DEFINE_integer(
  'jpeg_quality', 90, 'For --encoding=jpeg.', lower_bound=1, upper_bound=95
)
_WORKERS = flags.DEFINE_integer(
  'workers',
  workers.cores(),
  'Number of processes; any number writes the same files.',
  1,
)
_MAX_SKIPPED = flags.DEFINE_integer(
  'max_skipped', 100, 'Files that may be left out before the run ends.', 0
)
_HALVES = flags.DEFINE_bool(
  'halves',
  False,
  'Divide all images into training and validation halves by a hash of their '
  'names, as §6 does with Fall 2009.',
)
_VAL_SHARE = flags.DEFINE_float(
  'val_share',
  None,
  'Split this share of the images of each class off for validation, by a hash '
  'of their names; for sources without validation images.',
)
_LABELS = flags.DEFINE_string(
  'labels',
  '',
  'File of labels, for images that lie in no folders of classes: lines `path '
  'label`, csv, or json lines; train:FILE,val:FILE for one of each split.',
)
_CLASSES_OF = flags.DEFINE_string(
  'classes_of',
  '',
  'Prepared data set whose classes the images have, found by name: for sets '
  'such as ImageNet-V2, -A and -R, which may have no training images.',
)
_STATS_ONLY = flags.DEFINE_bool(
  'stats_only', False, 'Compute only the mean image and RGB components.'
)
_VERIFY = flags.DEFINE_bool(
  'verify', False, 'Compare every file of --output with its checksum, and end.'
)
_TFDS_DATA_DIR = flags.DEFINE_string(
  'tfds_data_dir', '', 'Where TFDS keeps its data; empty: its default.'
)


def main() -> None:
  """Runs the command that the flags describe."""
  signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C
  if _STATS_ONLY.value:
    _compute_statistics()
    return
  if _VERIFY.value:
    _verify(paths.expand(_OUTPUT.value))
    return
  for name, value in (('source', _SOURCE.value), ('output', _OUTPUT.value)):
    if not value:
      raise ValueError(f'--{name} is missing: --help says what to give')
  paths.check_name(_OUTPUT.value, name='--output')
  if paths.is_remote(_OUTPUT.value):
    _prepare_on_bucket(bucket_lib.Folder(_OUTPUT.value))
  else:
    _prepare(paths.expand(_OUTPUT.value).resolve())


def _verify(folder: pathlib.Path) -> None:
  """Compares every file of a prepared folder with its SHA-256."""
  metadata = metadata_lib.read(folder)
  names = [*metadata_lib.shards(metadata), *records.STATISTICS_FILES]
  unknown = [name for name in names if name not in metadata.checksums]
  if unknown:
    raise ValueError(
      f'{folder}/{metadata_lib.FILE} has no checksum of {unknown[0]}: '
      f'{metadata_lib.prepare_again(folder)}'
    )
  for name in tqdm.tqdm(names, unit=' files', delay=2):
    metadata_lib.check_files(folder, metadata=metadata, whole=[name])
  print(f'{folder}: all {len(names)} files are what was prepared')


def _prepare_on_bucket(bucket: bucket_lib.Folder) -> None:
  """Prepares in a local folder, uploads it, and removes the local folder."""
  if metadata_lib.FILE in bucket.sizes():
    raise ValueError(
      f'{bucket.url} exists and is complete: use it, remove it, or give '
      'another --output'
    )
  options = (_SOURCE, _IMAGE_SIZE, _ENCODING, _JPEG_QUALITY, _HALVES, _RESIZE)
  values = ' '.join(str(flag.value) for flag in (*options, _TFDS_DATA_DIR))
  for flag in (_LABELS, _CLASSES_OF, _VAL_SHARE):  # of newer versions
    values += f' {flag.value}' if flag.value else ''
  name = bucket_lib.copy_name(f'{bucket.url} {values}')
  place = bucket_lib.cache_folder('prepared') / name
  if not (place / metadata_lib.FILE).is_file():  # else only the upload is left
    _prepare(place)
  print(f'{place}: copying to {bucket.url}', flush=True)
  names = {path.name for path in place.iterdir()} - {metadata_lib.FILE}
  bucket.put_all(place, names=names)
  # Last: a folder on the bucket that has metadata.json is complete.
  bucket.put(place / metadata_lib.FILE, name=metadata_lib.FILE)
  shutil.rmtree(place)
  print(f'{bucket.url} is complete')


def _prepare(output: pathlib.Path) -> None:
  """Lists the source, prints the plan, and prepares a local folder."""
  run.check_output(output)
  print(f'Listing {_SOURCE.value} ...', flush=True)
  options = shards.Options(
    image_size=_IMAGE_SIZE.value,
    encoding=cast(metadata_lib.Encoding, _ENCODING.value),
    jpeg_quality=_JPEG_QUALITY.value,
    resize=_resize(),
  )
  layout = sources.find_layout(
    _SOURCE.value,
    tfds_data_dir=_TFDS_DATA_DIR.value,
    halves=_HALVES.value,
    labels=_LABELS.value,
    classes_of=_CLASSES_OF.value,
    val_share=_VAL_SHARE.value,
  )
  work = run.plan(layout, options=options)
  _print_plan(work, output=output)
  with tqdm.tqdm(total=work.num_images, unit=' images', delay=1) as bar:
    metadata = run.prepare(
      work,
      output=output,
      workers=_WORKERS.value,
      max_skipped=_MAX_SKIPPED.value,
      progress=bar.update,
    )
  for skipped in metadata.skipped:
    print(f'skipped {skipped.file}: {skipped.reason}')
  left = {skipped.file for skipped in metadata.skipped}
  for line in layouts.told(layouts.without(layout, left)).notes:
    if line not in layout.notes:
      print(line)  # such as a class whose images are all damaged
  counts = ', '.join(f'{s.num_images} {k}' for k, s in metadata.splits.items())
  print(f'{output}: {counts}, {len(metadata.skipped)} skipped')


def _resize() -> images.Resize:
  return cast(images.Resize, _RESIZE.value)


def _print_plan(work: run.Plan, *, output: pathlib.Path) -> None:
  counts = ', '.join(f'{len(v)} {k}' for k, v in work.layout.splits.items())
  scaled = f'to {work.options.image_size} pixels (bicubic)'
  how = {
    'crop': f'shorter side {scaled}, centre square',
    'warp': f'both sides {scaled}',
  }
  print(f'layout: {work.layout.form}\nlabels: {work.layout.labels}')
  print(*work.layout.notes, sep='\n', end='\n' * bool(work.layout.notes))
  names = [info.name for info in work.layout.classes]
  shown = ', '.join(names[:5]) + ', ...' * (len(names) > 5)
  seconds = work.num_images / run.IMAGES_PER_SECOND / _WORKERS.value
  print(
    f'{work.layout.name}: {counts} images, {len(names)} classes ({shown})'
    f' -> {len(work.shards)} shards in {output}\n'
    f'{how[work.options.resize]}; about '
    f'{paths.size_text(work.num_bytes)} of '
    f'{paths.size_text(paths.free_bytes(output))} free, and '
    f'{seconds / 60:.0f} minutes with {_WORKERS.value} workers',
    flush=True,
  )


def _compute_statistics() -> None:
  """Writes the statistics of a TFDS data set, or of a prepared folder."""
  name = _SOURCE.value.removeprefix(tfds.PREFIX)
  if (name and name == _SOURCE.value) or bool(name) == bool(_OUTPUT.value):
    raise ValueError(
      f'--stats_only of --source={_SOURCE.value} --output={_OUTPUT.value}: '
      'give it with --source=tfds:NAME alone, or with --output=DIR of a '
      'prepared folder alone'
    )
  split: dataset.Split
  if name:
    found = tfds.find(name, data_dir=_TFDS_DATA_DIR.value)
    size = _IMAGE_SIZE.value
    split = found.split('train', image_size=size, resize=_resize())
    folder = tfds.statistics_folder(
      found.folder, image_size=size, resize=_resize()
    )
  else:
    folder = paths.expand(_OUTPUT.value)
    metadata = metadata_lib.read(folder)
    which = 'train' if 'train' in metadata.splits else 'val'
    split = records.PreparedSplit(folder, metadata=metadata, split=which)
  with tqdm.tqdm(total=len(split), unit=' images', delay=1) as bar:
    computed, skipped = statistics.compute(
      split, workers=_WORKERS.value, progress=bar.update
    )
  for reason in skipped:
    print(f'skipped {reason}')
  if len(skipped) > _MAX_SKIPPED.value:
    raise ValueError(
      f'{len(skipped)} images cannot be used, more than '
      f'--max_skipped={_MAX_SKIPPED.value}: nothing was written'
    )
  if name:
    folder.mkdir(exist_ok=True)
    records.write_statistics(folder, statistics=computed)
  else:
    records.replace_statistics(folder, statistics=computed)
  deviations = ', '.join(f'{s:.2f}' for s in computed.pca.stddevs)
  print(
    f'{folder}: mean image and RGB components of {len(split) - len(skipped)} '
    f'images; standard deviations {deviations} grey levels'
  )


if __name__ == '__main__':
  cli.run(main)
