"""Lists a source: its images, its files of labels, and what is neither.

A source is a folder or an archive. In a folder without images of its own each
archive counts as a folder of that name: train.tar as train/.
"""

import collections
import dataclasses
import errno
import os
import pathlib
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator

from alexnet_jax.data import filenames, metadata
from alexnet_jax.data.prepare import archives, splits, tar

# Endings of images, also of those that are not read: they are then named.
_IMAGES = frozenset(
  '.jpg .jpeg .jpe .jfif .png .bmp .dib .gif .tif .tiff .webp .ppm .pgm .pbm '
  '.pnm .avif .heic .heif .jp2 .jxl .tga .ico .psd .svg .eps .cr2 .cr3 .nef '
  '.arw .dng .orf .raf .rw2'.split()
)
_OTHERS = frozenset(  # endings of what never is an image
  '.txt .csv .tsv .json .jsonl .xml .yaml .yml .toml .md .rst .html .htm .pdf '
  '.doc .docx .xls .xlsx .mat .npy .npz .h5 .hdf5 .pkl .pt .pth .parquet .db '
  '.ini .cfg .log .py .pyc .ipynb .sh .m .zip .tar .gz .tgz .tbz2 .txz '
  '.bz2 .xz .7z .rar .mp4 .mov .avi .mkv .webm .mp3 .wav .aae .xmp .thm '
  '.lnk .url'.split()
)
_COPY = re.compile(  # of an editor, a download or a backup
  r'(~|\.(bak|tmp|temp|old|orig|swp|swo|part|partial|crdownload|download)'
  rf'|\.({"|".join(e[1:] for e in sorted(_IMAGES))})[._~-].+)$',
  re.IGNORECASE,
)
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)  # of a broken link
_MAGIC = re.compile(  # how the formats begin that images.py reads
  rb'\xff\xd8\xff|\x89PNG|GIF8|BM|II[*+]\0|MM\0[*+]|RIFF....WEBP|P[1-7]'
  rb'|....ftypavi[fs]',
  re.DOTALL,
)
_HEAD = 16  # bytes
_ILSVRC = frozenset({'Data', 'Annotations', 'ImageSets'})  # of Kaggle


@dataclasses.dataclass(kw_only=True)
class Listing:
  """The files of a source by what they are; names are within the source."""

  images: list[archives.Member] = dataclasses.field(default_factory=list)
  texts: dict[str, archives.Member] = dataclasses.field(default_factory=dict)
  folders: list[str] = dataclasses.field(default_factory=list)
  # What is no image -> how often it was passed over.
  passed: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  skipped: list[metadata.Skipped] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)

  def add(
    self, members: Iterable[archives.Member], *, within: str = ''
  ) -> None:
    """Adds files; the names of an archive's begin with `within`."""
    for member in members:
      if within:
        member = member._replace(name=within + member.name)
      name = member.name.rpartition('/')[2]
      if system := _system(member.name):
        self.passed[system] += 1
      elif is_image(member):
        self.images.append(member)
      else:
        if _is_text(name):
          self.texts[posixpath.normpath(member.name)] = member
        self.passed[_kind(name)] += 1

  def wants(self, name: str, *, ending: str = '') -> bool:
    """Whether a file is no text and not left by a system; else counts it.

    If `ending` is given, others are not wanted either.
    """
    last = name.rpartition('/')[2]
    own = os.path.splitext(last)[1].lower()
    other = own != ending if ending else own in _OTHERS or not own
    if (system := _system(name)) or other or _COPY.search(last):
      self.passed[system or _kind(last)] += 1
      return False
    return True

  def told(self) -> tuple[str, ...]:
    """A line that says what was passed over, if anything was."""
    if not self.passed:
      return ()
    most = self.passed.most_common(5)
    shown = [f'{count:,} {what}' for what, count in most]
    shown += ['...'] if len(self.passed) > 5 else []
    count = self.passed.total()
    return (f'passed over {count:,} that are no images: {", ".join(shown)}',)


def listing(source: pathlib.Path) -> Listing:
  """Lists a folder or an archive.

  Raises ValueError if an archive is damaged, and OSError if a folder may not be
  read.
  """
  found = Listing()
  if os.path.splitext(source)[1].lower() in _IMAGES and source.is_file():
    raise ValueError(f'{source} is one image: give the folder that holds it')
  if not source.is_dir():
    found.add(archives.members(source, skipped=found.skipped))
    return found
  packed: list[tar.Member] = []
  found.add(_but_archives(_walk(source, listing=found), packed=packed))
  if found.images:
    found.notes += [
      f'{m.name} is not opened: images lie beside it' for m in packed
    ]
    return found
  for member in packed:
    inner = archives.members(pathlib.Path(member.path), skipped=found.skipped)
    stem = without_ending(member.name)
    found.add(_without_top(inner, stem=stem), within=f'{stem}/')
  return found


def _without_top(
  members: Iterable[archives.Member], *, stem: str
) -> list[archives.Member]:
  """The files of an archive without a top folder that names its split again.

  train_0.tar may hold CLASS/IMAGE, train/CLASS/IMAGE or train_0/CLASS/IMAGE.
  """
  found = [m._replace(name=posixpath.normpath(m.name)) for m in members]
  parts = (m.name.split('/') for m in found)
  tops = {
    each[0] for each in parts if each[1:] and not filenames.is_system(each[0])
  }
  split = splits.named(stem.rpartition('/')[2])
  if split is None or {splits.named(top) for top in tops} != {split}:
    return found
  return [m._replace(name=m.name.partition('/')[2] or m.name) for m in found]


def _system(path: str) -> str:
  """The part of a path that is a system's; '' if none is."""
  return next(filter(filenames.is_system, path.split('/')), '')


def is_image(member: archives.Member) -> bool:
  """Whether a file is an image by its name, or else by how it begins."""
  name = member.name.rpartition('/')[2]
  ending = os.path.splitext(name)[1].lower()
  if ending in _IMAGES or ending in _OTHERS:
    return ending in _IMAGES
  return not _COPY.search(name) and begins_as_image(member)


def begins_as_image(member: archives.Member) -> bool:
  """Whether the first bytes of a file are those of a format that is read."""
  if isinstance(member, tar.Member):
    head = member._replace(size=min(member.size, _HEAD)).read()
  else:
    head = member.read()[:_HEAD]
  return bool(_MAGIC.match(head))


def without_ending(name: str) -> str:
  """The name of an archive without .tar, .tar.gz, .zip ..."""
  return re.sub(r'(\.tar)?\.\w+$', '', name)


def _is_text(name: str) -> bool:
  return name.lower().endswith(('.txt', '.csv', '.tsv', '.json', '.jsonl'))


def _kind(name: str) -> str:
  """What the line about files that were passed over calls one of them."""
  ending = os.path.splitext(name)[1]
  return f'*{ending}' if ending else name


def _but_archives(
  members: Iterable[tar.Member], *, packed: list[tar.Member]
) -> Iterator[tar.Member]:
  """Yields what is no archive; adds archives to `packed`."""
  for member in members:
    ending = os.path.splitext(member.name)[1].lower()
    if ending in _OTHERS and archives.is_archive(pathlib.Path(member.name)):
      packed.append(member)
    else:
      yield member


def _walk(source: pathlib.Path, *, listing: Listing) -> Iterator[tar.Member]:
  """Lists all files below a folder, also through links to folders.

  A link to a folder that holds it is not followed. Raises OSError if a folder
  may not be read.
  """
  real = os.path.realpath(source)
  stack = [(str(source), '', real, frozenset({real}))]
  first, links = {real: ''}, set()  # names by real path; those of links
  while stack:
    place, within, real, above = stack.pop()
    with os.scandir(place) as scan:
      entries = sorted(scan, key=lambda entry: entry.name)
    # ILSVRC's boxes and lists; listing half a million files takes a while.
    ilsvrc = _ILSVRC if _ILSVRC <= {e.name for e in entries} else frozenset()
    inner = []
    for entry in entries:
      name = within + tar.printable(entry.name)
      if filenames.is_system(entry.name) or entry.name in ilsvrc - {'Data'}:
        listing.passed[tar.printable(entry.name)] += 1
      elif _is_folder(entry):
        to = os.path.join(real, entry.name)
        to = os.path.realpath(to) if entry.is_symlink() else to
        if to in above or real.startswith(os.path.join(to, '')):
          listing.notes.append(
            f'{name}, a link back to a folder that holds it, is not followed'
          )
        else:
          links |= {name} if entry.is_symlink() else set()
          other = first.setdefault(to, name)
          if other != name and links & {name, other}:
            listing.notes.append(f'{name} is the same folder as {other}')
          listing.folders.append(name)
          inner.append((entry.path, f'{name}/', to, above | {to}))
      elif (size := _size(entry)) is not None:
        yield tar.Member(entry.path, 0, size, name)
      else:
        listing.skipped.append(metadata.Skipped(name, 'no regular file'))
    stack += reversed(inner)


def _is_folder(entry: os.DirEntry[str]) -> bool:
  try:
    return entry.is_dir()
  except OSError as error:
    if error.errno in _NO_FILE:
      return False
    raise


def _size(entry: os.DirEntry[str]) -> int | None:
  """The size of a regular file in bytes; None if it is none."""
  try:
    status = entry.stat()
  except OSError as error:
    if error.errno in _NO_FILE:
      return None
    raise
  return status.st_size if stat.S_ISREG(status.st_mode) else None
