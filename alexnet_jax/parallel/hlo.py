"""The collectives of a compiled program, from its HLO (§3.2, Figure 2).

Lists each collective of the optimised HLO, as it runs, with its layer,
direction, mesh axis and bytes. Four things a reader of HLO gets wrong: one
operation may carry many arrays (its type is a tuple), a `-start` and its
`-done` are one operation, one in a loop moves its bytes in every iteration, and
groups of one device move nothing.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

KINDS = (
  'all-gather',
  'all-reduce',
  'all-to-all',
  'collective-broadcast',
  'collective-permute',
  'reduce-scatter',
)
_OPERATION = re.compile(
  rf'= (?P<type>\(.*?\)|\S+) (?P<kind>{"|".join(KINDS)})(?P<start>-start)?\('
)
ARRAY = re.compile(r'(?P<dtype>[a-z]+\d*)\[(?P<shape>[\d,]*)\]')
_LISTED = re.compile(r'replica_groups=\{(\{[\d,{}]*\})\}')  # {{0,1},{2,3}}
_IOTA = re.compile(  # [2,2]<=[4], or <=[2,2]T(1,0)
  r'replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?'
)
_MESH = re.compile(r'replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}')
_PAIRS = re.compile(r'source_target_pairs=\{(\{[\d,{}]*\})\}')  # of permutes
_COMPUTATION = re.compile(r'^(?:ENTRY )?%?(\S+) \(.*\{$')  # its header line
_CALLED = re.compile(
  r'\b(body|calls|to_apply|(?:true|false)_computation)=%?([^,\s)]+)'
)
BRANCHES = re.compile(r'\b(?:branch|called)_computations=\{([^}]*)\}')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')  # of a while
NAME = re.compile(r'op_name="([^"]*)"')
LAYER = re.compile(r'\b(conv\d|fc\d)(?:_[a-z_]+)?\b')  # conv1, conv1_lrn
_BYTES = {'pred': 1, 'bf16': 2, 'f16': 2, 'f32': 4, 'f64': 8}

Groups = list[list[int]]


class Collective(NamedTuple):
  """One collective operation.

  Of a sum, `bytes` are the least possible: 2 (g - 1) / g of the array in a
  group of g devices.
  """

  layer: str  # 'conv3', or '' outside the layers (the sum of gradients)
  direction: str  # 'forward' or 'backward'
  kind: str  # as HLO names it
  axis: str  # of the mesh: 'data', 'column', or 'data,column' for both at once
  shapes: tuple[str, ...]  # of what each device gets, as 'f32[32,13,13,256]'
  bytes: int  # sent between devices, over all devices and iterations
  asynchronous: bool  # other work may run meanwhile


def collectives(hlo: str, *, mesh: Mesh) -> list[Collective]:
  """Returns the operations in a program's text that move data on this mesh.

  Raises ValueError if one joins devices that are no axis of the mesh, or is in
  a loop of unknown length.
  """
  called_by = callers(hlo)
  found = []
  for within, line in lines(hlo):
    match = _OPERATION.search(line)
    if match is None:
      continue
    groups = _groups(line, devices=mesh.size)
    if max(map(len, groups)) > 1:  # an axis of size 1 moves nothing
      one = _collective(line, match, groups=groups, mesh=mesh)
      times = runs(within, called_by)
      found.append(one._replace(bytes=one.bytes * times))
  return found


def lines(hlo: str) -> Iterator[tuple[str, str]]:
  """Yields (computation, line); '' is the entry computation."""
  within = ''
  for line in hlo.splitlines():
    header = _COMPUTATION.match(line)
    if header:
      within = '' if line.startswith('ENTRY') else header.group(1)
    yield within, line


def callers(hlo: str) -> dict[str, list[tuple[str, int | None]]]:
  """Returns (caller, how often) of each computation; None: unknown."""
  callers = collections.defaultdict(list)
  for within, line in lines(hlo):
    trips = _TRIPS.search(line)
    called = _CALLED.findall(line)
    for names in BRANCHES.findall(line):  # counted as if all ran
      called += [('branch', name.strip(' %')) for name in names.split(',')]
    for kind, name in called:
      times = int(trips.group(1)) if trips else None
      callers[name].append((within, times if kind == 'body' else 1))
  return callers


def runs(name: str, called_by: dict[str, list[tuple[str, int | None]]]) -> int:
  """Returns how often a computation can run in one run of the program."""
  if not name:
    return 1
  if not called_by[name]:
    raise ValueError(f'operations in {name}, which nothing calls')
  total = 0
  for within, times in called_by[name]:
    if times is None:
      raise ValueError(f'operations in {name}, a loop of unknown length')
    total += times * runs(within, called_by)  # loops nest
  return total


def _collective(
  line: str, match: re.Match[str], *, groups: Groups, mesh: Mesh
) -> Collective:
  name = NAME.search(line)
  path = name.group(1) if name else ''
  layer = LAYER.search(path)  # of jax.named_scope
  kind = match['kind']
  arrays = ARRAY.findall(match['type'])  # (dtype, shape) of each
  if match['start'] and _names_operands(line, kind=kind, arrays=len(arrays)):
    arrays = arrays[len(arrays) // 2 :]  # the first half are the operands
  size = sum(array_bytes(dtype, shape) for dtype, shape in arrays)
  return Collective(
    layer=layer.group(1) if layer else '',  # '': the gradients' sum
    direction='backward' if 'transpose(' in path or not layer else 'forward',
    kind=kind,
    axis=_axis(groups, mesh=mesh),
    shapes=tuple(f'{dtype}[{shape}]' for dtype, shape in arrays),
    bytes=round(_moved(kind, size, group=len(groups[0])) * mesh.size),
    asynchronous=bool(match['start']),
  )


def _names_operands(line: str, *, kind: str, arrays: int) -> bool:
  """Returns whether a -start's type has its operands too, as in jax 0.12."""
  operands = line.partition(f'{kind}-start(')[2].partition(')')[0]
  return kind != 'all-reduce' or arrays == 2 * operands.count('%')


def array_bytes(dtype: str, shape: str) -> int:
  """Returns the size of an array, as 'f32' and '128,96'."""
  count = math.prod(int(n) for n in shape.split(',') if n)
  digits = re.sub(r'\D', '', dtype)
  return count * (_BYTES.get(dtype) or max(1, int(digits) // 8))


def _moved(kind: str, size: int, *, group: int) -> int | float:
  """Returns the bytes that one device sends to end up with `size` bytes."""
  match kind:
    case 'all-gather' | 'all-to-all':
      return size * (group - 1) / group  # all but its own part
    case 'reduce-scatter':
      return size * (group - 1)  # the other parts of its array
    case 'all-reduce':
      return 2 * size * (group - 1) / group  # reduce-scatter, all-gather
    case _:
      return size


def _groups(line: str, *, devices: int) -> Groups:
  """Returns which devices an operation joins, by their index in the mesh."""
  listed = _LISTED.search(line) or _PAIRS.search(line)
  if listed:
    inner = re.findall(r'\{([\d,]*)\}', listed.group(1))
    return [[int(n) for n in group.split(',') if n] for group in inner]
  iota, named = _IOTA.search(line), _MESH.search(line)
  if iota:
    return _iota_groups(*iota.groups())
  if named:
    return _named_groups(*named.groups())
  if 'replica_groups={}' in line or 'replica_groups' not in line:
    return [list(range(devices))]  # none given: all of them
  raise ValueError(f'unknown form of replica_groups in: {line.strip()}')


def _iota_groups(shape: str, reshape: str, order: str | None) -> Groups:
  """Expands the short form: an arange, reshaped, transposed, cut into rows."""
  sizes = _integers(reshape)
  ids = np.arange(math.prod(sizes)).reshape(sizes)
  if order:
    ids = ids.transpose(_integers(order))
  return ids.reshape(_integers(shape)).tolist()


def _named_groups(mesh: str, axes: str) -> Groups:
  """Expands jax 0.12's form: 'data'=2,'column'=2 and the axes of a group."""
  sizes = {n: int(k) for n, k in re.findall(r"'(\w+)'=(\d+)", mesh)}
  within = re.findall(r"'(\w+)'", axes)
  order = [n for n in sizes if n not in within] + within
  ids = np.arange(math.prod(sizes.values())).reshape(list(sizes.values()))
  ids = ids.transpose([list(sizes).index(n) for n in order])
  return ids.reshape(-1, math.prod(sizes[n] for n in within)).tolist()


def _integers(text: str) -> list[int]:
  return [int(n) for n in text.split(',')]


def _axis(groups: Groups, *, mesh: Mesh) -> str:
  places = np.arange(mesh.size).reshape(mesh.devices.shape)  # [data, column]
  names = mesh.axis_names
  rows = {names[1]: places, names[0]: places.T, ','.join(names): places[None]}
  joined = set(map(frozenset, groups))  # in any order
  for name, expected in rows.items():
    width = math.prod(mesh.shape[axis] for axis in name.split(','))
    if joined == set(map(frozenset, expected.reshape(-1, width).tolist())):
      return name
  raise ValueError(f'{groups} is no axis of the mesh {dict(mesh.shape)}')
