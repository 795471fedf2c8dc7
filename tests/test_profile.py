"""When a trace begins and ends; what it holds is in test_main.py."""

import pathlib

import jax
import pytest

from alexnet_jax.train import profile

THERE = pathlib.Path('there')


@pytest.fixture
def calls(monkeypatch):
  """What JAX's profiler was asked for."""
  found = []
  start, stop = found.append, lambda: found.append('stop')
  monkeypatch.setattr(jax.profiler, 'start_trace', start)
  monkeypatch.setattr(jax.profiler, 'stop_trace', stop)
  return found


def _take(trace, *steps):
  for step in steps:
    with trace.of(step):
      pass
    trace.end(step, state=())


def test_a_trace_goes_from_the_first_step_to_the_last(calls, capsys):
  with profile.Profile(range(3, 5), THERE) as trace:
    _take(trace, 1, 2)
    assert calls == []
    _take(trace, 3)
    assert calls == [THERE]
    _take(trace, 4, 5)
  assert calls == [THERE, 'stop']
  assert 'is in there' in capsys.readouterr().out


@pytest.mark.parametrize('steps', [(3, 4, 5), (4, 5)])
def test_a_run_that_stops_or_resumes_inside_leaves_what_there_is(steps, calls):
  with (
    pytest.raises(KeyError),
    profile.Profile(range(3, 9), THERE) as trace,
  ):
    _take(trace, *steps)
    raise KeyError
  assert calls == [THERE, 'stop']


def test_a_full_disk_costs_the_trace_alone(calls, capsys, monkeypatch):
  def full():
    raise RuntimeError('No space left')

  monkeypatch.setattr(jax.profiler, 'stop_trace', full)
  with pytest.raises(KeyError), profile.Profile(range(1, 9), THERE) as trace:
    _take(trace, 1)
    raise KeyError
  assert 'warning: no trace of --profile: No space' in capsys.readouterr().out


def test_steps_that_are_past_are_told_of_and_no_error(calls):
  trace = profile.Profile(range(3, 5), THERE)
  assert trace.check(step=2, total_steps=4) == ''
  assert trace.check(step=3, total_steps=4) == ''
  assert trace.check(step=4, total_steps=4) == (
    'the steps of --profile=3:4 are past'
  )
  with pytest.raises(ValueError, match='the run has 3 steps'):
    trace.check(step=0, total_steps=3)
