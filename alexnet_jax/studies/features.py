"""Activations of many images in one .npz file, resumable.

While it is written, OUTPUT.partial holds a file of raw rows for each layer and
progress.json. The next start with the same network, images and layers goes on
from there; OUTPUT appears when it is complete.
"""

import concurrent.futures
import json
import math
import pathlib
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Float32, UInt8

from alexnet_jax.checkpoint import checksums
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.models import alexnet
from alexnet_jax.runtime import locks, paths
from alexnet_jax.train import log

_PROGRESS = 'progress.json'
_THREADS = 4  # that decode images


class Extracted(NamedTuple):
  """What was written."""

  images: int  # rows of each array
  skipped: dict[str, str]  # files that are no readable image, and the reason


def extract(
  net: net_lib.Net,
  *,
  files: Sequence[str],
  layers: Sequence[str],
  output: pathlib.Path,
  batch_size: int = 64,
) -> Extracted:
  """Writes the activations of image files to `output`, an .npz.

  Its arrays are float32 [N, H, W, C] or [N, units] by the layer's name, such as
  'fc7/activation', of the centre crops (§4.1), and 'names', the N files. Files
  that cannot be read have no row. Raises ValueError if there is no such layer,
  no image can be read, the disk has too little room, or OUTPUT exists.
  """
  if output.exists():
    raise ValueError(f'{output} exists: move it away, or give another --output')
  shapes = _shapes(net, layers)
  batch_size = min(batch_size, len(files))
  partial = output.with_name(output.name + '.partial')
  key = _key(net, files, layers)  # fails for a file that is not there
  with locks.locked(partial, fix='give another --output'):
    progress = _begin(partial, key=key)
    if not progress['done']:
      _check_room(output, shapes=shapes, images=len(files))
    _rows(net, files, shapes, partial, progress, batch_size=batch_size)
    skipped = progress['skipped']
    names = [file for file in files if file not in skipped]
    if not names:
      shutil.rmtree(partial)
      reason = next(iter(skipped.values()))
      raise ValueError(f'none of {len(files)} images can be read: {reason}')
    _pack(partial, output, shapes=shapes, names=names)
  shutil.rmtree(partial)
  return Extracted(len(names), skipped)


def _shapes(
  net: net_lib.Net, layers: Sequence[str]
) -> dict[str, tuple[int, ...]]:
  """The shape of each layer's activation of one image."""
  found = alexnet.activation_shapes(
    net.config.model, crop_size=net.config.data.crop_size
  )
  if not layers:
    raise ValueError(f'--layers is empty: use {", ".join(found)}')
  for name in layers:
    if name not in found:
      raise ValueError(
        f'--layers: no layer {name!r}: use {", ".join(found)} of this network'
      )
  return {name: found[name] for name in layers}


def _key(net: net_lib.Net, files: Sequence[str], layers: Sequence[str]) -> str:
  """A digest of everything that determines the rows."""
  found = [pathlib.Path(file).stat() for file in files]
  arrays = {**net.variables, 'mean': jnp.asarray(net.statistics.mean_image)}
  digests = checksums.digest(arrays).arrays
  facts = {
    'arrays': digests,
    'config': net.config.to_dict(),
    'files': list(files),
    'sizes': [[one.st_size, one.st_mtime_ns] for one in found],
    'layers': list(layers),
  }
  return checksums.combine({'': json.dumps(facts, sort_keys=True)})


def _begin(partial: pathlib.Path, *, key: str) -> dict[str, Any]:
  """The progress so far; of other images, layers or networks it is dropped."""
  there = log.read_json(partial / _PROGRESS)
  if there.get('key') == key:
    print(f'{partial}: going on after {there["done"]} images', flush=True)
    return there
  if there:
    print(
      f'{partial} was of other images, layers or another network: begun anew'
    )
  return {'key': key, 'done': 0, 'skipped': {}}


def _check_room(
  output: pathlib.Path, *, shapes: dict[str, tuple[int, ...]], images: int
) -> None:
  """Raises ValueError if the disk lacks room for the rows and the file."""
  need = 2 * images * sum(_bytes(shape) for shape in shapes.values())
  free = paths.free_bytes(output.absolute().parent)
  if need > free:
    raise ValueError(
      f'{output}: {paths.size_text(need)} are needed while it is written, '
      f'{paths.size_text(free)} are free: make room, or use fewer layers or '
      'images'
    )


def _bytes(shape: tuple[int, ...]) -> int:
  return 4 * math.prod(shape)  # float32


def _rows(
  net: net_lib.Net,
  files: Sequence[str],
  shapes: dict[str, tuple[int, ...]],
  partial: pathlib.Path,
  progress: dict[str, Any],
  *,
  batch_size: int,
) -> None:
  """Appends the rows of the files that are not done yet."""
  begun = files[: progress['done']]
  rows = sum(file not in progress['skipped'] for file in begun)
  for number, shape in enumerate(shapes.values()):  # drops what is not counted
    with open(partial / f'{number}.raw', 'ab') as file:
      file.truncate(rows * _bytes(shape))
  rest = files[progress['done'] :]
  with tqdm.tqdm(total=len(files), initial=progress['done'], delay=2) as bar:
    for part, squares, skipped in _read(net, rest, size=batch_size):
      if squares:
        _append(net, squares, shapes, partial, size=batch_size)
      progress['skipped'] |= skipped
      progress['done'] += len(part)
      log.write_json(partial / _PROGRESS, progress)
      bar.update(len(part))


def _read(
  net: net_lib.Net, files: Sequence[str], *, size: int
) -> Iterator[
  tuple[Sequence[str], list[UInt8[np.ndarray, 's s 3']], dict[str, str]]
]:
  """Yields minibatches of files, their images and what could not be read.

  The next minibatch is decoded while this one is used.
  """
  parts = [files[i : i + size] for i in range(0, len(files), size)]
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:

    def begin(part: Sequence[str]) -> list[concurrent.futures.Future[Any]]:
      return [pool.submit(_square, net, name) for name in part]

    ahead = [begin(part) for part in parts[:1]]
    for number, part in enumerate(parts):
      ahead += [begin(after) for after in parts[number + 1 : number + 2]]
      found = [one.result() for one in ahead.pop(0)]
      squares = [one for one in found if not isinstance(one, str)]
      pairs = zip(part, found, strict=True)
      yield part, squares, {n: one for n, one in pairs if isinstance(one, str)}


def _square(net: net_lib.Net, name: str) -> UInt8[np.ndarray, 's s 3'] | str:
  """The image of a file, or why it cannot be read."""
  try:
    return net.squares(name)[1][0]
  except ValueError as error:
    return str(error)


def _append(
  net: net_lib.Net,
  squares: list[UInt8[np.ndarray, 's s 3']],
  shapes: dict[str, tuple[int, ...]],
  partial: pathlib.Path,
  *,
  size: int,
) -> None:
  """Appends the activations of a minibatch; one size compiles once."""
  filled = [*squares, *[squares[-1]] * (size - len(squares))]
  found = net.features(np.stack(filled), list(shapes), batch_size=size)
  for number, name in enumerate(shapes):
    rows: Float32[np.ndarray, 'n ...'] = found[name][: len(squares)]
    with open(partial / f'{number}.raw', 'ab') as file:
      file.write(rows.astype('<f4').tobytes())


def _pack(
  partial: pathlib.Path,
  output: pathlib.Path,
  *,
  shapes: dict[str, tuple[int, ...]],
  names: list[str],
) -> None:
  """Writes the rows as one .npz, which appears when it is complete."""
  scratch = partial / 'all.npz'
  scratch.unlink(missing_ok=True)  # a link would lead elsewhere
  with zipfile.ZipFile(scratch, 'w') as archive:
    with archive.open('names.npy', 'w') as file:
      np.lib.format.write_array(file, np.array(names), allow_pickle=False)
    for number, (name, shape) in enumerate(shapes.items()):
      header = {
        'descr': '<f4',
        'fortran_order': False,
        'shape': (len(names), *shape),
      }
      with (
        open(partial / f'{number}.raw', 'rb') as raw,
        archive.open(f'{name}.npy', 'w', force_zip64=True) as file,
      ):
        np.lib.format.write_array_header_1_0(file, header)
        shutil.copyfileobj(raw, file, 2**20)
  scratch.rename(output)
