"""Prepares a folder or an archive of images into the cache, for a run (§2).

tools.prepare does the work in a process of its own: a run that reads records
imports nothing that only preparing needs. A folder is prepared again when the
name, the size or the time of a file in it has changed.
"""

import hashlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
from typing import IO, NamedTuple

from alexnet_jax.data import filenames, images, metadata, records
from alexnet_jax.runtime import bucket, locks, paths, signals

_KIND = 'photos'  # folder of the cache
_AS_IT_IS, _DIVIDED = 'data', 'divided'  # folders of records in its folder
VAL_SHARE = 0.1  # of the images of each class, where no split says which
_ARCHIVES = (  # and parquet, as tools.prepare reads them
  '.tar', '.zip', '.tgz', '.tbz2', '.txz', '.tar.gz', '.tar.bz2', '.tar.xz',
  '.parquet',
)  # fmt: skip
_SPLIT = re.compile('train|val|test', re.IGNORECASE)  # may be in its name
_MOST_FILES, _MOST_BYTES = 50_000, 20e9  # of a source; more takes hours
_FEW = 4  # names that are shown
_FORMAT = 1  # raised whenever the same folder is prepared differently


class Source(NamedTuple):
  """A folder or an archive of images."""

  path: pathlib.Path  # absolute
  files: int
  digest: str  # hex; of names, sizes and times of the files

  @property
  def label(self) -> str:
    return self.path.name or str(self.path)


def is_source(directory: str) -> bool:
  """Returns whether a path holds images that have to be prepared first.

  It does not if it is a prepared data set, even one without metadata.json.
  """
  if not directory or paths.is_remote(directory):
    return False
  path = paths.expand(directory)
  of_prepared = (metadata.FILE, *records.STATISTICS_FILES)
  if path.is_dir():
    return not any((path / name).exists() for name in of_prepared)
  return path.is_file() and path.name.lower().endswith(_ARCHIVES)


def check_outside(workdir: pathlib.Path, *, directory: str, flag: str) -> None:
  """Raises ValueError for a workdir in a folder of images, as a class of it.

  `flag` named the directory.
  """
  source = paths.expand(directory).resolve()
  if source.is_dir() and workdir.resolve().is_relative_to(source):
    raise ValueError(
      f'the workdir {workdir} lies in {flag}={directory}, whose folders are '
      'classes: give --workdir=FOLDER outside of it'
    )


def prepared(
  directory: str,
  *,
  image_size: int,
  resize: images.Resize,
  flag: str,
  whole: bool = False,
) -> str:
  """The folder in the cache with the records of a source; makes it if need be.

  `image_size` is in pixels. For messages: `flag` named the directory, and
  `whole` if it does not matter how a source was divided. Raises
  ValueError if tools.prepare cannot use it, or it is too large to be prepared
  without being asked.
  """
  source = _look(paths.expand(directory).resolve(), flag=flag)
  options = (f'--image_size={image_size}', f'--resize={resize}')
  key = repr((_FORMAT, source.digest, VAL_SHARE, options))
  digest = hashlib.sha256(key.encode()).hexdigest()
  name = re.sub(r'[^\w.-]+', '_', source.label)[:80]
  place = bucket.cache_folder(_KIND) / f'{name}-{digest[:12]}'
  with locks.locked(place, fix='wait for it', waits=True):
    data = _complete(place)
    how = 'as prepared before' if data else 'prepared'
    if data is None:
      what = f'its {source.files:,} files' if source.path.is_dir() else 'it'
      print(
        f'{directory} is no prepared data set: preparing {what}, once',
        flush=True,
      )
      data, notes = _prepare(source, place, options=options)
      for note in notes:
        if not (whole and '--val_share' in note):
          print(f'  {note}')
  print(
    f'{source.label}: {_describe(data, whole=whole)}; {how}, in {place}',
    flush=True,
  )
  return str(data)


def is_divided(directory: str) -> bool:
  """Returns whether `prepared` made a folder and split off its val images."""
  path = pathlib.Path(directory)
  return path.name == _DIVIDED and path.parent.parent == bucket.cache_folder(
    _KIND
  )


def _complete(place: pathlib.Path) -> pathlib.Path | None:
  names = (_AS_IT_IS, _DIVIDED)
  found = (place / n for n in names if (place / n / metadata.FILE).is_file())
  return next(found, None)


def _prepare(
  source: Source, place: pathlib.Path, *, options: tuple[str, ...]
) -> tuple[pathlib.Path, list[str]]:
  """Prepares a source as it is; divides it if it has no validation split.

  Returns the folder, and what tools.prepare said.

  tools.prepare knows which; what is tried first saves the start of a process.
  """
  divided = (*options, f'--val_share={VAL_SHARE}')
  tries = [(place / _AS_IT_IS, options), (place / _DIVIDED, divided)]
  if source.path.is_dir() and not any(
    _SPLIT.search(name) for name in os.listdir(source.path)
  ):
    tries.reverse()
  (first, flags), (second, others) = tries
  try:
    return first, _run_prepare(source, first, options=flags)
  except ValueError as error:
    if '--val_share' not in str(error):
      raise
  return second, _run_prepare(source, second, options=others)


def _look(path: pathlib.Path, *, flag: str) -> Source:
  """Lists the files of a source; ValueError if there are none or very many."""
  command = metadata.PREPARE.replace('...', shlex.quote(str(path)))
  rows, size = [], 0
  for file in sorted(filenames.walk(path)) if path.is_dir() else [path]:
    stat = file.stat()
    name = str(file.relative_to(path))
    rows.append((name, stat.st_size, stat.st_mtime_ns))
    size += stat.st_size
    if len(rows) > _MOST_FILES or size > _MOST_BYTES:
      raise ValueError(
        f'{flag}={path} is no prepared data set, and holds more than '
        f'{_MOST_FILES:,} files or {paths.size_text(_MOST_BYTES)}: prepare it '
        f'first with {command}DATA, and give {flag}=DATA'
      )
  if not rows:
    raise ValueError(
      f'{flag}={path} is no prepared data set, and has no files: give a folder '
      'with a folder of images for each class'
    )
  digest = hashlib.sha256(repr(rows).encode()).hexdigest()
  return Source(path, len(rows), digest)


def _run_prepare(
  source: Source, output: pathlib.Path, *, options: tuple[str, ...]
) -> list[str]:
  """Runs tools.prepare, shows its progress on a terminal; returns its notes.

  Raises ValueError with its message if it fails.
  """
  command = [
    *(sys.executable, '-P', '-m', 'alexnet_jax.tools.prepare'),
    *(f'--source={source.path}', f'--output={output}', *options),
  ]
  with (
    tempfile.TemporaryFile('w+') as said,
    signals.sigterm_exits(signals.EXIT_CODE),
  ):
    process = subprocess.Popen(
      command,
      env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
      stdin=subprocess.DEVNULL,
      stdout=said,
      stderr=subprocess.PIPE,
    )
    try:
      assert process.stderr
      text = _shown(process.stderr)
      code = process.wait()
    finally:
      process.terminate()  # an exception: it goes on at the next start
      process.wait()
    said.seek(0)
    notes = _notes(said.read().splitlines())
  if code:
    last = ' '.join(text.split('error: ')[-1].split())
    raise ValueError(last or f'{source.path}: tools.prepare ended with {code}')
  return notes


def _notes(lines: list[str]) -> list[str]:
  """Selects the lines of tools.prepare about labels and unusual files.

  Its plan, its result and a line for each image left out are dropped.
  """
  plan = [i for i, line in enumerate(lines) if ' shards in ' in line]
  at = plan[0] if plan else len(lines)
  later = [
    line for line in lines[at + 2 : -1] if not line.startswith('skipped')
  ]
  return [*lines[1:at], *later]


def _shown(stream: IO[bytes]) -> str:
  """Reads a stream to its end; what is no error goes on to a terminal."""
  text = ''
  while part := os.read(stream.fileno(), 2**16):
    text += part.decode(errors='replace')
    if sys.stderr.isatty() and 'error: ' not in text:
      sys.stderr.write(part.decode(errors='replace'))
      sys.stderr.flush()
  return text


def _describe(data: pathlib.Path, *, whole: bool) -> str:
  """Counts of images and classes, and what was left out, in one line."""
  found = metadata.read(data)
  words = {'train': 'to train on', 'val': 'to validate', 'test': 'to test'}
  counts = [f'{s.num_images:,} {words[k]}' for k, s in found.splits.items()]
  if whole and data.name == _DIVIDED:
    counts = [f'{sum(s.num_images for s in found.splits.values()):,}']
  names = [c.name for c in found.classes]
  more = ', ...' if len(names) > _FEW else ''
  line = (
    f'{len(names):,} classes ({", ".join(names[:_FEW])}{more}); images: '
    f'{", ".join(counts)}'
  )
  if found.skipped:
    first = found.skipped[0]
    more = ', ...' if len(found.skipped) > 1 else ''
    line += (
      f'; {len(found.skipped):,} files left out ({first.file}: {first.reason}'
      f'{more})'
    )
  return line
