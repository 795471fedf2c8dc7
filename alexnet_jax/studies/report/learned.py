"""What a network learned: kernels, answers, neighbours, errors by class."""

from collections.abc import Iterator

import numpy as np

from alexnet_jax.evaluate import predictions
from alexnet_jax.studies.report import (
  gather,
  page,
  pictures,
  results,
  statistics,
)

Run = gather.Run


def blocks(run: Run, album: pictures.Album) -> Iterator[page.Block]:
  """Figures 3 and 4 for this run."""
  yield page.Heading('Kernels of conv1 (Figure 3)')
  yield from _kernels(run, album)
  yield page.Heading('What it says of images (Figure 4, left)')
  yield _examples(run, album)
  yield page.Heading('Nearest images (Figure 4, right)')
  yield from _neighbours(run, album)


def _kernels(run: Run, album: pictures.Album) -> Iterator[page.Block]:
  for reason in run.damaged:
    yield page.Text(reason, 'note')
  if run.checkpoint is None:
    yield page.Missing(
      'There is no sound checkpoint.'
      if run.damaged
      else 'There is no checkpoint yet: the first is written at the end of an '
      'epoch.'
    )
    return
  kernels = run.checkpoint.params['conv1']['kernel']
  columns = run.checkpoint.meta['config'].get('model', {}).get('columns', 1)
  yield album.picture(
    'kernels',
    lambda: {'kernels': kernels, 'columns': columns},
    form='png',
    alt=f'The kernels of conv1 at step {run.checkpoint.step}, as images.',
    caption=f'At step {run.checkpoint.step:,}. '
    f'{_selectivity(kernels, columns=columns)}',
  )


def _selectivity(kernels: np.ndarray, *, columns: int) -> str:
  """The mean colour selectivity of the kernels of each column."""
  found = statistics.colour_selectivity(kernels)
  share = [f'{part.mean():.2f}' for part in found.reshape(columns, -1)]
  if columns == 1:
    return f'Mean colour selectivity (0: grey, 1: colour alone): {share[0]}.'
  return (
    'Mean colour selectivity (0: grey, 1: colour alone) of the columns: '
    f'{" and ".join(share)}. In the paper one column turned to colour.'
  )


def _examples(run: Run, album: pictures.Album) -> page.Block:
  if run.predictions is None:
    return _no_predictions(run)
  if run.data is None:
    return _no_data(run)
  return album.picture(
    'examples',
    lambda: pictures.examples(run),
    form='png',
    alt='Eight validation images, each with its five likeliest classes.',
    caption='Validation images with the five likeliest classes, by the '
    f'network {_of_step(run, run.predictions.step)}; up to half of them are '
    'errors. Chosen by their place in the split, not by their looks.',
  )


def _of_step(run: Run, step: int) -> str:
  """The step a result is from, and the newest one if that is later."""
  if step < 0:
    return 'of a step that is not recorded'
  newest = run.checkpoint.step if run.checkpoint else step
  if step < newest:
    return f'of step {step:,}, not of the newest checkpoint {newest:,}'
  return f'of step {step:,}'


def _no_predictions(run: Run) -> page.Missing:
  return page.Missing(
    'There are no predictions image by image (predictions.npz). '
    f'{gather.CONFIG}',
    run.command(
      'main --mode=eval --restore=WORKDIR --config=CONFIG.py '
      f'--save_predictions=WORKDIR/{predictions.OF_A_RUN}'
    ),
  )


def _no_data(run: Run) -> page.Missing:
  return page.Missing(f'The images cannot be shown: {run.no_data}')


def _neighbours(run: Run, album: pictures.Album) -> Iterator[page.Block]:
  found = run.retrieval
  if found is None:
    yield page.Missing(
      'Nearest images in fc7 are not looked up yet.',
      run.command('tools.retrieve --restore=WORKDIR'),
    )
    return
  if run.data is None:
    yield _no_data(run)
  elif found['queries']:
    yield album.picture(
      'neighbours',
      lambda: pictures.neighbours(run),
      form='png',
      alt='Validation images, each with its nearest training images.',
      caption='Validation images, and the training images nearest to each: '
      'by Euclidean distance in fc7, as in the paper, and in pixels; '
      f'{_of_step(run, found["step"])}.',
    )
  precision = found['precision']
  names = {'fc7': 'fc7', 'pixels': 'pixels', 'chance': 'by chance'}
  rows = [(n, results.percent(precision[k]), '–') for k, n in names.items()]
  for code in found.get('codes') or []:
    found_by = (
      results.percent(code['precision']),
      results.percent(code['recall']),
    )
    rows.append((f'codes of {code["bits"]} bits', *found_by))
  yield page.Table(('Neighbours by', 'Precision', 'Recall'), rows, ' nn')
  yield page.Text(
    f'{found["num_queries"]:,} images of the {found["split"]} split looked up '
    f'among {found["database_images"]:,} training images, by the network '
    f'{_of_step(run, found["step"])}. Precision: neighbours of the same class. '
    'Recall: of the nearest by fc7, those that a code finds.',
    'aside',
  )


def by_class(run: Run, album: pictures.Album) -> Iterator[page.Block]:
  """The error of each class, and the pairs of classes most confused."""
  found = run.predictions
  if found is None:
    yield _no_predictions(run)
    return
  yield album.picture(
    'classes',
    lambda: {
      'labels': found.labels,
      'ranks': found.ranks,
      'classes': run.class_names,
    },
    form='svg',
    alt='Top-1 and top-5 error of each class.',
    caption=f'{len(found.labels):,} validation images, '
    f'{results.views(found.views)}, by the network '
    f'{_of_step(run, found.step)}.',
  )
  yield page.Heading('Most confused')
  predicted = found.probabilities.argmax(axis=1).astype(found.labels.dtype)
  pairs = statistics.most_confused(found.labels, predicted, count=10)
  names = dict(enumerate(run.class_names))
  rows = [
    (
      *(names.get(c, f'class {c}') for c in (p.label, p.predicted)),
      f'{p.count:,}',
      results.percent(p.share),
    )
    for p in pairs
  ]
  header = ('Class', 'Taken for', 'Images', 'Of the class')
  yield (
    page.Table(header, rows, '  nn')
    if rows
    else page.Text('No image is mistaken.')
  )
