"""Copies a prepared data set from a bucket to this machine.

Training reads a few thousand images a second at random, which no bucket allows,
so the records are copied once. A file is written under a scratch name and
renamed once its SHA-256 is the one in metadata.json, so an interrupted copy
continues with the missing files. The folder's name holds the fingerprint: a
data set that was prepared again is copied again.
"""

import pathlib

import tqdm

from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.data import records
from alexnet_jax.runtime import bucket, locks, paths

_PART = '.part'  # ends the names of incomplete files


def local_copy(directory: str) -> str:
  """The local copy of a data set on a bucket; a local path is returned as is.

  Raises ValueError if it is no prepared data set, or cannot be copied.
  """
  if not paths.is_remote(directory):
    return directory
  source = bucket.Folder(directory)
  try:
    text = source.read(metadata_lib.FILE)
  except bucket.MissingError as error:
    raise ValueError(
      f'no prepared data set at {directory}: {error}; put one there with '
      f'{metadata_lib.PREPARE}{directory}'
    ) from error
  metadata = metadata_lib.parse(text, place=source.url)
  digest = metadata_lib.fingerprint(metadata)
  name = f'{bucket.copy_name(source.url)}-{digest[:12]}'
  folder = bucket.cache_folder('data') / name
  last = folder / metadata_lib.FILE  # written last: the copy is complete
  if not last.is_file():
    fix = f'set {bucket.CACHE} to another folder'
    with locks.locked(folder, fix=fix, waits=True):
      if not last.is_file():  # another run may have copied it meanwhile
        _copy(source, metadata, to=folder)
        metadata_lib.write(folder, metadata=metadata)
  return str(folder)


def _copy(
  source: bucket.Folder, metadata: metadata_lib.Metadata, *, to: pathlib.Path
) -> None:
  """Copies the files that are missing in the local folder."""
  for unfinished in to.glob(f'*{_PART}'):
    unfinished.unlink()
  sizes = source.sizes()
  names = [*metadata_lib.shards(metadata), *records.STATISTICS_FILES]
  todo = [name for name in names if not (to / name).is_file()]
  missing = [name for name in todo if name not in sizes]
  if missing:
    raise ValueError(
      f'{source.url} is incomplete: {missing[0]} and {len(missing) - 1} more '
      'are missing; copy the whole folder there again'
    )
  size = sum(sizes[name] for name in todo)
  bucket.check_disk_space(to, size=size, url=source.url)
  print(f'{source.url}: copying {paths.size_text(size)} to {to}', flush=True)
  with tqdm.tqdm(total=size, unit='B', unit_scale=True, delay=5) as bar:

    def fetch(name: str) -> None:
      scratch = to / f'{name}{_PART}'
      source.get(name, to=scratch)
      if metadata_lib.checksum(scratch) != metadata.checksums.get(name):
        raise ValueError(
          f'{source.url}/{name} differs from its checksum in '
          f'{metadata_lib.FILE}: copy the whole folder there again'
        )
      scratch.replace(to / name)
      bar.update(sizes[name])

    bucket.run_parallel(fetch, todo)
