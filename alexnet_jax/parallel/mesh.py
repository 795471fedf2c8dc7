"""The (data, column) mesh: rows share out images, columns kernels (§3.2).

The paper's machine is data = 1, column = 2. On the CPU JAX has one device
unless it is told otherwise before its first use, hence `make_cpu_devices`.
"""

import jax
from jax.sharding import AxisType, Mesh

from alexnet_jax.ops import columns

DATA = 'data'
COLUMN = columns.AXIS


def make_cpu_devices(number: int) -> None:
  """Lets the CPU stand for `number` devices; call it before JAX runs anything.

  Where JAX finds accelerators this changes nothing that a mesh uses.
  """
  jax.config.update('jax_num_cpu_devices', number)


def create(*, data: int, column: int) -> Mesh:
  """The mesh of data x column devices.

  Raises:
    ValueError: if the machine has fewer devices.
  """
  devices = jax.devices()
  needed = data * column
  if needed > len(devices):
    raise ValueError(
      f'config.mesh asks for data {data} x column {column} = {needed} devices, '
      f'this machine has {len(devices)} ({devices[0].platform}): '
      + _smaller(data=data, column=column, available=len(devices))
    )
  return jax.make_mesh(
    (data, column),
    (DATA, COLUMN),
    axis_types=(AxisType.Auto,) * 2,
    devices=devices[:needed],
  )


def _smaller(*, data: int, column: int, available: int) -> str:
  """The flags that fit the machine."""
  column_fits = column <= available
  flags = [] if column_fits else ['--config.mesh.column=1']
  rows = available // (column if column_fits else 1)
  flags += [f'--config.mesh.data={rows}'] if data > rows else []
  both = '' if column_fits else ', which puts both columns on one device'
  return f'use {" ".join(flags)}{both}'
