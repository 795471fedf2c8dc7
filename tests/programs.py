"""Compiled programs of the tests, kept from one session to the next.

A third of the tests' processor time goes into compiling. JAX finds a program
here by what it computes, so that a change of the code compiles what it changes.
JAX writes entries in place: a process that a test kills may leave half of one.
"""

import hashlib
import os
import pathlib
import shutil

from jax._src import compilation_cache

from alexnet_jax.runtime import environment

_MOST = 2 * 2**30  # bytes: several times what all tests compile


def folder() -> str:
  """A folder with the sound programs of earlier sessions on such a processor.

  '' where the user's cache folder cannot be written.
  """
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  digest = hashlib.sha256(environment.processor().encode()).hexdigest()
  found = pathlib.Path(home) / 'alexnet_jax-tests' / digest[:16]
  try:
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    clean(found)
  except OSError:
    return ''
  return str(found)


def clean(kept: pathlib.Path, *, most: int = _MOST) -> None:
  """Removes entries that are not whole; all of them if they take too much.

  And what steps/measure.py measured: a session measures for itself.
  """
  for file in kept.glob('measured-*.json'):
    file.unlink()
  checked = kept / 'checked'  # when entries were last looked at
  since = checked.stat().st_mtime if checked.exists() else 0
  checked.touch()
  files = [*kept.glob('*-cache')]
  if sum(file.stat().st_size for file in files) > most:
    shutil.rmtree(kept)
    kept.mkdir(mode=0o700)
    return
  for file in files:
    if file.stat().st_mtime >= since and not _is_whole(file):
      file.unlink()


def _is_whole(file: pathlib.Path) -> bool:
  try:
    compilation_cache.decompress_executable(file.read_bytes())
  except Exception:  # of zlib, or of either package for zstandard
    return False
  return True
