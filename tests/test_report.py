"""Reports of runs that are finished, unfinished, damaged or hostile."""

import dataclasses
import doctest
import html.parser
import importlib
import io
import json
import pathlib
import re
import shutil
import sys

import jax
import jinja2
import numpy as np
import pytest
from PIL import Image

from alexnet_jax import paper
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.data import dataset, metadata
from alexnet_jax.studies import report
from alexnet_jax.studies.figures import style
from alexnet_jax.studies.report import (
  advice,
  gather,
  page,
  pictures,
  results,
  several,
  single,
  statistics,
)
from tests import browser, commands

REPORT = 'alexnet_jax.tools.report'
HOSTILE = '<script>alert("&\' x")</script>'
_EMPTY = {'meta', 'link', 'img', 'source'}


@pytest.fixture(scope='module')
def run(tmp_path_factory, command):
  """A whole run of smoke.py with its report."""
  workdir = tmp_path_factory.mktemp('report') / 'smoke'
  smoke = f'--config={commands.ROOT}/configs/smoke.py'
  done = command('alexnet_jax.main', smoke, f'--workdir={workdir}')
  assert done.returncode == 0, done.stderr
  report.write(workdir)
  return workdir


@pytest.fixture
def copy(run, tmp_path):
  """A copy of the run to damage, without the report."""
  workdir = tmp_path / 'run'
  shutil.copytree(run, workdir, ignore=shutil.ignore_patterns('report'))
  return workdir


@pytest.fixture
def plain(monkeypatch):
  """A machine without matplotlib, on which pages have no figures."""
  for name in [n for n in sys.modules if 'studies.figures' in n]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.setitem(sys.modules, 'matplotlib', None)


@pytest.fixture
def undrawn(monkeypatch):
  """Figures are empty, for tests of words; but neighbours are laid out."""
  empty = io.BytesIO()
  Image.new('L', (1, 1)).save(empty, 'png')
  monkeypatch.setattr(style, 'png', lambda figure: empty.getvalue())
  monkeypatch.setattr(style, 'svg', lambda figure: b'<svg/>')
  for name in ('examples', *set(pictures._OF_A_RUN) - {'neighbours', 'worst'}):
    module = importlib.import_module(f'{pictures._FIGURES}.{name}')
    monkeypatch.setattr(module, 'figure', lambda **_: None)


class _Page(html.parser.HTMLParser):
  """Parses a page, and checks that its elements are closed in order."""

  def __init__(self, text: str):
    super().__init__()
    self.open, self.tags, self.addresses, self.ids = [], [], [], set()
    self.words = ''
    self.feed(text)
    self.close()
    self.words = re.sub('[ \n]+', ' ', self.words)  # as a browser shows them
    assert not self.open

  def handle_starttag(self, tag, attributes):
    self.tags.append(tag)
    if tag not in _EMPTY:
      self.open.append(tag)
    for name, value in attributes:
      assert not name.startswith('on')
      if name in ('src', 'srcset', 'href'):
        self.addresses.append(value)
      if name == 'id':
        self.ids.add(value)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != 'style':
      self.words += data


def _read(path: pathlib.Path) -> _Page:
  """Parses a page, and checks that it has no script and needs no file."""
  text = path.read_text()
  page = _Page(text)
  assert not {'script', 'iframe', 'object', 'form'} & set(page.tags)
  for address in page.addresses:
    if address.startswith('#'):
      assert address[1:] in page.ids
    else:
      assert address.startswith('data:')
  assert 'url(' not in text and '@import' not in text
  assert 'could not be made' not in page.words
  return page


def test_the_page_says_what_the_run_was_and_found(run):
  page = _read(run / 'report' / 'index.html')
  last = json.loads((run / 'metrics.jsonl').read_text().splitlines()[-1])
  wrong = round(last['top1_error'] * 50)
  assert f'({wrong} of 50, 95 %: ' in page.words
  assert 'ten views, validation, step 12' in page.words
  assert '≠ 12 · 32 · 48 · 48 · 32' in page.words  # an eighth of the kernels
  assert 'Not comparable.' in page.words and '“embedded”' in page.words
  assert 'follows the text in all of them' in page.words
  venv = '.venv/bin/python -m alexnet_jax.'
  assert f'{venv}tools.retrieve --restore=' in page.words
  assert f'{venv}tools.audit --config=CONFIG.py' in page.words
  assert 'CONFIG.py stands for the config of the run' in page.words
  for top1, top5 in paper.ERRORS.values():
    assert top1 is None or f'{100 * top1:.1f}\xa0%' in page.words
    assert f'{100 * top5:.1f}\xa0%' in page.words


def test_figures_are_in_the_page_and_beside_it(run):
  folder = run / 'report'
  page = _read(folder / 'index.html')
  assert page.tags.count('picture') == len([*folder.glob('*.svg')]) >= 3
  assert page.tags.count('source') == page.tags.count('picture')  # the dark one
  for name in ('curves', 'kernels', 'layers'):
    with Image.open(folder / f'{name}.png') as picture:
      assert picture.width > 500
    assert (folder / f'{name}.svg').read_text().lstrip().startswith('<?xml')


def test_the_same_run_gives_the_same_bytes(run, copy):
  moved = copy.rename(copy.parent / run.name)  # the page has the run's name
  report.write(moved)
  for path in (run / 'report').iterdir():
    theirs = (moved / 'report' / path.name).read_bytes()
    assert path.read_bytes() == theirs.replace(
      str(moved).encode(), str(run).encode()
    )


@pytest.mark.usefixtures('plain')
def test_without_matplotlib_it_says_what_to_install(copy):
  page = _read(report.write(copy))
  assert page.words.count('pip install matplotlib') >= 3
  assert 'picture' not in page.tags
  assert [p.name for p in (copy / 'report').iterdir()] == ['index.html']


def _damage(workdir: pathlib.Path, what: str) -> None:
  match what:
    case 'no checkpoint':
      shutil.rmtree(workdir / 'checkpoints')
    case 'an unfinished line':
      lines = (workdir / 'metrics.jsonl').read_text().splitlines()[:3]
      (workdir / 'metrics.jsonl').write_text('\n'.join(lines) + '\n{"step": 4')
    case 'no line':
      (workdir / 'metrics.jsonl').write_text('')
    case 'no health':
      (workdir / 'health.json').write_text('{"rows": [')
    case 'no config':
      (workdir / 'config.json').write_text('{')
    case 'no predictions':
      (workdir / 'predictions.npz').write_bytes(b'PK')
    case 'a loss of NaN':
      lines = (workdir / 'metrics.jsonl').read_text().splitlines()
      lines[2] = json.dumps(json.loads(lines[2]) | {'loss': float('nan')})
      (workdir / 'metrics.jsonl').write_text('\n'.join(lines) + '\n')


@pytest.mark.usefixtures('plain')
@pytest.mark.parametrize(
  'said',
  [
    {
      'no checkpoint': 'There is no checkpoint yet',
      'an unfinished line': 'No evaluation yet',
      'no predictions': '--save_predictions=',
    },
    {
      'no line': 'Nothing is measured yet',
      'no health': 'health.json is missing or damaged',
    },
    {
      'no config': 'config.json is missing or damaged',
      'a loss of NaN': 'not finite at times',
    },
  ],
  ids=', '.join,
)
def test_what_a_run_lacks_is_said(copy, said):
  for what in said:
    _damage(copy, what)
  words = _read(report.write(copy)).words
  for text in said.values():
    assert text in words


def _steps(workdir: pathlib.Path) -> list[pathlib.Path]:
  """Checkpoints, the newest first."""
  return layout.steps(workdir / layout.FOLDER)


@pytest.mark.usefixtures('undrawn')
def test_a_damaged_checkpoint_is_named(copy):
  newest, *older = _steps(copy)
  (newest / layout.SUMS).unlink()
  said = f'The checkpoint of step {newest.name} is damaged: its files.json'
  words = _read(report.write(copy)).words
  assert said in words and f'At step {older[0].name}.' in words
  for step in older:
    (step / layout.SUMS).unlink()
  words = _read(report.write(copy)).words
  assert said in words and 'There is no sound checkpoint' in words
  assert 'There is no checkpoint yet' not in words


def test_checkpoints_are_read_on_the_cpu(run, monkeypatch):
  places = []

  def read(step, *, meta, device):
    arrays = read_arrays(step, meta=meta, device=device)
    places.extend(d for a in jax.tree.leaves(arrays) for d in a.devices())
    assert device.platform == 'cpu'
    return arrays

  read_arrays = restore.read_arrays
  monkeypatch.setattr(restore, 'read_arrays', read)
  assert gather.read(run).checkpoint
  assert {*places} == {jax.devices('cpu')[0]}


@pytest.mark.usefixtures('undrawn')
@pytest.mark.parametrize(
  ('step', 'said'),
  [
    (12, 'the network of step 12;'),
    (6, 'the network of step 6, not of the newest checkpoint 12;'),
    (-1, 'the network of a step that is not recorded;'),
  ],
)
def test_the_step_of_predictions_is_said(run, tmp_path, step, said):
  whole = gather.read(run)
  assert whole.predictions
  changed = whole._replace(predictions=whole.predictions._replace(step=step))
  text = single.document(changed, album=pictures.Album(tmp_path))
  words = _Page(text).words
  assert said in words and said.replace(';', '.') in words


class _Split:
  """Counts the images that are read; one of them is damaged."""

  image_size = 80

  def __init__(self, images: int, *, damaged: int):
    self._images, self._damaged, self.read = images, damaged, 0

  def __len__(self) -> int:
    return self._images

  def __getitem__(self, index: int) -> dataset.Example:
    self.read += 1
    if index == self._damaged:
      raise dataset.Unreadable('damaged')
    shown = np.full((80, 80, 3), index % 256, np.uint8)
    return dataset.Example(shown, 0, f'image {index}')

  def take(self, indices):
    raise NotImplementedError


def _examples(run, names, split, folder):
  """Figure 4, left, for predictions with these names."""
  whole = gather.read(run)
  predicted, data = whole.predictions, whole.data
  assert predicted and data
  kept = slice(len(names))
  changed = predicted._replace(
    names=names,
    labels=predicted.labels[kept],
    ranks=predicted.ranks[kept],
    probabilities=predicted.probabilities[kept],
  )
  data = dataclasses.replace(data, val=split)
  changed = whole._replace(predictions=changed, data=data)
  return pictures.draw_run(changed, 'examples', album=pictures.Album(folder))


@pytest.mark.usefixtures('undrawn')
def test_images_of_other_data_are_not_searched_for(run, tmp_path):
  split = _Split(50_000, damaged=-1)
  names = [f'{n}.JPEG' for n in range(50)]
  drawn = _examples(run, names, split, tmp_path)
  assert 'not those that predictions.npz was made from: ' in drawn.missing
  assert split.read < 100


@pytest.mark.usefixtures('undrawn')
def test_images_behind_a_damaged_one_are_found_and_read_once(run, tmp_path):
  split = _Split(40, damaged=3)
  names = [f'image {n}' for n in range(40) if n != 3]
  drawn = _examples(run, names, split, tmp_path)
  assert drawn.light and not drawn.missing
  assert split.read <= 16  # eight, and the one before each


def _retrieval(workdir: pathlib.Path) -> dict:
  """What tools.retrieve might have written."""
  data = gather.read(workdir).data
  assert data

  def named(split: dataset.Split, index: int) -> dict:
    example = split[index]
    return {'index': index, 'name': example.name, 'label': example.label}

  near = [named(data.train, n) for n in range(6)]
  query = named(data.val, 0) | {'fc7': near, 'pixels': near}
  return {
    'step': 6,
    'split': 'val',
    'num_queries': 1,
    'database_images': 6,
    'precision': {'fc7': 0.5, 'pixels': 0.5, 'chance': 0.1},
    'codes': [],
    'queries': [query],
  }


@pytest.mark.usefixtures('undrawn')
def test_neighbours_are_drawn_if_they_are_those_images(copy):
  found = _retrieval(copy)
  (copy / 'retrieval.json').write_text(json.dumps(found))
  words = _read(report.write(copy)).words
  assert 'in pixels; of step 6, not of the newest checkpoint 12.' in words
  assert (copy / 'report' / 'neighbours.png').exists()
  found['queries'][0]['fc7'][2]['name'] = 'another'
  (copy / 'retrieval.json').write_text(json.dumps(found))
  words = _read(report.write(copy)).words
  assert 'not those that retrieval.json was made from: image 2 is ' in words
  assert not (copy / 'report' / 'neighbours.png').exists()


@pytest.mark.usefixtures('undrawn')
def test_a_part_that_cannot_be_made_costs_no_other(copy, capsys):
  (copy / 'retrieval.json').write_text('{"queries": []}')
  page = _Page(report.write(copy).read_text())
  said = "could not be made (UndefinedError: 'dict object' has no attribute"
  assert f"{said} 'precision')" in page.words
  assert 'picture' in page.tags
  assert capsys.readouterr().out.startswith('warning: report, What it learned')


def test_a_folder_that_cannot_be_written_is_one_error(command, copy):
  (copy / 'report').write_text('')
  done = command(REPORT, f'--workdir={copy}')
  assert done.returncode == 1 and done.stdout == ''
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1


@pytest.mark.usefixtures('plain')
def test_changes_in_the_middle_and_data_that_have_gone_are_said(copy):
  change = {'field': 'optim.learning_rate', 'was': 0.1, 'is': 0.05}
  config = json.loads((copy / 'config.json').read_text())
  config['history'] = [{'step': 6, 'time': 0.0, 'changes': [change]}]
  config['ablations'] = ['no_lrn']
  config['data'] |= {'source': 'prepared', 'dir': '/nowhere'}
  (copy / 'config.json').write_text(json.dumps(config))
  words = _read(report.write(copy)).words
  assert 'Changed in the middle of the run' in words and '0.05' in words
  assert '+1.4 / +1.2' in words  # what no_lrn cost the authors
  assert 'The data set cannot be opened: no prepared data set' in words


def _hostile(workdir: pathlib.Path) -> gather.Run:
  """A run in which every name is HTML."""
  run = gather.read(workdir)
  assert run.data and run.checkpoint and run.config
  classes = tuple(
    dataset.ClassInfo(f'n{i}', f'{i} {HOSTILE}', HOSTILE) for i in range(10)
  )
  data = dataclasses.replace(run.data, name=HOSTILE, classes=classes)
  skipped = metadata.Skipped(f'{HOSTILE}.JPEG', 'not \x1b[31m an image')
  prepared = metadata.Metadata(
    name=HOSTILE,
    image_size=80,
    encoding='raw',
    splits={},
    classes=classes,
    skipped=(skipped,) * 99,
    checksums={},
  )
  run.config.dtype = HOSTILE
  change = {'field': HOSTILE, 'was': HOSTILE, 'is': [HOSTILE]}
  return run._replace(
    workdir=pathlib.Path(f'{HOSTILE} --flag'),
    records=[*run.records, run.records[-1] | {'split': HOSTILE}],
    history=[{'step': HOSTILE, 'changes': [change]}],
    health=[{'stage': '<b onload=x>', 'stddev': 1.0, 'dead': None}],
    data=data,
    prepared=prepared,
  )


@pytest.fixture(scope='module')
def hostile(run, tmp_path_factory):
  """The report of the hostile run."""
  path = tmp_path_factory.mktemp('hostile') / 'index.html'
  album = pictures.Album(path.parent)
  path.write_text(single.document(_hostile(run), album=album))
  return path


def test_hostile_names_are_text(hostile):
  assert '<script' not in hostile.read_text()
  page = _read(hostile)
  assert page.words.count(HOSTILE) > 10
  assert 'Files left out in preparation: 99' in page.words
  assert 'and 69 more' in page.words and '\x1b' not in page.words


_AROUND = {'name': 'n', 'over': 'o', 'title': 't', 'lead': 'l'}
_IMPORT = """
{% from 'report/macros.html.j2' import
  evaluations, fact, figure, missing, numbers, second, table %}
"""


def _made(template: str, **values) -> str:
  """A page with one section."""
  made = page.environment().from_string(_IMPORT + template).make_module(values)
  return page.render([page.Section('p', 't', made.__html__())], **_AROUND)


@pytest.mark.parametrize(
  'template',
  [
    '{{ x }}',
    '{{ missing(x) }}',
    "{{ missing('what', x) }}",
    "{{ fact(x, 'value') }}",
    "{{ fact('name', x) }}",
    '{% call table((x,)) %}{% endcall %}',
    '{% call table(("title",)) %}<tr>{{ numbers(x) }}</tr>{% endcall %}',
    '<p>a{{ second(x) }}</p>',
    "{{ evaluations([(x, '', evaluation)]) }}",
    "{{ evaluations([('', x, evaluation)]) }}",
    "{% call figure(picture, '') %}{{ x }}{% endcall %}",
    "{{ figure(picture._replace(missing=x), '') }}",
    "{{ figure(picture._replace(missing='a', install=x), '') }}",
  ],
)
def test_every_text_is_shown_and_none_is_html(template):
  whole = _made(
    template,
    x=HOSTILE,
    picture=pictures.Picture('svg', 'data:,', 'data:,'),
    evaluation=results.Evaluation('val', 1, 2, 3, 0.5, 0.25),
  )
  assert _Page(whole).words.count(HOSTILE) == 1
  assert '<script' not in whole


@pytest.mark.parametrize('place', ['name', 'over', 'title', 'lead'])
def test_text_around_the_sections_is_no_html(place):
  whole = page.render([], **_AROUND | {place: HOSTILE})
  assert HOSTILE in _Page(whole).words and '<script' not in whole
  whole = page.render([], **_AROUND, key_figures=HOSTILE)
  assert _Page(whole).words.count(HOSTILE) == 1 and '<script' not in whole
  section = page.Section('p', HOSTILE, HOSTILE)
  for sections, count in (([section], 2), ([section, section], 6)):
    whole = page.render(sections, **_AROUND)  # of one there are no contents
    assert _Page(whole).words.count(HOSTILE) == count
    assert '<script' not in whole


def test_attributes_are_escaped():
  whole = _made(
    "{% call table(('title',), label=x) %}{% endcall %}"
    '{% call figure(picture, x) %}{% endcall %}',
    x='"> <b onload="x',
    picture=pictures.Picture('svg', 'data:,', 'data:,'),
  )
  assert 'b' not in _Page(whole).tags
  assert whole.count('&#34;&gt; &lt;b onload=&#34;x') == 2


def test_characters_that_no_page_can_show_are_replaced():
  whole = _made('{{ x }}', x='a\x1b[31m\ud800b\N{NO-BREAK SPACE}c\nd')
  assert 'a\ufffd[31m\ufffdb\N{NO-BREAK SPACE}c\nd' in whole


def test_a_mistake_in_the_template_is_an_error():
  with pytest.raises(jinja2.UndefinedError):
    _made('{{ x.y }}', x=object())


def test_the_command_prints_the_path(command, copy):
  for what in ('no checkpoint', 'no predictions'):  # it has one figure to draw
    _damage(copy, what)
  done = command(REPORT, f'--workdir={copy}')
  assert done.returncode == 0, done.stderr
  assert done.stdout == f'{copy}/report/index.html\n'
  assert (copy / 'report' / 'curves.svg').exists()


def _change(workdir: pathlib.Path) -> pathlib.Path:
  """Turns a copy into another run: one field and the errors differ."""
  config = json.loads((workdir / 'config.json').read_text())
  config['optim']['momentum'] = 0.8
  (workdir / 'config.json').write_text(json.dumps(config))
  metrics = workdir / 'metrics.jsonl'
  lines = map(json.loads, metrics.read_text().splitlines())
  changed = [line | {'top1_error': line['top1_error'] / 2} for line in lines]
  metrics.write_text(''.join(json.dumps(line) + '\n' for line in changed))
  return workdir


def test_runs_side_by_side(command, run, copy, tmp_path):
  _change(copy)
  output = tmp_path / 'both.html'
  args = ('--compare', str(run), str(copy), f'--output={output}')
  done = command(REPORT, *args)
  assert done.returncode == 0, done.stderr
  assert done.stdout == f'{output}\n'
  words = _read(output).words
  assert 'optim.momentum' in words and 'optim.weight_decay' not in words
  assert output.with_suffix('.svg').exists()


@pytest.mark.parametrize(
  ('args', 'said'),
  [
    (['--workdir=nowhere'], 'nowhere does not exist'),
    (['--workdir=.'], 'holds no run'),
    (['--compare=nowhere'], '1 runs to compare: give 2 to 8'),
    ([], 'give either --workdir'),
    (['nowhere'], "'nowhere' is no flag"),
    (['--workdir=.', '--output=a.html'], '--output=a.html goes with --compare'),
    (['--compare', 'a', 'b', '--output=a.svg'], 'one that ends in .html'),
  ],
)
def test_mistakes_cost_a_line(command, tmp_path, args, said):
  done = command(REPORT, *args, cwd=tmp_path)
  assert done.returncode == 1 and said in done.stderr
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert not [*tmp_path.iterdir()]


@pytest.fixture(scope='module')
def chromium():
  program = browser.find()
  if not program:
    pytest.skip('no browser: apt-get install chromium')
  with browser.Browser(program) as found:
    yield found


@pytest.fixture(scope='module')
def both(run, tmp_path_factory):
  """A page that compares two runs."""
  folder = tmp_path_factory.mktemp('both')
  other = _change(shutil.copytree(run, folder / 'other'))
  return report.compare([run, other], output=folder / 'compare.html')


@pytest.mark.slow
@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
@pytest.mark.parametrize('width', [1280, 390])
@pytest.mark.parametrize('which', ['one', 'hostile', 'both'])
def test_a_browser_shows_the_page(
  chromium, run, hostile, both, which, width, dark
):
  pages = {'one': run / 'report' / 'index.html', 'hostile': hostile}
  path = (pages | {'both': both})[which]
  shown = chromium.show(path, width=width, height=900, dark=dark)
  assert shown.messages == []
  assert shown.requests == [path.absolute().as_uri()]
  assert shown.width <= width
  pixels = np.asarray(Image.open(io.BytesIO(shown.picture)).convert('L'))
  assert pixels.shape[1] == width and pixels.shape[0] > 1000
  assert pixels.std() > 10  # something is there
  assert (np.median(pixels) < 64) == dark


@pytest.mark.parametrize('module', [several, statistics])
def test_doctests(module):
  assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
  ('val', 'train', 'said'),
  [
    (
      0.0,
      0.1,
      'tells 10 classes apart: 100.0\xa0% of new images are',
    ),
    (0.9, 0.5, 'no better than guessing among 10 classes'),
    (
      0.5,
      0.1,
      '(90.0\xa0% right) better than new ones (50.0\xa0% right)',
    ),
  ],
)
def test_the_page_begins_with_what_the_run_taught(run, val, train, said):
  whole = gather.read_outline(run)
  records = [
    r | {'top1_error': train if r['split'] == 'train' else val}
    for r in whole.records
  ]
  changed = gather.read(run)._replace(records=records)
  assert said in advice.taught(changed)
  assert advice.taught(whole._replace(records=whole.train)) == ''


def test_curves_and_pictures_come_first(run):
  page = _read(run / 'report' / 'index.html')
  text = (run / 'report' / 'index.html').read_text()
  first, *_ = re.findall(r'<h2>(.*?)</h2>', text)
  assert first == 'Curves'
  assert text.index('<picture>') < text.index('<table>')
  assert text.index('id="explained"') < text.index('Not comparable')
  found = gather.read(run).checkpoint
  assert found
  noise = int(statistics.noisy(found.conv1['kernels']).sum())
  assert noise > 6  # of 12, after 12 steps
  assert f'{noise} of 12 kernels are still noise' in page.words
  assert 'Grad-CAM: orange' in page.words
  with Image.open(run / 'report' / 'explained.png') as picture:
    assert picture.width == 864


def test_runs_of_one_name_are_told_apart_by_their_folders(run, tmp_path):
  for name in ('a', 'b'):
    shutil.copytree(
      run, tmp_path / name / 'net', ignore=shutil.ignore_patterns('checkpoints')
    )
  page = report.compare(
    [tmp_path / 'a' / 'net', tmp_path / 'b' / 'net'], output=tmp_path / 'c.html'
  )
  assert '<p class="lead">a, b</p>' in page.read_text()


def _predicted(run, labels, predicted, *, classes):
  """The run with predictions of so many classes."""
  whole = gather.read(run)
  assert whole.predictions and whole.data
  scores = np.eye(classes)[predicted]
  infos = tuple(dataset.ClassInfo(str(i), f'c{i}', '') for i in range(classes))
  return whole._replace(
    data=dataclasses.replace(whole.data, classes=infos),
    predictions=whole.predictions._replace(
      labels=labels,
      probabilities=scores,
      ranks=(labels != predicted).astype(int),
    ),
  )


def test_of_many_classes_the_most_confused_are_in_the_matrix(run):
  labels = np.arange(200) % 40
  predicted = labels.copy()
  predicted[[3, 43, 83]] = 7  # class 3, three times
  predicted[[5, 45]] = 3
  predicted[11] = 39
  found = pictures._confusion(_predicted(run, labels, predicted, classes=40))
  assert found['classes'] == ['c3', 'c7', 'c5', 'c11', 'c39', 'others']
  assert found['counts'].tolist() == [
    [2, 3, 0, 0, 0, 0],
    [0, 5, 0, 0, 0, 0],
    [2, 0, 3, 0, 0, 0],
    [0, 0, 0, 4, 1, 0],
    [0, 0, 0, 0, 5, 0],
  ]
  with pytest.raises(pictures.NothingToDrawError, match='No image'):
    pictures._confusion(_predicted(run, labels, labels, classes=40))
