"""Studies of ablations: statistics, and runs that fail, stop and continue."""

import doctest
import functools
import json
import math
import shutil
import textwrap
from xml.etree import ElementTree

import jax
import pytest

from alexnet_jax.config import ablations, validate
from alexnet_jax.configs import smoke, study_cifar
from alexnet_jax.models import alexnet
from alexnet_jax.runtime import locks, signals
from alexnet_jax.studies import provenance
from alexnet_jax.studies.ablation import jobs as jobs_lib
from alexnet_jax.studies.ablation import page as page_lib
from alexnet_jax.studies.ablation import paired, results, study
from tests import commands, nets

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
  last |= {'loss': 1.0 + cost[name], 'num_images': 100, 'time': 1.0}
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


def _asked(tmp_path, *, base='smoke', **fields):
  config, data = study.with_budget(smoke.get_config(), epochs=1)
  return study.Study(
    base, (), config, ('tanh',), (3, 1), tmp_path, data
  )._replace(**fields)


def _table(done):
  return done.stdout[done.stdout.index('                 n') :]


@pytest.mark.parametrize('module', [paired, results, provenance])
def test_doctests(module):
  assert doctest.testmod(module).failed == 0


def test_interval_of_worked_numbers():
  # Differences 1, 2, 6: mean 3, variance 7, t(0.975, 2) = 4.302653.
  found = paired.difference([2.0, 4.0, 9.0], base=[1.0, 2.0, 3.0])
  half = 4.302653 * math.sqrt(7 / 3)
  assert found.low is not None and found.high is not None
  assert (found.n, found.mean) == (3, 3.0)
  assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
  assert not found.is_significant
  # The same numbers, unpaired, would be far wider: 1, 2, 3 differ by seed.
  even = paired.difference([11.0, 12.0, 13.1], base=[1.0, 2.0, 3.0])
  assert even.is_significant and even.high - even.low < 0.4


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
  assert results.notes('147') == pytest.approx((0.394, 0.3))
  assert results.notes('145-half') == pytest.approx((1.6953, 1.23))
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
  values = jax.device_get(init(jax.random.key(5)))
  leaves = jax.tree_util.tree_leaves_with_path(values)
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
  workdir = output / 'tanh/seed-4'
  workdir.parent.mkdir(parents=True)
  workdir.write_text('')
  done = command(
    *(STUDY, SMOKE, '--ablations=tanh', '--seeds=4', '--budget_epochs=1'),
    *(f'--output={output}', f'--set=model.skip_layers={nets.SKIPPED}'),
  )
  assert done.returncode == 1, done.stderr
  assert f'tanh/seed-4 failed: {workdir} is ' in done.stdout
  assert f'tanh/seed-4: begins; {workdir}.log' in done.stdout
  assert 'base has not learned: 1 of 1 run at chance' in done.stdout
  assert 'tanh: no pair of runs is done' in done.stdout
  config = json.loads((output / 'base/seed-4/config.json').read_text())
  assert (config['seed'], config['total_steps']) == (4, 6)
  lines = (output / 'base/seed-4/metrics.jsonl').read_text().splitlines()
  error = 100 * json.loads(lines[-1])['top1_error']
  assert f'base             1{error:18.1f}' in done.stdout


def test_a_killed_study_continues_to_the_same_table(fake, tmp_path):
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


def test_missing_data_are_an_error_before_anything_is_written(
  command, tmp_path
):
  base = f'--base={commands.ROOT}/configs/cifar10_fig1.py'
  output = tmp_path / 'study'
  done = command(STUDY, base, '--ablations=tanh', f'--output={output}')
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert 'config.data.dir' in done.stderr and not output.exists()


def test_a_study_of_which_nothing_was_trained_can_be_mended(fake, tmp_path):
  every = {f'{name}/0': 'fail' for name in ('base', 'tanh')}
  args = ('--seeds=0', '--ablations=tanh')
  assert fake(*args, plan=every).returncode == 1
  mended = fake(*args, '--set=data.source=embedded', '--set=batch_size=8')
  assert mended.returncode == 0, mended.stderr
  again = fake(*args, '--set=batch_size=16')
  assert again.returncode == 1
  assert 'config.batch_size = 8, now it is 16' in again.stderr


def test_other_images_in_the_same_folder_are_refused(tmp_path):
  asked = _asked(tmp_path)
  study._write_manifest(asked, ends={})
  (tmp_path / 'base/seed-3').mkdir(parents=True)
  study._open_manifest(asked)
  other = asked.data._replace(fingerprint='f' * 64)
  with pytest.raises(ValueError, match='is of other data: embedded'):
    study._open_manifest(asked._replace(data=other))


def test_finished_runs_that_are_left_out_are_listed(fake):
  assert fake('--seeds=0,1', '--ablations=tanh').returncode == 0
  done = fake('--seeds=0', '--ablations=tanh')
  said = '2 finished runs are in the folder not asked for, and left out: '
  assert f'{said}base/seed-1, tanh/seed-1' in done.stdout
  assert 'no interval from one seed' in done.stdout


def test_a_manifest_of_something_else_is_left_alone(fake, tmp_path):
  manifest = tmp_path / 'study/study.json'
  manifest.parent.mkdir()
  manifest.write_text('{"runs": 7}')
  done = fake()
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert 'is of no study' in done.stderr
  assert manifest.read_text() == '{"runs": 7}'


def test_two_studies_at_once_are_refused(fake, tmp_path):
  with locks.locked(tmp_path / 'study', fix=''):
    done = fake()
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert 'in use by another run' in done.stderr


@pytest.mark.parametrize(
  ('flag', 'said'),
  [
    ('--ablations=no_lrm', 'there is no_lrn'),
    ('--ablations=no_lrm', '--ablations has no_lrm, which is unknown'),
    ('--ablations=tanh,tanh', 'tanh twice'),
    ('--ablations=', '--ablations is empty'),
    ('--ablations=tanh,no_overlap', 'has no_overlap, which does not fit'),
    ('--seeds=0,x', '--seeds=0,x: use one or more whole numbers'),
    ('--seeds=', '--seeds=: use one or more whole numbers'),
    ('--seeds=0,0', '--seeds=0,0 has 0 twice'),
    ('--seeds=4294967296', 'use a whole number from 0 to 4294967295'),
    ('--set=total_steps=5', '--budget_epochs=1 says how long'),
    ('--set=num_epochs=5', '--budget_epochs=1 says how long'),
    ('--set=model.activation=relu', 'the ablation tanh sets it to tanh'),
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


@pytest.mark.parametrize(
  ('visible', 'found'),
  [
    ('0,2', ['0', '2']),
    ('-1', []),
    ('', []),
    ('1, -1,0', ['1']),
    ('GPU-8932f937,MIG-1', ['GPU-8932f937', 'MIG-1']),
    ('NoDevFiles', []),
  ],
)
def test_gpus_are_those_that_cuda_would_take(monkeypatch, visible, found):
  monkeypatch.setattr(jobs_lib.importlib.util, 'find_spec', lambda name: name)
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
  assert jobs_lib.gpus() == found


def test_gpus_are_shared_out(monkeypatch):
  monkeypatch.setattr(jobs_lib, 'gpus', lambda: ['0', '1', '2', '3', '4'])
  assert jobs_lib.divide_gpus(devices=2, jobs=None) == [
    {'CUDA_VISIBLE_DEVICES': '0,1'},
    {'CUDA_VISIBLE_DEVICES': '2,3'},
  ]
  with pytest.raises(ValueError, match='use --jobs=2 or less'):
    jobs_lib.divide_gpus(devices=2, jobs=3)
  monkeypatch.setattr(jobs_lib, 'gpus', list)
  assert jobs_lib.divide_gpus(devices=2, jobs=None) == [{}]
  assert jobs_lib.divide_gpus(devices=2, jobs=3) == [{}] * 3


@pytest.mark.parametrize(('places', 'code'), [(2, 0), (1, 1)])
def test_as_many_at_once_as_there_are_places(tmp_path, places, code):
  looks = '{1..100}' if places == 2 else '{1..3}'
  script = f'touch $0; for i in {looks}; do [ -e $1 ] && exit; sleep .1; done; '
  here, there = str(tmp_path / 'here'), str(tmp_path / 'there')
  jobs = [
    jobs_lib.Job(
      me, ('bash', '-c', f'{script}echo "error: $P"; exit 1', me, other), log
    )
    for me, other, log in (
      (here, there, tmp_path / 'here.log'),
      (there, here, tmp_path / 'there.log'),
    )
  ]
  ends = {}
  jobs_lib.run_all(
    jobs,
    places=[{'P': 'place'}] * places,
    stop=signals.Stop(),
    ended=lambda job, end: ends.update({job.name: end}),
  )
  assert ends[here] == (code, 'place' if code else '')  # waits for the other
  assert ends[there].code == 0


def _net(name, cost, *, paper, notes):
  costs = {'top1': cost, 'loss': cost}
  return results.NetResult(
    name, 3, 3, {}, costs, (paper, None), '', (notes, None), 0
  )


def test_the_figure_names_every_ablation_and_the_paper():
  pytest.importorskip('matplotlib')
  from alexnet_jax.studies.figures import paired as paired_lib
  from alexnet_jax.studies.figures import style

  cost = paired.Difference(3, 1.2, -3.0, 5.4)
  alone = paired.Difference(1, 4.0, None, None)
  rows = [
    _net('no_lrn', cost, paper=1.4, notes=1.37),
    _net('$a<b', alone, paper=None, notes=None),
  ]
  with style.theme(dark=True):
    root = ElementTree.fromstring(style.svg(paired_lib.figure(rows)))
    with pytest.raises(ValueError, match='nothing to draw'):
      paired_lib.figure([])
  words = {''.join(e.itertext()) for e in root.iter() if e.tag.endswith('text')}
  assert {'no_lrn', '$a<b', 'paper', 'notes of 2012'} <= words


def test_seed_by_seed_so_that_pairs_are_whole(tmp_path):
  runs = study.all_runs(_asked(tmp_path), ends={})
  assert [run.key for run in runs] == [
    *('base/seed-3', 'tanh/seed-3', 'base/seed-1', 'tanh/seed-1')
  ]


def _done(asked, errors, *, top5=0.1):
  """Runs of a study with these top-1 errors of 100 images, as on disk."""
  runs = []
  for run in study.all_runs(asked, ends={}):
    last = {'split': 'val', 'step': 6, 'epoch': 1.0, 'views': 1}
    last |= {'top1_error': errors[run.name], 'top5_error': top5, 'loss': 1.0}
    run.workdir.mkdir(parents=True)
    (run.workdir / study.METRICS).write_text(
      json.dumps(last | {'num_images': 100, 'time': 1.0}) + '\n'
    )
    runs.append(run._replace(end=jobs_lib.End(0, '')))
  return runs


@pytest.mark.parametrize(
  ('base', 'tanh', 'said'),
  [
    (0.9, 0.9, 'base has not learned: 2 of 2 runs at chance; costs mean'),
    (0.2, 0.9, 'of 2 pairs: no spread to judge by; 2 of 2 runs at chance'),
    (0.2, 0.3, 'of 2 pairs: no spread to judge by'),
  ],
)
def test_nets_at_chance_are_named(tmp_path, base, tanh, said):
  asked = _asked(tmp_path)
  runs = _done(asked, {'base': base, 'tanh': tanh})
  lines = results.verdicts(results.collect(runs, data=asked.data))
  assert any(line.endswith(said) or said in line for line in lines)
  assert ('at chance' in ' '.join(lines)) == ('chance' in said)


def test_a_top5_error_that_is_not_defined_is_a_dash(tmp_path):
  asked = _asked(tmp_path)
  runs = _done(asked, {'base': 0.2, 'tanh': 0.3}, top5=None)
  found = results.collect(runs, data=asked.data)
  assert all({'top1', 'loss'} == {*net.errors} for net in found)
  assert {*found[1].costs} == {'top1', 'loss'}
  (row,) = [x for x in results.describe(found).split('\n') if x[:5] == 'base ']
  assert row.split()[1:] == [
    '2',
    '20.0',
    '±',
    '0.0',
    '–',
    '1.000',
    '±',
    '0.000',
  ]
  assert 'Top-5' in page_lib.write(asked, runs=runs).read_text()


def test_the_page_has_the_numbers_of_the_table(tmp_path):
  asked = _asked(tmp_path, ablations=('tanh', 'no_conv3', 'no_pca_jitter'))
  errors = {'base': 0.2, 'tanh': 0.345, 'no_conv3': 0.21, 'no_pca_jitter': 0.3}
  runs = _done(asked, errors)
  rows = results.collect(runs, data=asked.data)
  text = results.describe(rows)
  page = page_lib.write(asked, runs=runs).read_text()
  for row in rows:
    error = results.errors(row.errors['top1'])
    line = next(x for x in text.splitlines() if x.startswith(row.name))
    assert error in line and f'<td class="number">{error}</td>' in page
    if row.pairs:
      cost = results.cost(row.costs['top1'])
      line = [x for x in text.splitlines() if x.startswith(row.name)][1]
      assert cost in line and f'<td class="number">{cost}' in page
  assert '~ +2' in text and '~ +2 / –' in page
  assert '> +1' in text and '&gt; +1 / –' in page
  assert 'compare signs, not sizes' in text
  assert asked.data.fingerprint[:12] in page and '3 ablations of' in page
  assert '<th class="number" scope="col">' in page
  assert 'role="region" aria-label="Runs"' in page


def test_bands_have_every_seed_at_the_epochs_that_all_have(tmp_path):
  runs = _done(_asked(tmp_path), {'base': 0.2, 'tanh': 0.9})
  for n, run in enumerate(runs):
    lines = [
      {'split': 'train', 'epoch': 0.5, 'top1_error': 0.99},
      {'split': 'val', 'epoch': 0.5, 'top1_error': n / 10, 'views': 1},
      {'split': 'val', 'epoch': 1.0, 'top1_error': 0.7, 'views': 10},
    ]
    late = {'split': 'val', 'epoch': 0.7, 'top1_error': 0.6, 'views': 1}
    lines += [late] * (n != 2)
    with (run.workdir / study.METRICS).open('a') as file:
      for line in lines:
        own = dict.fromkeys(
          ('loss', 'time', 'learning_rate', 'top5_error'), 1.0
        )
        line |= own | {'step': 3, 'num_images': 100}
        file.write(json.dumps(line) + '\n')
  both = page_lib._drawn_bands(runs[::-1])['nets']
  assert [name for name, _, _ in both] == ['base', 'tanh']
  base, tanh = ((epochs, errors.tolist()) for _, epochs, errors in both)
  assert base == ([0.5, 1.0], [[0.2, 0.2], [0.0, 0.2]])
  assert tanh == ([0.5, 0.7, 1.0], [[0.3, 0.6, 0.9], [0.1, 0.6, 0.9]])
  for some in ([], runs[:1], runs[1:2]):
    with pytest.raises(ValueError, match='No pair of runs is done yet'):
      page_lib._drawn_bands(some)
  page_lib.write(_asked(tmp_path), runs=runs)
  assert '>tanh<' in (tmp_path / 'bands.svg').read_text()


SHAPES = {  # of the net on CIFAR-10, by hand
  'conv1': (16, 16, 32),  # (28 + 2 x 3 - 5) / 2 + 1 = 15.5
  'conv1/pool': (8, 8, 32),
  'conv2': (8, 8, 64),
  'conv2/pool': (4, 4, 64),
  'conv3/activation': (4, 4, 64),
  'fc6': (512,),
  'fc8': (10,),
}
CIFAR = ('no_crops', 'no_dropout', 'no_lrn', 'no_overlap', 'one_gpu_half')


@pytest.mark.parametrize('names', [(), *((name,) for name in CIFAR)])
def test_the_net_on_cifar10_fits_each_ablation_without_other_sizes(names):
  config = study_cifar.get_config()
  config.data.dir = 'DATA'
  ablations.apply(config, names)
  validate.check(config, before_data=True)
  found = alexnet.activation_shapes(
    config.model, crop_size=config.data.crop_size
  )
  half = names == ('one_gpu_half',)
  for layer, (*size, channels) in SHAPES.items():
    channels //= 2 if half and layer.startswith('conv') else 1
    assert found[layer] == (*size, channels), layer


def test_the_net_on_cifar10_trains(command, tmp_path):
  fields = (
    'source=embedded',
    'embedded_train_images=24',
    'embedded_val_images=10',
  )
  done = command(
    'alexnet_jax.main',
    f'--config={commands.ROOT}/configs/study_cifar.py',
    *(f'--config.data.{field}' for field in fields),
    *('--config.batch_size=8', '--config.total_steps=3'),
    f'--workdir={tmp_path}/run',
  )
  assert done.returncode == 0, done.stderr
  *_, last = (tmp_path / 'run/metrics.jsonl').read_text().splitlines()
  record = json.loads(last)
  assert (record['step'], record['num_images'], record['views']) == (3, 10, 1)
  assert 0 < record['loss'] < 5


def test_time_that_is_left(monkeypatch):
  clock = iter([0.0, 60.0, 180.0, 300.0])
  monkeypatch.setattr(study.time, 'monotonic', lambda: next(clock))
  left = study._Clock(3)
  assert left.left() == '; 2 to go, about 2.0 min'
  assert left.left() == '; 1 to go, about 1.5 min'
  assert left.left() == ''
