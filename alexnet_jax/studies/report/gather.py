"""What a workdir holds, part by part, as far as it is there and whole.

A report is asked for of runs that are unfinished, were killed or lack a part,
so nothing is raised: a part is None, or empty, where there is none to show.
Not in the paper.
"""

import json
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree
from ml_collections import config_dict

from alexnet_jax import setup
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.data import dataset, download, metadata
from alexnet_jax.evaluate import predictions as predictions_lib
from alexnet_jax.train import log

Config = config_dict.ConfigDict
Record = log.Record
T = TypeVar('T')
_UNREADABLE = (ValueError, OSError, KeyError, TypeError, AttributeError)


class Checkpoint(NamedTuple):
  """The newest sound one.

  Attributes:
    step: minibatches that it was trained for.
    meta: what it says of itself.
    params: kernels and biases, {'conv1': {'kernel', 'bias'}}.
    velocities: the same tree; None if it has none.
  """

  step: int
  meta: layout.Meta
  params: PyTree
  velocities: PyTree | None


class Run(NamedTuple):
  """A workdir.

  Attributes:
    workdir: as it was given.
    config: every field, unchecked; None if config.json is missing or damaged.
    history: what was changed in the middle of the run.
    records: the whole lines of metrics.jsonl.
    health: rows of health.json.
    probed: images that the rows were measured on.
    checkpoint: the newest sound one.
    damaged: why newer ones could not be read, a sentence each.
    data: the data set; None if it cannot be opened.
    no_data: why not.
    prepared: metadata.json of a prepared data set.
    predictions: of the validation set, by ten views.
    retrieval: what tools.retrieve wrote.
    audit: what tools.audit wrote.
  """

  workdir: pathlib.Path
  config: Config | None
  history: list[dict[str, Any]]
  records: list[Record]
  health: list[dict[str, Any]]
  probed: int
  checkpoint: Checkpoint | None = None
  damaged: tuple[str, ...] = ()
  data: dataset.Dataset | None = None
  no_data: str = ''
  prepared: metadata.Metadata | None = None
  predictions: predictions_lib.Predictions | None = None
  retrieval: dict[str, Any] | None = None
  audit: dict[str, Any] | None = None

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
  def data_name(self) -> str:
    """Of the data set, as far as anything tells."""
    if self.data:
      return self.data.name
    if self.checkpoint:
      return self.checkpoint.meta['dataset']
    return self.prepared.name if self.prepared else ''


def outline(workdir: pathlib.Path) -> Run:
  """Config, metrics and health: what is read in no time.

  Raises:
    ValueError: if there is no such folder, or no run in it.
  """
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
    config=_attempt(lambda: Config(setup.from_json(stored or {})))
    if stored
    else None,
    history=[h for h in history if isinstance(h.get('changes'), list)],
    records=records,
    health=[row for row in _objects(health.get('rows')) if 'stage' in row],
    probed=health.get('images', 0),
  )


def whole(workdir: pathlib.Path) -> Run:
  """Everything.

  Raises:
    ValueError: if there is no such folder, or no run in it.
  """
  run = outline(workdir)
  data, no_data = _data(run.config)
  predicted = workdir / predictions_lib.OF_A_RUN
  checkpoint, damaged = _checkpoint(workdir / layout.FOLDER)
  directory = _directory(run.config)
  return run._replace(
    checkpoint=checkpoint,
    damaged=tuple(damaged),
    data=data,
    no_data=no_data,
    prepared=_attempt(lambda: _metadata(directory)) if directory else None,
    predictions=_attempt(lambda: predictions_lib.load(predicted)),
    retrieval=_json(workdir / 'retrieval.json'),
    audit=_json(workdir / 'audit.json'),
  )


def _directory(config: Config | None) -> str:
  """Of a prepared data set; '' if there is none."""
  return _attempt(lambda: config.data.dir) or '' if config else ''


def _metadata(directory: str) -> metadata.Metadata:
  return metadata.read(pathlib.Path(download.local(directory)))


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


_TRAIN = ('loss', 'top1_error', 'learning_rate', 'images_per_second')
_EVALUATION = ('loss', 'top1_error', 'top5_error', 'views', 'num_images')


def _records(path: pathlib.Path) -> list[Record]:
  """Lines that can be read: one half written, or damaged, is passed over."""
  text = _attempt(lambda: path.read_text(errors='replace')) or ''
  return [record for line in text.split('\n') for record in _record(line)]


def _record(line: str) -> Iterable[Record]:
  record = _attempt(lambda: json.loads(line))
  if not isinstance(record, dict):
    return
  fields = _TRAIN if record.get('split') == 'train' else _EVALUATION
  numbers = ('step', 'epoch', 'time', *fields)
  if isinstance(record.get('split'), str) and all(
    _is_number(record.get(name), endless=name == 'loss') for name in numbers
  ):
    yield record


def _is_number(value: Any, *, endless: bool) -> bool:
  """Of JSON; `endless` allows for infinity and for what is no number."""
  if not isinstance(value, (int, float)):
    return False
  return endless or math.isfinite(value)


def _checkpoint(
  directory: pathlib.Path,
) -> tuple[Checkpoint | None, list[str]]:
  """The newest sound one, and why not a newer one."""
  try:
    found, damaged = restore.newest_sound(directory, read=_read_checkpoint)
  except _UNREADABLE as error:
    said = ' '.join(f'{type(error).__name__}: {error}'.split())
    return None, [f'The checkpoints cannot be read ({said}).']
  return found, [
    f'The checkpoint of step {int(e.step.name):,} is damaged: {e.reason}.'
    for e in damaged
  ]


def _read_checkpoint(step: pathlib.Path) -> Checkpoint:
  meta = restore.read_meta(step)
  state = restore.read_arrays(step, meta=meta, device=_cpu())
  arrays = jax.tree.map(np.asarray, state)
  return Checkpoint(int(step.name), meta, arrays['params'], _velocities(arrays))


def _cpu() -> jax.Device | None:
  """A GPU may have no room left; None if JAX_PLATFORMS allows for no CPU."""
  try:
    return jax.devices('cpu')[0]
  except RuntimeError:
    return None


def _velocities(state: PyTree) -> PyTree | None:
  """The tree that optim/sgd.py keeps, wherever it lies in its chain."""
  for part in state.get('opt_state') or ():
    if isinstance(part, dict) and 'trace' in part:
      return part['trace']
  return None


def _data(config: Config | None) -> tuple[dataset.Dataset | None, str]:
  if config is None:
    return None, 'config.json, which names it, cannot be read'
  try:
    return setup.load_data(config), ''
  except _UNREADABLE as error:
    return None, ' '.join(str(error).split())
