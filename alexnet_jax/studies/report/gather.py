"""Reads what a workdir holds, part by part, for a report.

A run may be unfinished, killed or damaged, so a part that is missing or cannot
be read is None or empty, and raises nothing.
"""

import json
import math
import operator
import pathlib
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree
from ml_collections import config_dict

from alexnet_jax import setup
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.config import schema
from alexnet_jax.data import dataset, download, metadata
from alexnet_jax.evaluate import predictions as predictions_lib
from alexnet_jax.runtime import paths
from alexnet_jax.train import log

Config = config_dict.ConfigDict
Record = log.Record
T = TypeVar('T')
_UNREADABLE = (
  *(ValueError, OSError, KeyError, TypeError, AttributeError),
  RecursionError,  # JSON that is nested too deep
)


class Checkpoint(NamedTuple):
  """The newest checkpoint that is sound."""

  step: int  # number of training steps
  meta: layout.Meta  # its description of itself
  params: PyTree  # kernels and biases, {'conv1': {'kernel', 'bias'}}
  velocities: PyTree | None  # the momentum's, as the same tree
  model_state: PyTree  # other collections of variables; {} of the paper's net

  @property
  def conv1(self) -> dict[str, Any]:
    """Kernels of conv1, and the number of columns that they are split over."""
    columns = self.meta['config'].get('model', {}).get('columns', 1)
    return {'kernels': self.params['conv1']['kernel'], 'columns': columns}


class Run(NamedTuple):
  """The contents of a workdir."""

  workdir: pathlib.Path  # as it was given
  config: Config | None  # unchecked; None if config.json cannot be read
  history: list[dict[str, Any]]  # changes of the config during the run
  records: list[Record]  # the whole lines of metrics.jsonl
  health: list[dict[str, Any]]  # rows of health.json
  probed: int  # number of images that the rows were measured on
  checkpoint: Checkpoint | None = None  # the newest sound one
  damaged: tuple[str, ...] = ()  # why each newer one cannot be read
  data: dataset.Dataset | None = None  # None if it cannot be opened
  no_data: str = ''  # why it cannot
  bucket: str = ''  # address of the data that only config.json names
  prepared: metadata.Metadata | None = None  # of a prepared data set
  predictions: predictions_lib.Predictions | None = None  # by ten views
  retrieval: dict[str, Any] | None = None  # retrieval.json, of tools.retrieve
  audit: dict[str, Any] | None = None  # audit.json, of tools.audit

  @property
  def name(self) -> str:
    return self.workdir.absolute().name or str(self.workdir)

  @property
  def train(self) -> list[Record]:
    return [r for r in self.records if r['split'] == 'train']

  @property
  def evaluations(self) -> list[Record]:
    return [r for r in self.records if r['split'] != 'train']

  @property
  def changes(self) -> list[tuple[Any, dict[str, Any]]]:
    """(step, change) of each field that changed in the middle of the run."""
    return [
      (entry.get('step'), change)
      for entry in self.history
      for change in _objects(entry['changes'])
    ]

  @property
  def data_name(self) -> str:
    """The name of the data set; '' if no file has it."""
    if self.data:
      return self.data.name
    if self.checkpoint:
      return self.checkpoint.meta['dataset']
    return self.prepared.name if self.prepared else ''

  @property
  def class_names(self) -> list[str]:
    """Short names by label; ids where the data set cannot be opened."""
    if self.data and self.data.classes:
      return [c.name for c in self.data.classes]
    known = self.checkpoint.meta['classes'] if self.checkpoint else []
    names = [str(c.get('name', '')) for c in known]
    return names or list(self.predictions.classes if self.predictions else [])

  def class_name(self, label: int) -> str:
    names = self.class_names
    return names[label] if label < len(names) else f'class {label}'

  def command(self, text: str) -> str:
    """A command of this package for a shell, with WORKDIR filled in."""
    workdir = shlex.quote(str(self.workdir))
    return f'.venv/bin/python -m alexnet_jax.{text.replace("WORKDIR", workdir)}'


def read_outline(workdir: pathlib.Path) -> Run:
  """Reads config, metrics and health alone; ValueError if it is no run."""
  if not workdir.is_dir():
    what = 'is no folder' if workdir.exists() else 'does not exist'
    raise ValueError(f'{workdir} {what}: give the WORKDIR of a run')
  stored = _json(workdir / 'config.json')
  records = _records(workdir / 'metrics.jsonl')
  if stored is None and not records:
    raise ValueError(
      f'{workdir} holds no run (it has no config.json): give a WORKDIR that '
      'python -m alexnet_jax.main wrote to'
    )
  history = _objects((stored or {}).pop('history', []))
  health = _json(workdir / 'health.json') or {}
  return Run(
    workdir=workdir,
    config=_attempt(lambda: Config(schema.from_json(schema.upgrade(stored))))
    if stored
    else None,
    history=[h for h in history if isinstance(h.get('changes'), list)],
    records=records,
    health=[row for row in _objects(health.get('rows')) if 'stage' in row],
    probed=health.get('images', 0),
  )


def read(workdir: pathlib.Path, *, data_dir: str = '') -> Run:
  """Reads everything; raises what read_outline raises.

  `data_dir` is the data set, if it has moved or is on a bucket: an address that
  only config.json names is not followed.
  """
  run = read_outline(workdir)
  if run.config is not None and data_dir:
    run.config.data.dir = data_dir
  elif run.config is not None and paths.is_remote(run.config.data.dir):
    run = run._replace(bucket=run.config.data.dir)
  data, no_data = _data(run)
  predicted = workdir / predictions_lib.OF_A_RUN
  checkpoint, damaged = _checkpoint(workdir / layout.FOLDER)
  return run._replace(
    checkpoint=checkpoint,
    damaged=damaged,
    data=data,
    no_data=no_data,
    prepared=_attempt(lambda: _prepared(run)),
    predictions=_attempt(lambda: predictions_lib.load(predicted)),
    retrieval=_json(workdir / 'retrieval.json'),
    audit=_json(workdir / 'audit.json'),
  )


def _prepared(run: Run) -> metadata.Metadata | None:
  if run.config is None or run.bucket or not run.config.data.dir:
    return None
  return metadata.read(pathlib.Path(download.local_copy(run.config.data.dir)))


def _attempt(read: Callable[[], T]) -> T | None:
  try:
    return read()
  except _UNREADABLE:
    return None


def _json(path: pathlib.Path) -> dict[str, Any] | None:
  value = _attempt(lambda: json.loads(path.read_text()))
  return value if isinstance(value, dict) else None


def _objects(value: Any) -> list[dict[str, Any]]:
  listed = value if isinstance(value, list) else []
  return [entry for entry in listed if isinstance(entry, dict)]


_BLOCK = 1000  # lines that are parsed at once, which is three times as fast
_NUMBERS = ('step', 'epoch', 'time', 'top1_error')  # of each line, finite
_TRAIN = operator.itemgetter(
  'loss', *_NUMBERS, 'learning_rate', 'images_per_second'
)
_EVALUATION = operator.itemgetter('loss', *_NUMBERS, 'views', 'num_images')


def _records(path: pathlib.Path) -> list[Record]:
  """The lines that can be read; half-written and damaged ones are skipped."""
  text = _attempt(lambda: path.read_text(errors='replace')) or ''
  lines, records = text.split('\n'), []
  for start in range(0, len(lines), _BLOCK):
    block = lines[start : start + _BLOCK]
    found = _attempt(lambda: json.loads(f'[{",".join(block)}]'))  # noqa: B023
    if found is None or len(found) != len(block):  # one is damaged
      found = [_attempt(partial(json.loads, line)) for line in block]
    records += filter(_is_whole, found)
  return records


def _is_whole(record: Any) -> bool:
  """Whether it has the numbers that are read; a loss may be NaN or infinite."""
  try:
    train = record['split'] == 'train'
    loss, *numbers = (_TRAIN if train else _EVALUATION)(record)
    if not train and record['top5_error'] is not None:
      numbers.append(record['top5_error'])
  except (KeyError, TypeError):
    return False
  return (
    isinstance(record['split'], str)
    and {type(loss), *map(type, numbers)} <= {int, float}
    and all(map(math.isfinite, numbers))
  )


def _checkpoint(
  directory: pathlib.Path,
) -> tuple[Checkpoint | None, tuple[str, ...]]:
  """The newest sound checkpoint, and why each newer one is not."""
  try:
    found, damaged = restore.newest_sound(directory, read=_read_checkpoint)
  except _UNREADABLE as error:
    said = ' '.join(f'{type(error).__name__}: {error}'.split())
    return None, (f'The checkpoints cannot be read ({said}).',)
  return found, tuple(
    f'The checkpoint of step {int(e.step.name):,} is damaged: {e.reason}.'
    for e in damaged
  )


def _read_checkpoint(step: pathlib.Path) -> Checkpoint:
  meta = restore.read_meta(step)
  state = restore.read_arrays(step, meta=meta, device=cpu())
  arrays = jax.tree.map(np.asarray, state)
  return Checkpoint(
    int(step.name),
    meta,
    arrays['params'],
    _velocities(arrays),
    arrays.get('model_state', {}),
  )


def cpu() -> jax.Device | None:
  """The CPU, since a GPU may be full; None if JAX_PLATFORMS excludes it."""
  try:
    return jax.devices('cpu')[0]
  except RuntimeError:
    return None


def _velocities(state: PyTree) -> PyTree | None:
  """The velocities of optim/sgd.py, wherever they are in its chain."""
  parts = _objects(list(state.get('opt_state') or ()))
  return next((part['trace'] for part in parts if 'trace' in part), None)


def _data(run: Run) -> tuple[dataset.Dataset | None, str]:
  if run.config is None:
    return None, 'config.json, which names it, cannot be read'
  if run.bucket:
    return None, (
      f'it is on a bucket that only config.json names: add --data_dir='
      f'{run.bucket} to tools.report to connect to it'
    )
  try:
    return setup.load_data(run.config), ''
  except _UNREADABLE as error:
    return None, ' '.join(str(error).split())
