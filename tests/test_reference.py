"""Generated pages have what the program has; the walk leaves nothing out."""

import ast
import pathlib
import re

import pytest

from alexnet_jax.config import schema
from alexnet_jax.configs import default
from alexnet_jax.studies import reference
from alexnet_jax.tools import docs

ROOT = pathlib.Path(__file__).parent.parent
FIELDS = {field.name: field for field in reference.every_field(ROOT)}


def test_every_field_has_a_row_that_says_something():
  config = default.get_config()
  for path, value in schema.leaves(config):
    common, parts = path, path.split('.')
    if path.startswith(('optim.decay.conv', 'optim.decay.fc')):
      common = 'optim.decay.LAYER'
    if path.startswith('schedule.layer.'):
      common = f'schedule.layer.LAYER.{parts[3]}'
    if path.startswith('model.layer.'):
      kind = 'CONV' if parts[2].startswith('conv') else 'FC'
      common = f'model.layer.{kind}.{parts[3]}'
    row = FIELDS[common]
    assert row.default in (repr(value), 'by layer'), path
    assert row.values, path
    assert len(row.says) > 8 or path in ('ablations', 'eval.batch_size'), row


@pytest.mark.parametrize(
  ('name', 'values', 'unit', 'section'),
  [
    ('data.crop_size', 'a whole number from 1 to 4096', 'pixels', '§4.1'),
    ('optim.momentum', 'a number 0 or more and below 1', '', '§5'),
    ('batch_size', 'a whole number from 1 to 65536, or None', 'images', '§5'),
    ('mesh.column', 'a whole number 1 or more', 'devices', '§3.2'),
    ('model.lrn.alpha_of', "'sum' or 'mean'", '', '§3.3'),
    (
      'plateau.patience_epochs',
      'a whole number 1 or more',
      'evaluations',
      '§5',
    ),
    ('health.max_input_wait', 'a number 0 or more', 'share of the time', ''),
  ],
)
def test_a_row_has_range_unit_and_section(name, values, unit, section):
  row = FIELDS[name]
  assert (row.values, row.unit, row.section) == (values, unit, section)


def test_flags_of_the_command_are_those_that_it_lists(command):
  page = (ROOT / 'docs' / 'commands.md').read_text()
  section = page.partition('## train, eval, summary')[2].partition('\n## ')[0]
  rows = dict(
    re.findall(r'(?m)^\| `--(\w+)` \| [^|]*\| [^|]*\| (.*) \|$', section)
  )
  shared = page.partition('<!-- shared -->')[2]
  rows |= dict(re.findall(r'(?m)^\| `--(\w+)` \|.*\| (.*) \|$', shared))
  listed = command('alexnet_jax.main', '--help').stdout
  words = ' '.join(listed.split())
  names = {*re.findall(r'(?m)^ +--(?:\[no\])?(\w+):', listed)}
  assert len(names) > 12 and names - {*rows} <= {'traceback'}
  for name in names & {*rows} - {'config', 'ablation'}:
    assert rows[name] in words, name


def test_bounds_choices_and_defaults_of_flags():
  page = (ROOT / 'docs' / 'commands.md').read_text()
  for row in (
    '| `--workers` | `workers.cores()` | whole number, 1 or more | Number of',
    '| `--max_skipped` | `100` | whole number, 0 or more | Files that may',
    '| `--image_size` | `256` | whole number, 1 or more, at most 4096 | Height',
    '| `--encoding` | `raw` | `raw`, `jpeg` | raw: fastest',
    '| `--error` | `0.1` | float, 0.0 or more, at most 1.0 | Top-1',
    '| `--json` | `False` | switch | Print one',
  ):
    assert row in page, row


def test_every_tool_has_a_section():
  page = (ROOT / 'docs' / 'commands.md').read_text()
  tools = {p.stem for p in (ROOT / 'alexnet_jax' / 'tools').glob('[a-z]*.py')}
  assert {*re.findall(r'(?m)^## (\w+)$', page)} == tools


def test_every_deviation_stands_beside_what_the_paper_says():
  marks, rows = docs.deviations(ROOT), docs.walk_rows(ROOT)
  beside = [docs.marks_of(row, marks=marks) for row in rows]
  missing = {*marks} - {mark for found in beside for mark in found}
  assert not missing, f'docs/paper.toml has no place for {missing}'
  for row, found in zip(rows, beside, strict=True):
    for start in row.get('marks', ()):
      assert any(m.paper.startswith(start) for m in found), start
  assert {row['section'] for row in rows} == {*docs.SECTIONS}


def _names(path):
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      yield node.name
      yield from (
        f'{node.name}.{inner.name}'
        for inner in getattr(node, 'body', ())
        if isinstance(inner, ast.FunctionDef)
      )


def test_the_walk_names_code_that_is_there():
  for row in docs.walk_rows(ROOT):
    assert row['code'], row
    for place in row['code']:
      file, _, name = place.partition(':')
      path = (
        ROOT / ('' if file.startswith('configs/') else 'alexnet_jax') / file
      )
      if not path.exists():  # of the package's config/
        path = ROOT / 'alexnet_jax' / file
      assert name in {*_names(path)}, place
