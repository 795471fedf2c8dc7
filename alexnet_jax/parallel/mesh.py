"""The (data, column) mesh: rows share out images, columns kernels (§3.2).

The paper's machine is data = 1, column = 2. On the CPU JAX has one device
unless it is told otherwise before its first use, hence `make_cpu_devices`.
Either axis may span processes (distributed.py, not in the paper): devices are
counted process by process, so that columns meet within one where they can.
"""

import jax
from jax.sharding import AxisType, Mesh

from alexnet_jax.ops import columns
from alexnet_jax.parallel import distributed

DATA = 'data'
COLUMN = columns.AXIS


def make_cpu_devices(number: int) -> None:
  """Lets the CPUs of all processes together stand for `number` devices.

  Call it before JAX runs anything, and after distributed.join. Where JAX finds
  accelerators this changes nothing that a mesh uses.

  Raises:
    ValueError: if the processes cannot have the same number of them each.
  """
  processes = distributed.count()
  if number % processes:
    raise ValueError(
      f'config.mesh asks for {number} devices, which {processes} processes '
      f'cannot share evenly: use --config.mesh.data={processes}, or another '
      'number of processes'
    )
  jax.config.update('jax_num_cpu_devices', number // processes)


def create(*, data: int, column: int) -> Mesh:
  """The mesh of data x column devices.

  Raises:
    ValueError: if there are fewer devices, or several processes have more.
  """
  devices = jax.devices()
  needed = data * column
  if needed > len(devices) or (distributed.several() and needed < len(devices)):
    raise ValueError(_refusal(data=data, column=column, devices=devices))
  return jax.make_mesh(
    (data, column),
    (DATA, COLUMN),
    axis_types=(AxisType.Auto,) * 2,
    devices=devices[:needed],
  )


def spans_processes(mesh: Mesh) -> bool:
  """Whether devices of several processes are on it."""
  return len({device.process_index for device in mesh.devices.flat}) > 1


def _refusal(*, data: int, column: int, devices: list[jax.Device]) -> str:
  needed, there = data * column, len(devices)
  who = 'this machine has'
  if distributed.several():
    who = f'the {distributed.count()} processes have'
  return (
    f'config.mesh asks for data {data} x column {column} = {needed} devices, '
    f'{who} {there} ({devices[0].platform}): '
    + (
      _smaller(data=data, column=column, available=there)
      if needed > there
      else f'use all of them, with --config.mesh.data={there // column}'
    )
  )


def _smaller(*, data: int, column: int, available: int) -> str:
  """The flags that fit the machine."""
  column_fits = column <= available
  flags = [] if column_fits else ['--config.mesh.column=1']
  rows = available // (column if column_fits else 1)
  flags += [f'--config.mesh.data={rows}'] if data > rows else []
  both = '' if column_fits else ', which puts both columns on one device'
  return f'use {" ".join(flags)}{both}'
