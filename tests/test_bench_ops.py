"""Operations are measured interleaved with naive forms and PyTorch's."""

import json

import pytest

from alexnet_jax.bench import ops, workers
from alexnet_jax.bench.baselines import pytorch
from alexnet_jax.bench.settings import Mesh, Settings
from tests import nets


class FakeWorker(workers.Worker):
  """Answers with the milliseconds that it is given, round by round."""

  def __init__(self, *, product, **times):
    works = {name.replace('_', ' '): each for name, each in times.items()}
    self.info = {'platform': 'cpu', 'device': 'it', 'ops': list(works)}
    self.times = {name: iter(each) for name, each in works.items()}
    self.limits = {'product': product, 'copy': 1.0}
    self.asked = []

  def __enter__(self):
    return self

  def __exit__(self, *error):
    del error

  def measure(self, workload, *, seconds):
    self.asked.append(workload)
    ms = self.limits.get(workload) or next(self.times[workload])
    return {'seconds': ms / 1e3, 'flop': 4 * 10**9, 'bytes': 10**6}


@pytest.fixture
def measured(monkeypatch):
  """Rows of two operations, and the workers."""
  answers = [
    {'product': 2.0, 'a': [4.0, 2.0], 'a_naive': [8.0, 9.0], 'b': [1.0, 1.0]},
    {'product': 1.0, 'a': [2.0, 3.0], 'b': [5.0, 5.0]},
    {'product': 3.0, 'a': [9.0, 9.0], 'b': [3.0, 5.0]},
  ]
  fakes, commands = [], []

  class Started(FakeWorker):
    def __init__(self, command, variables=None):
      super().__init__(**answers[len(fakes)])
      fakes.append(self)
      commands.append(command)

  monkeypatch.setattr(workers, 'Worker', Started)
  settings = Settings(
    what='step',
    config=nets.config(),
    batch_size=4,
    meshes=[Mesh(1, 2)],
    dtype='float32',
    seconds=0.1,
    rounds=2,
    baseline=pytorch.Baseline(python='python3'),
  )
  return ops.measure_ops(settings), fakes, commands


def test_rows_hold_naive_form_baseline_and_floor(measured):
  (a, b), _, _ = measured
  assert (a['what'], a['ms'], a['naive_ms'], a['peer_ms']) == ('a', 3, 8.5, 2.5)
  assert a['ratio'] == 1 and a['ratio_range'] == [0.5, 1.5]  # of pairs
  assert a['floor_ms'] == 1 and a['limit_gflops'] == 4000  # PyTorch's product
  assert a['gflops'] == pytest.approx(4e9 / 3e-3 / 1e9, 1e-3)
  assert (b['naive_ms'], b['peer_ms'], b['n']) == (None, 4, 2)
  assert b['limit_gb_per_second'] == 1


def test_rounds_are_interleaved_and_pytorch_has_both_layouts(measured):
  _, fakes, commands = measured
  asked = [work for work in fakes[0].asked if work in ('a', 'a naive')]
  assert asked == ['a', 'a naive'] * 2
  layouts = [json.loads(c[-1])['form']['layout'] for c in commands[1:]]
  assert layouts == ['contiguous', 'channels_last']
  assert json.loads(commands[0][-1])['config']['mesh']['column'] == 1
