"""Retrieval by fc7 compared with retrieval by pixels and by codes (§6.1).

The training images are the database, validation images the queries. The paper
shows five queries with the six nearest images of each: "Notice that at the
pixel level, the retrieved training images are generally not close in L2 to the
query images in the first column." This module also counts how many of the six
have the query's class: for fc7, pixels, short binary codes, and by chance.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from alexnet_jax.data import dataset
from alexnet_jax.evaluate import load
from alexnet_jax.studies.retrieval import codes, features, neighbours
from alexnet_jax.train import log

COUNT = 6  # columns of Figure 4, right
BITS = (32, 64, 128, 256)
_SHOWN = 8  # queries whose neighbours are named
_Features = features.Features


def search(
  network: load.Network,
  *,
  workdir: pathlib.Path,
  queries: int = 1000,
  most_images: int | None = None,
  bits: Sequence[int] = BITS,
  notify: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Extracts features, searches them, and writes WORKDIR/retrieval.json.

  Features go to WORKDIR/features/train and val, those of a sample to
  features/train-NUMBER; those of another checkpoint are replaced.

  At most `queries` validation and `most_images` training images are used, a
  sample if there are more; `bits` are the lengths of the codes to train, and
  `notify` is called with a line for each damaged image and replaced folder.

  Returns the contents of retrieval.json: `step`, `split` (of the queries),
  `database_images` (searched), `of_images` (in the split), `num_queries`,
  `pixels` (side of the images that are compared by pixels), `precision` (of
  fc7, pixels and chance), `codes` (bits, precision, recall of fc7's
  neighbours), and `queries`: some of them with their neighbours, where `index`
  is the position in the split. Raises ValueError if the data set or the disk is
  too small, or a number of bits, queries or images cannot be used.
  """
  for size in bits:
    codes.check_bits(size)
  data = network.setup.dataset
  _check_sizes(data, queries=queries, most_images=most_images)

  def extract(split: Literal['train', 'val'], most: int | None) -> _Features:
    whole = workdir / 'features' / split
    is_all = most is None or most >= len(getattr(data, split))
    return features.extract(
      network,
      split=split,
      folder=whole if is_all else whole.with_name(f'{split}-{most}'),
      most_images=most,
      whole=None if is_all else whole,
      notify=notify,
    )

  database, asked = extract('train', most_images), extract('val', queries)
  for fault in network.setup.bad_records.drain():
    notify(f'warning: an image is left out: {fault}')
  seed = network.setup.config.seed
  found = _compare(asked, database, data=data, bits=bits, seed=seed)
  result = {'step': network.step} | found
  log.write_json(workdir / 'retrieval.json', result)
  return result


def _check_sizes(
  data: dataset.Dataset, *, queries: int, most_images: int | None
) -> None:
  """Raises ValueError if there is too little to search."""
  if queries < 1:
    raise ValueError(f'queries = {queries}: use at least 1')
  if most_images is not None and most_images < COUNT:
    raise ValueError(
      f'most_images = {most_images}, but {COUNT} neighbours are looked for: '
      f'use at least {COUNT}'
    )
  for split, least in (('train', COUNT), ('val', 1)):
    images = len(getattr(data, split))
    if images < least:
      raise ValueError(
        f'{split} of {data.name} has {images} images, {least} are needed: '
        'prepare the data with more'
      )


def _compare(
  asked: _Features,
  database: _Features,
  *,
  data: dataset.Dataset,
  bits: Sequence[int],
  seed: int,
) -> dict[str, Any]:
  """The contents of retrieval.json, except for the step."""
  labels = {'queries': asked.labels, 'database': database.labels}
  fc7 = neighbours.nearest(asked.features, database.features, count=COUNT)
  pixels = neighbours.nearest(asked.pixels, database.pixels, count=COUNT)

  def of_codes(bits: int) -> dict[str, float]:
    coder = codes.train(database.features, bits=bits, seed=seed)
    own, others = (coder.encode(f.features) for f in (asked, database))
    found = neighbours.hamming(own, others, count=COUNT)
    return {
      'bits': bits,
      'precision': neighbours.precision(found, **labels),
      'recall': neighbours.recall(found, exact=fc7),
    }

  def named(found: neighbours.Neighbours, row: int) -> list[dict[str, Any]]:
    near = (rows[row].tolist() for rows in found)  # indices, distances
    return [
      _named(data.train, database, at) | {'distance': float(distance)}
      for at, distance in zip(*near, strict=True)
    ]

  return {
    'split': 'val',
    'database_images': len(database.labels),
    'of_images': database.of_images,
    'num_queries': len(asked.labels),
    'pixels': round((database.pixels.shape[1] // 3) ** 0.5),
    'precision': {
      'fc7': neighbours.precision(fc7, **labels),
      'pixels': neighbours.precision(pixels, **labels),
      'chance': neighbours.chance(**labels),
    },
    'codes': [of_codes(size) for size in bits],
    'queries': [
      _named(data.val, asked, row)
      | {'fc7': named(fc7, row), 'pixels': named(pixels, row)}
      for row in _shown(asked.labels)
    ],
  }


def _shown(labels: np.ndarray) -> list[int]:
  """Rows of the first image of up to eight classes, evenly spaced."""
  _, first = np.unique(labels, return_index=True)
  some = np.linspace(0, len(first) - 1, min(_SHOWN, len(first)))
  return first[np.round(some).astype(int)].tolist()


def _named(split: dataset.Split, rows: _Features, row: int) -> dict[str, Any]:
  index, label = int(rows.index[row]), int(rows.labels[row])
  return {'index': index, 'name': split[index].name, 'label': label}


def precision_table(result: dict[str, Any]) -> str:
  """Formats the results of `search` as text."""
  precision, side = result['precision'], result['pixels']
  lines = [
    f'step {result["step"]}: {result["num_queries"]:,} queries of '
    f'{result["split"]} among {result["database_images"]:,} of '
    f'{result["of_images"]:,} training images',
    '',
    f"share of the {COUNT} nearest that have the query's class",
    f'  {"fc7, Euclidean":24}{precision["fc7"]:>8.4f}',
    f'  {f"pixels, {side} x {side} means":24}{precision["pixels"]:>8.4f}',
    f'  {"drawn at random":24}{precision["chance"]:>8.4f}',
  ]
  if result['codes']:
    recall = f'recall@{COUNT}'
    lines += ['', f'{"bits":>6}{"same class":>12}{"of fc7":>9}{recall:>10}']
  for code in result['codes']:
    share = code['precision'] / precision['fc7'] if precision['fc7'] else 0.0
    lines.append(
      f'{code["bits"]:>6}{code["precision"]:>12.4f}{share:>9.1%}'
      f'{code["recall"]:>10.4f}'
    )
  return '\n'.join(lines)
