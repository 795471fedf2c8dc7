"""Finds out what a source of images is, and lists its images (paper §2)."""

from alexnet_jax.data import tfds
from alexnet_jax.data.prepare import ilsvrc, layouts
from alexnet_jax.runtime import paths

KNOWN = (
  'a folder with the official tars of ILSVRC2012 or ILSVRC2010; class folders '
  '(train/CLASS/IMAGE, val/CLASS/IMAGE) or an uncompressed tar of them; '
  'tfds:NAME'
)


def find_layout(
  source: str,
  *,
  tfds_data_dir: str = '',
  halves: bool = False,
  labels: str = '',
  classes_of: str = '',
  val_share: float | None = None,
) -> layouts.Layout:
  """Lists the images of a path or of 'tfds:NAME', by split and with labels.

  `tfds_data_dir` is where TFDS keeps its data, '' its default; `halves` is for
  layouts.in_halves. Raises ValueError if the source does not exist, or its
  layout is not known.
  """
  path = paths.expand(source).resolve()
  if source.startswith(tfds.PREFIX):
    name = source.removeprefix(tfds.PREFIX)
    found = _tfds_layout(tfds.find(name, data_dir=tfds_data_dir))
  elif path.exists():
    official = ilsvrc.find_layout(path) if path.is_dir() else None
    found = official or layouts.class_folders(path, need_val=not halves)
  else:
    raise ValueError(f'no source at {path}: give --source, {KNOWN}')
  return layouts.in_halves(found) if halves else found


def _tfds_layout(found: tfds.Prepared) -> layouts.Layout:
  """Lists every image of a data set; labels are read with the images."""
  splits = {
    split: tuple(
      layouts.Labelled(tfds.Member(found.folder, name, index), None)
      for index in range(len(tfds.data_source(found.folder, split=name)))
    )
    for split, name in found.splits.items()
  }
  return layouts.Layout(found.name, found.classes, splits)
