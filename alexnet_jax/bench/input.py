"""Images/s of preparing and of feeding (§4.1), beside other ways to do it.

Every kind reads the same images: those of a source, repeated under new names
until they exceed every CPU cache, and all in the page cache. Rounds of the
kinds are interleaved, so that other load on the machine affects all alike.
"""

import functools
import itertools
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import config_dict
from PIL import Image

from alexnet_jax.bench import rows, workers
from alexnet_jax.bench.baselines import pytorch
from alexnet_jax.bench.settings import Settings
from alexnet_jax.data import pipeline, records, sources
from alexnet_jax.data import tfds as tfds_lib
from alexnet_jax.data.prepare import layouts, shards, tar
from alexnet_jax.data.prepare import run as run_lib
from alexnet_jax.data.prepare import sources as sources_lib
from alexnet_jax.steps import preprocess

BATCH, IMAGE, CROP = 128, 256, 224  # as in the paper
_WARM_UP = 8  # batches
_CONFIG = config_dict.ConfigDict(
  {
    'batch_size': BATCH,
    'seed': 0,
    'augment': {},  # the paper's
    'data': {
      'image_size': IMAGE,
      'crop_size': CROP,
      'mean_at': 'crop',
      'channel_stddevs': (),
      'reshuffle': True,
      'read_threads': 2,
      'prefetch_batches': 4,
    },
  }
)


class Round(NamedTuple):
  """Rates of one round."""

  images_per_second: float
  cpu_us_per_image: float  # of all processes and threads


def measure_input(settings: Settings) -> list[rows.ResultRow]:
  """Rows of preparing, then of feeding; ValueError without files of images."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    prepared = write_records(settings, folder=folder)
    _write_copies(folder)
    raw = functools.partial(records.load, str(folder / 'raw'), image_size=IMAGE)
    jpeg = records.load(str(folder / 'jpeg'), image_size=IMAGE)
    kinds = {
      'train, raw records': _batches(raw()),
      'train, JPEG records': _batches(jpeg),
      'train, TFDS of JPEGs': _batches(_as_tfds(folder)),
      'train, raw records, ready on the device': _on_device(_batches(raw())),
      'peer: numpy loop over a memory map': _numpy_batches(folder),
    }
    measures = {
      what: functools.partial(_measure_round, batches, seconds=settings.seconds)
      for what, batches in kinds.items()
    }
    if settings.baseline:
      measures['peer: torch DataLoader, PIL, JPEG folders'] = functools.partial(
        _torch_round, settings.baseline.python, folder, settings.seconds
      )
    rounds = workers.interleave(measures, rounds=settings.rounds)
  return prepared + [_input_row(what, each) for what, each in rounds.items()]


def _input_row(what: str, rounds: Sequence[Round]) -> rows.ResultRow:
  """Median and range of the rounds."""
  rates, cpu = zip(*rounds, strict=True)
  row = rows.spread('images_per_second', rates, digits=1)
  return {
    'bench': 'input',
    'what': what,
    'images_per_second': row['images_per_second'],
    'range': row['images_per_second_range'],
    'cpu_us_per_image': round(statistics.median(cpu), 1),
    'n': len(rounds),
  }


def _measure_round(batches: Iterator[Any], *, seconds: float) -> Round:
  """Takes batches for some seconds, after a few to warm up."""
  for _ in range(_WARM_UP):
    next(batches)
  count, start, cpu = 0, time.perf_counter(), time.process_time()
  while time.perf_counter() - start < seconds:
    count += len(next(batches)['label'])
  took = time.perf_counter() - start
  return Round(count / took, (time.process_time() - cpu) / count * 1e6)


def write_records(
  settings: Settings, *, folder: pathlib.Path
) -> list[rows.ResultRow]:
  """Prepares FOLDER/raw and FOLDER/jpeg; a row for each."""
  if not settings.source:
    raise ValueError('--source is missing: give images, as for tools.prepare')
  layout = sources_lib.find_layout(settings.source)
  repeated = itertools.cycle(layout.splits['train'])
  train = itertools.islice(repeated, settings.images)
  renamed = tuple(
    layouts.Labelled(_renamed(item.member, number), item.label)
    for number, item in enumerate(train)
  )
  layout = layout._replace(splits={**layout.splits, 'train': renamed})
  found = []
  for encoding in ('raw', 'jpeg'):
    work = run_lib.plan(layout, options=shards.Options(encoding=encoding))
    start, before = time.perf_counter(), os.times()
    run_lib.prepare(work, output=folder / encoding, workers=os.cpu_count() or 1)
    seconds = time.perf_counter() - start
    while multiprocessing.active_children():  # counted once they have ended
      time.sleep(0.01)
    cpu = sum(os.times()[2:4]) - sum(before[2:4])  # of child processes
    each = Round(work.num_images / seconds, cpu / work.num_images * 1e6)
    found.append(_input_row(f'prepare, {encoding}', [each]))
  return found


def _renamed(member: layouts.Member, number: int) -> tar.Member:
  if not isinstance(member, tar.Member):
    raise ValueError('bench input reads files: give --source=PATH')
  return member._replace(name=f'{number:06d}-{pathlib.Path(member.name).name}')


def _write_copies(folder: pathlib.Path) -> None:
  """Writes the images as JPEGs in class folders, and as one array."""
  train = records.load(str(folder / 'raw'), image_size=IMAGE).train
  shape = (len(train), IMAGE, IMAGE, 3)
  array = np.lib.format.open_memmap(
    folder / 'images.npy', mode='w+', dtype=np.uint8, shape=shape
  )
  for index in range(len(train)):
    example = train[index]
    array[index] = example.image
    path = folder / 'folders' / f'{example.label:04d}' / f'{example.name}.jpg'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(example.image).save(path, quality=90)


def _batches(dataset: sources.Dataset) -> Iterator[pipeline.TrainBatch]:
  """Training batches, as training reads them."""
  batches = pipeline.train_batches(dataset, config=_CONFIG, total_steps=10**9)
  return iter(batches)


def _as_tfds(folder: pathlib.Path) -> sources.Dataset:
  """A TFDS data set of the JPEGs, which is made here."""
  import tensorflow_datasets as tfds

  files = sorted((folder / 'folders').glob('*/*.jpg'))

  class Jpegs(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      features = {
        'image': tfds.features.Image(shape=(IMAGE, IMAGE, 3)),
        'label': tfds.features.ClassLabel(num_classes=1000),
      }
      features = tfds.features.FeaturesDict(features)
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
      del manager
      return {
        'train': self._generate_examples(files),
        'test': self._generate_examples(files[:8]),
      }

    def _generate_examples(self, files):
      for file in files:
        yield file.stem, {'image': str(file), 'label': int(file.parent.name)}

  tfds.disable_progress_bar()
  builder = Jpegs(data_dir=folder / 'tfds', file_format='array_record')
  builder.download_and_prepare()
  statistics = records.read_statistics(folder / 'raw', image_size=IMAGE)
  beside = tfds_lib.statistics_folder(str(builder.data_dir), image_size=IMAGE)
  beside.mkdir()
  records.write_statistics(beside, statistics=statistics)
  return tfds_lib.load('jpegs', data_dir=f'{folder}/tfds', image_size=IMAGE)


def _on_device(
  batches: Iterator[pipeline.TrainBatch],
) -> Iterator[pipeline.TrainBatch]:
  """Batches, once the device has subtracted the mean, mirrored and coloured."""
  mean_image = jax.numpy.zeros((IMAGE, IMAGE, 3))

  @jax.jit
  def normalise(batch: dict[str, jax.Array]) -> jax.Array:
    return preprocess.of_batch(_CONFIG, mean_image=mean_image, batch=batch)

  for batch in batches:
    normalise(jax.device_put(batch)).block_until_ready()
    yield batch


def _numpy_batches(folder: pathlib.Path) -> Iterator[dict[str, Any]]:
  """Batches of a plain loop: read, crop, mirror, copy."""
  whole = np.load(folder / 'images.npy', mmap_mode='r')
  rng = np.random.default_rng(0)
  while True:
    batch = np.empty((BATCH, CROP, CROP, 3), np.uint8)
    for row in range(BATCH):
      image = whole[rng.integers(len(whole))]
      y, x = rng.integers(IMAGE - CROP + 1, size=2)
      crop = image[y : y + CROP, x : x + CROP]
      batch[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
    yield {'image': batch, 'label': np.zeros(BATCH, np.int32)}


def _torch_round(python: str, folder: pathlib.Path, seconds: float) -> Round:
  """A round of torch's DataLoader, in a process of its own."""
  script = str(pytorch.SCRIPTS / 'torch_input.py')
  command = [python, script, str(folder / 'folders'), str(seconds)]
  command.append(str(os.cpu_count() or 1))
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  return Round(**json.loads(done.stdout.splitlines()[-1]))
