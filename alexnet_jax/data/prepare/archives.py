"""Lists the files of an archive of any kind: tar, compressed tar or zip.

Tars and zips are read in place. A compressed tar has no random access, so it
is decompressed once, into the cache folder, and removed after preparing.
"""

import itertools
import pathlib
import tarfile
import zlib
from collections.abc import Iterator

from alexnet_jax.data import metadata
from alexnet_jax.data.prepare import tar, unpacked, zips

Member = tar.Member | zips.Member
_ENDINGS = ('.tar', '.zip', '.tgz', '.tbz2', '.txz')
_PACKED = ('.tar.gz', '.tar.bz2', '.tar.xz')


def first_names(path: pathlib.Path, *, count: int) -> list[str]:
  """Names of the first files of a tar, compressed or not; [] if it is none."""
  try:
    with tarfile.open(path) as archive:
      return [
        info.name for info in itertools.islice(archive, count) if info.isfile()
      ]
  except (tarfile.TarError, EOFError, OSError, zlib.error):
    return []  # `members` says what is wrong, if it is an archive


def is_archive(path: pathlib.Path) -> bool:
  """Returns whether `members` can read a file, judged by its name.

  >>> [is_archive(pathlib.Path(n)) for n in ('no-such.tar.GZ', 'no-such.jpg')]
  [True, False]
  """
  return path.name.lower().endswith(_ENDINGS + _PACKED)


def members(
  path: pathlib.Path, *, skipped: list[metadata.Skipped]
) -> Iterator[Member]:
  """Lists the files of an archive, told by its content and not by its name.

  Adds those that are not read to `skipped`. Decompresses a compressed tar, as
  `unpacked.tar_of` does. Raises ValueError if the archive is damaged.
  """
  with open(path, 'rb') as file:
    start = file.read(8)
  if start[:4] in (b'PK\3\4', b'PK\5\6'):
    yield from zips.members(path, skipped=skipped)
  else:
    whole = unpacked.tar_of(path, start=start)
    yield from tar.members(whole, skipped=skipped)
