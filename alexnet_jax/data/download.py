"""A prepared data set on a bucket, as a folder of this machine.

Images are read at random, a few thousand a second, so the records are copied
once and read from here. Each file gets its name when its SHA-256 is that of
metadata.json; files that have theirs are not copied again, by whichever run.
A data set that was prepared anew is another one, with a folder of its own. Not
in the paper.
"""

import pathlib

import tqdm

from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.data import records
from alexnet_jax.runtime import bucket, locks, paths

_PART = '.part'  # ends the names of files that are not whole


def local(directory: str) -> str:
  """The folder itself, or of an address the copy, made if need be.

  Raises:
    ValueError: in one line, if it cannot be copied or is no such data set.
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
  name = f'{bucket.name_of_copy(source.url)}-{digest[:12]}'
  folder = bucket.copies('data') / name
  whole = folder / metadata_lib.FILE  # which is written last
  if not whole.is_file():
    fix = f'let {bucket.CACHE} name another folder'
    with locks.locked(folder, fix=fix, waits=True):
      if not whole.is_file():  # nor has another run made it by now
        _copy(source, metadata, to=folder)
        metadata_lib.write(folder, metadata=metadata)
  return str(folder)


def _copy(
  source: bucket.Folder, metadata: metadata_lib.Metadata, *, to: pathlib.Path
) -> None:
  """Copies the files that are not there yet."""
  for unfinished in to.glob(f'*{_PART}'):
    unfinished.unlink()
  names = [*metadata_lib.shards(metadata), *records.STATISTICS_FILES]
  sizes = source.sizes()
  todo = [name for name in names if not (to / name).is_file()]
  missing = [name for name in todo if name not in sizes]
  if missing:
    raise ValueError(
      f'{source.url} is incomplete: {missing[0]} and {len(missing) - 1} more '
      'are missing; copy the whole folder there again'
    )
  size = sum(sizes[name] for name in todo)
  bucket.refuse_small_disk(to, size=size, url=source.url)
  print(f'{source.url}: copying {size / 1e9:,.1f} GB to {to}', flush=True)
  with tqdm.tqdm(total=size, unit='B', unit_scale=True, delay=5) as bar:

    def fetch(name: str) -> None:
      scratch = to / f'{name}{_PART}'
      source.get(name, to=scratch)
      if metadata_lib.checksum(scratch) != metadata.checksums.get(name):
        raise ValueError(
          f'{source.url}/{name} is not what its {metadata_lib.FILE} says: copy '
          'the whole folder there again'
        )
      scratch.replace(to / name)
      bar.update(sizes[name])

    bucket.at_once(fetch, todo)
