"""The command as a user types it: output, exit codes, one-line errors."""

import contextlib
import gzip
import json
import pathlib
import signal

import pytest

from tests import commands, nets

MAIN = 'alexnet_jax.main'
SMOKE = f'--config={commands.ROOT}/configs/smoke.py'
SHORT = (f'--config.model.skip_layers={nets.SKIPPED}',)


@pytest.fixture(scope='module')
def run(tmp_path_factory, command):
  """smoke.py from beginning to end."""
  workdir = tmp_path_factory.mktemp('smoke')
  args = (f'--workdir={workdir}', '--profile=3:4')
  return workdir, command(MAIN, SMOKE, *args)


def test_smoke_trains_on_two_columns(run):
  workdir, done = run
  assert done.returncode == 0, done.stderr
  assert 'data 1 x column 2' in done.stdout
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  last = json.loads(lines[-1])
  assert (last['split'], last['views'], last['num_images']) == ('val', 10, 50)
  assert last['step'] >= 10 and last['epoch'] >= 2
  assert {d.name for d in (workdir / 'checkpoints').iterdir()} == {'6', '12'}


def test_a_trace_has_the_steps_that_were_asked_for(run):
  workdir, done = run
  assert f'the trace of --profile is in {workdir}/profile' in done.stdout
  (file,) = workdir.glob('profile/plugins/profile/*/*.trace.json.gz')
  events = json.loads(gzip.decompress(file.read_bytes()))['traceEvents']
  steps = [e['args']['step_num'] for e in events if e.get('name') == 'train']
  assert steps == ['3', '4']


def test_evaluation_repeats_the_last_lines_to_the_last_digit(command, run):
  workdir, _ = run
  done = command(MAIN, SMOKE, '--mode=eval', f'--restore={workdir}')
  assert done.returncode == 0, done.stderr
  records = [
    json.loads(line)
    for line in (workdir / 'metrics.jsonl').read_text().splitlines()
  ]
  for record in records[-2:]:
    for error in ('top1_error', 'top5_error'):
      wrong = round(record[error] * 50)
      assert f'{100 * record[error]:.2f} % ({wrong} of 50)' in done.stdout


def test_same_command_again_says_done(command, run):
  workdir, _ = run
  done = command(MAIN, SMOKE, f'--workdir={workdir}')
  assert done.returncode == 0 and 'done already: step 12,' in done.stdout


def test_summary_prints_the_table(command):
  done = command(MAIN, '--config=configs/default.py', '--mode=summary')
  assert done.returncode == 0 and '60,965,224' in done.stdout


@pytest.mark.parametrize('args', [['--ablation=help'], ['--ablation', 'help']])
def test_ablations_are_listed_without_a_config(command, args):
  done = command(MAIN, *args)
  assert done.returncode == 0 and not done.stderr
  assert 'no_lrn          §3.3' in done.stdout
  assert done.stdout.count('\n') == 32  # two of heading, two for each


def test_an_ablated_run_has_a_workdir_of_its_own(command, tmp_path):
  flags = ('--ablation=no_lrn', '--ablation=single_view')
  steps = '--config.total_steps=1'
  done = command(MAIN, SMOKE, *flags, steps, *SHORT, cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  workdir = tmp_path / 'runs' / 'smoke-no_lrn-single_view'
  config = json.loads((workdir / 'config.json').read_text())
  assert config['ablations'] == ['no_lrn', 'single_view']
  assert config['model']['layer']['conv1']['ops'] == ['activation', 'pool']
  rows = json.loads((workdir / 'health.json').read_text())['rows']
  assert [r['stage'] for r in rows][:3] == [
    'conv1',
    'conv1/activation',
    'conv1/pool',
  ]
  assert 'before step 1, on 16 images' in done.stdout


def _times(workdir):
  return {p: p.stat().st_mtime_ns for p in workdir.rglob('*')}


@pytest.mark.parametrize(
  ('args', 'said'),
  [
    (['--ablation=no_crops'], 'is of a run with no --ablation'),
    (['--ablation=no_lrn'], 'is of a run with no --ablation'),
    (['--config.total_steps=6'], 'beyond the 6 steps of this config'),
    (['--config.total_steps=14', '--profile=9:15'], 'the run has 14 steps'),
    (
      ["--config.model.layer.fc6.ops=('activation',)"],
      """use --config.model.layer.fc6.ops="('activation', 'dropout')",""",
    ),
  ],
)
def test_what_cannot_be_gone_on_with_is_said_and_left_as_it_was(
  command, run, args, said
):
  workdir, _ = run
  before = _times(workdir)
  done = command(MAIN, SMOKE, f'--workdir={workdir}', *args)
  assert done.returncode == 1, done.stderr
  assert said in done.stderr and done.stderr.count('\n') == 1
  assert _times(workdir) == before


def test_another_networks_workdir_is_left_as_it_was(command, run):
  workdir, _ = run
  before = _times(workdir)
  done = command(
    MAIN, SMOKE, f'--workdir={workdir}', '--config.model.layer.conv1.kernels=16'
  )
  assert done.returncode == 1
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert 'conv1.kernels was 12, is 16' in done.stderr
  assert _times(workdir) == before


_SLOW_REPORT = """
import os, pathlib, sys, time
if 'alexnet_jax.tools.report' in sys.orig_argv:
  pathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))
  time.sleep(0.2)  # until main waits
  os.kill(os.getppid(), NUMBER)
  time.sleep(100)
"""


@pytest.mark.parametrize(
  'number, code', [(signal.SIGINT, 0), (signal.SIGTERM, 143)]
)
def test_a_signal_in_the_report_leaves_a_finished_run(
  command, tmp_path, number, code
):
  """The run is saved, and the process of the report is gone."""
  script = _SLOW_REPORT.replace('NUMBER', str(int(number)))
  (tmp_path / 'sitecustomize.py').write_text(script)
  flags = ('--config.report.at_end=True', '--config.total_steps=1')
  # In this folder, which is then the first on the path of the report.
  done = command(MAIN, SMOKE, '--workdir=run', *flags, *SHORT, cwd=tmp_path)
  assert done.returncode == code, done.stderr
  assert ('there is no report (interrupted)' in done.stdout) == (code == 0)
  assert 'run the command again' not in done.stderr
  assert [p.name for p in (tmp_path / 'run/checkpoints').iterdir()] == ['1']
  assert not _runs((tmp_path / 'pid').read_text())


def _runs(pid):
  """Whether a process runs; one that has ended may wait for its parent."""
  with contextlib.suppress(FileNotFoundError, ProcessLookupError):
    stat = pathlib.Path('/proc', pid, 'stat').read_text()
    return stat.rpartition(')')[2].split()[0] != 'Z'
  return False


def test_help_lists_the_flags_of_configs_and_of_several_processes(command):
  shown = command(MAIN, '--help').stdout
  for flag in ('config', 'ablation', 'coordinator', 'heartbeat', 'workdir'):
    assert f'--{flag}' in shown
