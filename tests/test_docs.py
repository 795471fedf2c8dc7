"""Tables of the docs are those that the tree gives, and their links lead on."""

import ast
import functools
import pathlib
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from alexnet_jax.bench import tables
from alexnet_jax.configs import default, imagenet
from alexnet_jax.data import augment
from alexnet_jax.models import alexnet
from alexnet_jax.tools import docs

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
  *sorted(ROOT.glob('*.md')),
  *sorted(ROOT.glob('docs/*.md')),
  *sorted(ROOT.glob('docs/notebooks/*.md')),
  ROOT / 'launch' / 'README.md',
]
all_pages = pytest.mark.parametrize(
  'page', PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


@pytest.mark.parametrize('name', docs.PAGES)
def test_tables_are_up_to_date(name):
  """If not: python -m alexnet_jax.tools.docs."""
  text = (ROOT / name).read_text()
  assert docs.rewrite(text, page=name, root=ROOT) == text


def test_readme_is_a_front_page():
  text = (ROOT / 'README.md').read_bytes()
  assert len(text) <= 12_000 and len(text.splitlines()) <= 200


def _anchors(path):
  """The anchors of a page's headings, as GitHub and others make them."""
  heads = re.findall(r'^#+ (.+)$', path.read_text(), re.M)
  return {
    re.sub(r'[^\w -]', '', h).strip().lower().replace(' ', '-') for h in heads
  }


@all_pages
def test_links_lead_to_files_and_headings(page):
  for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
    if re.match(r'\w+:', target):
      continue  # another site
    name, _, anchor = target.partition('#')
    path = page.parent / name if name else page
    assert path.exists(), f'{page.name} links to {target}, which is not there'
    assert not anchor or anchor in _anchors(path), f'{page.name}: {target}'


@all_pages
def test_tools_and_paths_that_are_named_exist(page):
  text = page.read_text()
  if page.name == 'CHANGELOG.md':
    return  # which names what is gone
  for tool in re.findall(r'\btools\.([a-z_]\w*)', text):
    path = ROOT / 'alexnet_jax' / 'tools' / f'{tool}.py'
    assert path.exists(), f'{page.name} names tools.{tool}: there is none'
  folders = r'\b(?:alexnet_jax|configs|docs|launch|tests)/[\w./*-]*[\w*]'
  for name in re.findall(folders, text):
    assert any(ROOT.glob(name)), f'{page.name} names {name}: there is none'


@functools.cache
def _fields():
  """Every field of the default config, and every folder of fields."""
  flat = default.get_config().to_dict()

  def walk(tree, prefix):
    for name, value in tree.items():
      yield f'{prefix}{name}'
      if isinstance(value, dict):
        yield from walk(value, f'{prefix}{name}.')

  return set(walk(flat, ''))


@pytest.mark.parametrize(
  'page', [ROOT / 'README.md', *sorted(ROOT.glob('docs/*.md'))], ids=str
)
def test_config_fields_that_are_named_exist(page):
  found = re.findall(r'\bconfig\.([a-z_]\w*(?:\.[a-z_]\w*)*)', page.read_text())
  missing = set(found) - {'json'} - _fields()
  assert not missing, f'{page.name} names fields that configs lack: {missing}'


def test_figure_2_is_a_small_picture_with_a_background_of_its_own():
  path = ROOT / 'docs' / 'figure2.svg'
  assert path.stat().st_size < 8000
  space = '{http://www.w3.org/2000/svg}'
  picture = ElementTree.parse(path).getroot()
  first = next(picture.iter(f'{space}rect'))
  assert first.get('fill') == '#ffffff'
  names = [text.text for text in picture.iter(f'{space}text')]
  for layer in default.get_config().model.layer:
    optional = layer in ('conv6', 'fc7_bottleneck')
    columns = 0 if optional else 1 if layer == 'fc8' else 2
    assert names.count(layer) == columns, layer


def test_every_mark_in_the_tree_is_a_row():
  """The greppable marks, counted by grep's means."""
  marks = re.compile(r'(Paper silent|Paper differs from code|Deviation):')
  files = [*ROOT.glob('configs/*.py'), *ROOT.glob('alexnet_jax/**/*.py')]
  texts = [f.read_text() for f in files if f.name != 'docs.py']
  found = docs.deviations(ROOT)
  assert sum(len(marks.findall(t)) for t in texts) == len(found) > 20
  for row in found:
    silent = row.paper.startswith('silent: ')
    assert row.paper and row.here and (row.program or not silent), row


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
  rows = docs.deviations(root)
  assert rows == [
    ('configs/a.py', 'silent: how a | b.', 'so.', 'thus, or so.'),
    ('configs/a.py', 'the text.', None, 'ours.'),
  ]
  table = docs.table(rows).splitlines()
  assert table[2] == (
    r'| `configs/a.py` | silent: how a \| b. | so. | thus, or so. |'
  )


def test_a_mark_that_does_not_say_what_is_done_is_refused(tmp_path):
  root = _tree(tmp_path, '# Paper silent: the seed.\n# 2012: unknown.\nx = 1\n')
  with pytest.raises(ValueError, match=r'configs/a\.py: .*"Here:"'):
    docs.deviations(root)


def _run(**fields):
  return {
    'bench': 'runs', 'config': 'a.py', 'data': 'D', 'top1_error': [0.125],
    'views': 10, 'time': '3 days', 'hardware': 'H', 'n': 1, 'steps': 5,
  } | fields  # fmt: skip


def test_an_expected_run_is_not_run_until_there_is_a_row():
  expected = {'a.py': (0.407, 0.182)}
  data, paper = tables.IMAGENET, '40.7 % / 18.2 %'
  none = [_run(data=data, top1_error=None)]
  lines = tables.results(none, expected=expected).splitlines()
  assert lines[2:] == [f'| `a.py` | {data} | - | - | not run | {paper} | 0 |']
  rows = [_run(), _run(data=data)]
  lines = tables.results(rows, expected=expected).splitlines()
  cells = '| H | 3 days | 12.5 %, 10 views |'
  assert lines[2:] == [
    f'| `a.py` | {data} {cells} {paper} | 1 |',
    f'| `a.py` | D {cells} - | 1 |',
  ]


def test_results_have_every_seed_of_the_presets():
  def row(seed, wrong):
    return {
      'bench': 'presets', 'name': 'a.py', 'seed': seed, 'val_errors': wrong,
      'hardware': 'H, 1 x 2', 'loss': [1.0],
    }  # fmt: skip

  rows = [row(seed, wrong) for seed, wrong in enumerate((0, 19))]
  (line,) = tables.results(rows, expected={}).splitlines()[2:]
  assert (
    '| H | not recorded | 0, 19 of 300 images, centre crop | - | 2 |' in line
  )


def test_conditions_are_of_runs_without_an_error_too():
  rows = [_run(images_per_second_range=[15, 18])]
  rows.append(_run(top1_error=None, result='loss 5.15'))
  lines = tables.runs(rows).splitlines()[2:]
  assert lines == [
    '| `a.py` | D | 5 | top-1 error 12.5 %, 10 views | 15 to 18 | 3 days | H | '
    '1 |',
    '| `a.py` | D | 5 | loss 5.15 | - | 3 days | H | 1 |',
  ]


def test_a_study_says_what_its_seeds_cannot_tell():
  row = {
    'what': 'study tanh', 'points': 4.33, 'points_interval': [-12.66, 21.32],
    'tells': False, 'n': 3,
  }  # fmt: skip
  base = {'what': 'study base', 'top1_error_by_seed': [10.0, 11.0, 15.0]}
  other = {'what': 'fig1', 'n': 3}
  lines = tables.study([base | {'n': 3}, row, other]).splitlines()
  assert lines[2:] == [
    '| base | 12.0 ± 2.6 % | - | - | - | 3 |',
    '| tanh | - | +4.3 | -12.7 to +21.3 | not shown | 3 |',
  ]


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
    'bench': 'input', 'what': 'train',
    'images_per_second': 12345.6, 'range': [12000.0, 13000.4],
    'cpu_us_per_image': 99.6, 'n': 5, 'hardware': 'H', 'python': '3.11',
    'date': '2026-01-02', 'images': 4000, 'command': 'python -m x',
  }  # fmt: skip
  lines = tables.benchmark([row]).splitlines()
  assert lines[2] == '| train | 12,346 | 12,000 to 13,000 | 100 us | H | 5 |'
  assert lines[-1] == (
    'H, Python 3.11, 2026-01-02, 4,000 training images; `python -m x`.'
  )


def test_a_page_without_the_marks_is_refused():
  with pytest.raises(
    ValueError, match=r'docs/results\.md has no <!-- runs -->'
  ):
    docs.rewrite('# title\n', page='docs/results.md', root=ROOT)


WALKTHROUGH = (ROOT / 'docs' / 'walkthrough.md').read_text()


def _definitions(path):
  """Names of the functions and classes of a file: 'f', 'Class.method'."""
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      yield node.name
    if isinstance(node, ast.ClassDef):
      inner = [n for n in node.body if isinstance(n, ast.FunctionDef)]
      yield from (f'{node.name}.{method.name}' for method in inner)


def test_the_walkthrough_names_what_there_is():
  places = re.findall(r'`([a-z_/]+\.py):([\w.]+)`', WALKTHROUGH)
  assert len(places) >= 20
  for file, name in places:
    path = ROOT / 'alexnet_jax' / file
    assert name in set(_definitions(path)), f'{file} has no {name}'


def test_the_walkthrough_has_the_shapes_of_the_program():
  config = imagenet.get_config()
  size, images = config.data.crop_size, config.batch_size
  shapes = alexnet.activation_shapes(config.model, crop_size=size)
  expected = [
    f'{name} [{", ".join(map(str, (images, *shape)))}] {np.dtype(dtype).name}'
    for name, (shape, dtype) in augment.batch_spec(crop_size=size).items()
  ]
  for stage in re.findall(r'`((?:conv|fc)\d(?:/pool)?) \[', WALKTHROUGH):
    *rest, width = shapes[stage]
    own = width if stage == 'fc8' else width // config.model.columns
    expected.append(f'{stage} {[images, *rest, own]}')
  assert len(expected) == 6 + 11
  for text in expected:
    assert f'`{text}`' in WALKTHROUGH.replace('\n', ' '), text
