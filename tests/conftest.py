"""Every test: four CPU devices, and no silent change of dtype or rank."""

import os
import signal
import tempfile

import jax
import pytest

from tests import commands

jax.config.update('jax_num_cpu_devices', 4)
# Compiling takes most of the time of these tests; they check the program.
jax.config.update('jax_disable_most_optimizations', True)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
# The same programs come up in many tests and in the commands that they run:
# each is compiled once a session.
_cache = tempfile.TemporaryDirectory(prefix='alexnet_jax-tests-')
for _name, _value in (
  ('jax_compilation_cache_dir', _cache.name),
  ('jax_persistent_cache_min_compile_time_secs', 0.0),
  ('jax_persistent_cache_min_entry_size_bytes', -1),
):
  jax.config.update(_name, _value)
  os.environ[_name.upper()] = str(_value)
# In the background a shell has Ctrl-C ignored, by the commands that we run too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session')
def command():
  """Runs a command as a user types it: command('alexnet_jax.main', *args)."""
  with commands.Server() as server:
    yield server.run
