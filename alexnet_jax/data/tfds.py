"""Data sets of TensorFlow Datasets, read without TensorFlow.

Only data sets in the array_record format allow random access. Images are
decoded and cropped here as tools.prepare does it: the decoder that TFDS would
use depends on what is installed. Most data sets need TensorFlow to be prepared,
but none needs it to be read.

TFDS can run the code of strangers, which is refused here: for a name with a
namespace it downloads a program, and it imports the modules of the Python
classes that features.json names, from the current folder too.
"""

import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from alexnet_jax.data import dataset, images, records

PREFIX = 'tfds:'  # of a --source of tools.prepare
_SPLITS = {'train': ('train',), 'val': ('validation', 'val', 'test')}
# NAME, NAME/CONFIG, either with :VERSION.
_NAME = re.compile(r'\w+(/[\w+.-]+)?(:[\d*]+\.[\d*]+\.[\d*]+)?')
_CLASS_FIELDS = ('pythonClassName', 'python_class_name', 'type')
_TRUSTED = 'tensorflow_datasets.'  # modules that features.json may name
_CATALOG = 'https://www.tensorflow.org/datasets/catalog'


class Prepared(NamedTuple):
  """A data set that TFDS has prepared on this machine."""

  name: str  # 'imagenette/full-size-v2/1.0.0'
  folder: str  # of this version
  classes: tuple[dataset.ClassInfo, ...]
  splits: dict[str, str]  # our name -> that of TFDS, such as 'val' -> 'test'
  num_images: dict[str, int]  # by the split's name in TFDS

  def split(
    self, name: str, *, image_size: int, resize: images.Resize = 'crop'
  ) -> 'Split':
    """Opens 'train' or 'val'."""
    return Split(
      self.folder,
      split=self.splits[name],
      image_size=image_size,
      resize=resize,
    )


def load(
  name: str,
  *,
  data_dir: str,
  image_size: int,
  resize: images.Resize = 'crop',
) -> dataset.Dataset:
  """Opens a data set as TFDS wrote it, without preparing it first.

  Raises ValueError if it, or its statistics, are missing or damaged.
  """
  found = find(name, data_dir=data_dir)
  squares: dict[str, Any] = {'image_size': image_size, 'resize': resize}
  folder = statistics_folder(found.folder, **squares)
  fix = f'--stats_only --source={PREFIX}{name} --image_size={image_size}'
  warped = '' if resize == 'crop' else f' (--resize={resize})'
  fix += warped and f' --resize={resize}'
  fix += f' --tfds_data_dir={data_dir}' if data_dir else ''
  if not folder.is_dir():
    raise ValueError(
      f'{found.name} has no mean image of {image_size} pixels{warped} yet: run '
      f'python -m alexnet_jax.tools.prepare {fix}'
    )
  statistics = records.read_statistics(folder, image_size=image_size, fix=fix)
  identity = repr((found.name, found.classes, image_size, found.num_images))
  identity += f' {resize}' if resize != 'crop' else ''
  return dataset.Dataset(
    name=found.name,
    image_size=image_size,
    classes=found.classes,
    train=found.split('train', **squares),
    val=found.split('val', **squares),
    **statistics._asdict(),
    fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
  )


def statistics_folder(
  folder: str, *, image_size: int, resize: images.Resize = 'crop'
) -> pathlib.Path:
  """Where the statistics of such squares are kept, below the data set."""
  ending = f'-{resize}' if resize != 'crop' else ''
  return pathlib.Path(folder) / f'alexnet_jax-{image_size}{ending}'


class Split:
  """Random access to one split, decoded and made square."""

  def __init__(
    self,
    folder: str,
    *,
    split: str,
    image_size: int,
    resize: images.Resize = 'crop',
  ):
    """Opens a split by its name in TFDS; `image_size` is in pixels."""
    self.image_size = image_size
    self._resize: images.Resize = resize
    self._folder, self._split = folder, split

  def __len__(self) -> int:
    return len(data_source(self._folder, split=self._split))

  __getitem__ = dataset.get_by_take

  def take(
    self, indices: Sequence[int]
  ) -> list[dataset.Example | dataset.Unreadable]:
    """Reads the examples at these indices; damage is returned, not raised."""
    return [self._read(index) for index in indices]

  def _read(self, index: int) -> dataset.Example | dataset.Unreadable:
    member = Member(self._folder, self._split, index)
    try:
      label = member.label()
      image = images.square(
        member.read(), size=self.image_size, resize=self._resize
      )
    except dataset.Unreadable as error:
      return dataset.Unreadable(f'{member.name}: {error}')
    return dataset.Example(image, label, member.name)


class Member(NamedTuple):
  """An encoded image of a prepared TFDS data set.

  Its methods raise Unreadable if the record is damaged.
  """

  folder: str  # of the version, such as .../imagenette/full-size-v2/1.0.0
  split: str  # its name in TFDS
  index: int

  @property
  def name(self) -> str:
    """Name of the image in the prepared data set."""
    return f'{self.split}/{self.index}'

  def read(self) -> bytes:
    """Reads the encoded image."""
    return _record(self)['image']

  def label(self) -> int:
    """Reads the label; Unreadable for none, which TFDS marks by -1."""
    label = int(_record(self)['label'])
    if label < 0:
      raise dataset.Unreadable(f'its label is {label}, no class')
    return label


# A thread asks for the label of a record and then for its image.
@functools.lru_cache(maxsize=32)
def _record(member: Member) -> dict[str, Any]:
  try:
    return data_source(member.folder, split=member.split)[member.index]
  except RuntimeError as error:
    data_source.cache_clear()  # a reader that failed once keeps failing
    raise dataset.Unreadable(str(error).splitlines()[0]) from error


@functools.lru_cache(maxsize=8)
def data_source(folder: str, *, split: str) -> Any:
  """Random access to the records of a split, images still encoded."""
  import tensorflow_datasets as tfds  # takes a second

  builder = tfds.builder_from_directory(folder)
  decoders = {'image': tfds.decode.SkipDecoding()}
  return builder.as_data_source(split, decoders=decoders)


def find(name: str, *, data_dir: str) -> Prepared:
  """Finds a prepared data set, and describes it.

  `data_dir` is where TFDS keeps its data; '' is its default. Raises ValueError
  if it is not prepared, or is no set of labelled images in array_records.
  """
  builder = _builder(name, data_dir=data_dir)
  info = builder.info
  if missing := {'image', 'label'} - set(info.features):
    raise ValueError(
      f'{name} has no {" and no ".join(sorted(missing))}: use a data set for '
      'image classification'
    )
  splits = {
    ours: next((split for split in theirs if split in info.splits), '')
    for ours, theirs in _SPLITS.items()
  }
  if not all(splits.values()):
    raise ValueError(
      f'{info.full_name} has the splits {", ".join(info.splits)}: train and '
      'validation or test are needed'
    )
  names = info.features['label'].names
  return Prepared(
    name=info.full_name,
    folder=str(builder.data_dir),
    classes=tuple(dataset.ClassInfo(name, name, name) for name in names),
    splits=splits,
    num_images={k: split.num_examples for k, split in info.splits.items()},
  )


def _builder(name: str, *, data_dir: str) -> Any:
  """The TFDS builder of a prepared data set in array_records."""
  import tensorflow_datasets as tfds

  unknown = ValueError(
    f'TFDS has no data set {name!r}: give NAME, NAME/CONFIG or '
    f'NAME/CONFIG:VERSION, see {_CATALOG}'
  )
  if not _NAME.fullmatch(name):  # TFDS might download a program
    raise unknown
  _check_class_names(name, data_dir=data_dir)
  try:
    builder = tfds.builder(name, data_dir=data_dir or None)
  except (
    tfds.core.registered.DatasetNotFoundError,
    AssertionError,  # raised for an unknown version
    ValueError,  # raised for an unknown config
  ) as error:
    raise unknown from error
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
      f'{builder.info.file_format.value}, which has no random access: convert '
      'it with tfds convert_format, or prepare it with '
      'file_format="array_record"'
    )
  return builder


def _check_class_names(name: str, *, data_dir: str) -> None:
  """Raises ValueError if a features.json names a class that is not of TFDS."""
  from tensorflow_datasets.core import naming
  from tensorflow_datasets.core.utils import file_utils

  own_name = naming.parse_builder_name_kwargs(name)[0].name
  for place in file_utils.list_data_dirs(data_dir or None):
    for path in pathlib.Path(place, own_name).rglob('features.json'):
      try:
        found = _class_names(path.read_text('utf-8'))
      except (ValueError, RecursionError) as error:
        raise ValueError(
          f'{path} is damaged ({error}): prepare {name} with TFDS again'
        ) from error
      for class_name in found:
        if not class_name.startswith(_TRUSTED):
          raise ValueError(
            f'{path} names {class_name!r}, a class that is not of TFDS, so '
            'nothing is loaded: prepare a data set with the features of TFDS'
          )


def _class_names(text: str) -> list[str]:
  """The Python classes that a features.json names."""
  found: list[Any] = []
  json.loads(  # the hook is called for the objects inside others, too
    text, object_hook=lambda part: found.extend(map(part.get, _CLASS_FIELDS))
  )
  return [name for name in found if isinstance(name, str) and '.' in name]
