"""Finds out what a source of images is, and lists its images (paper §2)."""

from alexnet_jax.data import tfds as tfds_lib
from alexnet_jax.data.prepare import ilsvrc, layouts, tfds
from alexnet_jax.runtime import paths

KNOWN = (
  'a folder with the official tars of ILSVRC2012 or ILSVRC2010; class folders '
  '(train/CLASS/IMAGE, val/CLASS/IMAGE) or an uncompressed tar of them; '
  'tfds:NAME'
)


def find_layout(
  source: str, *, tfds_data_dir: str = '', halves: bool = False
) -> layouts.Layout:
  """Lists the images of a source, with their labels and splits.

  Args:
    source: a path, or 'tfds:NAME'.
    tfds_data_dir: where TFDS keeps its data; '': its default.
    halves: whether to divide all images in half, see layouts.in_halves.

  Raises:
    ValueError: if the source does not exist, or its layout is not known.
  """
  found = _find(source, tfds_data_dir=tfds_data_dir, need_val=not halves)
  return layouts.in_halves(found) if halves else found


def _find(source: str, *, tfds_data_dir: str, need_val: bool) -> layouts.Layout:
  if source.startswith(tfds_lib.PREFIX):
    name = source.removeprefix(tfds_lib.PREFIX)
    return tfds.find_layout(name, data_dir=tfds_data_dir)
  path = paths.expand(source).resolve()
  if not path.exists():
    raise ValueError(f'no source at {path}: give --source, {KNOWN}')
  official = ilsvrc.find_layout(path) if path.is_dir() else None
  return official or layouts.class_folders(path, need_val=need_val)
