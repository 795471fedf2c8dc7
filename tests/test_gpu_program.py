"""Programs compiled for H100s that are not there: collectives, bytes, copies.

They need the extra gpu-compile, and are skipped where it is not installed.
"""

import concurrent.futures
import functools
import json
import re

import jax
import numpy as np
import pytest

from alexnet_jax.ops import platform
from alexnet_jax.parallel import target
from alexnet_jax.steps import build
from tests import nets
from tests.golden import facts, programs

needs_compiler = pytest.mark.skipif(
  not target.is_there(),
  reason='no compiler for GPUs: install the extra gpu-compile',
)
# What the page shows of some is what is compiled here.
PROGRAMS = {
  name: programs.PROGRAMS[name]
  for name in (
    '1x2 float32', '2x2 float32', '1x1 bfloat16', '1x2 float32 pallas',
    '1x1 bfloat16 pallas',
  )
}  # fmt: skip
each_program = pytest.mark.parametrize('name', PROGRAMS)

# Figure 2, and bytes an image as float32, by hand: see test_audit.py.
EXCHANGES = {
  'conv3': 13 * 13 * 256 * 4,
  'fc6': 6 * 6 * 256 * 4,
  'fc7': 4096 * 4,
}
# Copies over 1 MB, by layer and shape, that XLA or cuDNN cannot do without.
KERNELS = r'\w+\[(\d+,3,3,\d+|3,3,\d+,\d+|5,5,\d+,\d+|2,\d+,3,3,\d+)\]'
REASONS = {
  r'(conv3|fc6|fc7) .*\[\d+(,13,13|,6,6)?,2,\d+\]': (
    'after a gather: puts the channels of both columns side by side'
  ),
  r'(conv3|fc6|fc7) .*\[2,\d+(,13,13|,6,6)?,\d+\]': (
    'before a reduce-scatter: takes the channels of the columns apart'
  ),
  rf'(conv\d|update)? {KERNELS}': (
    'kernels, at most 3.5 MB: cuDNN wants output channels first'
  ),
  r'fc\d bf16\[\d+,\d+\]': 'float32 parameters become bfloat16',
  r'\w* f32\[\d+,1008\]': 'fc8, 1000 wide: cuBLAS wants a multiple of 16',
  r' f32\[\d+\]': 'gradients of small layers are summed as one array',
  r'loss f32\[512,1000\]': 'scores of labels, spread over the classes',
}


@functools.cache
def _audits():
  """All of them, also those that fail, compiled once."""
  with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
    return dict(
      zip(
        PROGRAMS,
        pool.map(programs.Program.audit, PROGRAMS.values()),
        strict=True,
      )
    )


def _program(name):
  done = _audits()[name]
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


# XLA of jax 0.12 waits for these; that of 0.10 for none.
SYNCHRONOUS = (
  set()
  if jax.__version_info__ < (0, 11)
  else {('conv3', 'forward'), ('fc6', 'backward'), ('fc7', 'backward')}
)


def _waited_for(movements):
  return {
    (m['layer'], m['direction'])
    for m in movements
    if m['asynchronous'] != m['count']
  }


@needs_compiler
@each_program
def test_figure_2_and_nothing_else_moves(name):
  data, column, *_ = PROGRAMS[name]
  found = _program(name)
  moved = {
    (m['layer'], m['direction'], m['kind'], m['axis']): m['bytes_per_image']
    for m in found['train']
  }
  gradients = moved.pop(('', 'backward', 'all-reduce', 'data'), None)
  # Parameters of one device and three metrics, of two rows and both columns.
  values = (60_965_224 - 1000) // 2 + 1000 + 3
  assert gradients == (4 * values * 4 / 128 if data == 2 else None)
  wanted = {
    (layer, *how, 'column'): size
    for layer, size in EXCHANGES.items()
    for how in (('forward', 'all-gather'), ('backward', 'reduce-scatter'))
  }
  wanted['fc8', 'forward', 'all-reduce', 'column'] = 2 * 1000 * 4
  assert moved == (wanted if column == 2 else {})
  assert _waited_for(found['train']) == (SYNCHRONOUS if column == 2 else set())
  assert found['ok'] is True


@needs_compiler
@each_program
def test_large_copies_have_a_reason(name):
  for copy in _program(name)['cost']['train']['copies']:
    what = f'{copy["layer"]} {copy["shapes"][0]}'
    assert any(re.fullmatch(r, what) for r in REASONS), copy


@needs_compiler
@each_program
def test_bytes_are_those_of_the_golden(name):
  """If not, and you meant it: run python -m tests.golden.programs."""
  cost = _program(name)['cost']['train']
  golden = facts.stored('gpu_programs')[name]['bytes_per_image']
  assert cost['bytes_per_image'] == pytest.approx(golden, rel=0.03)
  layers = {(p['layer'], p['direction']): p for p in cost['parts']}
  # One array of conv1's activations, as the convolution writes it.
  (_, column, dtype, _, kernels) = PROGRAMS[name]
  array = 55 * 55 * 96 // column * (2 if dtype == 'bfloat16' else 4)
  forward = layers['conv1', 'forward']['bytes_per_image']
  backward = layers['conv1', 'backward']['bytes_per_image']
  if kernels == 'pallas':
    # The convolution writes one, the kernel reads it.
    assert 2 * array < forward < 3.5 * array
    # The kernel reads and writes one; the gradient of the weights reads one.
    assert 3 * array < backward < 4.5 * array
    return
  # The convolution writes one; LRN reads and writes one; pooling reads one.
  assert 4 * array < forward < 5.5 * array
  # The terms read one and write one; the rest reads two and writes one; so
  # does the gradient of the kernels.
  assert 6 * array < backward < 8 * array


@needs_compiler
@pytest.mark.parametrize('name', [n for n in PROGRAMS if 'pallas' in n])
def test_a_layer_has_one_kernel_each_way_besides_cudnns(name):
  parts = _program(name)['cost']['train']['parts']
  ours = {(p['layer'], p['direction']): p for p in parts}
  for layer in ('conv1', 'conv2'):
    # The convolution and its input's layout; the block. Backward also two of
    # cuDNN, and the sum of the biases' gradients.
    assert ours[layer, 'forward']['kernels'] <= 4
    assert ours[layer, 'backward']['kernels'] <= 7


def test_the_page_shows_the_golden():
  page = programs.PAGE.read_text()
  stored = facts.stored('gpu_programs')
  assert page == programs.rewrite(page, facts=stored)
  assert stored.keys() == programs.PROGRAMS.keys()


@needs_compiler
def test_memory_stays_below_a_gtx_580s():
  def gigabytes(name):
    cost = _program(name)['cost']['train']
    return (cost['argument_bytes'] + cost['scratch_bytes']) / 1e9

  assert gigabytes('1x2 float32') < 1.1
  assert gigabytes('1x1 bfloat16') < 3.0


@needs_compiler
def test_the_bound_is_that_of_the_published_rates():
  cost = _program('1x2 float32')['cost']['train']
  moved = cost['bytes_per_image'] * 128 / 3.35232e12
  assert cost['memory_seconds'] == pytest.approx(moved)
  # Three times 724,406,816 products and sums but for conv1's inputs.
  products = 2 * (3 * 724_406_816 - 105_415_200) * 64 / 494.7e12
  assert cost['product_seconds'] == pytest.approx(products)
  assert cost['bound_seconds'] == max(moved, cost['product_seconds'])


def test_a_step_in_a_gpus_forms_is_that_of_one_cpu(monkeypatch):
  """On 2 x 2 devices: with a mean in place of a sum it would be another."""
  one = nets.trained(data=1, column=1, short=True)
  monkeypatch.setattr(platform, 'here', lambda: 'gpu')
  monkeypatch.setattr(build, 'build', build.build.anew)
  other = nets.Trained(nets.config(data=2, column=2, short=True), num_steps=1)
  moves = (
    jax.tree.map(np.subtract, run.states[0].params, run.first.params)
    for run in (one, other)
  )
  for ours, theirs in zip(*map(jax.tree.leaves, moves), strict=True):
    np.testing.assert_allclose(theirs, ours, atol=0.02 * abs(ours).max())


def test_without_a_compiler_a_line_says_what_to_install(monkeypatch):
  monkeypatch.setattr(target, 'is_there', lambda: False)
  with pytest.raises(ValueError, match=r'^no compiler for h100: pip install '):
    target.mesh('h100', data=1, column=2)
  with pytest.raises(ValueError, match='use h100, h200, a100'):
    target.mesh('v100', data=1, column=2)
