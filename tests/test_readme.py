"""README's generated parts are those that the tree gives."""

import pathlib
import re

import pytest

from alexnet_jax.bench import tables
from alexnet_jax.tools import readme

ROOT = pathlib.Path(__file__).parent.parent


def test_readme_is_up_to_date():
  """If not: python -m alexnet_jax.tools.readme."""
  text = (ROOT / 'README.md').read_text()
  assert readme.rewrite(text, root=ROOT) == text


def test_every_mark_in_the_tree_is_a_row():
  """The greppable marks, counted by grep's means."""
  marks = re.compile(r'(Paper silent|Paper differs from code|Deviation):')
  files = [*ROOT.glob('configs/*.py'), *ROOT.glob('alexnet_jax/**/*.py')]
  texts = [f.read_text() for f in files if f.name != 'readme.py']
  found = readme.deviations(ROOT)
  assert sum(len(marks.findall(t)) for t in texts) == len(found) > 20
  for row in found:
    assert row.paper and row.here and (row.program or not row.silent), row


def _tree(tmp_path, text):
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'alexnet_jax').mkdir()
  (tmp_path / 'configs' / 'a.py').write_text(text)
  return tmp_path


def test_rows_from_comments_and_docstrings(tmp_path):
  root = _tree(
    tmp_path,
    '"""Title.\n\n'
    'Paper silent: how a | b.\n2012: so.\nHere: thus,\nor so.\n"""\n'
    'x = 1\n'
    '# A comment.\n'
    '# Deviation: the text.\n'
    '# Here: ours.\n'
    'y = 2  # not part of it\n',
  )
  rows = readme.deviations(root)
  assert rows == [
    ('configs/a.py', True, 'how a | b.', 'so.', 'thus, or so.'),
    ('configs/a.py', False, 'the text.', '', 'ours.'),
  ]
  table = readme.table(rows).splitlines()
  assert table[2] == (
    r'| `configs/a.py` | silent: how a \| b. | so. | thus, or so. |'
  )


def test_a_mark_that_does_not_say_what_is_done_is_refused(tmp_path):
  root = _tree(tmp_path, '# Paper silent: the seed.\n# 2012: unknown.\nx = 1\n')
  with pytest.raises(ValueError, match=r'configs/a\.py: .*"Here:"'):
    readme.deviations(root)


def test_curves_are_means_over_seeds():
  def row(name, loss, errors):
    steps = [[1, 2], [3, 4]]
    return {'name': name, 'steps': steps, 'loss': loss, 'val_errors': errors}

  rows = [row('a', [3.0, 1.0], 0), row('b', [4.0, 2.0], 7), row('a', [2, 0], 1)]
  lines = tables.curves(rows).splitlines()
  assert lines[0].split(' | ')[1:3] == ['1-2', '3-4']
  assert lines[2:] == [
    '| `a` | 2.50 | 0.50 | 2 | 0, 1 |',
    '| `b` | 4.00 | 2.00 | 1 | 7 |',
  ]


def test_rates_are_rows_with_their_conditions():
  row = {
    'what': 'train', 'images_per_second': 12345.6, 'range': [12000.0, 13000.4],
    'cpu_us_per_image': 99.6, 'n': 5, 'hardware': 'H', 'python': '3.11',
    'date': '2026-01-02', 'images': 4000, 'command': 'python -m x',
  }  # fmt: skip
  lines = tables.rates([row]).splitlines()
  assert lines[2] == '| train | 12,346 | 12,000 to 13,000 | 5 | 100 us |'
  assert lines[-1] == (
    'H, Python 3.11, 2026-01-02, 4,000 training images; `python -m x`.'
  )


def test_a_readme_without_the_marks_is_refused():
  with pytest.raises(ValueError, match='presets'):
    readme.rewrite('# title\n', root=ROOT)
