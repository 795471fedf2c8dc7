"""parallel/traffic: kernels and bytes of hand-written HLO."""

import pytest

from alexnet_jax.parallel import traffic

PROGRAM = """
%sums (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %m = f32[8]{0} multiply(%p, %p), metadata={op_name="jit(step)/jvp(A)/conv1_lrn/mul"}
}
%moves (p: bf16[4,2]) -> f32[2,4] {
  %p = bf16[4,2]{1,0} parameter(0)
  %t = bf16[2,4]{1,0} transpose(%p), dimensions={1,0}
  ROOT %c = f32[2,4]{1,0} convert(%t)
}
%part (p: f32[100]) -> f32[4] {
  %p = f32[100]{0} parameter(0)
  ROOT %s = f32[4]{0} slice(%p), slice={[0:4]}
}
%round (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %again = f32[8]{0} fusion(%p), kind=kLoop, calls=%sums
}
ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0), metadata={op_name="state.params"}
  %b = f32[8]{0} fusion(%a), kind=kLoop, calls=%sums
  %conv = (bf16[4,2]{1,0}, u8[0]{0}) custom-call(%b, /*index=1*/%a), custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/transpose(jvp(A))/conv2/conv"}
  %x = bf16[4,2]{1,0} get-tuple-element(%conv), index=0
  %y = f32[2,4]{1,0} fusion(%x), kind=kLoop, calls=%moves, metadata={op_name="jit(step)/update/mul"}
  %start = (f32[8]{0}, f32[16]{0}) all-gather-start(%b), replica_groups={{0,1}}, dimensions={0}
  %done = f32[16]{0} all-gather-done(%start)
  %own = (f32[8]{0}, u8[8]{0}) custom-call(%b, %a), custom_call_target="__gpu$xla.gpu.triton"
  %z = f32[4]{0} fusion(%done), kind=kLoop, calls=%part
  ROOT %w = f32[8]{0} while(%a), condition=%go, body=%round, backend_config={"known_trip_count":{"n":"3"}}
}
"""  # noqa: E501


def test_a_kernel_reads_its_operands_and_writes_its_results():
  found = {k.name: k for k in traffic.kernels(PROGRAM)}
  assert {k.name: (k.kind, k.bytes) for k in found.values()} == {
    'b': ('fusion', 32 + 32),
    'conv': ('cudnn', 32 + 32 + 16),
    'y': ('copy', 16 + 32),
    'start': ('collective', 32 + 64),
    'own': ('fusion', 32 + 32 + 32 + 8),  # a kernel of ops/pallas
    'z': ('copy', 16 + 16),  # no more than it takes
    'again': ('fusion', 3 * (32 + 32)),
  }
  where = {k.name: (k.layer, k.direction) for k in found.values()}
  assert where['b'] == where['again'] == ('conv1', 'forward')  # as within it
  assert where['conv'] == ('conv2', 'backward')
  assert where['y'] == ('update', '')
  assert where['start'] == ('', '')


def test_a_loop_of_unknown_length_is_an_error():
  with pytest.raises(ValueError, match='in round, a loop of unknown length'):
    traffic.kernels(PROGRAM.replace('"known_trip_count":{"n":"3"}', ''))
