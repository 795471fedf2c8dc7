"""The look of figures, and their files.

  with style.theme(dark=False):
    data = style.svg(curves.figure(records))

A figure reads its colours both when it is made and when it is saved, so both
belong inside `theme`. The same numbers and the same matplotlib give the same
file, byte for byte.
"""

import contextlib
import contextvars
import io
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.style
import numpy as np
from jaxtyping import UInt8
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from PIL import Image

WIDTH = 4.5  # inches: 432 pixels; a page shows them as 350 to 544
SMALL = 9.5  # points, the smallest type: 10 pixels where 4.5 inches are 350
DPI = 192  # of a PNG: two pixels per pixel of a page
DASHED = {'lw': 1, 'ls': (0, (4, 3))}

# Marks whose shape alone tells right from wrong.
_STROKE = {'ls': '', 'mfc': 'none', 'mew': 2.2}
_HOOK = Path([(-0.5, 0), (-0.15, -0.4), (0.5, 0.45)])
CHECK = _STROKE | {'ms': 8, 'marker': _HOOK}
CROSS = _STROKE | {'ms': 7, 'marker': 'x'}


class Palette(NamedTuple):
  """Colours from Okabe and Ito's set, which all kinds of colour vision see.

  Each means the same in every figure of a run; what has no meaning of these is
  drawn in ink and told apart by its shape.
  """

  ink: str
  muted: str
  faint: str  # grids and empty bars
  training: str
  validation: str
  right: str  # the right answer
  wrong: str
  runs: tuple[str, str, str, str]  # of one figure, told apart by strokes too


LIGHT = Palette(
  ink='#1a1a1a',
  muted='#6b6b6b',
  faint='#e2e2e2',
  training='#0072b2',
  validation='#d55e00',
  right='#009e73',
  wrong='#b23a7c',
  runs=('#1a1a1a', '#8a5fbf', '#00867d', '#a67c00'),
)
DARK = Palette(
  ink='#ececec',
  muted='#a3a3a3',
  faint='#3a3a3a',
  training='#56b4e9',
  validation='#e69f00',
  right='#2bc79a',
  wrong='#e487b8',
  runs=('#ececec', '#b799e8', '#4fc9bd', '#d9b44a'),
)
_PALETTE = contextvars.ContextVar('palette', default=LIGHT)

# Fonts for other scripts, of which those installed are used.
_FALLBACKS = (
  'Noto Sans CJK SC',
  'Noto Sans CJK JP',
  'Source Han Sans SC',
  'WenQuanYi Micro Hei',
  'PingFang SC',
  'Hiragino Sans',
  'Microsoft YaHei',
  'Malgun Gothic',
  'Arial Unicode MS',
)


def palette() -> Palette:
  """The colours of the current theme; LIGHT outside of any."""
  return _PALETTE.get()


@contextlib.contextmanager
def theme(dark: bool) -> Iterator[None]:
  """Sets colours for a light or dark page, on a transparent background."""
  colours = DARK if dark else LIGHT
  token = _PALETTE.set(colours)
  try:
    with matplotlib.style.context(['default', _settings(colours)]):
      yield
  finally:
    _PALETTE.reset(token)


def _settings(colours: Palette) -> dict[str, Any]:
  there = set(font_manager.fontManager.get_font_names())
  installed = [name for name in _FALLBACKS if name in there]
  return {
    'axes.axisbelow': True,
    'axes.edgecolor': colours.muted,
    'axes.facecolor': 'none',
    'axes.labelcolor': colours.ink,
    'axes.linewidth': 0.8,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlelocation': 'left',
    'axes.titlesize': 10.5,
    'figure.facecolor': 'none',
    'font.family': ['DejaVu Sans', *installed, 'sans-serif'],
    'font.sans-serif': ['DejaVu Sans'],  # saves a search for others
    'font.size': 10.5,
    'grid.color': colours.faint,
    'grid.linewidth': 0.8,
    'legend.borderaxespad': 0.3,
    'legend.columnspacing': 1.5,
    'legend.fontsize': SMALL,
    'legend.frameon': False,
    'legend.handlelength': 1.5,
    'legend.handletextpad': 0.6,
    'savefig.facecolor': 'none',
    'text.color': colours.ink,
    'text.parse_math': False,  # a $ in a name is a $
    'xtick.color': colours.muted,
    'xtick.labelcolor': colours.ink,
    'xtick.labelsize': SMALL,
    'ytick.color': colours.muted,
    'ytick.labelcolor': colours.ink,
    'ytick.labelsize': SMALL,
  }


def figure(height: float) -> Figure:
  """An empty figure as wide as the page, which lays itself out; in inches."""
  return Figure(figsize=(WIDTH, height), layout='constrained')


def png(figure: Figure) -> bytes:
  """Renders the figure as PNG, at two pixels per pixel of a page."""
  return _save(figure, format='png', dpi=DPI, metadata={'Software': None})


def svg(figure: Figure) -> bytes:
  """Renders the figure as SVG, with words as text that can be searched."""
  with mpl.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'alexnet_jax'}):
    return _save(figure, format='svg', metadata={'Date': None, 'Creator': None})


def _save(figure: Figure, **options: Any) -> bytes:
  file = io.BytesIO()
  with warnings.catch_warnings():
    # Letters without a font become boxes; an SVG uses the page's fonts.
    warnings.filterwarnings('ignore', message=r'Glyph \d+ .* missing from')
    engine = figure.get_layout_engine()
    if engine is not None:
      # Once: a second pass, or another dpi, would shift the layout a bit.
      engine.execute(figure)
      figure.set_layout_engine('none')
    figure.savefig(file, **options)
  return file.getvalue()


def label(name: str, *, width: int) -> str:
  """Shortens a name to one line of `width` letters; wide ones count twice.

  Letters that cannot be printed, which XML forbids, become spaces.

  >>> label('container\\nship, vessel', width=15)
  'container ship…'
  """
  plain = ''.join(c if c.isprintable() else ' ' for c in name)
  line = ' '.join(plain.split())
  wide = (unicodedata.east_asian_width(c) in 'WF' for c in line)
  ends = np.cumsum([1 + w for w in wide] or [0])
  if ends[-1] <= width:
    return line
  return line[: int(np.searchsorted(ends, width))].rstrip(' ,') + '…'


def percent(share: float, _: Any = None) -> str:
  """Formats a share of 0 to 1; the second argument is for tick formatters.

  >>> percent(0.375)
  '38 %'
  """
  return f'{100 * share:.0f} %'


def picture(
  axes: Axes, image: UInt8[np.ndarray, 's s 3'], *, inches: float
) -> None:
  """Draws an RGB image without axes, at the resolution of the PNG."""
  side = min(round(inches * DPI), len(image))
  small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
  axes.imshow(np.asarray(small), interpolation='none')
  axes.set(xticks=[], yticks=[])
  axes.spines[:].set_visible(False)


def over_epochs(
  records: Sequence[Mapping[str, Any]], field: str
) -> tuple[list[float], list[float]]:
  """The epochs of records, and the values of a field."""
  return [r['epoch'] for r in records], [r[field] for r in records]


def legend_above(axes: Axes) -> None:
  """Puts the legend above the panel at the right, if any line has a label."""
  if axes.get_legend_handles_labels()[0]:
    axes.legend(
      loc='lower right', bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0
    )


def beside(axes: Axes, row: int | None, words: str) -> None:
  """Writes right of the panel, beside a row; None is the title's row."""
  axes.annotate(
    words,
    (1, 1 if row is None else row),
    (36, 6 if row is None else 0),
    xycoords='axes fraction' if row is None else axes.get_yaxis_transform(),
    textcoords='offset points',
    ha='right',
    va='baseline' if row is None else 'center_baseline',
    fontsize=SMALL,
  )
