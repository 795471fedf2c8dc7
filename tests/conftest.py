"""Every test: four CPU devices, and no silent change of dtype or rank."""

import atexit
import functools
import gc
import json
import os
import signal
import tempfile

import jax
import pytest

from tests import commands, fork_server, programs

jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Compiling takes most of the time of these tests; they check the program.
_flags = [
  '--xla_cpu_parallel_codegen_split_count=1',
  '--xla_cpu_prefer_vector_width=128',  # compiles in a seventh less time
]
if jax.__version_info__ < (0, 11):
  # XLA's newer emitters of CPU code take three times as long as those before
  # them, which jaxlib 0.12 no longer has.
  _flags.append('--xla_cpu_use_fusion_emitters=false')
_given = os.environ.get('XLA_FLAGS', '').split()  # by a worker's parent, too
os.environ['XLA_FLAGS'] = ' '.join(dict.fromkeys([*_given, *_flags]))
# The same programs come up in many tests, in the commands that they run, and in
# the next session: each is compiled once. Workers inherit the folder.
_CACHE = 'JAX_COMPILATION_CACHE_DIR'
if 'PYTEST_XDIST_WORKER' not in os.environ:
  os.environ[_CACHE] = programs.folder()
  if not os.environ[_CACHE]:
    _folder = tempfile.TemporaryDirectory(prefix='alexnet_jax-tests-')
    os.environ[_CACHE] = _folder.name
for _name, _value in (
  # JAX compiles a program again where there are more or fewer devices.
  ('jax_num_cpu_devices', 4),
  ('jax_disable_most_optimizations', True),
  ('jax_traceback_in_locations_limit', 0),
  ('jax_compilation_cache_dir', os.environ[_CACHE]),
  ('jax_persistent_cache_min_compile_time_secs', 0.0),
  ('jax_persistent_cache_min_entry_size_bytes', -1),
):
  jax.config.update(_name, _value)
  os.environ[_name.upper()] = str(_value)
# Tracing makes many objects, of which the collector finds few to be garbage: it
# takes 7 % of the processor time of these tests if it looks as often as usual.
gc.set_threshold(500_000, 50, 100)
if 'PYTEST_XDIST_WORKER' in os.environ:
  # To take all programs and modules apart in the end takes seconds.
  atexit.register(os._exit, 0)
# Workers share the files of tests: the longest first, or one of them has
# nothing left to do while the other ends. Seconds on two cores, in turn 195,
# 51, 40, 40, 38, 38, 37, 36, 33, 30 and 28.
_LONGEST = (
  'test_multiprocess',
  'test_faults',
  'test_report',
  'test_batch_scaling',
  'test_golden',
  'test_remote',
  'test_bench',
  'test_plan',
  'test_study',
  'test_interrupted',
  'test_columns',
)
# Fields of a config that programs are made of.
_OF_PROGRAMS = (
  *('seed', 'model', 'dtype', 'kernels', 'native_bfloat16', 'batch_size'),
  *('winograd', 'grad_accumulation_steps'),
  *('optim', 'batch_scaling', 'schedule', 'guard'),
)
_OF_IMAGES = ('image_size', 'crop_size', 'channel_stddevs', 'mean_at')
# In the background a shell has Ctrl-C ignored, by the commands that we run too;
# under nohup, SIGHUP.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items):
  """Puts the longest files first; the others stay in order."""
  place = {name: i for i, name in enumerate(_LONGEST)}
  items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope='session')
def command():
  """Runs a command as a user types it: command('alexnet_jax.main', *args)."""
  with commands.Server() as server:
    yield server.run


@pytest.fixture(scope='session')
def server():
  """Starts runs that tests do something to: a fork_server.Server."""
  with fork_server.Server() as started:
    yield started


@pytest.fixture(scope='session', autouse=True)
def garbage_is_collected_in_the_end():
  yield
  gc.unfreeze()
  gc.collect()  # pytest fails where files were left open
  gc.freeze()  # pytest looks five times more


@pytest.fixture(scope='module', autouse=True)
def what_stays_is_not_looked_through():
  """By the garbage collector: programs are many objects, and are kept."""
  yield
  gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def programs_are_traced_once():
  """Many tests train the same network, and tracing it takes seconds."""
  # Not at the top: pytest imports this file before it checks signatures.
  from ml_collections import config_dict

  from alexnet_jax.config import schema
  from alexnet_jax.steps import build as build_lib

  original = build_lib.build

  @functools.lru_cache(maxsize=16)
  def build_once(config, mesh, plan):
    fields = config_dict.ConfigDict(schema.from_json(json.loads(config)))
    return original(fields, mesh=mesh, plan=plan)

  def build(config, *, mesh, plan):
    # Of the fields alone that programs are made of: another is an error there.
    fields = config.to_dict()
    used = {name: fields[name] for name in _OF_PROGRAMS}
    used['data'] = {name: fields['data'][name] for name in _OF_IMAGES}
    if config.schedule.counts != 'fractions':
      plan = plan._replace(total_steps=None)  # of which none is then asked
    return build_once(json.dumps(used), mesh, plan)

  build.anew = original  # for tests that change what it is made of
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(build_lib, 'build', build)
    yield
