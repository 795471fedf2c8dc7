"""A network as one object: parameters, classes, and what it does with images.

  net = alexnet_jax.load('runs/default')
  net.predict('photo.jpg')                    # class names and probabilities
  net.features(['a.jpg', 'b.jpg'], layers=['conv5', 'fc7/activation'])
  net.apply(net.params, net.preprocess('photo.jpg'))  # logits, to differentiate

Everything runs on JAX's default device; --mode=eval of the command evaluates a
data set on a mesh.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PyTree, UInt8
from PIL import Image

from alexnet_jax.checkpoint import compatible, layout, restore
from alexnet_jax.config import presets, schema, validate
from alexnet_jax.data import augment, dataset, filenames, images, stats
from alexnet_jax.models import alexnet
from alexnet_jax.runtime import compile, paths
from alexnet_jax.steps import evaluate
from alexnet_jax.steps import preprocess as preprocess_lib

# A file or a folder of them, an image of PIL, or RGB values 0-255: one image
# [H, W, 3] or several [N, H, W, 3]. Lists of these hold the same.
OneInput = str | os.PathLike[str] | Image.Image | np.ndarray | jax.Array
Input = OneInput | Iterable[OneInput]


class Labels(NamedTuple):
  """Probabilities of images, and the classes that they are of."""

  names: list[str]  # of the images
  probabilities: Float32[np.ndarray, 'n classes']  # of net.classes
  classes: list[str]

  def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
    """The k most probable (class, probability)s of each image."""
    order = np.argsort(-self.probabilities, axis=1, kind='stable')[:, :k]
    return [
      [(self.classes[i], float(row[i])) for i in best]
      for row, best in zip(self.probabilities, order, strict=True)
    ]

  def __str__(self) -> str:
    lines = []
    for name, best in zip(self.names, self.top(), strict=True):
      lines += [name, *(f'  {100 * p:>5.1f} %  {what}' for what, p in best)]
    return '\n'.join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Net:
  """A network with its parameters, and what it needs to read images."""

  config: schema.Config  # every field, as in configs/default.py
  params: PyTree  # {'conv1': {'kernel', 'bias'}, ...}: HWIO or [in, out]
  classes: tuple[dataset.ClassInfo, ...]  # in the order of the units of fc8
  statistics: stats.Statistics  # mean image and RGB components
  step: int = 0  # minibatches that it was trained for
  # Other collections of variables, as TrainState.model_state.
  model_state: Mapping[str, PyTree] = dataclasses.field(default_factory=dict)

  def __repr__(self) -> str:
    arrays = jax.tree.leaves(self.params)
    return (
      f'Net({len(self.params)} layers, {sum(a.size for a in arrays):,} '
      f'parameters, {len(self.classes):,} classes, step {self.step:,})'
    )

  @property
  def layers(self) -> tuple[str, ...]:
    """Names of all activations, in order, such as 'conv1/activation'."""
    return alexnet.stages(self.config.model)

  @property
  def variables(self) -> dict[str, PyTree]:
    """The collections that flax's `module.apply` takes."""
    return {'params': self.params, **self.model_state}

  def replace(self, **fields: Any) -> 'Net':
    """Returns this net with other fields, such as trained `params`."""
    return dataclasses.replace(self, **fields)

  def apply(
    self, params: PyTree, x: Float[Array, 'b s s 3']
  ) -> Float[Array, 'b units']:
    """Returns the logits of `preprocess`ed images; jax.grad and jit take it."""
    return self.activations(params, x)['fc8']

  def activations(
    self, params: PyTree, x: Float[Array, 'b s s 3']
  ) -> dict[str, Float[Array, 'b ...']]:
    """Returns all activations by name, of `preprocess`ed images."""
    variables = {'params': params, **self.model_state}
    return _activations(self.config, variables, x)

  def preprocess(self, given: Input) -> Float[Array, 'b s s 3']:
    """Returns the centre crops of images as the network reads them (§4.1).

    They are float32, minus the mean image. Raises ValueError if an image cannot
    be read.
    """
    _, squares = self.squares(given)
    (view,) = self._views(1)
    return self._program('input')(
      self.variables, self.statistics.mean_image, squares, view
    )

  def squares(
    self, given: Input
  ) -> tuple[list[str], UInt8[np.ndarray, 'n s s 3']]:
    """Returns names of images, and the images as RGB squares, 0-255 (§2).

    Raises ValueError if an image cannot be read, or there is none.
    """
    each = _each(given)
    return [name for name, _ in each], self._read(each)

  def predict(
    self, given: Input, *, views: int = 10, batch_size: int = 64
  ) -> Labels:
    """Returns the probabilities of images from 1, 9 or 10 views (§4.1).

    `given` may be files, folders of them, images of PIL, or uint8 arrays of any
    size; files are read as they are needed. Units of fc8 that have no class are
    left out. Raises ValueError if an image cannot be read.
    """
    program, crops = self._program(evaluate.PROBABILITIES), self._views(views)

    def mean(*args: Any) -> Float[Array, 'b units']:
      return sum(program(*args, view) for view in crops) / len(crops)

    names, probabilities = self._run(mean, given, batch_size=batch_size)
    return Labels(
      names=names,
      probabilities=probabilities[:, : len(self.classes)],
      classes=[c.name for c in self.classes],
    )

  def features(
    self, given: Input, layers: Sequence[str], *, batch_size: int = 64
  ) -> dict[str, Float32[np.ndarray, 'n ...']]:
    """Returns activations of the centre crops of images, by name (§6.1).

    `layers` are of `net.layers`: 'fc7' is before its activation and
    'fc7/activation' after it; [N, H, W, C] of convolutional layers, else
    [N, units]. Raises ValueError if there is no such layer, or an image cannot
    be read.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    for name in names:
      if name not in self.layers:
        raise ValueError(
          f'no layer {name!r}: use {", ".join(self.layers)} of this network'
        )
    program, (view,) = self._program(*names), self._views(1)
    _, found = self._run(
      lambda *args: program(*args, view), given, batch_size=batch_size
    )
    return found

  def _views(self, number: int) -> list[preprocess_lib.DeviceView]:
    if number not in (1, 9, 10):
      raise ValueError(f'views = {number}: use 1 (the centre crop), 9 or 10')
    data = self.config.data
    return [
      preprocess_lib.DeviceView(
        offset=np.array([view.y, view.x], np.int32),
        mirror=np.array(view.mirror),
      )
      for view in augment.views(
        number, image_size=data.image_size, crop_size=data.crop_size
      )
    ]

  def _read(
    self, each: Sequence[tuple[str, Any]]
  ) -> UInt8[np.ndarray, 'n s s 3']:
    size, resize = self.config.data.image_size, self.config.data.resize
    if not each:
      raise ValueError('no images: give files, or a folder with some')
    return np.stack(
      [_square(one, size=size, resize=resize, name=name) for name, one in each]
    )

  def _run(
    self, function: Callable[..., Any], given: Input, *, batch_size: int
  ) -> tuple[list[str], Any]:
    """Applies (variables, mean image, images) -> rows to minibatches.

    Returns the names of the images, and the rows of all, on the host.
    """
    if batch_size < 1:
      raise ValueError(f'batch_size = {batch_size}: use 1 or more')
    each = _each(given)
    size = min(batch_size, max(len(each), 1))  # one shape: compiles once
    mean_image, rows = jnp.asarray(self.statistics.mean_image), []
    for start in range(0, max(len(each), 1), size):
      squares = self._read(each[start : start + size])
      index = np.minimum(np.arange(size), len(squares) - 1)  # fills the last
      found = function(self.variables, mean_image, squares[index])
      rows.append(jax.tree.map(np.asarray, found))
    return [name for name, _ in each], jax.tree.map(
      lambda *parts: np.concatenate(parts)[: len(each)], *rows
    )

  def _program(self, *outputs: str) -> Callable[..., Any]:
    fields = {name: self.config[name].to_dict() for name in ('model', 'data')}
    text = json.dumps(fields | {'dtype': self.config.dtype}, sort_keys=True)
    return _program(text, outputs)


def from_checkpoint(step: pathlib.Path, *, data_dir: str = '') -> Net:
  """Restores the net of a checkpoint, a folder from layout.find.

  Checkpoints of versions before 0.2 do not hold the mean image: it is read from
  their data set, of which `data_dir` says where it is, if it has moved. Raises
  DamagedError if the checkpoint is not what was written, and ValueError if this
  version cannot use it, or its data set is missing.
  """
  meta = restore.read_meta(step)
  config = compatible.own_config(meta)
  arrays = restore.read_arrays(step, meta=meta)
  statistics = restore.read_statistics(step)
  if statistics is None:
    statistics = _of_data_set(config, meta, data_dir=data_dir, step=step)
  return Net(
    config=config,
    params=arrays['params'],
    classes=tuple(dataset.ClassInfo(**c) for c in meta['classes']),
    statistics=statistics,
    step=int(step.name),
    model_state=arrays.get('model_state', {}),
  )


def _check_names(names: Sequence[str]) -> None:
  """Refuses what a saved net could not be loaded with."""
  for name in names:
    text = isinstance(name, str) and name and name.isprintable()
    if not text or names.count(name) > 1:
      raise ValueError(
        f'class {name!r:.60}: give each class a name of its own, that can be '
        'shown'
      )


def _of_data_set(
  config: schema.Config,
  meta: layout.Meta,
  *,
  data_dir: str,
  step: pathlib.Path,
) -> stats.Statistics:
  """Reads the statistics from the data set that a net was trained on."""
  from alexnet_jax.data import sources

  if data_dir and config.data.source == 'embedded':
    raise ValueError(
      f'--data_dir={data_dir}: {step} was trained on drawn images, which need '
      'no folder: leave it out'
    )
  compatible.name_data(config, given=data_dir, path=step)
  found = sources.load(config.data, seed=config.seed)
  compatible.check_classes(meta, found, path=step)
  return found.statistics


def build(
  config: str | os.PathLike[str] | schema.Config = 'default',
  *,
  classes: Sequence[str] = (),
  statistics: stats.Statistics | None = None,
  seed: int | None = None,
) -> Net:
  """Builds an untrained net of a config, with its initial values (§5).

  Args:
    config: a name such as 'imagenet', a file, or a ConfigDict.
    classes: their names; fc8 then has as many units. (): those of the config,
      with numbers for names.
    statistics: of the training images; None: a mean image of mid-grey, and no
      colours to shift along.
    seed: of the initial values; None: the config's.

  Raises ValueError if there is no such config, or a value in it cannot work.
  """
  if isinstance(classes, str):
    raise ValueError(f'classes = {classes!r:.60}: give a list of names')
  if not isinstance(config, schema.Config):
    config = presets.load(os.fspath(config))
  config = config.copy_and_resolve_references()
  if classes:
    config.model.num_classes = config.model.layer.fc8.units = len(classes)
  config.mesh.data = config.mesh.column = 1
  validate.check(config)
  names = list(classes) or [
    f'class {i}' for i in range(config.model.num_classes)
  ]
  _check_names(names)
  key = jax.random.key(config.seed if seed is None else seed)
  variables = jax.jit(
    lambda key: alexnet.init_variables(
      config.model, key, crop_size=config.data.crop_size
    )
  )(key)
  params = variables.pop('params')
  size = config.data.image_size
  grey = np.full((size, size, 3), 127.5, np.float32)
  no_colours = stats.RgbPca(
    np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
  )
  return Net(
    config=config,
    params=params,
    classes=tuple(dataset.ClassInfo(name, name, name) for name in names),
    statistics=statistics or stats.Statistics(grey, no_colours),
    model_state=variables,
  )


def with_classes(net: Net, names: Sequence[str], *, seed: int = 0) -> Net:
  """Returns a net with a new, untrained fc8 for other classes (§6).

  Raises ValueError if there are none, or one has no name or that of another.
  """
  if not names:
    raise ValueError('names = []: give the name of each class')
  fresh = build(net.config, classes=names, statistics=net.statistics, seed=seed)
  return fresh.replace(
    params=net.params | {'fc8': fresh.params['fc8']},
    model_state=net.model_state,
  )


def average(found: Sequence[Labels]) -> Labels:
  """Averages the probabilities that nets give the same images (§6).

  Raises ValueError if their classes differ.
  """
  first = found[0]
  for other in found:
    if other.classes != first.classes:
      raise ValueError(
        f'networks of {len(first.classes)} and {len(other.classes)} classes, '
        'or of other names, have no average: use those of one data set'
      )
  mean = np.mean([one.probabilities for one in found], axis=0, dtype=np.float64)
  return first._replace(probabilities=mean.astype(np.float32))


_FILES = frozenset(  # HEIC is named as an image that cannot be read
  '.jpg .jpeg .jpe .jfif .png .gif .bmp .dib .tif .tiff .webp .ppm .pgm .pbm '
  '.pnm .avif .heic .heif'.split()
)


def files(path: str) -> list[str]:
  """Returns a file, or the images in a folder and those in it, by name.

  Hidden files and folders, and those of systems, are passed over. Raises
  ValueError if a folder holds no images, or `path` is empty.
  """
  if not path:
    raise ValueError("'' is no file or folder: give the name of an image")
  folder = paths.expand(path)
  if not folder.is_dir():
    return [path]
  found = [
    str(file)
    for file in sorted(filenames.walk(folder))
    if file.suffix.lower() in _FILES and file.is_file()
  ]
  if not found:
    raise ValueError(f'{path} holds no images: give others')
  return found


def _each(given: Any) -> list[tuple[str, Any]]:
  """Names of images, each with its path, image of PIL or array [H, W, 3]."""
  if isinstance(given, (str, os.PathLike)):
    return [(file, paths.expand(file)) for file in files(os.fspath(given))]
  if isinstance(given, Image.Image):
    return [(getattr(given, 'filename', '') or 'image', given)]
  if isinstance(given, (np.ndarray, jax.Array)):
    array = np.asarray(given[None] if given.ndim == 3 else given)
    plain = array.ndim == 4 and array.shape[-1] == 3 and array.dtype == np.uint8
    if not plain or 0 in array.shape[1:3]:
      raise ValueError(
        f'an array of {given.dtype} {list(given.shape)}: give uint8 of '
        '[height, width, 3] or [images, height, width, 3], RGB from 0 to 255'
      )
    return [(f'image {i}', one) for i, one in enumerate(array)]
  if isinstance(given, bytes) or not isinstance(given, Iterable):
    raise ValueError(
      f'{given!r:.40} is no image: give a file, a folder, an image of PIL, an '
      'array, or several of these'
    )
  return [each for one in given for each in _each(one)]


def _square(
  one: Any, *, size: int, resize: images.Resize, name: str
) -> UInt8[np.ndarray, 's s 3']:
  try:
    if isinstance(one, pathlib.Path):
      if one.exists() and not one.is_file():  # a FIFO would not end
        raise ValueError(f'{name} is no file: give an image')
      return images.square(one.read_bytes(), size=size, resize=resize)
    if isinstance(one, np.ndarray):
      if one.shape == (size, size, 3):
        return one
      one = Image.fromarray(one)
    return images.to_square(one, size=size, resize=resize)
  except OSError as error:
    raise ValueError(f'{name}: {error.strerror or error}') from error
  except dataset.Unreadable as error:
    raise ValueError(
      f'{name}: {error}; give a JPEG, PNG or another image'
    ) from error


def _activations(
  config: schema.Config, variables: PyTree, x: Float[Array, 'b s s 3']
) -> dict[str, Float[Array, 'b ...']]:
  model = alexnet.create(
    config.model, columns_here=config.model.columns, dtype=config.dtype
  )
  return alexnet.whole(lambda: dict(model.apply(variables, x)[1]))()


@functools.lru_cache(maxsize=32)
def _program(fields: str, outputs: tuple[str, ...]) -> Callable[..., Any]:
  """Compiles (variables, mean image, images, view) -> outputs, for a config."""
  config = schema.Config(schema.from_json(json.loads(fields)))

  def run(
    variables: PyTree,
    mean_image: Float[Array, 't t 3'],
    images: UInt8[Array, 'b t t 3'],
    view: preprocess_lib.DeviceView,
  ) -> Any:
    x = preprocess_lib.of_view(
      config, mean_image=mean_image, images=images, view=view
    )  # [B, S, S, 3]
    if outputs == ('input',):
      return x
    found = _activations(config, variables, x)
    if outputs == (evaluate.PROBABILITIES,):
      return jax.nn.softmax(found['fc8'])  # [B, units]
    return {name: found[name].astype(jnp.float32) for name in outputs}

  return compile.jit(run)
