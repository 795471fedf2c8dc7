"""Measuring: rows, interleaved workers, the PyTorch baseline, the command."""

import json
import os
import pathlib
import runpy
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from alexnet_jax.bench import jax_step, multihost, rows, step, workers
from alexnet_jax.bench.baselines import pytorch
from alexnet_jax.bench.settings import Mesh, Settings
from alexnet_jax.config import validate
from tests import nets

# A worker with calls of 1 and 2 ms.
SLEEPER = """
import os, sys, time
from alexnet_jax.bench import jax_step

def sleep(seconds):
  print('noise on stdout')
  begun.append(seconds)
  facts = {'begun': len(begun), 'made': 0}

  def call():
    facts['made'] += 1
    time.sleep(seconds)

  return jax_step.serve.Workload(call, facts)

begun = []
works = {'one': lambda: sleep(0.001), 'two': lambda: sleep(0.002)}
jax_step.answer(works, info={'platform': 'cpu'})
"""


def _script(tmp_path, text):
  path = tmp_path / 'script.py'
  path.write_text(textwrap.dedent(text))
  return [sys.executable, str(path), '{}']


def test_spread_is_median_and_range():
  assert rows.spread('ms', [3.0, 1.0, 2.00049]) == {
    'ms': 2.0,
    'ms_range': [1.0, 3.0],
  }
  assert rows.spread('ms', []) == {'ms': None, 'ms_range': None}


def test_ratios_are_of_pairs():
  assert rows.ratios([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]
  assert rows.ratios([4.0, 9.0], []) == []


def test_conditions_name_what_is_installed_and_no_folder_of_this_machine(
  monkeypatch,
):
  monkeypatch.setattr(rows, '_PACKAGES', ('numpy', 'no-such-package'))
  found = rows.conditions(
    ['--config=configs/smoke.py', '--torch_python=/a/b/python', '--json']
  )
  assert found['versions'] == {'numpy': np.__version__}
  assert found['command'].endswith(
    ' --config=configs/smoke.py --torch_python=python --json'
  )


def test_a_round_has_as_many_calls_as_fit_its_seconds(tmp_path):
  with workers.Worker(_script(tmp_path, SLEEPER)) as worker:
    assert worker.info == {'platform': 'cpu'}
    first = worker.measure('two', seconds=0.01)
    assert 1 <= first['calls'] <= 5 and first['seconds'] >= 0.002
    assert worker.measure('one', seconds=0.0)['calls'] == 1
    again = worker.measure('two', seconds=0.0)
    assert again['begun'] == first['begun'] == 1  # built once
    # The first call of a round does not count; the first round has three such.
    assert first['made'] == first['calls'] + 3
    assert again['made'] == first['made'] + again['calls'] + 1
    assert 2**20 < again['peak_memory_bytes'] < 2**30
  assert worker._process.returncode == 0


def test_no_more_calls_are_pending_than_in_training():
  events = []

  class Result:
    def __init__(self):
      events.append(1)

    def block_until_ready(self):
      events.append(-1)

  jax_step.timed(Result, calls=6)
  assert sum(events) == 0 and max(np.cumsum(events)) == jax_step._AHEAD + 1


def test_the_last_line_on_stderr_is_the_error(tmp_path):
  command = _script(tmp_path, 'x = 1\nraise KeyError("lost")')
  with pytest.raises(
    workers.WorkerError, match="ended with 1: KeyError: 'lost'"
  ):
    workers.Worker(command)
  late = _script(
    tmp_path, 'import sys\nprint("{}", flush=True)\ninput()\n1 / 0'
  )
  with workers.Worker(late) as worker:
    with pytest.raises(workers.WorkerError, match='division by zero'):
      worker.measure('one', seconds=1.0)


# In place of torch_step.py: half the time in channels_last, no compiler.
BASELINE = """\
#!{python}
import json, os, sys, time
options = json.loads(sys.argv[2])
form, config = options['form'], options['config']
assert sys.argv[1].endswith('torch_step.py') and options['platform'] == 'cpu'
large = form['memory'] == 'large_pages'
assert ('hugetlb' in os.environ['GLIBC_TUNABLES']) == large
if form['mode'] == 'compile':
  sys.exit('RuntimeError: no C++ compiler')
seconds = 0.01 if form['layout'] == 'contiguous' else 0.005
seconds *= 1 + (form['lrn'] == 'torch') + (form['memory'] != 'returned')
print(json.dumps({{'version': '0', 'threads': 1}}), flush=True)
for line in sys.stdin:
  answer = {{'seconds': seconds, 'calls': 1, 'images': config['batch_size']}}
  answer['peak_memory_bytes'] = 10**9
  print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def fake_torch(tmp_path):
  path = tmp_path / 'python'
  path.write_text(BASELINE.format(python=sys.executable))
  path.chmod(0o755)
  return str(path)


def _options(**config):
  return {'what': 'step', 'platform': 'cpu', 'config': config}


def test_the_fastest_form_of_the_baseline_is_found(fake_torch):
  found = pytorch.Baseline(python=fake_torch)
  form, tried = found.fastest(_options(batch_size=8), seconds=0.1)
  assert form in (
    'channels_last/eager/shifts/returned',
    'channels_last/eager/cumsum/returned',
  )
  assert len(tried) == 14  # two layouts, two modes, three sums; two of memory
  assert tried['channels_last/eager/torch/returned'] == 800
  assert tried[form] == 1600
  assert tried[form.replace('returned', 'kept')] == 800
  assert tried[form.replace('returned', 'large_pages')] == 800
  assert 'no C++ compiler' in str(tried['contiguous/compile/shifts/returned'])


def test_forms_are_given_by_name_and_one_that_runs_is_enough(fake_torch):
  forms = ('contiguous/eager/torch/kept', 'contiguous/compile/torch')
  found = pytorch.Baseline(
    python=fake_torch, forms=tuple(map(pytorch.parse_form, forms))
  )
  form, tried = found.fastest(_options(batch_size=8), seconds=0.1)
  assert form == forms[0] and len(tried) == 2
  none = pytorch.Baseline(python=fake_torch, forms=found.forms[1:])
  with pytest.raises(workers.WorkerError, match='no C'):
    none.fastest(_options(batch_size=8), seconds=0.1)


@pytest.mark.parametrize('text', ['contiguous', 'a/eager/torch', 'a/b/c/d/e'])
def test_forms_that_are_none_are_refused(text):
  with pytest.raises(ValueError, match=f'--peer_forms={text}: use '):
    pytorch.parse_form(text)


def _settings(**fields):
  fields = {
    'what': 'step', 'config': nets.config(), 'batch_size': 4,
    'meshes': [Mesh(1, 2)], 'dtype': 'float32', 'seconds': 0.1,
    'rounds': 2,
  } | fields  # fmt: skip
  return Settings(**fields)


def test_a_config_is_given_mesh_batch_and_dtype():
  config = _settings().with_mesh(Mesh(1, 2))
  assert (config.mesh.data, config.mesh.column) == (1, 2)
  assert config.batch_size == config.eval.batch_size == 4
  with pytest.raises(ValueError, match='split evenly'):
    _settings().with_mesh(Mesh(3, 1))
  config = _settings(dtype='bfloat16').with_mesh(Mesh(1, 1))
  assert config.dtype == 'bfloat16'


def test_scaling_is_three_meshes_then_six_sizes(monkeypatch):
  asked = []

  def measure(settings):
    asked.append((list(map(str, settings.meshes)), settings.batch_size))
    if settings.batch_size == 512:
      raise workers.WorkerError('no memory')
    return [{'mesh': str(mesh)} for mesh in settings.meshes]

  monkeypatch.setattr(step, 'measure_steps', measure)
  found = step.measure_scaling(_settings(batch_size=8))
  assert asked[0] == (['1x1', '1x2', '2x1'], 8)
  assert asked[1:] == [(['1x1'], 2**n) for n in range(4, 10)]
  assert len(found) == 9 and found[0] == {'mesh': '1x1', 'bench': 'scaling'}
  failed = {'batch_size': 512, 'failed': 'no memory', 'bench': 'scaling'}
  assert found[-1] == failed


BLOCKED = """
import subprocess
import sys
for name in ('grain', 'tensorflow_datasets', 'orbax', 'array_record', 'PIL',
             'scipy', 'simplejpeg', 'tensorboardX', 'tqdm', 'torch'):
  sys.modules[name] = None
"""

SMALL = """
from alexnet_jax.configs import smoke

def get_config():
  config = smoke.get_config()
  config.model.skip_layers = ('conv2', 'conv4', 'conv5')
  config.winograd = False
  return config
"""


@pytest.mark.multiprocess
def test_command_measures_with_few_packages(tmp_path, fake_torch):
  """Both processes, from a folder without the repository, as JSON."""
  (tmp_path / 'sitecustomize.py').write_text(BLOCKED)
  small = tmp_path / 'small.py'
  small.write_text(SMALL)
  root = pathlib.Path(__file__).parent.parent
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'alexnet_jax.tools.bench', '--what=step'),
      *('--batch_size=4', '--mesh=1x1,1x2', '--rounds=2', '--seconds=0.1'),
      *(f'--config={small}', '--json', f'--torch_python={fake_torch}'),
      '--peer_forms=contiguous/eager/torch',
    ],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': f'{tmp_path}{os.pathsep}{root}'},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])
  one, two = found['rows']
  assert {name: found[name] for name in one} == one
  assert (one['mesh'], two['mesh']) == ('1x1', '1x2')
  for row in (one, two):
    assert row['peer_images_per_second'] == 200 and row['n'] == 2
    assert row['ratio'] == pytest.approx(row['images_per_second'] / 200, 0.01)
    low, high = row['images_per_second_range']
    assert 0 < low <= row['images_per_second'] <= high
    rate = row['images_per_second'] * row['flop_per_image'] / 1e9
    assert row['matmul_share'] > 0 and rate < row['matmul_gflops']
    assert row['compile_seconds'] > 0
    assert row['peak_memory_bytes'] > 10**8
    assert row['peer_peak_memory_bytes'] == 10**9
  assert one['ratio_to_first_mesh'] == 1
  assert found['conditions']['config'] == 'small'
  assert 'grain' not in done.stderr


@pytest.mark.parametrize(
  ('flag', 'says'),
  [
    ('--mesh=1', "--mesh holds '1': use data x column, as 1x2"),
    ('--mesh=1xb', "--mesh holds 'b': use 1 or more"),
    ('--batch_size=0', "--batch_size holds '0': use 1 or more"),
    ('--dtype=float16', '--dtype=float16: use float32 or bfloat16'),
    ('--peer_forms=nchw/eager/torch', 'use contiguous or channels_last'),
    ('--torch_python=/no/such/python', '/no/such/python'),
  ],
)
def test_wrong_flags_are_one_line(command, flag, says):
  done = command(
    'alexnet_jax.tools.bench',
    '--what=step',
    '--config=configs/smoke.py',
    flag,
  )
  assert done.returncode == 1, done.stderr
  assert says in done.stderr and done.stderr.count('\n') == 1
  assert done.stdout == ''


def test_no_config_is_the_papers_net(command):
  done = command(
    'alexnet_jax.tools.bench', '--what=step', '--mesh=1x3', '--rounds=1'
  )
  assert 'the network has 2 columns' in done.stderr


def test_runs_of_several_processes_have_the_config(tmp_path):
  settings = _settings(batch_size=8)
  path = multihost.write_config(tmp_path, settings, Mesh(2, 1))
  config = runpy.run_path(str(path))['get_config']()
  validate.check(config)
  assert (config.batch_size, config.total_steps) == (8, 20)
  assert config.mesh.data == 2 and not config.report.at_end
  assert config.model == settings.config.model
