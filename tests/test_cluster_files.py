"""launch/multiprocess.sh, slurm.sbatch, jobset.yaml and Dockerfile.

multiprocess.sh runs for real, with a Python that trains nothing; slurm.sbatch
with SLURM commands that only log their arguments. jobset.yaml is checked with
the schemas in tests/schemas and the models that JobSet publishes.
"""

import contextlib
import copy
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import referencing
import yaml

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / 'launch'

# Runs the code in $DO, or $DO_I for process I, and logs to $NOTES.
PROGRAM = """
import os, pathlib, signal, sys, time
[me] = [a[13:] for a in sys.argv if a.startswith('--process_id=')] or [
  os.environ['SLURM_PROCID']]
notes = pathlib.Path(os.environ['NOTES'])
do = os.environ.get('DO_' + me) or os.environ.get('DO') or 'sys.exit(0)'
heard = []
def hear(number, frame):
  heard.append(number)
  with open(notes / ('heard.' + me), 'a') as file:
    print(signal.Signals(number).name, file=file)
signal.signal(signal.SIGTERM, hear)
signal.signal(signal.SIGINT, hear)
def run():  # as training does
  while not heard:
    time.sleep(0.01)
  time.sleep(0.5)  # for a second signal, if there is one
  sys.exit(75)
def hang():
  while True:
    time.sleep(0.01)
print('process', me, 'is here', flush=True)
gpus = os.environ.get('CUDA_VISIBLE_DEVICES', 'all')
(notes / 'new').write_text('\\n'.join([str(os.getpid()), gpus, *sys.argv[1:]]))
os.rename(notes / 'new', notes / ('ran.' + me))
exec(do)
""".replace("'new'", "('new.' + me)")

FAKE_PYTHON = f"""#!/usr/bin/env bash
case "$*" in
  *'import ensurepip'*) ;;
  '-I -m venv '*)
    mkdir -p "$4/bin" && touch "$4/pyvenv.cfg" && cp "$0" "$4/bin/python" ;;
  '-I -m pip '*) cat >/dev/null ;;
  '-P '*) exec {sys.executable!r} -S "$PROGRAM" "$@" ;;
  *) exec {sys.executable!r} -S "$@" ;;
esac
"""

FAKE_SLURM = {
  'srun': 'printf "%s\\n" "$@" >"$NOTES/srun"; exit "$SRUN_CODE"',
  'squeue': 'echo "$JOB_STATE"',
  'scontrol': 'printf "%s\\n" "$*" >>"$NOTES/scontrol"',
}


def executable(path: pathlib.Path, text: str) -> None:
  path.write_text(text)
  path.chmod(0o755)


class Checkout:
  """A copy of launch/ whose .venv holds FAKE_PYTHON, with what it started."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.root = path / 'a checkout'
    self.notes = path / 'notes'
    self.bin = path / 'bin'
    self.started: list[subprocess.Popen] = []
    for folder in (self.root, self.bin):
      folder.mkdir()
    shutil.copytree(LAUNCH, self.root / 'launch')
    for name in ('pyproject.toml', 'requirements.lock'):
      shutil.copy(ROOT / name, self.root)
    (path / 'program.py').write_text(PROGRAM)
    for name in ('python3', *(f'python3.{minor}' for minor in range(11, 15))):
      executable(self.bin / name, FAKE_PYTHON)  # hides those of this machine

  def start(self, *command: str | pathlib.Path, **env: str) -> subprocess.Popen:
    dropped = ('PYTHON', 'PYTHONPATH', 'CUDA_VISIBLE_DEVICES')
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    kept |= {
      'PATH': f'{self.bin}:{kept["PATH"]}',
      'NOTES': str(self.notes),
      'PROGRAM': str(self.path / 'program.py'),
      'JAX_PLATFORMS': 'cpu',  # a machine with GPUs would share them out
    }
    process = subprocess.Popen(
      # A shell starts background jobs with SIGINT ignored: undo that.
      ['env', '--default-signal=INT', *command],
      cwd=self.notes,
      env=kept | env,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,  # a terminal's Ctrl-C signals the whole group
    )
    self.started.append(process)
    return process

  def processes(self, *args: str, **env: str) -> subprocess.Popen:
    return self.start(self.root / 'launch' / 'multiprocess.sh', *args, **env)

  def stop(self) -> None:
    """Kills the processes that a failed test left behind."""
    for process in self.started:
      process.kill()
    for path in self.notes.glob('ran.*'):
      pid = path.read_text().split()[0]
      with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if 'program.py' in pathlib.Path('/proc', pid, 'cmdline').read_text():
          os.kill(int(pid), signal.SIGKILL)
    for process in self.started:
      process.communicate(timeout=10)
    self.started.clear()

  def ran(self, number: int) -> list[str]:
    """Process id, GPUs and arguments of a process, once it has started."""
    path = self.notes / f'ran.{number}'
    end = time.monotonic() + 20
    while not path.exists():
      assert time.monotonic() < end, f'process {number} has not begun'
      time.sleep(0.02)
    return path.read_text().split('\n')

  def heard(self, number: int) -> list[str]:
    path = self.notes / f'heard.{number}'
    return path.read_text().split() if path.exists() else []

  def log(self, number: int) -> str:
    [path] = (self.notes / 'runs' / 'logs').glob(f'*/{number}.log')
    return path.read_text()


def end(process: subprocess.Popen) -> tuple[int, str, str]:
  """Exit code, stdout and stderr."""
  out, errors = process.communicate(timeout=30)
  return process.returncode, out, errors


@pytest.fixture(scope='module')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
  checkout = Checkout(tmp_path_factory.mktemp('cluster'))
  checkout.notes.mkdir()
  list_gpus(checkout, count=0)  # with nvidia-smi .venv gets the extra cuda12
  code, _, errors = end(checkout.processes('1'))
  assert code == 0 and 'ready after' in errors
  (checkout.bin / 'nvidia-smi').unlink()
  return checkout


def list_gpus(checkout: Checkout, *, count: int) -> None:
  lines = [f'echo "GPU {i}: NVIDIA (UUID: GPU-{i})"' for i in range(count)]
  lines += ['echo "  MIG 1g.10gb Device"']  # part of a GPU
  executable(checkout.bin / 'nvidia-smi', '\n'.join(['#!/bin/sh', *lines, '']))


@pytest.fixture
def checkout(installed: Checkout) -> Iterator[Checkout]:
  shutil.rmtree(installed.notes)
  installed.notes.mkdir()
  yield installed
  installed.stop()


# multiprocess.sh


def test_each_process_has_its_flags_and_its_log(checkout: Checkout) -> None:
  args = ['--config=a b.py', '', '*']
  code, out, errors = end(checkout.processes('3', *args))
  assert code == 0
  assert out == 'process 0 is here\n'
  given = [checkout.ran(i)[2:] for i in range(3)]
  for i in range(3):
    assert checkout.log(i) == f'process {i} is here\n'
    coordinator = given[i][3]
    assert given[i] == [
      *('-P', '-m', 'alexnet_jax.main', coordinator),
      *('--num_processes=3', f'--process_id={i}', *args),
    ]
    assert coordinator == given[0][3]
    assert coordinator.startswith('--coordinator=127.0.0.1:')
  assert 'logs in runs/logs/' in errors


def test_no_args_is_the_default_config(checkout: Checkout) -> None:
  end(checkout.processes('2'))
  config = f'--config={checkout.root}/configs/default.py'
  assert [checkout.ran(i)[-1] for i in range(2)] == [config] * 2


def test_logs_go_where_they_should(checkout: Checkout) -> None:
  logs = checkout.notes / 'my logs'
  assert end(checkout.processes('2', MULTIPROCESS_LOGS=str(logs)))[0] == 0
  assert {path.name for path in logs.iterdir()} == {'0.log', '1.log'}


@pytest.mark.parametrize('count', ['', '0', '-1', 'two', '--config=a.py'])
def test_without_a_number_is_one_line(checkout: Checkout, count: str) -> None:
  code, _, errors = end(checkout.processes(count))
  assert code == 2 and errors.count('\n') == 1
  assert 'number of processes first' in errors


@pytest.mark.parametrize(
  ('codes', 'expected'),
  [((75, 75), 75), ((0, 75), 1), ((75, 0), 1), ((0, 3), 3), ((75, 1), 1)],
)
def test_exit_code(
  checkout: Checkout, codes: tuple[int, int], expected: int
) -> None:
  do = {f'DO_{i}': f'sys.exit({code})' for i, code in enumerate(codes)}
  assert end(checkout.processes('2', **do))[0] == expected


def test_exit_code_is_that_of_the_first_that_failed(checkout: Checkout) -> None:
  process = checkout.processes(
    *('3',),
    DO='time.sleep(1); sys.exit(1)',
    DO_2='print("error: why"); sys.exit(3)',
  )
  code, _, errors = end(process)
  assert code == 3
  assert 'process 2 exited with code 3' in errors and 'error: why' in errors
  assert not any(checkout.heard(i) for i in range(3))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_all_once(
  checkout: Checkout, number: signal.Signals
) -> None:
  process = checkout.processes('3', DO='run()')
  for i in range(3):
    checkout.ran(i)
  if number == signal.SIGINT:
    os.killpg(process.pid, number)  # as a terminal does
  else:
    process.send_signal(number)
    time.sleep(0.25)
    process.send_signal(number)  # a second SIGTERM changes nothing
  code, out, errors = end(process)
  assert code == 75
  assert [checkout.heard(i) for i in range(3)] == [['SIGTERM']] * 3
  assert errors.count('asking all') == 1 and 'failed' not in errors
  assert out == 'process 0 is here\n'


def test_last_output_of_process_0_is_shown(checkout: Checkout) -> None:
  do = """
while not heard:
  time.sleep(0.01)
time.sleep(0.3)
print("saved")
sys.exit(75)
"""
  process = checkout.processes('2', DO='run()', DO_0=do)
  for i in range(2):
    checkout.ran(i)
  os.killpg(process.pid, signal.SIGINT)
  code, out, _ = end(process)
  assert code == 75 and out.endswith('saved\n')


def test_second_ctrl_c_kills(checkout: Checkout) -> None:
  process = checkout.processes('2', DO='hang()')
  pids = [int(checkout.ran(i)[0]) for i in range(2)]
  os.killpg(process.pid, signal.SIGINT)
  assert process.stderr is not None
  while 'asking all' not in process.stderr.readline():
    pass
  os.killpg(process.pid, signal.SIGINT)
  assert end(process)[0] == 130
  assert all(is_gone(pid) for pid in pids)


def is_gone(pid: int) -> bool:
  path = pathlib.Path('/proc', str(pid), 'stat')
  end = time.monotonic() + 5
  while time.monotonic() < end:
    try:
      if path.read_text().rsplit(')', 1)[1].split()[0] == 'Z':
        return True  # a zombie until its parent waits for it
    except (FileNotFoundError, ProcessLookupError):
      return True
    time.sleep(0.02)
  return False


def test_a_dead_process_stops_the_rest(checkout: Checkout) -> None:
  process = checkout.processes(
    *('3',),
    MULTIPROCESS_GRACE='1',
    DO='run()',
    DO_1='os.kill(os.getpid(), signal.SIGKILL)',
  )
  code, _, errors = end(process)
  assert code == 128 + signal.SIGKILL
  assert 'process 1 exited with code 137' in errors
  assert [checkout.heard(i) for i in (0, 2)] == [['SIGTERM']] * 2


def test_a_process_that_does_not_stop_is_killed(checkout: Checkout) -> None:
  process = checkout.processes(
    '2', MULTIPROCESS_GRACE='0', DO='hang()', DO_1='sys.exit(1)'
  )
  pid = int(checkout.ran(0)[0])
  code, _, errors = end(process)
  assert code == 1 and 'killing the remaining' in errors
  assert is_gone(pid)


def test_the_first_to_finish_stops_no_other(checkout: Checkout) -> None:
  process = checkout.processes(
    *('2',),
    MULTIPROCESS_GRACE='0',
    DO_0='time.sleep(1); print("report"); sys.exit(0)',
  )
  code, out, _ = end(process)
  assert code == 0 and 'report' in out and not checkout.heard(0)


def test_gpus_are_divided(checkout: Checkout) -> None:
  env = {'JAX_PLATFORMS': '', 'CUDA_VISIBLE_DEVICES': '3,5,GPU-7,8,9'}
  assert end(checkout.processes('2', **env))[0] == 0
  assert [checkout.ran(i)[1] for i in range(2)] == ['3,5', 'GPU-7,8']
  list_gpus(checkout, count=2)
  try:
    assert end(checkout.processes('2', JAX_PLATFORMS=''))[0] == 0
    assert [checkout.ran(i)[1] for i in range(2)] == ['0', '1']
    assert end(checkout.processes('2'))[0] == 0
    assert [checkout.ran(i)[1] for i in range(2)] == ['all'] * 2
  finally:
    (checkout.bin / 'nvidia-smi').unlink()


@pytest.mark.parametrize(('gpus', 'expected'), [('6', 1), ('', 0), ('-1', 0)])
def test_fewer_gpus_than_processes(
  checkout: Checkout, gpus: str, expected: int
) -> None:
  env = {'JAX_PLATFORMS': '', 'CUDA_VISIBLE_DEVICES': gpus}
  code, _, errors = end(checkout.processes('2', **env))
  assert code == expected
  assert ('2 processes need 2 GPUs, found 1' in errors) == bool(expected)


# slurm.sbatch


@pytest.fixture
def slurm(checkout: Checkout) -> Checkout:
  for name, does in FAKE_SLURM.items():
    executable(checkout.bin / name, f'#!/usr/bin/env bash\n{does}\n')
  # SLURM runs a copy, elsewhere.
  shutil.copy(LAUNCH / 'slurm.sbatch', checkout.path / 'slurm_script')
  return checkout


def batch(
  slurm: Checkout, *args: str, code: int = 0, state: str = 'RUNNING', **env: str
) -> tuple[int, str, str]:
  env = {'SLURM_SUBMIT_DIR': str(slurm.root), 'SLURM_JOB_ID': '17'} | env
  script = slurm.path / 'slurm_script'
  process = slurm.start(
    *('bash', script, *args), **env, SRUN_CODE=str(code), JOB_STATE=state
  )
  return end(process)


def test_slurm_runs_the_program(slurm: Checkout) -> None:
  code, _, errors = batch(slurm, '--config=a b.py', SLURM_CPUS_PER_TASK='3')
  assert (code, errors) == (0, '')
  options = (slurm.notes / 'srun').read_text().splitlines()
  at = options.index(f'{slurm.root}/.venv/bin/python')
  assert '--kill-on-bad-exit=0' in options[:at]
  assert '--cpus-per-task=3' in options[:at]
  assert options[at + 1 :] == [
    *('-P', '-m', 'alexnet_jax.main', '--distributed', '--config=a b.py')
  ]
  assert not (slurm.notes / 'scontrol').exists()


@pytest.mark.parametrize(
  ('code', 'state', 'requeued'),
  [
    (75, 'RUNNING', True),
    (75, 'COMPLETING', False),  # scancel, or SLURM requeues it itself
    (1, 'RUNNING', False),
    (3, 'RUNNING', False),
  ],
)
def test_slurm_requeues_what_was_saved(
  slurm: Checkout, code: int, state: str, requeued: bool
) -> None:
  assert batch(slurm, code=code, state=state)[0] == code
  path = slurm.notes / 'scontrol'
  assert path.exists() == requeued
  assert not requeued or path.read_text() == 'requeue 17\n'


def test_slurm_from_elsewhere_is_one_line(slurm: Checkout) -> None:
  code, _, errors = batch(slurm, SLURM_SUBMIT_DIR=str(slurm.path))
  assert code == 1 and errors.count('\n') == 1
  assert 'from the checkout' in errors


def test_slurm_signals_tasks_each_with_a_gpu() -> None:
  lines = (LAUNCH / 'slurm.sbatch').read_text().splitlines()
  options = dict(
    line.removeprefix('#SBATCH --').partition('=')[::2]
    for line in lines
    if line.startswith('#SBATCH ')
  )
  assert options['ntasks-per-node'] == options['gpus-per-node']
  assert options['signal'].startswith('TERM@')
  assert 'requeue' in options and options['open-mode'] == 'append'


# jobset.yaml


def load_schema(name: str) -> dict[str, Any]:
  return json.loads((ROOT / 'tests' / 'schemas' / name).read_text())


@pytest.fixture(scope='module')
def validator() -> jsonschema.Draft202012Validator:
  schema = load_schema('jobset-v1alpha2.json')
  kubernetes = referencing.Resource.from_contents(
    load_schema('kubernetes-1.35.json')
  )
  jsonschema.Draft202012Validator.check_schema(schema)
  return jsonschema.Draft202012Validator(
    schema,
    registry=kubernetes @ referencing.Registry(),
    format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
  )


@pytest.fixture
def jobset() -> dict[str, Any]:
  [document] = yaml.safe_load_all((LAUNCH / 'jobset.yaml').read_text())
  return document


def trainer(jobset: dict[str, Any]) -> tuple[dict, dict, dict]:
  """The job, its pod and the container."""
  [replicated] = jobset['spec']['replicatedJobs']
  job = replicated['template']['spec']
  pod = job['template']['spec']
  [container] = pod['containers']
  return job, pod, container


def test_jobset_is_valid(
  jobset: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
  errors = [
    f'{error.json_path}: {error.message}'
    for error in validator.iter_errors(jobset)
  ]
  assert not errors


@pytest.mark.parametrize(
  ('path', 'value'),
  [
    (('kind',), 'Jobset'),
    (('spec', 'replicatedJob'), []),  # no such field
    (('spec', 'failurePolicy', 'rules', 0, 'action'), 'Restart'),
    (('spec', 'failurePolicy', 'rules', 0, 'name'), '2 words'),
    (
      ('spec', 'failurePolicy', 'rules', 0, 'onJobFailureMessagePatterns'),
      ['('],
    ),
    (('spec', 'replicatedJobs', 0, 'template', 'spec', 'parallelism'), '2'),
    (('spec', 'replicatedJobs', 0, 'template', 'spec', 'completion'), 2),
    (
      (
        *('spec', 'replicatedJobs', 0, 'template', 'spec', 'template', 'spec'),
        *('containers', 0, 'env', 0, 'valueFrom', 'fieldRef'),
      ),
      {'path': 'metadata.name'},
    ),
  ],
)
def test_wrong_jobsets_are_refused(
  jobset: dict[str, Any],
  validator: jsonschema.Draft202012Validator,
  path: tuple[str | int, ...],
  value: object,
) -> None:
  wrong: Any = copy.deepcopy(jobset)
  inner = wrong
  for key in path[:-1]:
    inner = inner[key]
  inner[path[-1]] = value
  assert not validator.is_valid(wrong)


@pytest.fixture(scope='module')
def models() -> types.ModuleType:
  """Those that JobSet publishes; to import them takes most of a second."""
  from kubeflow_trainer_api import models

  return models


def test_the_schema_has_the_fields_of_the_published_models(
  models: types.ModuleType,
) -> None:
  """The models are generated from JobSet's API, without limits and formats."""
  later = {'JobSetSpec': {'volumeClaimPolicies'}}
  for name, ours in load_schema('jobset-v1alpha2.json')['$defs'].items():
    model = getattr(models, f'JobsetV1alpha2{name}')
    theirs = model.model_json_schema(by_alias=True)
    fields = {*theirs['properties']} - later.get(name, set())
    assert {*ours['properties']} == fields, name
    assert {*ours.get('required', ())} == {*theirs.get('required', ())}, name


def test_the_published_models_read_jobset(
  jobset: dict[str, Any], models: types.ModuleType
) -> None:
  """They drop unknown fields and add the defaults of a cluster."""
  read = models.JobsetV1alpha2JobSet.from_dict(jobset)
  assert read and _within(jobset, read.to_dict())
  jobset['spec']['replicatedJob'] = []
  read = models.JobsetV1alpha2JobSet.from_dict(jobset)
  assert read and not _within(jobset, read.to_dict())


def _within(part: Any, whole: Any) -> bool:
  """Whether `whole` has every key and value of `part`."""
  if isinstance(part, dict):
    return all(k in whole and _within(v, whole[k]) for k, v in part.items())
  if isinstance(part, list):
    return len(part) == len(whole) and all(map(_within, part, whole))
  return part == whole


def test_jobset_counts_agree(jobset: dict[str, Any]) -> None:
  job, _, container = trainer(jobset)
  flags = dict(arg[2:].split('=', 1) for arg in container['args'])
  count = job['parallelism']
  assert job['completions'] == count == int(flags['num_processes'])
  devices = count * container['resources']['limits']['nvidia.com/gpu']
  assert 2 * int(flags['config.mesh.data']) == devices
  [port] = container['ports']
  assert flags['coordinator'] == f'$(COORDINATOR):{port["containerPort"]}'
  assert flags['process_id'] == '$(JOB_COMPLETION_INDEX)'
  assert job['completionMode'] == 'Indexed'  # sets JOB_COMPLETION_INDEX


def test_jobset_restarts_what_was_saved(jobset: dict[str, Any]) -> None:
  job, pod, container = trainer(jobset)
  # Kubernetes allows a podFailurePolicy only with this.
  assert pod['restartPolicy'] == 'Never'
  in_job = job['podFailurePolicy']['rules']
  codes = [rule.get('onExitCodes', {}).get('values') for rule in in_job]
  assert codes == [[2, 3], [75], None]
  named = [rule['onExitCodes']['containerName'] for rule in in_job[:2]]
  assert named == [container['name']] * 2
  give_up, go_on = jobset['spec']['failurePolicy']['rules']
  assert give_up['action'] == 'FailJobSet'
  assert give_up['onJobFailureMessagePatterns'] == ['exit code [23] matching']
  assert go_on['action'] == 'RestartJobSetAndIgnoreMaxRestarts'
  assert go_on['onJobFailureReasons'] == ['PodFailurePolicy']


def test_jobset_names_agree(jobset: dict[str, Any]) -> None:
  _, pod, container = trainer(jobset)
  volumes = {volume['name'] for volume in pod['volumes']}
  assert {mount['name'] for mount in container['volumeMounts']} == volumes
  [replicated] = jobset['spec']['replicatedJobs']
  assert jobset['spec']['coordinator']['replicatedJob'] == replicated['name']


# Dockerfile


def test_dockerfile_copies_what_there_is() -> None:
  ignore = (LAUNCH / 'Dockerfile.dockerignore').read_text().splitlines()
  kept = {line[1:] for line in ignore if line.startswith('!')}
  lines = (LAUNCH / 'Dockerfile').read_text().splitlines()
  copied = [
    name
    for line in lines
    if line.startswith('COPY ')
    for name in line.split()[1:-1]
  ]
  assert copied
  for name in copied:
    assert (ROOT / name).exists(), name
    assert name.split('/')[0] in kept, name


def test_image_and_jobset_have_one_user(jobset: dict[str, Any]) -> None:
  _, pod, _ = trainer(jobset)
  user = pod['securityContext']
  numbers = f'{user["runAsUser"]}:{user["runAsGroup"]}'
  assert f'USER {numbers}' in (LAUNCH / 'Dockerfile').read_text().splitlines()


# All of launch/


def test_flags_are_those_of_the_program(jobset: dict[str, Any]) -> None:
  script = (LAUNCH / 'multiprocess.sh').read_text()
  batch_script = (LAUNCH / 'slurm.sbatch').read_text()
  used = {
    *re.findall(r'--([a-z_]+)=', script),
    *re.findall(r'alexnet_jax\.main --([a-z_]+)', batch_script),
    *(re.split('[=.]', arg[2:])[0] for arg in trainer(jobset)[2]['args']),
  }
  assert used >= {'config', 'coordinator', 'distributed', 'workdir'}
  sources = [ROOT / 'alexnet_jax' / p for p in ('main.py', 'parallel/flags.py')]
  text = ''.join(path.read_text() for path in sources)
  defined = set(re.findall(r"DEFINE_\w+\(\s*'(\w+)'", text))
  assert used - {'config'} <= defined


def test_shellcheck() -> None:
  beside = pathlib.Path(sys.executable).with_name('shellcheck')
  found = beside if beside.exists() else shutil.which('shellcheck')
  if found is None:
    pytest.skip('needs shellcheck')
  files = sorted([*LAUNCH.glob('*.sh'), *LAUNCH.glob('*.sbatch')])
  assert len(files) >= 5
  result = subprocess.run(
    [found, *files], cwd=ROOT, capture_output=True, text=True
  )
  assert result.returncode == 0, result.stdout
