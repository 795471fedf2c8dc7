"""Kernels of a compiled program and what they read and write, from its HLO.

On a GPU most of this net is bound by the bandwidth of its memory. A kernel
reads its operands and writes its results there; within one (a fusion) values
stay on the chip. So the bytes of operands and results of all kernels are what
passes through memory if nothing stays in the cache between two of them.
"""

import collections
import re
from collections.abc import Iterator
from typing import NamedTuple

from alexnet_jax.parallel import hlo as hlo_lib

# Only these happen within a kernel that computes nothing.
_MOVES = frozenset(
  'bitcast broadcast concatenate constant convert copy get-tuple-element pad '
  'parameter reshape slice transpose tuple'.split()
)
_NO_KERNEL = re.compile(  # a -done belongs to its -start
  'after-all|bitcast|call|conditional|constant|get-tuple-element|parameter|'
  r'partition-id|replica-id|tuple|while|.*-done'
)
_INSTRUCTION = re.compile(
  r'^\s*(?P<root>ROOT )?%?(?P<name>\S+) = (?P<type>\(.*?\)|\S+) '
  r'(?P<opcode>[a-z][\w\-]*)\((?P<operands>.*?)\)(?P<rest>,.*|$)'
)
_OPERAND = re.compile(r'%?([A-Za-z_][\w.\-]*)\s*(?:,|$)')
_CALLS = re.compile(r'\bcalls=%?([^,\s)]+)')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_CONTROL = re.compile(  # computations whose instructions are kernels
  r'\b(?:body|(?:true|false)_computation)=%?([^,\s)]+)'
)
_CALL = re.compile(r' call\(.*\bto_apply=%?([^,\s)]+)')
_SCOPE = re.compile(r'\b(input|loss|update)\b')  # of steps/train.py


class Kernel(NamedTuple):
  """One kernel or library call of a program, as often as it runs in a step."""

  name: str  # in the program
  layer: str  # 'conv1', or the step's part: 'input', 'loss', 'update', ''
  direction: str  # 'forward' or 'backward'; '' outside the layers
  kind: str  # 'cudnn', 'product', 'collective', 'copy' or 'fusion'
  path: str  # of jax.named_scope, for a person
  shapes: tuple[str, ...]  # of its results, as 'bf16[512,55,55,96]'
  bytes: int  # read and written, on one device


def kernels(hlo: str) -> list[Kernel]:
  """Returns what a program's text runs on each device, in order.

  Raises ValueError if a kernel is in a loop of unknown length.
  """
  computations = _computations(hlo)
  called_by = hlo_lib.callers(hlo)
  found = []
  for within in _run(hlo):
    types = {one['name']: one['type'] for one in computations[within]}
    times = hlo_lib.runs(within, called_by)
    for one in computations[within]:
      if not _NO_KERNEL.fullmatch(one['opcode']):
        kernel = _kernel(one, types=types, computations=computations)
        found.append(kernel._replace(bytes=kernel.bytes * times))
  return found


def _computations(hlo: str) -> dict[str, list[re.Match[str]]]:
  """Instructions of each computation; '' is the entry."""
  found = collections.defaultdict(list)
  for within, line in hlo_lib.lines(hlo):
    line = re.sub(r'/\*index=\d+\*/', '', line)
    instruction = _INSTRUCTION.match(line)
    if instruction:
      found[within].append(instruction)
  return found


def _run(hlo: str) -> Iterator[str]:
  """Yields the entry and the computations that loops and branches run."""
  yield ''
  seen = set()
  for _, line in hlo_lib.lines(hlo):
    names = _CONTROL.findall(line) + _CALL.findall(line)
    for listed in hlo_lib.BRANCHES.findall(line):
      names += [name.strip(' %') for name in listed.split(',')]
    yield from (name for name in names if name not in seen)
    seen.update(names)


def _kernel(
  one: re.Match[str],
  *,
  types: dict[str, str],
  computations: dict[str, list[re.Match[str]]],
) -> Kernel:
  called = _CALLS.search(one['rest'])
  inside = computations[called.group(1)] if called else []
  operands = [types.get(n, '') for n in _OPERAND.findall(one['operands'])]
  results = hlo_lib.ARRAY.findall(one['type'])
  if one['opcode'].endswith('-start'):  # the type names the operands too
    first = one['opcode'] == 'copy-start'  # else the operands are first
    results = results[:1] if first else results[-len(operands) :]
  written = sum(hlo_lib.array_bytes(*array) for array in results)
  read = sum(
    hlo_lib.array_bytes(*array)
    for type_ in operands
    for array in hlo_lib.ARRAY.findall(type_)
  )
  kind = _kind(one, inside)
  if kind == 'copy' and any(line['opcode'] == 'slice' for line in inside):
    read = min(read, written)  # a part of its operand
  path = _path(one, inside)
  layer = hlo_lib.LAYER.search(path)
  found = layer or _SCOPE.search(path)
  direction = 'backward' if 'transpose(' in path else 'forward'
  return Kernel(
    name=one['name'],
    layer=found.group(1) if found else '',
    direction=direction if layer else '',
    kind=kind,
    path=path,
    shapes=tuple(f'{dtype}[{shape}]' for dtype, shape in results),
    bytes=read + written,
  )


def _path(one: re.Match[str], inside: list[re.Match[str]]) -> str:
  """The op_name of an instruction, or of the last one within it."""
  for line in (one, *reversed(inside)):
    name = hlo_lib.NAME.search(line['rest'])
    if name:
      return name.group(1)
  return ''


def _kind(one: re.Match[str], inside: list[re.Match[str]]) -> str:
  opcode = one['opcode']
  target = _TARGET.search(one['rest'])
  if target and '__cudnn' in target.group(1):
    return 'cudnn'
  parts = [line['opcode'] for line in inside] or [opcode]
  if (target and '__cublas' in target.group(1)) or 'dot' in parts:
    return 'product'
  if opcode.removesuffix('-start') in hlo_lib.KINDS:
    return 'collective'
  if _MOVES.issuperset(parts) or opcode == 'copy-start':
    return 'copy'
  return 'fusion'
