"""What a network learned: kernels, answers, neighbours, errors by class."""

from alexnet_jax.studies.report import (
  commands,
  gather,
  markup,
  pictures,
  results,
  statistics,
)
from alexnet_jax.studies.report.markup import Markup, tag

Run = gather.Run
_NO_CHECKPOINT = 'There is no checkpoint yet: the first is written at the end '
_NO_CHECKPOINT += 'of an epoch.'
_NOT_SOUND = 'There is no sound checkpoint.'


def learned(run: Run, album: pictures.Album) -> Markup:
  return markup.join(
    [_kernels(run, album), _examples(run, album), _neighbours(run, album)]
  )


def _kernels(run: Run, album: pictures.Album) -> Markup:
  heading = tag('h3', 'Kernels of conv1 (Figure 3)')
  damage = [markup.note(reason) for reason in run.damaged]
  if run.checkpoint is None:
    why = _NOT_SOUND if damage else _NO_CHECKPOINT
    return markup.join(heading, damage, markup.missing(why))
  drawn = album.picture(
    'kernels',
    lambda: pictures.kernels(run),
    form='png',
    alt=f'The kernels of conv1 at step {run.checkpoint.step}, as images.',
    caption=f'At step {run.checkpoint.step:,}. {_selectivity(run)}',
  )
  return markup.join(heading, damage, drawn)


def _selectivity(run: Run) -> str:
  """How much colour the kernels of each column tell apart."""
  assert run.checkpoint
  found = statistics.colour_selectivity(
    run.checkpoint.params['conv1']['kernel']
  )
  columns = pictures.columns(run)
  share = [f'{part.mean():.2f}' for part in found.reshape(columns, -1)]
  if columns == 1:
    return f'Mean colour selectivity (0: grey, 1: colour alone): {share[0]}.'
  return (
    'Mean colour selectivity (0: grey, 1: colour alone) of the columns: '
    f'{" and ".join(share)}. In the paper one column turned to colour.'
  )


def _examples(run: Run, album: pictures.Album) -> Markup:
  heading = tag('h3', 'What it says of images (Figure 4, left)')
  if run.predictions is None:
    return markup.join(heading, _no_predictions(run))
  if run.data is None:
    return markup.join(heading, _no_data(run))
  drawn = album.picture(
    'examples',
    pictures.examples(run),
    form='png',
    alt='Eight validation images, each with its five likeliest classes.',
    caption='Validation images with the five likeliest classes, by the '
    f'network {_of_step(run, run.predictions.step)}; up to half of them are '
    'errors. Chosen by their place in the split, not by their looks.',
  )
  return markup.join(heading, drawn)


def _of_step(run: Run, step: int) -> str:
  """Which step something is of, and that there is a newer one."""
  if step < 0:
    return 'of a step that is not recorded'
  newest = run.checkpoint.step if run.checkpoint else step
  if step < newest:
    return f'of step {step:,}, not of the newest checkpoint {newest:,}'
  return f'of step {step:,}'


def _no_predictions(run: Run) -> Markup:
  return markup.missing(
    'There are no predictions image by image (predictions.npz). '
    f'{commands.CONFIG}',
    make=commands.predict(run),
  )


def _no_data(run: Run) -> Markup:
  return markup.missing(f'The images cannot be shown: {run.no_data}')


def _neighbours(run: Run, album: pictures.Album) -> Markup:
  heading = tag('h3', 'Nearest images (Figure 4, right)')
  if run.retrieval is None:
    missing = markup.missing(
      'Nearest images in fc7 are not looked up yet.',
      make=commands.retrieve(run),
    )
    return markup.join(heading, missing)
  parts = [heading]
  if run.data is None:
    parts.append(_no_data(run))
  elif run.retrieval['queries']:
    parts.append(
      album.picture(
        'neighbours',
        pictures.neighbours(run),
        form='png',
        alt='Validation images, each with its nearest training images.',
        caption='Validation images, and the training images nearest to each: '
        'by Euclidean distance in fc7, as in the paper, and in pixels; '
        f'{_of_step(run, run.retrieval["step"])}.',
      )
    )
  return markup.join(*parts, _precision(run))


def _precision(run: Run) -> Markup:
  """How often a neighbour is of the same class."""
  retrieval = run.retrieval
  assert retrieval
  precision = retrieval['precision']
  rows = [
    ('fc7', results.percent(precision['fc7']), '–'),
    ('pixels', results.percent(precision['pixels']), '–'),
    ('by chance', results.percent(precision['chance']), '–'),
  ]
  rows += [
    (
      f'codes of {code["bits"]} bits',
      results.percent(code['precision']),
      results.percent(code['recall']),
    )
    for code in retrieval.get('codes') or []
  ]
  return markup.join(
    markup.table(
      ('Neighbours by', 'Precision', 'Recall'),
      rows,
      numbers=' nn',
    ),
    markup.paragraph(
      f'{retrieval["num_queries"]:,} images of the {retrieval["split"]} '
      f'split looked up among {retrieval["database_images"]:,} training '
      f'images, by the network {_of_step(run, retrieval["step"])}. Precision: '
      'neighbours of the same class. Recall: of the nearest by fc7, those that '
      'a code finds.',
      kind='aside',
    ),
  )


def by_class(run: Run, album: pictures.Album) -> Markup:
  if run.predictions is None:
    return _no_predictions(run)
  return markup.join(
    album.picture(
      'classes',
      lambda: pictures.classes(run),
      form='svg',
      alt='Top-1 and top-5 error of each class.',
      caption=f'{len(run.predictions.labels):,} validation images, '
      f'{results.views(run.predictions.views)}, by the network '
      f'{_of_step(run, run.predictions.step)}.',
    ),
    _confused(run),
  )


def _confused(run: Run) -> Markup:
  found = run.predictions
  assert found
  predicted = found.probabilities.argmax(axis=1).astype(found.labels.dtype)
  pairs = statistics.most_confused(found.labels, predicted, count=10)
  heading = tag('h3', 'Most confused')
  if not pairs:
    return markup.join(heading, markup.paragraph('No image is mistaken.'))
  names = dict(enumerate(pictures.class_names(run)))
  return markup.join(
    heading,
    markup.table(
      ('Class', 'Taken for', 'Images', 'Of the class'),
      [
        (
          names.get(p.label, f'class {p.label}'),
          names.get(p.predicted, f'class {p.predicted}'),
          f'{p.count:,}',
          results.percent(p.share),
        )
        for p in pairs
      ],
      numbers='  nn',
    ),
  )
