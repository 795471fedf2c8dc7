"""Freed memory is used again without a page fault."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from alexnet_jax.runtime import malloc
if sys.argv[1] == 'keep':
  malloc.keep_freed_memory()
def fill():
  np.empty(1 << 23, np.float32).fill(1)  # 32 MiB, freed at once
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
  fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(word):
  command = [sys.executable, '-c', PROGRAM, word]
  return int(subprocess.check_output(command, text=True))


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc is asked for it')
def test_freed_memory_stays_with_the_process():
  assert _faults('keep') < 100
