"""Signals: the first one asks, the second one of Ctrl-C kills."""

import signal
import subprocess
import sys
import time

import pytest

from alexnet_jax.runtime import signals


@pytest.fixture(autouse=True)
def _handlers():
  before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_held_it_only_asks(number, capfd):
  stop = signals.Stop()
  stop.check()
  with stop.defer():
    signal.raise_signal(number)
    assert stop.asked
    with pytest.raises(signals.Stopped) as error:
      stop.check()
  assert error.value.code == 75
  assert capfd.readouterr().err.startswith('stopping after this step')


def test_asked_once_ctrl_c_stays_with_the_kernel():
  """Held from early on, and again in the loop: neither takes it back."""
  stop = signals.Stop()
  stop.listen()
  with stop.defer('soon'):
    signal.raise_signal(signal.SIGTERM)
    with stop.defer():
      assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
  assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL


def _start(program):
  process = subprocess.Popen(
    [sys.executable, '-c', program],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'ready\n'
  return process


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_before_there_is_anything_to_save_it_ends_the_process(number):
  """Even in a callback, where an exception would go unheard."""
  process = _start(
    'import gc\n'
    'from alexnet_jax.runtime import signals\n'
    'signals.Stop().listen()\n'
    'def callback(*args):\n'
    '  print("ready", flush=True)\n'
    '  for _ in range(10**9): pass\n'
    'gc.callbacks.append(callback)\n'
    'gc.collect()\n'
  )
  process.send_signal(number)
  _, err = process.communicate(timeout=30)
  assert process.returncode == 75
  assert err == 'stopped before the first step: run the command again\n'


def test_more_sigterms_change_nothing(capfd):
  stop = signals.Stop()
  with stop.defer():
    for _ in range(3):
      signal.raise_signal(signal.SIGTERM)
  assert capfd.readouterr().err.count('\n') == 1


def test_what_was_there_before_is_there_after():
  before = signal.getsignal(signal.SIGTERM)
  with signals.Stop().defer():
    assert signal.getsignal(signal.SIGTERM) != before
  assert signal.getsignal(signal.SIGTERM) == before


def test_ignored_ctrl_c_is_pythons_own():
  stop = signals.Stop()
  stop.listen()
  stop.ignore()
  with pytest.raises(KeyboardInterrupt):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize('first', [signal.SIGTERM, signal.SIGINT])
def test_ctrl_c_after_that_kills_whatever_is_going_on(first):
  program = (
    'import time\n'
    'from alexnet_jax.runtime import signals\n'
    'stop = signals.Stop()\n'
    'with stop.defer():\n'
    '  print("ready", flush=True)\n'
    '  while True: time.sleep(60)\n'  # nothing looks at stop.asked
  )
  process = _start(program)
  process.send_signal(first)
  assert process.stderr.readline().startswith('stopping after')
  process.send_signal(signal.SIGINT)
  sent = time.monotonic()
  process.communicate(timeout=30)
  assert process.returncode == -signal.SIGINT
  assert time.monotonic() - sent < 5
