"""What orbax's threads print late is not heard; everything else is."""

import asyncio
import contextlib
import gc
import logging
import sys
import types

import orbax.checkpoint as ocp
import pytest
from absl import logging as absl_logging

from alexnet_jax.checkpoint import orbax_quirks


def _unraisable(text):
  error = RuntimeError(text)
  return types.SimpleNamespace(
    exc_type=RuntimeError,
    exc_value=error,
    exc_traceback=None,
    err_msg=None,
    object=None,
  )


def test_callbacks_after_their_loop_are_not_heard_others_are(monkeypatch):
  heard = []
  monkeypatch.setattr(sys, 'unraisablehook', heard.append)
  for _ in range(3):  # wrapped once
    with orbax_quirks.quiet():
      pass
  sys.unraisablehook(_unraisable('Event loop is closed'))
  sys.unraisablehook(_unraisable('something else'))
  assert [str(args.exc_value) for args in heard] == ['something else']


def test_failed_tasks_that_are_collected_late_are_not_heard(caplog):
  async def fail():
    raise ValueError('No space left on device')

  async def forget():
    forgotten = [asyncio.create_task(fail()), asyncio.gather(fail(), fail())]
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError('No space left on device'))
    await asyncio.sleep(0.01)
    del forgotten, future

  with orbax_quirks.quiet():
    pass
  asyncio.run(forget())
  gc.collect()
  logging.getLogger('asyncio').error('something else')
  assert [record.getMessage() for record in caplog.records] == [
    'something else'
  ]


@pytest.fixture
def errors(caplog, monkeypatch):
  """Logs of errors, which no other test has silenced."""
  monkeypatch.setattr(absl_logging.get_absl_logger(), 'filters', [])
  before = absl_logging.get_verbosity()
  absl_logging.set_verbosity(absl_logging.WARNING)
  yield lambda: [r.msg for r in caplog.records if r.levelname == 'ERROR']
  absl_logging.set_verbosity(before)


def _fail_in_a_thread(folder):
  def fail():
    raise ValueError('File too large')

  async def fail_later():
    fail()

  with pytest.raises(ValueError, match='File too large'):
    ocp.future.CommitFutureAwaitingContractedSignals(fail_later()).result()
  saver = ocp.AsyncCheckpointer(
    ocp.JsonCheckpointHandler(),
    async_options=ocp.options.AsyncOptions(post_finalization_callback=fail),
  )
  saver.save(folder / 'a', args=ocp.args.JsonSave({}), force=True)
  with pytest.raises(ValueError, match='File too large'):
    saver.close()


def test_threads_that_fail_late_are_not_heard_after_an_error(errors, tmp_path):
  with orbax_quirks.quiet():
    _fail_in_a_thread(tmp_path)
  assert errors() == []
  _fail_in_a_thread(tmp_path)  # not ours
  heard = errors()
  assert len(heard) == 2
  with contextlib.suppress(OSError), orbax_quirks.quiet():
    raise OSError('the disk is full')
  _fail_in_a_thread(tmp_path)
  absl_logging.error('something else')
  assert errors() == [*heard, 'something else']
