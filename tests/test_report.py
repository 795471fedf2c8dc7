"""Pages about runs: whole, unfinished, damaged and hostile ones."""

import dataclasses
import html.parser
import io
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from alexnet_jax import paper
from alexnet_jax.analysis import report
from alexnet_jax.analysis.report import gather, markup, pictures, single
from alexnet_jax.data import dataset, metadata
from tests import browser, commands

REPORT = 'alexnet_jax.tools.report'
HOSTILE = '<script>alert("&\' x")</script>'
_EMPTY = {'meta', 'link', 'img', 'source'}


@pytest.fixture(scope='module')
def run(tmp_path_factory, command):
  """smoke.py from beginning to end, and its report."""
  workdir = tmp_path_factory.mktemp('report') / 'smoke'
  smoke = f'--config={commands.ROOT}/configs/smoke.py'
  done = command('alexnet_jax.main', smoke, f'--workdir={workdir}')
  assert done.returncode == 0, done.stderr
  report.write(workdir)
  return workdir


@pytest.fixture
def copy(run, tmp_path):
  """The run, to do harm to, without the report."""
  workdir = tmp_path / 'run'
  shutil.copytree(run, workdir, ignore=shutil.ignore_patterns('report'))
  return workdir


class _Page(html.parser.HTMLParser):
  """Checks that elements are closed in order, and keeps what matters."""

  def __init__(self, text: str):
    super().__init__()
    self.open, self.tags, self.addresses, self.ids = [], [], [], set()
    self.words = ''
    self.feed(text)
    self.close()
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
  """A page that holds all it needs, and no script."""
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
  assert 'tools.retrieve --restore=' in page.words
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


def test_without_matplotlib_it_says_what_to_install(copy, monkeypatch):
  for name in [n for n in sys.modules if 'analysis.figures' in n]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  page = _read(report.write(copy))
  assert page.words.count("pip install 'alexnet-jax[analysis]'") >= 3
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
    case 'a loss that is no number':
      lines = (workdir / 'metrics.jsonl').read_text().splitlines()
      lines[2] = json.dumps(json.loads(lines[2]) | {'loss': float('nan')})
      (workdir / 'metrics.jsonl').write_text('\n'.join(lines) + '\n')


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
      'a loss that is no number': 'no number at times',
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
  run = gather.whole(workdir)
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
  """The page about it."""
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


def test_text_in_elements_and_attributes_is_escaped():
  made = markup.tag('p', HOSTILE, ['a', markup.tag('b', 1)], title='"<>')
  assert made == (
    '<p title="&quot;&lt;&gt;">&lt;script&gt;alert(&quot;&amp;&#x27; x&quot;)'
    '&lt;/script&gt;a<b>1</b></p>'
  )


def test_the_command_prints_the_path(command, run):
  done = command(REPORT, f'--workdir={run}')
  assert done.returncode == 0, done.stderr
  assert done.stdout == f'{run}/report/index.html\n'


def test_runs_side_by_side(command, run, copy, tmp_path):
  config = json.loads((copy / 'config.json').read_text())
  config['optim']['momentum'] = 0.8
  (copy / 'config.json').write_text(json.dumps(config))
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
  """A page about two runs."""
  output = tmp_path_factory.mktemp('both') / 'compare.html'
  return report.compare([run, run], output=output)


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
