"""Figures show the right things, and their files hold any class name."""

import doctest
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('matplotlib')
from matplotlib import text

from alexnet_jax.studies.figures import (
  bands,
  classes,
  compared,
  confusion,
  curves,
  examples,
  exciting,
  explained,
  kernels,
  layers,
  neighbours,
  style,
)

NAMES = ['goldfish', 'hen', 'cock', 'ray', 'ostrich', 'shark']


@pytest.fixture(autouse=True)
def light():
  with style.theme(dark=False):
    yield


@pytest.mark.parametrize('module', [style, curves, kernels, layers])
def test_doctests(module):
  assert doctest.testmod(module).failed == 0


def _words(figure):
  """All text of the figure's SVG, which must be well-formed."""
  root = ElementTree.fromstring(style.svg(figure))
  return [''.join(e.itertext()) for e in root.iter() if e.tag.endswith('text')]


def _pixels(figure):
  """RGBA [h, w, 4] of the figure's PNG."""
  return np.asarray(Image.open(io.BytesIO(style.png(figure))).convert('RGBA'))


def _records(count, *, rates=(0.01,), val=()):
  train = [
    {
      'step': i + 1,
      'epoch': (i + 1) / 10,
      'split': 'train',
      'learning_rate': rates[i * len(rates) // count],
      'loss': 7 / (i + 1),
      'top1_error': 0.9,
      'top5_error': 0.5,
    }
    for i in range(count)
  ]
  return train + [
    train[-1] | {'split': 'val', 'views': views, 'top1_error': 0.25}
    for views in val
  ]


def test_curves_mark_drops_in_every_panel():
  made = curves.figure(_records(20, rates=(0.01, 0.001), val=(1, 10)))
  assert [a.get_title(loc='left') for a in made.axes] == [
    'loss',
    'error',
    'learning rate',
  ]
  for axes in made.axes:
    lines = [list(line.get_xdata()) for line in axes.lines]
    assert lines.count([1.1, 1.1]) == 1
  words = _words(made)
  assert {'training', 'validation', 'ten views', 'drop'} <= set(words)
  assert {'0.01', '0.001', '100 %', 'epoch'} <= set(words)


def test_a_colour_means_the_same_in_both_panels():
  colours = style.palette()
  loss, errors, _ = curves.figure(_records(5, val=(1,))).axes
  for axes in (loss, errors):
    lines = [line for line in axes.lines if len(line.get_xdata()) == 5]
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert lines and points
    assert {line.get_color() for line in lines} == {colours.training}
    assert {line.get_color() for line in points} == {colours.validation}
  top1, top5 = (line for line in errors.lines if len(line.get_xdata()) == 5)
  assert top1.get_linestyle() != top5.get_linestyle()
  assert len({*colours}) == len(colours)


def test_ten_views_are_a_marker_of_their_own():
  errors = curves.figure(_records(5, val=(1, 10))).axes[1]
  points = [
    (line.get_marker(), float(line.get_ydata()[0]))
    for line in errors.lines
    if len(line.get_xdata()) == 1
  ]
  assert points == [('o', 0.25), ('D', 0.25), ('s', 0.5), ('D', 0.5)]


def test_long_runs_are_thinned_and_smoothed():
  raw, smooth, *_ = curves.figure(_records(5000)).axes[0].lines
  assert len(raw.get_xdata()) == len(smooth.get_xdata()) == 600
  assert raw.get_xdata()[-1] == 500.0 and raw.get_alpha() < 0.5
  assert smooth.get_ydata()[0] < raw.get_ydata()[0] == 7


@pytest.mark.parametrize(
  'records',
  [
    _records(1),
    _records(3),
    _records(2, rates=(0.0,)),
    _records(2, rates=(0.01, 0.0)),
    _records(3, val=(1,))[-1:],
    _records(3, val=(10,))[-1:],
    [_records(1)[0] | {'loss': float('nan')}],
    [_records(1, val=(1,))[1] | {'loss': float('nan')}],
  ],
)
def test_curves_of_odd_runs(records):
  made = curves.figure(records)
  assert len(made.axes) == 3 and _words(made)
  assert _pixels(made)[..., 3].any()


@pytest.mark.parametrize('records', [[], [{'split': 'test', 'loss': 1.0}]])
def test_no_records_are_refused(records):
  with pytest.raises(ValueError, match=r'^no record of training[^\n]*$'):
    curves.figure(records)


def test_kernels_are_scaled_each_around_grey():
  weights = np.zeros((2, 2, 3, 4), np.float32)
  weights[0, 0, :, 1] = [2, -1, 0]
  weights[1, 1, :, 2] = [0, 0, -0.01]
  picture = kernels.montage(weights)
  assert picture.shape == (2, 11, 4)  # a row of four, gaps between
  np.testing.assert_array_equal(picture[:, :2, :3], 0.5)  # all zero: grey
  np.testing.assert_array_equal(picture[0, 3], [1, 0.25, 0.5, 1])
  np.testing.assert_array_equal(picture[1, 7], [0.5, 0.5, 0, 1])
  np.testing.assert_array_equal(picture[:, 2, 3], 0)  # a gap sees through


@pytest.mark.parametrize(
  ('count', 'columns', 'grid'),
  [(96, 2, (3, 16)), (96, 1, (6, 16)), (12, 2, (1, 6)), (3, 1, (1, 3))],
)
def test_a_block_of_kernels_for_each_column(count, columns, grid):
  weights = np.random.default_rng(0).normal(size=(11, 11, 3, count))
  per = count // columns
  weights[..., :per] = weights[:, :, :1, :per]  # the first column is grey
  made = kernels.figure(weights, columns=columns)
  assert len(made.axes) == columns
  for number, axes in enumerate(made.axes):
    block = weights[..., number * per : (number + 1) * per]
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown, kernels.montage(block))
    assert shown.shape == (grid[0] * 12 - 1, grid[1] * 12 - 1, 4)
  words = ' '.join(_words(made))
  assert 'colour selectivity 0.00' in words
  assert ('column 2: colour selectivity 0.6' in words) == (columns == 2)


def test_a_weight_is_a_square_of_pixels():
  weights = np.ones((11, 11, 3, 96))
  weights[0, 0, :, 0] = [-1, 1, 1]
  pixels = _pixels(kernels.figure(weights, columns=2))
  cyan = (pixels == [0, 255, 255, 255]).all(axis=-1)
  rows, columns = np.nonzero(cyan)
  assert len(rows) == 16 and np.ptp(rows) == np.ptp(columns) == 3


def _images(*shape):
  return np.random.default_rng(1).integers(0, 256, (*shape, 8, 8, 3), np.uint8)


def _examples(names=NAMES, *, count=5):
  scores = np.random.default_rng(2).dirichlet(np.ones(8), count)
  return examples.figure(
    _images(count),
    labels=np.arange(count) % len(names),
    probabilities=scores.astype(np.float16),  # units 6 and 7 have no class
    classes=names,
  )


def test_examples_show_five_labels_and_mark_the_right_one():
  scores = np.array([[0.05, 0.1, 0.4, 0.3, 0.12, 0.03], [0, 0, 0, 1, 0, 0]])
  images = _images(2)
  made = examples.figure(
    images, labels=np.array([3, 5]), probabilities=scores, classes=NAMES
  )
  image, bars, _, missed = made.axes
  np.testing.assert_array_equal(image.images[0].get_array(), images[0])
  assert bars.get_title() == 'ray'
  shown = [t.get_text() for t in bars.texts]
  assert shown == ['cock', 'ray', 'ostrich', 'hen', 'goldfish']
  assert [t.get_fontweight() == 'bold' for t in bars.texts] == [
    name == 'ray' for name in shown
  ]
  (check,) = bars.lines
  assert check.get_ydata() == [1]  # in the row of 'ray'
  widths = [p.get_width() for p in bars.patches[1::2]]
  np.testing.assert_allclose(widths, [0.4, 0.3, 0.12, 0.1, 0.05])
  colours = {p.get_facecolor() for p in bars.patches[1::2]}
  assert len(colours) == 2
  assert not missed.lines and missed.get_title() == 'shark'


def test_fewer_than_five_classes():
  made = _examples(NAMES[:2])
  assert [len(a.texts) for a in made.axes[1::2]] == [2] * 5


def _neighbours(names=NAMES):
  labels = np.array([[0, 1, 0], [1, 1, 2]])
  return neighbours.figure(
    _images(2),
    query_labels=np.array([0, 1]),
    fc7=_images(2, 3),
    fc7_labels=labels,
    pixels=_images(2, 3),
    pixel_labels=labels[:, ::-1],
    classes=names,
  )


def test_neighbours_of_another_class_are_marked():
  made = _neighbours()
  cells = [axes for axes in made.axes if axes.images]
  assert len(cells) == 2 * 7
  marked = [len(axes.lines) for axes in cells]
  assert marked == [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0]
  assert [a.spines['top'].get_visible() for a in cells] == list(
    map(bool, marked)
  )
  lefts = [axes.get_position().x0 for axes in cells[:7]]
  gaps = np.diff(lefts).round(3)
  assert gaps[0] == gaps[3] > gaps[1]  # after the query, and after fc7's
  assert {'query', 'nearest in fc7', 'nearest in pixels'} <= set(_words(made))


def test_classes_worst_first_without_empty_ones():
  made = classes.figure(
    np.array([0, 0, 1, 1, 2, 4]), np.array([0, 3, 1, 1, 0, 2]), classes=NAMES
  )
  (axes,) = made.axes
  names = [t.get_text() for t in axes.get_yticklabels()]
  assert names == ['hen', 'ostrich', 'goldfish', 'cock']
  assert [p.get_width() for p in axes.patches[4:]] == [1, 1, 0.5, 0]
  assert {'all images: 67 %', '50 %'} <= set(_words(made))


def test_both_ends_of_many_classes():
  labels = np.repeat(np.arange(40), 40)
  wrong = np.tile(np.arange(40), 40) < labels  # class c has an error of c / 40
  names = [f'class {c}' for c in range(40)]
  made = classes.figure(labels, wrong.astype(int), classes=names)
  shown = [[t.get_text() for t in a.get_yticklabels()] for a in made.axes]
  assert shown[0] == [f'class {c}' for c in range(39, 24, -1)]
  assert shown[1] == [f'class {c}' for c in range(14, -1, -1)]


def test_no_images_have_no_error():
  none = np.array([], int)
  with pytest.raises(ValueError, match='no images'):
    classes.figure(none, none, classes=NAMES)
  with pytest.raises(ValueError, match='no images'):
    _examples(count=0)


HEALTH = [
  {'stage': 'conv1', 'stddev': 12.0, 'dead': None},
  {'stage': 'conv1/activation', 'stddev': 7.0, 'dead': 0.25},
  {'stage': 'conv1/pool', 'stddev': 5.0, 'dead': None},
  {'stage': 'fc8', 'stddev': 0.0, 'dead': None},
]
STATISTICS = [
  {'layer': 'conv1', 'weight_rms': 0.5, 'velocity_rms': 0.005},
  {'layer': 'fc8', 'weight_rms': 0.0, 'velocity_rms': 0.0},
]


def test_layers_by_hand():
  made = layers.figure(HEALTH, STATISTICS)
  spread, pace = made.axes
  assert [line.get_xdata()[0] for line in spread.lines] == [12, 7, 5]
  assert pace.lines[0].get_xdata()[0] == 0.01
  words = _words(made)
  assert {'conv1', 'fc8', '25 %', 'dead', '0', 'pooled'} <= set(words)


@pytest.mark.parametrize(
  ('health', 'statistics'), [(HEALTH, []), ([], STATISTICS), (HEALTH[-1:], [])]
)
def test_one_half_of_the_layers(health, statistics):
  made = layers.figure(health, statistics)
  assert len(made.axes) == 1 and _pixels(made)[..., 3].any()


def test_no_layers_are_refused():
  with pytest.raises(ValueError, match=r'^neither activations nor kernels'):
    layers.figure([], [])


HOSTILE = [
  '<script>',
  'a & "b"',
  '$x$ $\\frac$',
  '猫と犬',
  'one\ntwo\x00\x1b',
  'very ' * 40,
]


@pytest.mark.parametrize('draw', [_examples, _neighbours])
def test_any_name_makes_whole_files(draw):
  made = draw(HOSTILE)
  words = _words(made)
  assert '<script>' in words and 'a & "b"' in words
  assert b'<script' not in style.svg(made)
  assert max(map(len, words)) < 80
  assert _pixels(made)[..., 3].any()
  if draw is _examples:
    assert {'$x$ $\\frac$', '猫と犬', 'one two', 'very very very…'} <= set(
      words
    )


def test_any_name_in_bars_of_classes():
  labels = np.arange(6)
  words = _words(classes.figure(labels, labels, classes=HOSTILE))
  assert {'<script>', '$x$ $\\frac$', '猫と犬'} <= set(words)


@pytest.mark.parametrize('name', ['', ' ', '\ud800', 'a\u202eb', '\ufffe'])
def test_labels_without_letters(name):
  assert style.label(name, width=5) in ('', 'a b')


def _confusion(count):
  counts = np.random.default_rng(0).integers(0, 99, (count, count))
  names = [f'a class of many words {n}' for n in range(count)]
  return confusion.figure(counts, classes=names)


def _explained():
  panels = {name: _images(1)[0] for name in ('image', 'saliency', 'Grad-CAM')}
  return explained.figure([('cat 88.9 %, is dog', panels)] * 2)


def _exciting():
  return exciting.figure(
    list(_images(3)),
    projections=list(255 - _images(3)),
    fields=[((0, 4), (2, 8))] * 3,
    names=['36.9 a-name-that-is-long-and-longer.png'] * 3,
  )


def _compared():
  train = [r | {'epoch': r['epoch']} for r in _records(4)]
  runs = [(f'a run with a long name {n}' * 3, train, []) for n in range(8)]
  return compared.figure(runs)


def _bands(count=5):
  rng = np.random.default_rng(0)
  errors = rng.random((count + 1, 3, 4))
  epochs = [1.0, 2.0, 3.0, 4.0]
  nets = [(f'an_ablation_{n}' * 3, epochs, own) for n, own in enumerate(errors)]
  return errors, bands.figure(nets)


@pytest.mark.parametrize('count', [1, 4, 5])
def test_a_band_reaches_from_the_lowest_seed_to_the_highest(count):
  errors, made = _bands(count)
  panels = [axes for axes in made.axes if axes.axison]
  assert len(panels) == count
  for n, axes in enumerate(panels, start=1):
    for net, line, band in zip(
      (0, n), axes.lines, axes.collections, strict=True
    ):
      np.testing.assert_allclose(line.get_ydata(), errors[net].mean(axis=0))
      path = band.get_paths()[0].vertices
      for epoch, own in zip((1, 2, 3, 4), errors[net].T, strict=True):
        drawn = path[path[:, 0] == epoch, 1]
        assert (drawn.min(), drawn.max()) == (own.min(), own.max())
  last = panels[-2:]  # one of each column
  assert all(
    any(t.label1.get_visible() for t in a.xaxis.get_major_ticks()) for a in last
  )
  with pytest.raises(ValueError, match='no ablated net'):
    bands.figure([('base', [1.0], errors[0][:, :1])])


def _undrawn(figure):
  """The labels of ticks that lie outside of their axis."""
  found = set()
  for axis in (one for axes in figure.axes for one in (axes.xaxis, axes.yaxis)):
    low, high = sorted(axis.get_view_interval())
    for tick in axis.get_major_ticks():
      if not low <= tick.get_loc() <= high:
        found |= {tick.label1, tick.label2}
  return found


@pytest.mark.parametrize(
  'draw',
  [
    lambda: curves.figure(_records(20, rates=(0.01, 0.001), val=(1, 10))),
    lambda: kernels.figure(np.ones((11, 11, 3, 96)), columns=2),
    lambda: layers.figure(HEALTH, STATISTICS),
    lambda: classes.figure(
      np.arange(6), np.arange(6), classes=['a b ' * 9] * 6
    ),
    lambda: _confusion(10),
    lambda: _confusion(30),
    lambda: _examples(['a name of many letters'] * 6),
    lambda: _neighbours(['a name of many letters'] * 6),
    _explained,
    _exciting,
    _compared,
    lambda: _bands()[1],
  ],
)
def test_words_can_be_read_on_a_phone_and_are_whole(draw):
  made = draw()
  words = _words(made)  # those that are drawn; ticks may lie outside
  width, height = made.bbox.size
  assert width <= style.WIDTH * made.dpi
  phone = 350 / (style.WIDTH * 72)  # pixels a point, 390 wide with margins
  seen = [
    found
    for found in made.findobj(text.Text)
    if found.get_text() in words
    and found.get_visible()
    and found not in _undrawn(made)
  ]
  assert seen
  for found in seen:
    assert found.get_fontsize() * phone >= 10, found.get_text()
    box = found.get_window_extent()
    assert box.x0 > -2 and box.x1 < width + 2, found.get_text()
    assert box.y0 > -2 and box.y1 < height + 2, found.get_text()


def test_many_classes_have_numbers_over_the_columns():
  few, many = _confusion(5).axes[0], _confusion(30).axes[0]
  heads = [t.get_text() for t in few.get_xticklabels()]
  assert heads == [t.get_text() for t in few.get_yticklabels()]
  heads = [t.get_text() for t in many.get_xticklabels()]
  assert heads[:3] == ['1', '', '3']
  assert many.get_yticklabels()[2].get_text().endswith(' 3')


def test_explained_images_in_rows():
  made = _explained()
  assert len(made.axes) == 2 * 3
  words = _words(made)
  assert words.count('Grad-CAM') == 1 and words.count('cat 88.9 %, is dog') == 2
  with pytest.raises(ValueError, match='no images'):
    explained.figure([])


def test_what_a_unit_sees_is_framed_and_cut_out():
  made = _exciting()
  assert len(made.axes) == 3 * 3
  (frame,) = made.axes[0].patches
  assert (frame.get_x(), frame.get_y()) == (1.5, -0.5)
  assert (frame.get_width(), frame.get_height()) == (6, 4)
  part = made.axes[1].images[0].get_array()
  assert part.shape == (6, 6, 3)  # filled to a square
  np.testing.assert_array_equal(part[:4], _images(3)[0][:4, 2:])
  np.testing.assert_array_equal(part[4:], 127)
  projected = made.axes[2].images[0].get_array()
  np.testing.assert_array_equal(projected[:4], 255 - part[:4])
  with pytest.raises(ValueError, match='no images'):
    exciting.figure([], projections=[], fields=[], names=[])


@pytest.mark.parametrize(
  'draw',
  [
    lambda: curves.figure(_records(20, rates=(0.01, 0.001), val=(1, 10))),
    lambda: kernels.figure(np.ones((3, 3, 3, 4)), columns=2),
    lambda: layers.figure(HEALTH, STATISTICS),
    _neighbours,
  ],
)
def test_files_are_the_same_each_time(draw):
  first = draw()
  assert style.svg(first) == style.svg(draw()) == style.svg(first)
  assert style.png(first) == style.png(draw()) == style.png(first)


def test_files_name_no_program_and_no_date():
  made = kernels.figure(np.ones((3, 3, 3, 4)), columns=2)
  assert not Image.open(io.BytesIO(style.png(made))).text
  assert b'<dc:date>' not in style.svg(made)
  assert b'matplotlib.org' not in style.svg(made)


def test_words_fall_back_to_a_plain_font():
  data = style.svg(layers.figure(HEALTH, STATISTICS)).decode()
  fonts = [line for line in data.splitlines() if '<text' in line]
  assert fonts and all('sans-serif' in line for line in fonts)


def test_pages_show_through_and_themes_differ():
  pixels = _pixels(curves.figure(_records(3)))
  assert pixels.shape[1] == 864 and not pixels[0, 0, 3]
  seen = {}
  for dark in (False, True):
    with style.theme(dark):
      seen[dark] = style.svg(curves.figure(_records(3)))
  assert style.LIGHT.ink.encode() in seen[False]
  assert style.DARK.ink.encode() in seen[True]
  assert style.LIGHT.ink.encode() not in seen[True]


def test_a_theme_leaves_no_state():
  outside = style.palette()
  with style.theme(outside is style.LIGHT):
    assert style.palette() is not outside
  assert style.palette() is outside
