"""What comes from outside: variables, limits, links, addresses, pipes, names.

Nothing of it may change a run's numbers, call sound files damaged, lead out of
the folders that were named, or pass in silence.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from alexnet_jax import train
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.configs import smoke
from alexnet_jax.data import metadata as metadata_lib
from alexnet_jax.data import records, stats
from alexnet_jax.evaluate import predictions
from alexnet_jax.runtime import environment, locks, signals
from alexnet_jax.studies.report import gather, page, results
from alexnet_jax.train import health, resume
from alexnet_jax.train import log as log_lib
from alexnet_jax.train import workdir as workdir_lib
from tests import commands, damage
from tests.faults import runs

MAIN = 'alexnet_jax.main'
CONFIG = (
  f'--config={commands.ROOT}/configs/smoke.py',
  runs.SHORT,
  '--config.mesh.column=1',
  '--config.eval.final_views=1',
  '--config.data.source=prepared',
  '--config.data.dir=data',
)


def _table(heading, columns):
  """The rows of a table of docs/operations.md, which begins with `heading`."""
  text = (commands.ROOT / 'docs/operations.md').read_text()
  rows = text.split(f'| {heading} |')[1].split('\n\n')[0].splitlines()[2:]
  found = [[c.strip(' `') for c in row.strip('|').split('|')] for row in rows]
  assert found and all(len(row) == columns for row in found)
  return found


VARIABLES, SIGNALS = _table('variable', 2), _table('signal', 5)
PHASES = _table('phase', 4)


def _train(steps):
  return (MAIN, *CONFIG, '--workdir=run', f'--config.total_steps={steps}')


@pytest.fixture(scope='module')
def sound(tmp_path_factory, command):
  """Data with a test split, and a run of a step on it."""
  folder = tmp_path_factory.mktemp('sound')
  damage.prepare(folder / 'data')
  shutil.copy(folder / 'data/val', folder / 'data/test')
  damage.metadata(
    'splits', test={'num_images': damage.IMAGES['val'], 'shards': ['test']}
  )(folder)
  damage.sign(folder / 'data')
  done = command(*_train(1), cwd=folder)
  assert done.returncode == 0, done.stderr
  return folder


@pytest.fixture
def here(sound, tmp_path):
  shutil.copytree(sound, tmp_path / 'here')
  return tmp_path / 'here'


@pytest.fixture(scope='module')
def two(sound, tmp_path_factory, command):
  """The run, resumed to its second step."""
  folder = tmp_path_factory.mktemp('two')
  shutil.copytree(sound, folder / 'here')
  done = command(*_train(2), cwd=folder / 'here')
  assert done.returncode == 0, done.stderr
  return folder / 'here'


def _digests(folder, step=2):
  return restore.read_meta(folder / f'run/checkpoints/{step}')['digests']


def _lines(folder):
  text = (folder / 'run/metrics.jsonl').read_text()
  kept = [json.loads(line) for line in text.splitlines()]
  return [
    {k: v for k, v in line.items() if k not in runs.UNTIMED} for line in kept
  ]


def _is_one_line(done, *parts):
  line, end, rest = done.stderr.partition('\n')
  assert done.returncode == 1 and (end, rest) == ('\n', ''), done.stderr
  assert line.startswith('error: ') and all(part in line for part in parts)


# Variables.


def test_variables_change_no_number_and_no_checkpoint(here, two, command):
  flags = os.environ['XLA_FLAGS']
  done = command(
    *_train(2),
    cwd=here,
    JAX_ENABLE_X64='1',
    JAX_DEFAULT_PRNG_IMPL='rbg',
    JAX_THREEFRY_PARTITIONABLE='0',
    JAX_DEFAULT_MATMUL_PRECISION='bfloat16',
    JAX_DISABLE_JIT='1',
    XLA_FLAGS=f'{flags} --xla_dump_max_hlo_modules=1',
  )
  assert done.returncode == 0, done.stderr
  assert done.stderr.count('is not used: it would change the numbers') == 5
  assert f"since step 1, XLA_FLAGS was '{flags}', is '{flags} --" in done.stdout
  assert not (here / 'run/set_aside').exists()
  assert _digests(here) == _digests(two)
  assert _lines(here) == _lines(two)


@pytest.mark.parametrize('name', environment.PINNED)
def test_a_pinned_variable_is_set_back_and_named(name, capsys):
  other = {
    None: 'bfloat16', 'threefry2x32': 'rbg', False: True, True: False,
  }.get(environment.PINNED[name], 7)  # fmt: skip
  if name == 'jax_random_seed_offset':
    other = 7
  before = getattr(environment.jax.config, name)
  try:
    environment.jax.config.update(name, other)
    environment.pin()
    assert getattr(environment.jax.config, name) == environment.PINNED[name]
  finally:
    environment.jax.config.update(name, before)
  assert f'{name.upper()}={other} is not used' in capsys.readouterr().err


def test_the_table_of_variables_is_whole():
  rows = dict(VARIABLES)
  kinds = {name: what.split(':')[0].split()[0] for name, what in rows.items()}
  pinned = {name.upper(): 'pinned' for name in environment.PINNED}
  recorded = dict.fromkeys(environment.RECORDED, 'recorded')
  used = {n: k for n, k in kinds.items() if n not in pinned | recorded}
  assert kinds == pinned | recorded | used
  assert all(kind.strip(':;') == 'used' for kind in used.values())
  package = (commands.ROOT / 'alexnet_jax').rglob('*.py')
  sources = ''.join(path.read_text() for path in package)
  read = {
    *re.findall(r"environ(?:\.get\(|\[)\s*'([A-Z_]+)'", sources),
    *re.findall(r"'([A-Z_]+)' in os.environ", sources),
  }
  assert 'JAX_COMPILATION_CACHE_DIR' in read
  for name in read:
    assert name in rows or name in ('PATH', 'PYTHONPATH'), name


def test_a_platform_without_devices_is_one_line(here, command):
  for mode in ('train', 'eval'):
    done = command(*_train(2), f'--mode={mode}', cwd=here, JAX_PLATFORMS='cuda')
    _is_one_line(done, "JAX_PLATFORMS='cuda'", 'or use JAX_PLATFORMS=cpu')


def test_a_host_whose_name_has_no_address_is_told_so(monkeypatch):
  def fail():  # in the words of jaxlib 0.10
    raise RuntimeError(
      "Unable to initialize backend 'cpu': [enforce fail at external/gloo/gloo/"
      'transport/tcp/device.cc:99] rv == 0. -2 vs 0 (you may need to ...)'
    )

  monkeypatch.setattr(environment.jax, 'default_backend', fail)
  with pytest.raises(ValueError, match=r'this host, .* has no address, so'):
    environment.backend()


def test_a_net_is_the_same_in_64_bits(sound):
  import alexnet_jax

  image = np.arange(80 * 80 * 3, dtype=np.uint8).reshape(80, 80, 3)
  expected = alexnet_jax.load(str(sound / 'run')).predict(image).probabilities
  with environment.jax.enable_x64(True):
    net = alexnet_jax.load(str(sound / 'run'))
    found = net.predict(image).probabilities
  np.testing.assert_allclose(found, expected, rtol=1e-6)


# Limits.


def test_few_open_files_are_no_damage(tmp_path, command):
  damage.prepare(tmp_path / 'data')
  shards = [f'train{i}' for i in range(90)]
  for name in shards:
    shutil.copy(tmp_path / 'data/train', tmp_path / 'data' / name)
  images = len(shards) * damage.IMAGES['train']
  damage.metadata('splits', train={'num_images': images, 'shards': shards})(
    tmp_path
  )
  done = command(
    'tests.limited', 'NOFILE=70', '', 'alexnet_jax.tools.prepare',
    '--stats_only', '--output=data', '--workers=1', cwd=tmp_path,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert f'of {images} images' in done.stdout


def test_too_few_files_are_one_line(here, command):
  for files in ('16', '30'):
    done = command('tests.limited', f'NOFILE={files}', '', *_train(2), cwd=here)
    _is_one_line(done, f'no more than {files} files', 'use ulimit -n 256')


def test_closed_streams_change_nothing(here, two, command):
  """Files that are opened would have taken their numbers."""
  done = command('tests.limited', '', '-012', *_train(2), cwd=here)
  assert done == (0, '', '')
  assert _digests(here) == _digests(two)
  assert _lines(here) == _lines(two)


# Readers that go.


def test_training_outlives_the_reader_of_its_output(here, two, command):
  done = command('tests.limited', '', '1', *_train(2), cwd=here)
  assert done.returncode == 0 and 'Error' not in done.stderr
  assert _lines(here) == _lines(two)


@pytest.mark.parametrize(
  'words',
  [
    (MAIN, '--ablation=help'),
    (MAIN, '--help'),
    (MAIN, '--helpfull'),
    (MAIN, *CONFIG, '--mode=eval', '--restore=run'),
    ('alexnet_jax.tools.predict', '--restore=run', 'a.png'),
    ('alexnet_jax.tools.checkpoint', '--dir=run'),
    ('alexnet_jax.tools.prepare', '--source=tree', '--output=out'),
  ],
)
def test_other_commands_end_quietly_with_their_reader(words, here, command):
  damage.class_folders()(here)
  shutil.copy(here / 'tree/train/class/a.png', here / 'a.png')
  done = command('tests.limited', '', '1', *words, cwd=here)
  assert (done.returncode, done.stderr) == (141, '')
  assert not (here / 'out').exists()


# Signals.


@pytest.mark.parametrize('row', SIGNALS, ids=[row[0] for row in SIGNALS])
def test_signals_do_what_the_table_says(row, server, tmp_path):
  number, times = getattr(signal, row[0]), 1 if row[0] == 'SIGINT' else 50
  run = server.start(
    1, '--config=configs/smoke.py', runs.SHORT, '--config.mesh.column=1',
    f'--workdir={tmp_path / "w"}', '--config.total_steps=2000',
    folder=tmp_path / 'out',
  )  # fmt: skip
  run.wait_for_step(tmp_path / 'w', 1)
  for _ in range(times):
    run.kill(0, number)
    time.sleep(0.02)  # until it ends, and on its way out
  (done,) = run.finish()
  assert f'exits with {done.returncode}' in row[3], done.stderr
  assert 'stopped, and saved' in done.stdout and row[3].startswith('saves')
  assert layout.steps(tmp_path / 'w/checkpoints')


@pytest.mark.parametrize('row', SIGNALS, ids=[row[0] for row in SIGNALS])
def test_signals_before_the_first_step(row):
  program = (
    'import signal\n'
    'from alexnet_jax.runtime import signals\n'
    'signals.Stop().listen()\n'
    f'signal.raise_signal(signal.{row[0]})\n'
  )
  done = subprocess.run([sys.executable, '-c', program], cwd=commands.ROOT)
  assert row[2] == f'exits with {done.returncode}'


def test_nohup_is_heeded():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    signals.Stop().listen()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  finally:
    for number in (*signals.STOPPING, signal.SIGINT):
      signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, before)
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Errors of the system. RLIMIT_FSIZE stands for a full disk.


def _errors(here):
  """Phase of the table: limit in bytes, command, what must not be there."""
  damage.class_folders()(here)
  few = (
    *_train(90),
    '--config.checkpoint.every_epochs=99',
    '--config.log.every_steps=1',
    '--config.eval.every_epochs=99',
  )
  evaluate = (MAIN, *CONFIG, '--mode=eval', '--restore=run')
  report = ('alexnet_jax.tools.report', '--workdir=run')
  return {
    'prepare': (4000, ('alexnet_jax.tools.prepare', '--source=tree',
                    '--output=out', '--workers=1'), 'out'),
    'start': (500, _train(2), 'run/.config.json.tmp'),
    'train': (9000, few, 'run/checkpoints/90'),
    'save': (30_000, _train(2), 'run/checkpoints/2'),
    'evaluate': (500, (*evaluate, '--save_predictions=p.npz'), 'p.npz'),
    'report': (9000, report, 'run/report/index.html'),
  }  # fmt: skip


@pytest.mark.parametrize('row', PHASES, ids=[row[0] for row in PHASES])
def test_errors_of_the_system_do_what_the_table_says(row, here, command):
  phase, code, line, _ = row
  size, words, absent = _errors(here)[phase]
  before = _lines(here)
  done = command('tests.limited', f'FSIZE={size}', '', *words, cwd=here)
  assert done.returncode == int(code), done.stderr
  *_, last = done.stderr.strip().splitlines()
  assert last.startswith('error: ') and line in last
  assert 'Traceback' not in done.stderr
  assert not (here / absent).exists()
  assert _lines(here)[: len(before)] == before
  restore.read_meta(here / damage.STEP)  # is sound


def test_each_phase_has_a_row(here):
  assert [row[0] for row in PHASES] == list(_errors(here))


# Links.


def _statistics():
  mean, axes = np.ones((4, 4, 3), np.float32), np.eye(3, dtype=np.float32)
  return stats.Statistics(mean, stats.RgbPca(axes, np.ones(3, np.float32)))


def _predictions():
  return predictions.Predictions(
    names=['a'],
    labels=np.zeros(1, np.int32),
    probabilities=np.full((1, 2), 0.5, np.float32),
    losses=np.ones(1, np.float32),
    ranks=np.zeros(1, np.int32),
    views=1,
    classes=['a', 'b'],
    step=1,
  )


WRITERS = {
  'config.json': lambda path: log_lib.write_json(path, {}),
  'metrics.jsonl': lambda path: log_lib.MetricsLog(
    path.parent, kept=[]
  ).close(),
  'predictions.npz': lambda path: predictions.save(_predictions(), path),
  'index.html': lambda path: page.write(path, 'text'),
  'mean_image.npy': lambda path: records.write_statistics(
    path.parent, statistics=_statistics()
  ),
  'rgb_pca.npz': lambda path: records.write_statistics(
    path.parent, statistics=_statistics()
  ),
}


@pytest.mark.parametrize('name', WRITERS)
def test_what_is_written_follows_no_link(name, tmp_path):
  outside = tmp_path / 'outside'
  outside.write_text('not ours')
  folder = tmp_path / 'w'
  folder.mkdir()
  for link in (f'.{name}.tmp', f'.{name}', name):
    (folder / link).symlink_to(outside)
  WRITERS[name](folder / name)
  assert outside.read_text() == 'not ours'
  assert (folder / name).is_file() and not (folder / name).is_symlink()


def test_a_lock_follows_no_link(tmp_path):
  (tmp_path / 'outside').write_text('not ours')
  (tmp_path / 'w').mkdir()
  (tmp_path / 'w/.lock').symlink_to(tmp_path / 'outside')
  with (
    pytest.raises(ValueError, match='is a link: remove it'),
    locks.locked(tmp_path / 'w', fix=''),
  ):
    pass
  assert (tmp_path / 'outside').read_text() == 'not ours'


# Addresses.


@pytest.fixture(scope='module')
def addressed(sound, tmp_path_factory):
  """A run whose files name an address, with sums that are right."""
  folder = tmp_path_factory.mktemp('addressed')
  shutil.copytree(sound, folder / 'here')
  here, address = folder / 'here', {'dir': 'ftp://127.0.0.1:9/data'}
  meta = f'{damage.STEP}/meta/metadata'

  def way(here):
    damage.edited(meta, 'config', 'data', **address)(here)
    shutil.rmtree(here / damage.STEP / 'statistics')
    damage.edited(
      f'{damage.STEP}/_CHECKPOINT_METADATA', 'item_handlers', statistics=None
    )(here)

  damage.step(way)(here)
  damage.edited('run/config.json', 'data', **address)(here)
  return here


@pytest.mark.parametrize('tool', ['predict', 'retrieve'])
def test_an_address_in_a_checkpoint_is_not_opened(tool, addressed, command):
  words = ('x.png',) if tool == 'predict' else ()
  (addressed / 'x.png').write_bytes(b'')
  done = command(
    f'alexnet_jax.tools.{tool}', '--restore=run', *words, cwd=addressed
  )
  _is_one_line(done, 'only addresses that you name', 'add --data_dir=ftp://')


def test_an_address_in_a_config_is_not_opened(addressed):
  run = gather.read(addressed / 'run')
  assert run.data is None and 'on a bucket that only config.json' in run.no_data


# Data that are not what was prepared.


def test_every_byte_of_prepared_data_is_compared_on_demand(here, command):
  words = ('alexnet_jax.tools.prepare', '--verify', '--output=data')
  done = command(*words, cwd=here)
  assert done.returncode == 0 and 'all 5 files' in done.stdout, done.stderr
  path = here / 'data/train'
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  done = command(*words, cwd=here)
  _is_one_line(done, 'data/train is not what was prepared', 'copy it again')


# Data that moved.


@pytest.mark.parametrize('tool', ['predict', 'retrieve'])
def test_moved_data_are_asked_for_by_their_flag(tool, here, command):
  def way(here):
    shutil.rmtree(here / damage.STEP / 'statistics')
    damage.edited(
      f'{damage.STEP}/_CHECKPOINT_METADATA', 'item_handlers', statistics=None
    )(here)

  damage.step(way)(here)
  (here / 'data').rename(here / 'moved')
  words = ('x.png',) if tool == 'predict' else ()
  done = command(f'alexnet_jax.tools.{tool}', '--restore=run', *words, cwd=here)
  _is_one_line(done, 'is not there: give its new place, --data_dir=DIR')


# Names.


def test_a_comma_in_the_name_of_a_run(here, command):
  (here / 'run').rename(here / 'r,1')
  done = command(MAIN, *CONFIG, '--mode=eval', '--restore=r,1', cwd=here)
  assert done.returncode == 0 and 'val: top-1' in done.stdout, done.stderr


def test_a_queue_is_no_image(here, command):
  os.mkfifo(here / 'queue')
  done = command(
    'alexnet_jax.tools.predict', '--restore=run', 'queue', cwd=here, limit=30
  )
  _is_one_line(done, 'queue is no file: give an image')


# The test split (Table 1).


def test_the_test_split_is_evaluated(sound, command):
  lines = {(r['split'], r.get('views')) for r in _lines(sound)}
  assert lines == {('train', None), ('val', 1), ('test', 1)}
  done = command(
    MAIN, *CONFIG, '--mode=eval', '--restore=run', '--split=test', cwd=sound
  )
  assert done.returncode == 0 and ', test: top-1' in done.stdout, done.stderr
  assert (sound / 'run' / predictions.OF_A_RUN).is_file()


def test_a_split_that_is_not_there_is_one_line(here, command):
  damage.metadata('splits', test=None)(here)
  done = command(
    MAIN, *CONFIG, '--mode=eval', '--restore=run', '--split=test', cwd=here
  )
  _is_one_line(done, '--split=test: drawn has no such split', '--split=val')


def test_table_1_of_the_report_takes_the_test_split(sound):
  run = gather.read_outline(sound / 'run')
  named = metadata_lib.read(sound / 'data')
  run = run._replace(
    prepared=metadata_lib.dataclasses.replace(named, name='ILSVRC2010')
  )
  rows = results.paper_errors(run)['ILSVRC-2010 test, Table 1 and footnote 5']
  own = [name for name, _, _ in rows if name.startswith('this run')]
  assert own == ['this run, test, step 1, centre crop']


# Lines of metrics.jsonl, and runs side by side.


def test_a_start_that_waited_looks_again(here, two, monkeypatch):
  """Another run saves and ends after this one looked, before it locks."""
  monkeypatch.chdir(here)
  config = smoke.get_config()
  config.update(
    json.loads((here / 'run/config.json').read_text(), object_hook=_no_history)
  )
  config.total_steps = 2
  locked = workdir_lib.Workdir.locked

  def late(workdir):
    monkeypatch.setattr(workdir_lib.Workdir, 'locked', locked)
    shutil.rmtree(here / 'run')
    shutil.copytree(two / 'run', here / 'run')
    return locked(workdir)

  monkeypatch.setattr(workdir_lib.Workdir, 'locked', late)
  train.train(config, workdir=here / 'run')
  assert _lines(here) == _lines(two)
  assert _digests(here) == _digests(two)


def _no_history(fields):
  fields.pop('history', None)
  return fields


LOST = {
  'gone': lambda path: path.unlink(),
  'empty': lambda path: path.write_text(''),
  'halved': lambda path: path.write_bytes(path.read_bytes()[:40]),
  'zeros': lambda path: path.write_bytes(bytes(path.stat().st_size)),
  'a link': lambda path: (path.unlink(), path.symlink_to('/no/such')),
}


@pytest.mark.parametrize('way', LOST)
def test_lost_lines_are_named(way, here):
  LOST[way](here / 'run/metrics.jsonl')
  kept = workdir_lib.Workdir(here / 'run').records()
  meta = restore.read_meta(here / damage.STEP)
  assert resume._lost_lines(kept, meta, step=1) == 'steps 1 to 1'


def test_damaged_files_beside_a_checkpoint_are_mended(here, two, command):
  (here / 'run/metrics.jsonl').unlink()
  damage.edited('run/config.json', history=3, __class__='x')(here)
  done = command(*_train(2), cwd=here)
  assert done.returncode == 0, done.stderr
  assert 'metrics.jsonl lacks the lines of steps 1 to 1' in done.stdout
  assert _digests(here) == _digests(two)


def test_other_data_of_the_same_name_are_told_from_these(here, command):
  path = here / 'data/mean_image.npy'
  np.save(path, np.load(path) / 2)
  damage.sign(here / 'data')
  before = _lines(here)
  done = command(*_train(2), cwd=here)
  assert done.returncode == 1 and done.stderr.count('\n') == 1, done.stderr
  assert 'drawn: its images, or its metadata.json, have changed' in done.stderr
  assert _lines(here) == before


@pytest.mark.parametrize('state', [{}, {'next_index': -5}, {'next_index': 17}])
def test_another_data_position_is_damage(state, here):
  name = f'{damage.STEP}/data/process_0-of-1.json'
  damage.step(damage.written(name, json.dumps(state).encode()))(here)
  with pytest.raises(restore.DamagedError, match='its data position is'):
    restore.read_iterator(here / damage.STEP)


def test_every_damaged_file_of_an_older_step_sets_it_aside(two):
  older = sorted(p for p in (two / damage.STEP).rglob('*') if p.is_file())
  assert len(older) > 20
  for path in older:
    content = path.read_bytes()
    for damaged in (b'', bytes(len(content)), b'[' * 10**5):
      if damaged == content:
        continue
      path.write_bytes(damaged)
      try:
        (error,) = workdir_lib.Workdir(two / 'run')._damaged_below(2)
        assert error.step.name == '1'
      finally:
        path.write_bytes(content)
  assert not workdir_lib.Workdir(two / 'run')._damaged_below(2)


# Predictions whose bytes are not what numpy expects.


def test_torn_headers_are_one_line(tmp_path):
  path = tmp_path / 'a.npz'
  predictions.save(_predictions(), path)
  content = bytearray(path.read_bytes())
  rng = np.random.default_rng(0)
  for _ in range(200):
    torn = content.copy()
    for place in rng.integers(0, len(torn), 3):
      torn[place] = rng.integers(256)
    path.write_bytes(torn)
    try:
      predictions.load(path)
    except ValueError as error:
      assert 'holds no predictions' in str(error)
  for header in (b"{'descr': '<f4", b'{"""', b'(' * 60, b'1' * 60):
    with open(path, 'wb') as file:
      file.write(damage.npz(names=np.zeros(3)).replace(b"{'descr'", header))
    with pytest.raises(ValueError, match='holds no predictions'):
      predictions.load(path)


# Time in proportion.


def test_a_million_lines_take_seconds():
  watch = health.LossWatch(classes=10, steps=2000, tolerance=0.01)
  line = {'split': 'train', 'loss': 1.0}
  begin = os.times().user
  watch.replay({**line, 'step': step} for step in range(1, 200_001))
  from alexnet_jax.studies.report import statistics

  statistics.running_mean(np.ones(1_000_000), width=10_001)
  assert os.times().user - begin < 5


def test_a_length_that_was_typed_wins(command, tmp_path):
  for words, steps in (
    (('--config.num_epochs=5',), 30),  # of 6 steps each; the preset says 12
    (('--config.total_steps=None', '--config.num_epochs=3'), 18),
    (('--config.total_steps=None',), 540),  # the preset's 90 epochs
  ):
    done = command(MAIN, CONFIG[0], *words, '--profile=9:999', cwd=tmp_path)
    _is_one_line(done, f'the run has {steps} steps')


def test_a_file_of_flags_may_hold_the_config(command, tmp_path):
  (tmp_path / 'flags').write_text(f'{CONFIG[0]}\n--config.num_epochs=5\n')
  done = command(MAIN, '--flagfile=flags', '--profile=9:999', cwd=tmp_path)
  _is_one_line(done, 'the run has 30 steps')
