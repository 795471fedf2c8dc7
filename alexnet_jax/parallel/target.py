"""GPUs that programs can be compiled for on a machine without any.

XLA needs a description of the device, no driver. Kernels, calls of cuDNN,
collectives and memory come out as they would run there. Only the algorithms
within library calls are not chosen: that takes trying them on the device.
"""

import importlib.util
import os
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from alexnet_jax.ops import columns

# Descriptions of devices that XLA's authors publish, in its own form.
_XLA = (
  'https://github.com/openxla/xla/blob/'
  '4336d12e0706168f6a382ddb231f3a83853b0657/'
  'xla/backends/gpu/target_config/specs/'
)


class Device(NamedTuple):
  """Published facts of one kind of GPU."""

  description: str  # as the driver names it
  capability: int  # CUDA compute capability, major
  cores: int  # streaming multiprocessors
  float32_units: int  # of a core
  clock: float  # GHz, boosted
  shared_memory: int  # bytes of a core
  cache: int  # bytes of the L2 cache
  memory: int  # bytes
  bandwidth: float  # bytes/s of the memory
  products: dict[str, float]  # dense FLOP/s by config.dtype; float32 as TF32
  source: str  # of all but `products`
  products_source: str


_HOPPER = {'float32': 494.7e12, 'bfloat16': 989.4e12}
# The matrix units of the source: 132 cores x 4 units x 256 and 512 products and
# sums a clock x 1.83 GHz x 2.
_HOPPER_SOURCE = f'{_XLA}h200.txtpb'

DEVICES = {
  'h100': Device(
    'NVIDIA H100 80GB HBM3', 9, 132, 128, 1.98, 233_472, 52_428_800,
    84_942_979_072, 3.35232e12, _HOPPER, f'{_XLA}h100_sxm.txtpb',
    _HOPPER_SOURCE,
  ),
  'h200': Device(
    'NVIDIA H200 141GB HBM3e', 9, 132, 128, 1.98, 233_472, 52_428_800,
    151_397_597_184, 4.8e12, _HOPPER, f'{_XLA}h200.txtpb', _HOPPER_SOURCE,
  ),
  'a100': Device(
    'NVIDIA A100-SXM4-80GB', 8, 108, 64, 1.41, 167_936, 41_943_040,
    85_100_068_864, 2.03904e12, {'float32': 156e12, 'bfloat16': 312e12},
    f'{_XLA}a100_sxm_80.txtpb',
    'https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/'
    'nvidia-a100-datasheet.pdf',
  ),
}  # fmt: skip
_RESERVED = 1024  # bytes of a core's shared memory that no block may have
# The same for all of them; the cuDNN is that of the lock.
_DESCRIPTION = """gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  threads_per_core_limit: 2048 core_count: {d.cores}
  fpus_per_core: {d.float32_units} clock_rate_ghz: {d.clock}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 registers_per_core_limit: 65536
  registers_per_block_limit: 65536 shared_memory_per_block: 49152
  shared_memory_per_core: {d.shared_memory}
  shared_memory_per_block_optin: {optin} l2_cache_size: {d.cache}
  memory_bandwidth: {d.bandwidth:.0f} device_memory_size: {d.memory}
  cuda_compute_capability {{ major: {d.capability} minor: 0 }}
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{d.description}"
"""


def mesh(name: str, *, data: int, column: int) -> Mesh:
  """Returns a mesh of devices of DEVICES that nothing can run on.

  Call it before JAX runs anything: it makes JAX itself use the CPU. Raises
  ValueError if the device is unknown, or JAX's compiler for CUDA is not there.
  """
  if name not in DEVICES:
    raise ValueError(f'{name!r} is no target: use {", ".join(DEVICES)}')
  if not is_there():
    raise ValueError(
      f'no compiler for {name}: pip install '
      f'jax-cuda12-plugin=={jax.__version__} nvidia-cuda-nvcc-cu12'
    )
  os.environ['JAX_SKIP_CUDA_CONSTRAINTS_CHECK'] = '1'  # of cuDNN, NCCL ...
  jax.config.update('jax_platforms', 'cpu')
  device = DEVICES[name]
  topology = topologies.get_topology_desc(
    platform='cuda',
    topology_name=name,
    topology=f'1x1x{data * column}',  # all within one host
    target_config=_DESCRIPTION.format(
      d=device, optin=device.shared_memory - _RESERVED
    ),
  )
  return Mesh(
    np.array(topology.devices).reshape(data, column),
    ('data', columns.AXIS),
    axis_types=(AxisType.Auto,) * 2,
  )


def is_there() -> bool:
  """Whether the packages of the extra gpu-compile are installed."""
  if importlib.util.find_spec('jax_plugins') is None:
    return False
  return any(
    importlib.util.find_spec(f'jax_plugins.xla_cuda{cuda}') for cuda in (12, 13)
  )
