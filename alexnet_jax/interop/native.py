"""A net as one .safetensors file: arrays, config, classes and statistics.

Arrays are called 'conv1/kernel', ..., those of other collections
'batch_stats/...', and the statistics of the training images
'statistics/mean_image', 'statistics/components' and 'statistics/stddevs'. The
file's metadata are texts: `format` is 'alexnet_jax', `version` that of this
package, `config` and `classes` are JSON, `step` is a number.
"""

import contextlib
import errno
import json
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import alexnet_jax
from alexnet_jax.config import schema, validate
from alexnet_jax.data import dataset, stats
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import arrays, classes, tensors
from alexnet_jax.runtime import bucket, paths

SUFFIX = '.safetensors'
_FORMAT = 'alexnet_jax'
_STATISTICS = 'statistics'


def is_file(path: str) -> bool:
  """Whether a path is a file, here or by its name on a bucket."""
  if paths.is_remote(path):
    return path.endswith(SUFFIX)
  return paths.expand(path).is_file()


def read(path: str) -> net_lib.Net:
  """Reads a net that `write` wrote, here or on a bucket.

  Raises ValueError of one line if it is not whole, not of this program, or of a
  network that this version cannot build.
  """
  with _here(path) as local:
    try:
      if not tensors.is_one(local):
        raise ValueError(f'it is no .safetensors file; {_convert(path)}')
      with tensors.opened(local) as file:
        return from_open(file, path=path)
    except ValueError as error:
      raise ValueError(f'{path} cannot be read: {error}') from error


def _convert(path: str) -> str:
  return (
    'nets of other programs are read by python -m alexnet_jax.tools.convert '
    f'--from={path} --output=DIR'
  )


def is_one(file: Any) -> bool:
  """Whether an open .safetensors file was written by this program."""
  return (file.metadata() or {}).get('format') == _FORMAT


def from_open(file: Any, *, path: str) -> net_lib.Net:
  """Reads a net from an open file; ValueError says what is wrong with it."""
  if not is_one(file):
    raise ValueError(f'it was not written by alexnet_jax; {_convert(path)}')
  metadata = file.metadata()
  config = _config(metadata)
  named = _classes(metadata, units=config.model.num_classes)
  size = config.data.image_size
  own = {name: spec.shape for name, spec in arrays.expected(config).items()}
  found = tensors.read(
    file,
    own
    | {
      f'{_STATISTICS}/mean_image': (size, size, 3),
      f'{_STATISTICS}/components': (3, 3),
      f'{_STATISTICS}/stddevs': (3,),
    },
  )
  mean_image, *pca = [
    found[f'{_STATISTICS}/{name}']
    for name in ('mean_image', 'components', 'stddevs')
  ]
  if not all(np.isfinite(array).all() for array in (mean_image, *pca)):
    raise ValueError('its statistics have values that are not finite')
  step = metadata.get('step', '')
  if not (step.isdecimal() and step.isascii() and len(step) <= 10):
    raise ValueError(f'its step is {step!r:.40}, no number')
  variables = arrays.tree({name: found[name] for name in own})
  layers = arrays.layers(config)
  return net_lib.Net(
    config=config,
    params={name: variables.pop(name) for name in layers},
    classes=named,
    statistics=stats.Statistics(mean_image, stats.RgbPca(*pca)),
    step=int(step),
    model_state=variables,  # what is left
  )


def _config(metadata: Mapping[str, str]) -> schema.Config:
  fields = schema.upgrade(_json(metadata, 'config', kind=dict))
  try:
    config = schema.Config(schema.from_json(fields))
    validate.check(config)
  except (ValueError, TypeError, AttributeError, KeyError) as error:
    version = metadata.get('version', '')
    raise ValueError(
      f'alexnet_jax {version!r:.20} wrote it with a config that this version '
      f'cannot use ({error!s:.300}): use the version that wrote it'
    ) from error
  return config


def _classes(
  metadata: Mapping[str, str], *, units: int
) -> tuple[dataset.ClassInfo, ...]:
  found = []
  for one in _json(metadata, 'classes', kind=list):
    try:
      info = dataset.ClassInfo(**one)
      ''.join(info)  # all are texts
    except TypeError as error:
      raise ValueError(
        f'its class {one!r:.80} is not an id, a name and words'
      ) from error
    found.append(info)
  if len(found) > units:
    raise ValueError(f'it has {len(found)} classes for {units} units of fc8')
  classes.check(found, place='its list of classes')
  return tuple(found)


def _json(metadata: Mapping[str, str], field: str, *, kind: type) -> Any:
  try:
    value = json.loads(metadata.get(field, ''))
  except (ValueError, RecursionError) as error:
    raise ValueError(f'its {field} is no JSON') from error
  if not isinstance(value, kind):
    raise ValueError(f'its {field} is no {kind.__name__}')
  return value


def write(net: net_lib.Net, path: str) -> None:
  """Writes a net to a file, whole or not at all; one that is there goes.

  Arrays of other dtypes become float32, which `read` expects.

  Raises ValueError if the bucket, or OSError if the disk cannot be written.
  """
  metadata = {
    'format': _FORMAT,
    'version': alexnet_jax.__version__,
    'config': json.dumps(net.config.to_dict()),
    'classes': json.dumps([c._asdict() for c in net.classes]),
    'step': str(net.step),
  }
  mean_image, pca = net.statistics
  statistics = {'mean_image': mean_image, **pca._asdict()}
  named = arrays.flat(net.variables) | {
    f'{_STATISTICS}/{name}': array for name, array in statistics.items()
  }
  floats = {name: np.asarray(a, np.float32) for name, a in named.items()}
  save(floats, path=path, metadata=metadata)


def save(
  named: Mapping[str, np.ndarray], *, path: str, metadata: Mapping[str, str]
) -> None:
  """Writes arrays to a .safetensors file here or on a bucket, then renames it.

  Raises ValueError if safetensors is missing or the bucket fails, else OSError.
  """
  numpy_files = tensors.library('safetensors.numpy')
  contiguous = {name: np.ascontiguousarray(a) for name, a in named.items()}
  content = numpy_files.save(contiguous, metadata=dict(metadata))
  if paths.is_remote(path):
    folder, _, name = path.rpartition('/')
    bucket.Folder(folder).write(name, content=content)
    return
  target = paths.expand(path)
  if target.is_dir():
    raise IsADirectoryError(errno.EISDIR, 'Is a directory', str(target))
  with paths.replacing(target) as file:
    file.write(content)


@contextlib.contextmanager
def _here(path: str) -> Iterator[pathlib.Path]:
  """Yields a local file, which is a copy if it is on a bucket."""
  if not paths.is_remote(path):
    yield paths.expand(path)
    return
  folder, _, name = path.rpartition('/')
  source = bucket.Folder(folder)
  size = source.sizes(name).get(name, 0)
  place = bucket.cache_folder('nets')
  place.mkdir(parents=True, exist_ok=True)
  bucket.check_disk_space(place, size=size, url=path)
  with tempfile.TemporaryDirectory(dir=place) as folder:
    copy = pathlib.Path(folder, name)
    source.get(name, to=copy)
    yield copy
