"""Studies of ablations: statistics, and runs that fail, stop and go on."""

import doctest
import functools
import json
import math
import shutil
import textwrap
from xml.etree import ElementTree

import jax
import pytest

from alexnet_jax import ablations, locking, stopping
from alexnet_jax.analysis import paired
from alexnet_jax.experiments import processes, study, study_table
from alexnet_jax.models import alexnet
from configs import smoke
from tests import commands

STUDY = 'alexnet_jax.tools.study'
SMOKE = f'--base={commands.ROOT}/configs/smoke.py'
HOSTILE = '<script>alert("x")</script>'
# In place of alexnet_jax.main: its flags, exit codes and last line, at once.
# PLAN says what else happens: {NAME/SEED: kill, term, fail or die}.
FAKE = """
  import json, os, pathlib, signal, sys, time

  flags = dict(a.removeprefix('--').split('=', 1) for a in sys.argv[1:])
  name, seed = flags.get('ablation', 'base'), int(flags['config.seed'])
  with open('started', 'a') as file:
    print(f'{name}/{seed}', file=file)
  plan = json.loads(os.environ['PLAN']).get(f'{name}/{seed}')
  metrics = pathlib.Path(flags['workdir']) / 'metrics.jsonl'
  if metrics.exists():
    sys.exit()
  if plan == 'kill':  # and outlive it until it has begun anew
    manifest = pathlib.Path('study/study.json')
    before = manifest.stat().st_mtime_ns
    os.kill(os.getppid(), signal.SIGKILL)
    while manifest.stat().st_mtime_ns == before:
      time.sleep(0.05)
    time.sleep(0.5)
  if plan == 'term':
    signal.signal(signal.SIGTERM, lambda *_: os._exit(75))
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
  if plan == 'fail':
    print('error: <script>alert("x")</script>', file=sys.stderr)
    sys.exit(1)
  if plan == 'die':
    os.kill(os.getpid(), signal.SIGKILL)
  cost = {'base': 0, 'no_lrn': 0.01 * (seed - 1), 'tanh': 0.2 + 0.01 * seed}
  last = {'split': 'val', 'step': 2, 'epoch': 1.0, 'views': 10}
  last |= {'top1_error': 0.3 + 0.05 * seed + cost[name], 'top5_error': 0.1}
  last |= {'loss': 1.0 + cost[name], 'num_images': 100}
  metrics.parent.mkdir(parents=True)
  metrics.write_text(json.dumps(last) + '\\n')
"""


@pytest.fixture
def fake(command, tmp_path):
  """fake(*flags, plan={...}) is a study whose runs are FAKE."""
  package = tmp_path / 'alexnet_jax'
  package.mkdir()
  (package / '__init__.py').touch()
  (package / 'main.py').write_text(textwrap.dedent(FAKE))

  def run(*flags, plan=None, output='study'):
    given = {flag.split('=')[0] for flag in flags}
    flags += ('--ablations=no_lrn,tanh',) * ('--ablations' not in given)
    flags += ('--budget_epochs=1',) * ('--budget_epochs' not in given)
    return command(
      STUDY,
      SMOKE,
      *flags,
      f'--output={output}',
      cwd=tmp_path,
      PLAN=json.dumps(plan or {}),
    )

  return run


def _started(folder):
  return (folder / 'started').read_text().split()


def _table(done):
  return done.stdout[done.stdout.index('                 n') :]


@pytest.mark.parametrize('module', [paired, study_table])
def test_doctests(module):
  assert doctest.testmod(module).failed == 0


def test_interval_of_worked_numbers():
  # Differences 1, 2, 6: mean 3, variance 7, t(0.975, 2) = 4.302653.
  found = paired.difference([2.0, 4.0, 9.0], base=[1.0, 2.0, 3.0])
  half = 4.302653 * math.sqrt(7 / 3)
  assert found.low is not None and found.high is not None
  assert (found.n, found.mean) == (3, 3.0)
  assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
  assert not found.tells
  # The same numbers, unpaired, would be far wider: 1, 2, 3 differ by seed.
  even = paired.difference([11.0, 12.0, 13.1], base=[1.0, 2.0, 3.0])
  assert even.tells and even.high - even.low < 0.4


@pytest.mark.parametrize(
  ('ablated', 'base', 'said'),
  [
    (
      [3.0, 5.0, 4.0],
      [2.0] * 3,
      'x: +2.0 points (95 %: -0.5 to +4.5): 3 seeds ',
    ),
    ([13.0, 14.0, 13.5], [2.0] * 3, '(95 %: +10.3 to +12.7): worse'),
    ([2.0, 1.0, 1.5], [13.0] * 3, '(95 %: -12.7 to -10.3): better'),
    ([3.0], [2.0], 'x: +1.0 points: no interval from one seed'),
    ([0.3, 0.4], [0.1, 0.2], 'in each of 2 pairs: no spread to judge by'),
  ],
)
def test_what_the_seeds_can_tell(ablated, base, said):
  verdict = paired.verdict('x', paired.difference(ablated, base=base))
  assert said in verdict
  assert ('cannot tell' in verdict) == said.endswith('3 seeds ')


def test_costs_in_2012_are_those_of_the_notes():
  # 0.410580 - 0.406640, 0.185100 - 0.182100; of 2010 for the half net.
  assert study_table.notes('147') == pytest.approx((0.394, 0.3))
  assert study_table.notes('145-half') == pytest.approx((1.6953, 1.23))
  for name, known in ablations.ABLATIONS.items():
    top1, top5 = known.paper
    for value in (top1, top5):
      assert value is None or f'{value:g}' in known.effect, name
    assert known.run in known.effect, name


@functools.cache
def _initial(*names):
  """{path: array} of smoke.py with ablations."""
  config = smoke.get_config()
  ablations.apply(config, names)
  init = jax.jit(lambda k: alexnet.initialise(config.model, k, crop_size=67))
  leaves = jax.tree_util.tree_leaves_with_path(init(jax.random.key(5)))
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


@pytest.mark.parametrize('name', ['no_lrn', 'one_gpu_half', 'no_conv3'])
def test_a_pair_begins_with_the_same_values_where_shapes_agree(name):
  base, ablated = _initial(), _initial(name)
  alike = {
    path
    for path in {*base} & {*ablated}
    if base[path].shape == ablated[path].shape
  }
  assert {"['fc7']['kernel']", "['fc8']['kernel']"} <= alike
  assert all((base[path] == ablated[path]).all() for path in alike)
  assert base["['fc7']['kernel']"].std() > 0


def test_real_runs_one_of_which_fails(command, tmp_path):
  output = tmp_path / 'study'
  done = command(
    *(STUDY, SMOKE, '--ablations=tanh', '--seeds=4', '--budget_epochs=1'),
    *('--set=model.activation=relu', f'--output={output}'),
  )
  assert done.returncode == 1, done.stderr
  assert (
    'tanh/seed-4 failed: --config.model.activation=relu, but' in done.stdout
  )
  assert 'tanh: no pair of runs is done' in done.stdout
  config = json.loads((output / 'base/seed-4/config.json').read_text())
  assert (config['seed'], config['total_steps']) == (4, 6)
  lines = (output / 'base/seed-4/metrics.jsonl').read_text().splitlines()
  error = 100 * json.loads(lines[-1])['top1_error']
  assert f'base             1{error:18.1f}' in done.stdout


def test_a_study_that_was_killed_goes_on_to_the_same_table(fake, tmp_path):
  killed = fake(plan={'no_lrn/1': 'kill'})
  assert killed.returncode == -9
  before = _started(tmp_path)
  assert before == ['base/0', 'no_lrn/0', 'tanh/0', 'base/1', 'no_lrn/1']
  going_on = fake()
  assert going_on.returncode == 0, going_on.stderr
  assert '9 runs, 4 of them done' in going_on.stdout
  assert 'waiting for no_lrn/seed-1' in going_on.stdout  # it outlived the study
  assert _started(tmp_path)[len(before) :] == [
    *('no_lrn/1', 'tanh/1', 'base/2', 'no_lrn/2', 'tanh/2')
  ]
  undisturbed = fake(output='other')
  assert _table(going_on) == _table(undisturbed).replace('other', 'study')
  assert 'no_lrn: 0.0 points (95 %: -2.5 to +2.5): 3 seeds' in going_on.stdout
  assert 'tanh: +21.0 points (95 %: +18.5 to +23.5): worse' in going_on.stdout


def test_failed_runs_are_listed_escaped_and_tried_again(fake, tmp_path):
  done = fake('--seeds=0,1', plan={'tanh/0': 'fail', 'base/1': 'die'})
  assert done.returncode == 1
  assert f'tanh/seed-0 failed: {HOSTILE}' in done.stdout
  assert 'base/seed-1 failed: killed by SIGKILL' in done.stdout
  assert 'no_lrn: -1.0 points: no interval from one seed' in done.stdout
  page = (tmp_path / 'study/index.html').read_text()
  assert HOSTILE not in page and '&lt;script&gt;' in page
  shutil.rmtree(tmp_path / 'study/no_lrn')
  again = fake('--seeds=0,1')
  assert again.returncode == 0, again.stderr
  assert _started(tmp_path)[6:] == ['no_lrn/0', 'tanh/0', 'base/1', 'no_lrn/1']


def test_a_signal_stops_the_runs_too_and_is_no_failure(fake, tmp_path):
  done = fake('--seeds=0', plan={'no_lrn/0': 'term'})
  assert done.returncode == 75, done.stderr
  assert 'no_lrn/seed-0: stopped' in done.stdout
  assert 'failed' not in done.stdout
  assert _started(tmp_path) == ['base/0', 'no_lrn/0']
  assert fake('--seeds=0').returncode == 0
  assert _started(tmp_path)[2:] == ['no_lrn/0', 'tanh/0']


def test_another_study_in_the_same_folder_is_refused(fake, tmp_path):
  assert fake('--seeds=0', '--ablations=tanh').returncode == 0
  more = fake('--seeds=0,1', '--ablations=no_lrn,tanh')  # these may be added
  assert more.returncode == 0, more.stderr
  count = len(_started(tmp_path))
  for flag, said in (
    ('--budget_epochs=2', 'config.num_epochs = 1, now it is 2'),
    ('--set=optim.momentum=0.8', 'config.optim.momentum = 0.9, now it is 0.8'),
  ):
    done = fake(flag)
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert said in done.stderr and 'another --output' in done.stderr
  assert len(_started(tmp_path)) == count


def test_a_manifest_of_something_else_is_left_alone(fake, tmp_path):
  manifest = tmp_path / 'study/study.json'
  manifest.parent.mkdir()
  manifest.write_text('{"runs": 7}')
  done = fake()
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert 'is of no study' in done.stderr
  assert manifest.read_text() == '{"runs": 7}'


def test_two_studies_at_once_are_refused(fake, tmp_path):
  with locking.locked(tmp_path / 'study', fix=''):
    done = fake()
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert 'in use by another run' in done.stderr


@pytest.mark.parametrize(
  ('flag', 'said'),
  [
    ('--ablations=no_lrm', 'there is no_lrn'),
    ('--ablations=tanh,tanh', 'tanh twice'),
    ('--seeds=0,x', '--seeds=x: use whole numbers'),
    ('--set=optim.momentun=1', 'there is optim.momentum'),
    ('--set=optim', 'give FIELD=VALUE'),
    ('--set=seed=3', 'use --seeds'),
  ],
)
def test_flags_that_cannot_be_meant(fake, tmp_path, flag, said):
  done = fake(flag)
  assert done.returncode == 1, done.stderr
  assert said in done.stderr and done.stderr.count('\n') == 1
  assert not (tmp_path / 'study').exists()


def test_gpus_are_shared_out(monkeypatch):
  monkeypatch.setattr(processes, 'gpus', lambda: ['0', '1', '2', '3', '4'])
  assert processes.share(devices=2, jobs=None) == [
    {'CUDA_VISIBLE_DEVICES': '0,1'},
    {'CUDA_VISIBLE_DEVICES': '2,3'},
  ]
  with pytest.raises(ValueError, match='use --jobs=2 or less'):
    processes.share(devices=2, jobs=3)
  monkeypatch.setattr(processes, 'gpus', list)
  assert processes.share(devices=2, jobs=None) == [{}]
  assert processes.share(devices=2, jobs=3) == [{}] * 3


@pytest.mark.parametrize(('places', 'code'), [(2, 0), (1, 1)])
def test_as_many_at_once_as_there_are_places(tmp_path, places, code):
  script = 'touch $0; for i in {1..20}; do [ -e $1 ] && exit; sleep .1; done; '
  here, there = str(tmp_path / 'here'), str(tmp_path / 'there')
  jobs = [
    processes.Job(
      me, ('bash', '-c', f'{script}echo "error: $P"; exit 1', me, other), log
    )
    for me, other, log in (
      (here, there, tmp_path / 'here.log'),
      (there, here, tmp_path / 'there.log'),
    )
  ]
  ends = {}
  processes.run(
    jobs,
    places=[{'P': 'place'}] * places,
    stop=stopping.Stop(),
    ended=lambda job, end: ends.update({job.name: end}),
  )
  assert ends[here] == (code, 'place' if code else '')  # waits for the other
  assert ends[there].code == 0


def test_the_figure_names_every_ablation_and_the_paper():
  pytest.importorskip('matplotlib')
  from alexnet_jax.analysis.figures import paired as drawn
  from alexnet_jax.analysis.figures import style

  cost = paired.Difference(3, 1.2, -3.0, 5.4)
  alone = paired.Difference(1, 4.0, None, None)
  rows = [
    drawn.Row('no_lrn', cost, cost, 1.4, 1.37),
    drawn.Row('$a<b', alone, alone, None, None),
  ]
  with style.theme(dark=True):
    root = ElementTree.fromstring(style.svg(drawn.figure(rows)))
    with pytest.raises(ValueError, match='nothing to draw'):
      drawn.figure([])
  words = {''.join(e.itertext()) for e in root.iter() if e.tag.endswith('text')}
  assert {'no_lrn', '$a<b', 'paper', 'notes of 2012'} <= words


def test_seed_by_seed_so_that_pairs_are_whole(tmp_path):
  asked = study.Study('', (), smoke.get_config(), ('tanh',), (3, 1), tmp_path)
  assert [run.key for run in study.runs(asked, ends={})] == [
    *('base/seed-3', 'tanh/seed-3', 'base/seed-1', 'tanh/seed-1')
  ]
