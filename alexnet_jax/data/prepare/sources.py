"""Recognises a source of images and lists what it holds (paper §2)."""

from alexnet_jax.data import tfds
from alexnet_jax.data.prepare import ilsvrc, layouts
from alexnet_jax.runtime import paths

KNOWN = (
  'a folder with the official tars of ILSVRC2012 or ILSVRC2010; class folders '
  '(train/CLASS/IMAGE, val/CLASS/IMAGE) or an uncompressed tar of them; '
  'tfds:NAME'
)


def find(
  source: str, *, tfds_data_dir: str = '', halves: bool = False
) -> layouts.Layout:
  """The layout of a source.

  Args:
    source: a path, or 'tfds:NAME'.
    tfds_data_dir: where TFDS keeps its data; '': its own default.
    halves: whether to divide all images anew, see layouts.halves.

  Raises:
    ValueError: in one line, if it is not there or none that is known.
  """
  found = _find(source, tfds_data_dir=tfds_data_dir, need_val=not halves)
  return layouts.halves(found) if halves else found


def _find(source: str, *, tfds_data_dir: str, need_val: bool) -> layouts.Layout:
  if source.startswith(tfds.PREFIX):
    name = source.removeprefix(tfds.PREFIX)
    return tfds.layout(name, data_dir=tfds_data_dir)
  path = paths.given(source).resolve()
  if not path.exists():
    raise ValueError(f'no source at {path}: give --source, {KNOWN}')
  official = ilsvrc.find(path) if path.is_dir() else None
  return official or layouts.folders(path, need_val=need_val)
