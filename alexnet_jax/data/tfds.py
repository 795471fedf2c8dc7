"""Data sets of TensorFlow Datasets, read without TensorFlow (not in the paper).

Only sets prepared in the array_record format can be read at random. Images are
decoded and cut square here, as tools.prepare does it, not by TFDS, whose
decoder depends on what else is installed.

What a reader may get wrong: TensorFlow is not needed to read, but most sets of
TFDS need it to be prepared.
"""

import functools
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from alexnet_jax.data import dataset, images, records, tfds_files
from alexnet_jax.data.prepare import layouts

PREFIX = 'tfds:'
_SPLITS = {'train': ('train',), 'val': ('validation', 'val', 'test')}


class Member(NamedTuple):
  """An encoded image of a prepared TFDS data set."""

  folder: str  # of the version, such as .../imagenette/full-size-v2/1.0.0
  split: str  # as TFDS calls it
  index: int

  @property
  def name(self) -> str:
    return f'{self.split}/{self.index}'

  def read(self) -> bytes:
    """The image's bytes, as they were encoded."""
    return _record(self)['image']

  def label(self) -> int:
    """Its class."""
    return _label(_record(self), name=self.name)


def _label(record: dict[str, Any], *, name: str) -> int:
  """The class of a record; TFDS has -1 where there is none to tell."""
  label = int(record['label'])
  if label < 0:
    raise dataset.Unreadable(f'{name}: its label is {label}, no class')
  return label


@functools.lru_cache(maxsize=1)
def _record(member: Member) -> dict[str, Any]:
  """One record, kept for the second question about it."""
  try:
    return _source(member.folder, member.split)[member.index]
  except RuntimeError as error:
    _source.cache_clear()  # the reader would go on failing
    reason = str(error).splitlines()[0]
    raise dataset.Unreadable(f'{member.name}: {reason}') from error


def layout(name: str, *, data_dir: str) -> layouts.Layout:
  """Every image of a data set, for preparing it.

  Args:
    name: 'imagenette/full-size-v2'.
    data_dir: where TFDS keeps its data; '': its own default.
  """
  builder = _builder(name, data_dir=data_dir)
  folder = str(builder.data_dir)
  splits = {}
  for split, theirs in _splits(builder).items():
    splits[split] = tuple(
      layouts.Labelled(Member(folder, theirs, i), None)
      for i in range(len(_source(folder, theirs)))
    )
  return layouts.Layout(_name(builder), _classes(builder), splits)


def load(name: str, *, data_dir: str, image_size: int) -> dataset.Dataset:
  """Opens a data set as it is, without preparing it first.

  Raises:
    ValueError: if it is not there, or its statistics are not.
  """
  builder = _builder(name, data_dir=data_dir)
  splits = {
    split: Split(str(builder.data_dir), split=theirs, image_size=image_size)
    for split, theirs in _splits(builder).items()
  }
  folder = statistics_folder(str(builder.data_dir), image_size=image_size)
  again = f'--stats_only --source={PREFIX}{name} --image_size={image_size}'
  again += f' --tfds_data_dir={data_dir}' if data_dir else ''
  if not folder.is_dir():
    raise ValueError(
      f'{_name(builder)} has no mean image of {image_size} pixels yet: run '
      f'python -m alexnet_jax.tools.prepare {again}'
    )
  statistics = records.read_statistics(folder, image_size=image_size, fix=again)
  classes = _classes(builder)
  identity = repr((_name(builder), classes, image_size, _counts(builder)))
  return dataset.Dataset(
    name=_name(builder),
    image_size=image_size,
    classes=classes,
    train=splits['train'],
    val=splits['val'],
    mean_image=statistics.mean_image,
    pca=statistics.pca,
    fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
  )


def training_split(name: str, *, data_dir: str, image_size: int) -> 'Split':
  """The training images alone, for their statistics."""
  builder = _builder(name, data_dir=data_dir)
  train = _splits(builder)['train']
  return Split(str(builder.data_dir), split=train, image_size=image_size)


def statistics_folder(folder: str, *, image_size: int) -> pathlib.Path:
  """Where the statistics of a data set's squares are kept, beside it."""
  return pathlib.Path(folder) / f'alexnet_jax-{image_size}'


class Split:
  """Random access to one split, decoded and cut square."""

  def __init__(self, folder: str, *, split: str, image_size: int):
    self.folder = folder
    self.image_size = image_size
    self._split = split

  def __len__(self) -> int:
    return len(_source(self.folder, self._split))

  def __getitem__(self, index: int) -> dataset.Example:
    (example,) = self.take([index])
    if isinstance(example, dataset.Unreadable):
      raise example
    return example

  def take(
    self, indices: Sequence[int]
  ) -> list[dataset.Example | dataset.Unreadable]:
    """The examples at these indices."""
    try:
      found = _source(self.folder, self._split).__getitems__(list(indices))
    except RuntimeError:  # one of them is damaged
      _source.cache_clear()  # the reader would go on failing
      return [self._alone(index) for index in indices]
    return [
      self._example(record, name=f'{self._split}/{index}')
      for index, record in zip(indices, found, strict=True)
    ]

  def _alone(self, index: int) -> dataset.Example | dataset.Unreadable:
    try:
      record = _record(Member(self.folder, self._split, index))
    except dataset.Unreadable as error:
      return error
    return self._example(record, name=f'{self._split}/{index}')

  def _example(
    self, record: dict[str, Any], *, name: str
  ) -> dataset.Example | dataset.Unreadable:
    try:
      label = _label(record, name=name)
    except dataset.Unreadable as error:
      return error
    try:
      image = images.square(record['image'], size=self.image_size)
    except dataset.Unreadable as error:
      return dataset.Unreadable(f'{name}: {error}')
    return dataset.Example(image, label, name)


def _builder(name: str, *, data_dir: str) -> Any:
  """The builder of a prepared data set."""
  import tensorflow_datasets as tfds  # takes a second

  tfds_files.refuse_name(name)
  tfds_files.refuse_foreign(name, data_dir=data_dir)
  try:
    builder = tfds.builder(name, data_dir=data_dir or None)
  except (
    tfds.core.registered.DatasetNotFoundError,
    AssertionError,  # of a version that there is not
    ValueError,  # of a variant that there is not
  ) as error:
    raise ValueError(
      f'TFDS has no data set {name!r}: see '
      'https://www.tensorflow.org/datasets/catalog'
    ) from error
  if not builder.is_prepared():
    place = f', data_dir={data_dir!r}' if data_dir else ''
    raise ValueError(
      f'{name} is not prepared in {builder.data_dir}: where TensorFlow is '
      'installed (most sets need it for this, none to be read), run '
      f'tfds.builder({name!r}, file_format="array_record"{place})'
      '.download_and_prepare()'
    )
  if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
    raise ValueError(
      f'{name} in {builder.data_dir} is in the format '
      f'{builder.info.file_format.value}, which cannot be read at random: '
      'convert it with tfds convert_format, or prepare it with '
      'file_format="array_record"'
    )
  missing = {'image', 'label'} - set(builder.info.features)
  if missing:
    raise ValueError(
      f'{name} has no {" and no ".join(sorted(missing))}: use a data set for '
      'image classification'
    )
  return builder


@functools.lru_cache(maxsize=8)
def _source(folder: str, split: str) -> Any:
  """Random access to the records of a split, images still encoded."""
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(folder)
  decoders = {'image': tfds.decode.SkipDecoding()}
  return builder.as_data_source(split, decoders=decoders)


def _splits(builder: Any) -> dict[str, str]:
  """What TFDS calls our splits."""
  there = builder.info.splits
  chosen = {
    split: next((name for name in names if name in there), '')
    for split, names in _SPLITS.items()
  }
  if not all(chosen.values()):
    raise ValueError(
      f'{_name(builder)} has the splits {", ".join(there)}: train and '
      'validation or test are needed'
    )
  return chosen


def _classes(builder: Any) -> tuple[dataset.ClassInfo, ...]:
  names = builder.info.features['label'].names
  return tuple(dataset.ClassInfo(name, name, name) for name in names)


def _counts(builder: Any) -> dict[str, int]:
  return {k: v.num_examples for k, v in builder.info.splits.items()}


def _name(builder: Any) -> str:
  return builder.info.full_name
