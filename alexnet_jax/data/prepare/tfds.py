"""Lists the images of a TFDS data set for preparing."""

from typing import NamedTuple

from alexnet_jax.data import tfds
from alexnet_jax.data.prepare import layouts


class Member(NamedTuple):
  """An encoded image of a prepared TFDS data set."""

  folder: str  # of the version, such as .../imagenette/full-size-v2/1.0.0
  split: str  # its name in TFDS
  index: int

  @property
  def name(self) -> str:
    """Name of the image in the prepared data set."""
    return f'{self.split}/{self.index}'

  def read(self) -> bytes:
    """Reads the encoded image."""
    return tfds.read_record(**self._asdict())['image']

  def label(self) -> int:
    """Reads the label."""
    return tfds.read_label(tfds.read_record(**self._asdict()))


def find_layout(name: str, *, data_dir: str) -> layouts.Layout:
  """Lists every image of a data set; labels are read with the images.

  Args:
    name: such as 'imagenette/full-size-v2'.
    data_dir: where TFDS keeps its data; '': its default.

  Raises:
    ValueError: if there is no such data set.
  """
  found = tfds.find(name, data_dir=data_dir)
  splits = {
    ours: tuple(
      layouts.Labelled(Member(found.folder, theirs, index), None)
      for index in range(len(tfds.data_source(found.folder, split=theirs)))
    )
    for ours, theirs in found.splits.items()
  }
  return layouts.Layout(found.name, found.classes, splits)
