"""Each layout of tests/disks.py: labels by content, kills, damage, workers.

Every image has content of its own, so its class is known without reading any
file of labels. A class may be called by its name, its WordNet id or a number.
"""

import pathlib
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from alexnet_jax.data.prepare import layouts, run, shards, sources
from tests import disks, readers

_BY_WNID = sorted(disks.WNIDS, key=disks.WNIDS.__getitem__)
_COUNTS = {'train': 20, 'val': 8}


class Row(NamedTuple):
  """A layout: how to build it, and what is to be found in it."""

  build: Callable[[pathlib.Path], pathlib.Path]
  form: str  # how it is called
  labels: str  # where they come from
  ids: list[str]  # of the classes in their order, for `kinds`
  kinds: list[str]  # the same classes by our names
  flags: Any = types.MappingProxyType({})  # of find_layout
  counts: dict[str, int] = _COUNTS


_NAMES = sorted(disks.WNIDS)
_WNIDS = [disks.WNIDS[kind] for kind in _BY_WNID]
_FLAT = list(disks.WNIDS)[::-1]  # the numbers of `disks.caffe`
ROWS = {
  row.build.__name__: row
  for row in (
    Row(
      disks.class_folders,
      'class folders of train, val',
      'class folders',
      _NAMES,
      _NAMES,
    ),
    Row(
      disks.archive_of,
      'class folders of train, val',
      'class folders',
      _NAMES,
      _NAMES,
    ),
    Row(
      disks.zip_of,
      'class folders of train, val',
      'class folders',
      _NAMES,
      _NAMES,
    ),
    Row(
      disks.archives_of_splits,
      'class folders of train, val',
      'class folders',
      _NAMES,
      _NAMES,
    ),
    Row(
      *(
        disks.kaggle,
        "Kaggle's ILSVRC",
        'LOC_val_solution.csv (val), class folders (train)',
      ),
      *(_WNIDS, _BY_WNID),
    ),
    Row(
      *(
        disks.kaggle_inner,
        "Kaggle's ILSVRC",
        'LOC_val_solution.csv (val), class folders (train)',
      ),
      *(_WNIDS, _BY_WNID),
    ),
    Row(
      disks.kaggle_zip,
      "Kaggle's ILSVRC",
      'LOC_val_solution.csv (val), class folders (train)',
      *(_WNIDS, _BY_WNID),
    ),
    Row(
      disks.unpacked_tars,
      'unpacked tars of ILSVRC',
      'devkit meta.mat (ILSVRC2012_devkit_t12.tar.gz) (val), class folders '
      '(train)',
      *(_WNIDS, _BY_WNID),
    ),
    Row(
      disks.tiny_imagenet,
      'Tiny ImageNet',
      'val/val_annotations.txt (val), class folders (train)',
      *(_WNIDS, _BY_WNID),
    ),
    Row(
      *(
        disks.caffe,
        'flat folders of train, val',
        'train.txt (train), val.txt (val)',
      ),
      *([disks.WNIDS[kind] for kind in _FLAT], _FLAT),
    ),
    Row(
      *(
        disks.csv_files,
        'flat folders of train, val',
        'train.csv (train), val.csv (val)',
        _NAMES,
        _NAMES,
      ),
    ),
    Row(
      disks.json_lines,
      'flat folders of train, val',
      'train/metadata.jsonl (train), val/metadata.jsonl (val)',
      *(_NAMES, _NAMES),
    ),
    Row(
      *(
        disks.csv_pool,
        'flat folders',
        'labels.csv',
        _NAMES,
        _NAMES,
        {'val_share': 0.2},
      ),
      {'train': 15, 'val': 5},
    ),
    Row(
      *(
        disks.one_folder,
        'class folders',
        'class folders',
        _NAMES,
        _NAMES,
        {'val_share': 0.2},
      ),
      {'train': 14, 'val': 6},
    ),
  )
}
each_row = pytest.mark.parametrize('row', ROWS.values(), ids=list(ROWS))


def _find(row: Row, folder: pathlib.Path) -> layouts.Layout:
  folder.mkdir(exist_ok=True)
  return sources.find_layout(str(row.build(folder)), **row.flags)


def _files(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@each_row
def test_every_label_is_that_of_the_image(row, tmp_path):
  layout = _find(row, tmp_path)
  truth = disks.truth()
  assert [info.id for info in layout.classes] == row.ids
  assert {s: len(items) for s, items in layout.splits.items()} == row.counts
  seen = []
  for items in layout.splits.values():
    for member, label in items:
      seen.append(member.read())
      assert row.kinds[label] == truth[seen[-1]], member.name
  assert len(set(seen)) == len(seen)
  assert (layout.form, layout.labels) == (row.form, row.labels)
  assert not layout.skipped


def _plan(row: Row, layout: layouts.Layout) -> run.Plan:
  """A plan of two shards a split, so that there is something to resume."""
  parts = []
  for split, items in layout.splits.items():
    middle = len(items) // 2
    for number, some in enumerate((items[:middle], items[middle:])):
      file = f'{row.build.__name__}-{split}-{number}.array_record'
      parts.append(shards.Shard(split, file, some))
  return run.Plan(layout, shards.Options(image_size=8), tuple(parts))


@pytest.fixture
def one_damaged(monkeypatch):
  """The pictures, of which the last of val is cut in the middle."""
  whole = disks.pictures()
  *rest, last = whole['val']
  spoilt = last._replace(data=last.data[: len(last.data) // 2])
  found = whole | {'val': (*rest, spoilt)}
  monkeypatch.setattr(disks, 'pictures', lambda: found)


def _damaged(layout):
  """The name of the image in `one_damaged`, by its content."""
  data = disks.pictures()['val'][-1].data
  every = [item.member for items in layout.splits.values() for item in items]
  return [member.name for member in every if member.read() == data]


@each_row
def test_killed_and_resumed_gives_the_same_bytes(row, tmp_path, one_damaged):
  """A damaged image is listed, and nothing else is lost."""
  layout = _find(row, tmp_path / 'source')
  work = _plan(row, layout)
  whole = run.prepare(work, output=tmp_path / 'whole', workers=1)
  damaged = _damaged(layout)
  assert [skipped.file for skipped in whole.skipped] == damaged
  assert len(damaged) == ('val_share' not in row.flags)  # else no val there
  seen = []

  def kill(images):
    seen.append(images)
    if len(seen) > len(work.shards[0].items):
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run.prepare(work, output=tmp_path / 'out', workers=1, progress=kill)
  assert len(list((tmp_path / 'out.partial').glob('*.done.npz'))) == 1
  run.prepare(work, output=tmp_path / 'out', workers=1)
  assert _files(tmp_path / 'out') == _files(tmp_path / 'whole')
  kinds = {m.name: row.kinds[k] for v in layout.splits.values() for m, k in v}
  left = set(kinds) - set(damaged)
  for split in layout.splits:
    for label, name, _ in readers.records(tmp_path / 'out', split):
      assert row.kinds[label] == kinds[name]
      left.remove(name)
  assert not left


def test_two_workers_write_the_same_bytes_as_one(tmp_path):
  """All layouts in one plan: workers take a second to start."""
  parts = [
    shard
    for row in ROWS.values()
    for shard in _plan(row, _find(row, tmp_path / row.build.__name__)).shards
  ]
  layout = _find(ROWS['class_folders'], tmp_path / 'class_folders')
  work = run.Plan(layout, shards.Options(image_size=8), tuple(parts))
  for workers in (1, 2):
    run.prepare(work, output=tmp_path / f'out{workers}', workers=workers)
  assert _files(tmp_path / 'out1') == _files(tmp_path / 'out2')


_KILLED = """
import os, signal, sys, pathlib
from alexnet_jax.data.prepare import run, shards, sources
source, output = sys.argv[1:]
layout = sources.find_layout(source)
work = run.plan(layout, options=shards.Options(image_size=8))
seen = []
def kill(images):
  seen.append(images)
  if len(seen) == 24:
    os.kill(os.getpid(), signal.SIGKILL)
run.prepare(work, output=pathlib.Path(output), workers=1, progress=kill)
"""


def test_sigkill_of_a_run_of_kaggles_files(tmp_path):
  source = disks.kaggle(tmp_path / 'source')
  output = tmp_path / 'out'
  done = subprocess.run(
    [sys.executable, '-c', _KILLED, str(source), str(output)],
    cwd=pathlib.Path(__file__).parents[1],
    timeout=60,
  )
  assert done.returncode == -signal.SIGKILL and not output.exists()
  work = run.plan(
    sources.find_layout(str(source)), options=shards.Options(image_size=8)
  )
  steps = []
  run.prepare(work, output=output, workers=1, progress=steps.append)
  assert steps[0] == 20  # the shard of train was kept
  run.prepare(work, output=tmp_path / 'whole', workers=1)
  assert _files(output) == _files(tmp_path / 'whole')
