"""Images/s of preparing and of feeding (§4.1), beside other ways to do it.

Every kind reads the same images: those of a source, repeated under new names
until they exceed every CPU cache, and all in the page cache. Rounds of the
kinds are interleaved, so that other load on the machine affects all alike.
"""

import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import pathlib
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import config_dict
from PIL import Image

from alexnet_jax.bench import rows
from alexnet_jax.bench.baselines import pytorch
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
      'reshuffle': True,
      'read_threads': 2,
      'prefetch_batches': 4,
    },
  }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSettings:
  """What to measure.

  Attributes:
    folder: for the files to read; some gigabytes.
    source: of images, as tools.prepare takes it.
    images: training images; those of the source are repeated.
    seconds: of a round.
    rounds: of each kind.
    torch_python: an interpreter with PyTorch and Pillow; '': without.
  """

  folder: pathlib.Path
  source: str
  images: int
  seconds: float
  rounds: int
  torch_python: str = ''


class Round(NamedTuple):
  """Rates of one round."""

  images_per_second: float
  cpu_us_per_image: float  # of all processes and threads


def measure_input(settings: InputSettings) -> list[rows.ResultRow]:
  """Rows of preparing, then of feeding, one for each kind."""
  prepared = write_records(settings)
  _write_copies(settings)
  kinds = {
    'train, raw records': _record_batches(settings, 'raw'),
    'train, JPEG records': _record_batches(settings, 'jpeg'),
    'train, TFDS of JPEGs': _tfds_batches(settings),
    'train, raw records, ready on the device': _on_device(
      _record_batches(settings, 'raw')
    ),
    'peer: numpy loop over a memory map': _numpy_batches(settings),
  }
  measure: dict[str, Callable[[], Round]] = {
    what: functools.partial(_measure_round, batches, seconds=settings.seconds)
    for what, batches in kinds.items()
  }
  if settings.torch_python:
    measure['peer: torch DataLoader, PIL, JPEG folders'] = functools.partial(
      _torch_round, settings
    )
  rounds: dict[str, list[Round]] = {what: [] for what in measure}
  for _, what in itertools.product(range(settings.rounds), measure):
    rounds[what].append(measure[what]())
  return prepared + [_input_row(what, each) for what, each in rounds.items()]


def _input_row(what: str, rounds: Sequence[Round]) -> rows.ResultRow:
  """Median and range of the rounds."""
  rates = [r.images_per_second for r in rounds]
  cpu = statistics.median(r.cpu_us_per_image for r in rounds)
  return {
    'bench': 'input',
    'what': what,
    'images_per_second': round(statistics.median(rates), 1),
    'range': [round(min(rates), 1), round(max(rates), 1)],
    'cpu_us_per_image': round(cpu, 1),
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


def write_records(settings: InputSettings) -> list[rows.ResultRow]:
  """Prepares FOLDER/raw and FOLDER/jpeg; a row for each.

  Raises:
    ValueError: if the source has no files.
  """
  layout = sources_lib.find_layout(settings.source)
  train = itertools.islice(
    itertools.cycle(layout.splits['train']), settings.images
  )
  renamed = tuple(
    layouts.Labelled(_renamed(item.member, number), item.label)
    for number, item in enumerate(train)
  )
  layout = layout._replace(splits={**layout.splits, 'train': renamed})
  found = []
  for encoding in ('raw', 'jpeg'):
    work = run_lib.plan(layout, options=shards.Options(encoding=encoding))
    start, cpu = time.perf_counter(), _children_cpu()
    run_lib.prepare(
      work, output=settings.folder / encoding, workers=os.cpu_count() or 1
    )
    seconds = time.perf_counter() - start
    while multiprocessing.active_children():  # counted once they have ended
      time.sleep(0.01)
    cpu = _children_cpu() - cpu
    each = Round(work.num_images / seconds, cpu / work.num_images * 1e6)
    found.append(_input_row(f'prepare, {encoding}', [each]))
  return found


def _renamed(member: layouts.Member, number: int) -> tar.Member:
  if not isinstance(member, tar.Member):
    raise ValueError('bench input reads files: give --source=PATH')
  return member._replace(name=f'{number:06d}-{pathlib.Path(member.name).name}')


def _children_cpu() -> float:
  """CPU seconds of child processes that have ended."""
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  return usage.ru_utime + usage.ru_stime


def _load_records(settings: InputSettings, encoding: str) -> sources.Dataset:
  return records.load(str(settings.folder / encoding), image_size=IMAGE)


def _write_copies(settings: InputSettings) -> None:
  """Writes the images as JPEGs in class folders, and as one array."""
  train = _load_records(settings, 'raw').train
  array = np.lib.format.open_memmap(
    settings.folder / 'images.npy',
    mode='w+',
    dtype=np.uint8,
    shape=(len(train), IMAGE, IMAGE, 3),
  )
  for index in range(len(train)):
    example = train[index]
    array[index] = example.image
    folder = settings.folder / 'folders' / f'{example.label:04d}'
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{example.name}.jpg'
    Image.fromarray(example.image).save(path, quality=90)


def _train_batches(dataset: sources.Dataset) -> Iterator[pipeline.TrainBatch]:
  batches = pipeline.train_batches(dataset, config=_CONFIG, total_steps=10**9)
  return iter(batches)


def _record_batches(
  settings: InputSettings, encoding: str
) -> Iterator[pipeline.TrainBatch]:
  """Training batches from prepared records."""
  return _train_batches(_load_records(settings, encoding))


def _tfds_batches(settings: InputSettings) -> Iterator[pipeline.TrainBatch]:
  """Training batches from a TFDS data set of the JPEGs, which is made here."""
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
      files = sorted((settings.folder / 'folders').glob('*/*.jpg'))
      return {
        'train': self._generate_examples(files),
        'test': self._generate_examples(files[:8]),
      }

    def _generate_examples(self, files):
      for file in files:
        yield file.stem, {'image': str(file), 'label': int(file.parent.name)}

  tfds.disable_progress_bar()
  data_dir = settings.folder / 'tfds'
  builder = Jpegs(data_dir=data_dir, file_format='array_record')
  builder.download_and_prepare()
  statistics = records.read_statistics(
    settings.folder / 'raw', image_size=IMAGE
  )
  folder = tfds_lib.statistics_folder(str(builder.data_dir), image_size=IMAGE)
  folder.mkdir()
  records.write_statistics(folder, statistics=statistics)
  return _train_batches(
    tfds_lib.load('jpegs', data_dir=str(data_dir), image_size=IMAGE)
  )


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


def _numpy_batches(settings: InputSettings) -> Iterator[dict[str, Any]]:
  """Batches of a plain loop: read, crop, mirror, copy."""
  whole = np.load(settings.folder / 'images.npy', mmap_mode='r')
  rng = np.random.default_rng(0)
  while True:
    batch = np.empty((BATCH, CROP, CROP, 3), np.uint8)
    for row in range(BATCH):
      image = whole[rng.integers(len(whole))]
      y, x = rng.integers(IMAGE - CROP + 1, size=2)
      crop = image[y : y + CROP, x : x + CROP]
      batch[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
    yield {'image': batch, 'label': np.zeros(BATCH, np.int32)}


def _torch_round(settings: InputSettings) -> Round:
  """A round of torch's DataLoader, in a process of its own."""
  script, folder = pytorch.SCRIPTS / 'torch_input.py', 'folders'
  done = subprocess.run(
    [
      *(settings.torch_python, str(script), str(settings.folder / folder)),
      *(str(settings.seconds), str(os.cpu_count() or 1)),
    ],
    capture_output=True,
    text=True,
    check=True,
  )
  return Round(**json.loads(done.stdout.splitlines()[-1]))
