"""How fast images are prepared and fed (§4.1), beside other ways to do it.

Every kind reads the same images: those of a source, repeated under new names to
a number that no processor's cache holds. All of them are in the page cache. A
round is a stretch of some seconds; the kinds take turns, so that a neighbour's
load falls on all of them alike.
"""

import dataclasses
import functools
import io
import itertools
import json
import multiprocessing
import os
import pathlib
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from PIL import Image

from alexnet_jax.bench import rows
from alexnet_jax.data import augment, pipeline, records, sources
from alexnet_jax.data import tfds as tfds_lib
from alexnet_jax.data.prepare import layouts, shards, tar
from alexnet_jax.data.prepare import run as run_lib
from alexnet_jax.data.prepare import sources as sources_lib
from alexnet_jax.steps import preprocess

BATCH, IMAGE, CROP = 128, 256, 224
_PEER = pathlib.Path(__file__).with_name('torch_input.py')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
  """What is measured, on what.

  Attributes:
    folder: for the files that are read; some gigabytes.
    source: of images, as tools.prepare takes it.
    images: how many training images to repeat the source's to.
    seconds: of a round.
    rounds: of each kind.
    torch_python: an interpreter that has PyTorch and Pillow; '': no such peer.
  """

  folder: pathlib.Path
  source: str
  images: int
  seconds: float
  rounds: int
  torch_python: str = ''


def run(bench: Bench) -> list[rows.Row]:
  """All kinds in turn; the rows of preparing, then those of feeding."""
  prepared = write_records(bench)
  _write_folders(bench)
  _write_numpy(bench)
  kinds = {
    'train, raw records': _timed(_batches(bench, 'raw'), bench=bench),
    'train, JPEG records': _timed(_batches(bench, 'jpeg'), bench=bench),
    'train, TFDS of JPEGs': _timed(_tfds_batches(bench), bench=bench),
    'train, raw records, ready on the device': _timed(
      _on_device(_batches(bench, 'raw')), bench=bench
    ),
    'peer: numpy loop over a memory map': _timed(
      _numpy_batches(bench), bench=bench
    ),
  }
  if bench.torch_python:
    peer = functools.partial(_torch, bench)
    kinds['peer: torch DataLoader, PIL, JPEG folders'] = peer
  found: dict[str, list[rows.Round]] = {what: [] for what in kinds}
  for _ in range(bench.rounds):
    for what, take in kinds.items():
      found[what].append(take())
  return prepared + [rows.row('input', what, r) for what, r in found.items()]


def _timed(batches: Iterator[Any], *, bench: Bench) -> Callable[[], rows.Round]:
  """A round: batches for some seconds, after a few to warm up."""

  def take() -> rows.Round:
    for _ in range(8):
      next(batches)
    count, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < bench.seconds:
      count += len(next(batches)['label'])
    seconds = time.perf_counter() - start
    return rows.Round(
      count / seconds, (time.process_time() - cpu) / count * 1e6
    )

  return take


def write_records(bench: Bench) -> list[rows.Row]:
  """Prepares DIR/raw and DIR/jpeg; the rates of that."""
  layout = sources_lib.find(bench.source)
  train = itertools.islice(
    itertools.cycle(layout.splits['train']), bench.images
  )
  renamed = tuple(
    layouts.Labelled(_renamed(item.member, number), item.label)
    for number, item in enumerate(train)
  )
  layout = layout._replace(splits={**layout.splits, 'train': renamed})
  out = []
  for encoding in ('raw', 'jpeg'):
    work = run_lib.plan(layout, options=shards.Options(encoding=encoding))
    start, cpu = time.perf_counter(), _children_cpu()
    run_lib.run(
      work, output=bench.folder / encoding, workers=os.cpu_count() or 1
    )
    seconds = time.perf_counter() - start
    while multiprocessing.active_children():  # counted once they have ended
      time.sleep(0.01)
    cpu = _children_cpu() - cpu
    each = rows.Round(work.num_images / seconds, cpu / work.num_images * 1e6)
    out.append(rows.row('input', f'prepare, {encoding}', [each]))
  return out


def _renamed(member: layouts.Member, number: int) -> tar.Member:
  if not isinstance(member, tar.Member):
    raise ValueError('bench input reads files: give --source=PATH')
  return member._replace(name=f'{number:06d}-{pathlib.Path(member.name).name}')


def _children_cpu() -> float:
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  return usage.ru_utime + usage.ru_stime


def _jpegs(bench: Bench) -> Iterator[tuple[str, int, bytes]]:
  """(name, label, JPEG of 256 x 256) of every training image."""
  train = records.load(str(bench.folder / 'raw'), image_size=IMAGE).train
  for index in range(len(train)):
    example = train[index]
    stream = io.BytesIO()
    Image.fromarray(example.image).save(stream, 'JPEG', quality=90)
    yield example.name, example.label, stream.getvalue()


def _write_folders(bench: Bench) -> None:
  """The same images as JPEGs in class folders."""
  for name, label, data in _jpegs(bench):
    folder = bench.folder / 'folders' / f'{label:04d}'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{name}.jpg').write_bytes(data)


def _write_numpy(bench: Bench) -> None:
  """The same images as one array in a file."""
  train = records.load(str(bench.folder / 'raw'), image_size=IMAGE).train
  whole = np.lib.format.open_memmap(
    bench.folder / 'images.npy',
    mode='w+',
    dtype=np.uint8,
    shape=(len(train), IMAGE, IMAGE, 3),
  )
  for index in range(len(train)):
    whole[index] = train[index].image


def _feed(data: sources.Dataset) -> Iterator[pipeline.TrainBatch]:
  return iter(
    pipeline.train_batches(
      data,
      batch_size=BATCH,
      crop_size=CROP,
      seed=0,
      total_steps=10**9,
      augment=augment.Augment(),
    )
  )


def _batches(bench: Bench, encoding: str) -> Iterator[pipeline.TrainBatch]:
  """What training is fed with, from prepared records."""
  folder = str(bench.folder / encoding)
  return _feed(records.load(folder, image_size=IMAGE))


def _tfds_batches(bench: Bench) -> Iterator[pipeline.TrainBatch]:
  """The same from a TFDS data set of the JPEGs, made here."""
  import tensorflow_datasets as tfds

  class Jpegs(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      features = {
        'image': tfds.features.Image(shape=(IMAGE, IMAGE, 3)),
        'label': tfds.features.ClassLabel(num_classes=1000),
      }
      return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict(features)
      )

    def _split_generators(self, manager):
      del manager
      few = itertools.islice(_jpegs(bench), 8)
      return {'train': self._all(_jpegs(bench)), 'test': self._all(few)}

    def _all(self, jpegs):
      for name, label, data in jpegs:
        yield name, {'image': io.BytesIO(data), 'label': label}

    def _generate_examples(self):
      raise NotImplementedError

  tfds.disable_progress_bar()
  data_dir = bench.folder / 'tfds'
  builder = Jpegs(data_dir=data_dir, file_format='array_record')
  builder.download_and_prepare()
  statistics = records.read_statistics(bench.folder / 'raw', image_size=IMAGE)
  folder = tfds_lib.statistics_folder(str(builder.data_dir), image_size=IMAGE)
  folder.mkdir()
  records.write_statistics(folder, statistics=statistics)
  return _feed(tfds_lib.load('jpegs', data_dir=str(data_dir), image_size=IMAGE))


def _on_device(
  batches: Iterator[pipeline.TrainBatch],
) -> Iterator[dict[str, Any]]:
  """Batches as the network sees them: mean, mirror and colour done."""

  @jax.jit
  def normalise(batch: dict[str, Any]) -> jax.Array:
    return preprocess.normalise(
      batch['image'],
      mean_image=jax.numpy.zeros((IMAGE, IMAGE, 3)),
      offset=batch['offset'],
      mirror=batch['mirror'],
      colour=batch['colour'],
      scale=batch['scale'],
    )

  for batch in batches:
    normalise(dict(jax.device_put(batch))).block_until_ready()
    yield dict(batch)


def _numpy_batches(bench: Bench) -> Iterator[dict[str, Any]]:
  """Image by image: read, crop, mirror, copy."""
  whole = np.load(bench.folder / 'images.npy', mmap_mode='r')
  rng = np.random.default_rng(0)
  while True:
    batch = np.empty((BATCH, CROP, CROP, 3), np.uint8)
    for row in range(BATCH):
      image = whole[rng.integers(len(whole))]
      y, x = rng.integers(IMAGE - CROP + 1, size=2)
      crop = image[y : y + CROP, x : x + CROP]
      batch[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
    yield {'image': batch, 'label': np.zeros(BATCH, np.int32)}


def _torch(bench: Bench) -> rows.Round:
  """A round of the peer, in a process of its own."""
  done = subprocess.run(
    [
      *(bench.torch_python, str(_PEER), str(bench.folder / 'folders')),
      *(str(bench.seconds), str(os.cpu_count() or 1)),
    ],
    capture_output=True,
    text=True,
    check=True,
  )
  return rows.Round(**json.loads(done.stdout.splitlines()[-1]))
