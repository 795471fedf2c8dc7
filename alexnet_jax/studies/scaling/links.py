"""Bandwidth and latency of the links between devices, with their sources.

Bandwidths are of one direction, as leaves a device; docs/scaling.md says how
far real collectives stay below.
"""

import math
from typing import NamedTuple


class Link(NamedTuple):
  """A link between two neighbours of a ring."""

  bandwidth: float  # bytes/s that leave a device, in one direction
  latency: float  # seconds a hop, of LATENCY_SOURCE
  source: str  # of the bandwidth


# The figures by which NCCL plans its own collectives: GB/s of each NVLink (an
# H100 has 18, an A100 12; 25 nominal), of 16 PCIe lanes (three quarters of
# nominal), a network's nominal rate; and the latency of a hop in a ring of
# large messages (hwLat, Ring, Simple).
_NCCL = 'https://github.com/NVIDIA/nccl/blob/'
_NVLINK = f'{_NCCL}069a3d4f95ca488dc63ba7ae659a2db77942a62e/src/graph/topo.h'
_OTHERS = f'{_NCCL}b6475625fbcaa2c3c0e50eed2fa1255d7514d4a2/src/graph/topo.cc'
LATENCY_SOURCE = (
  f'{_NCCL}b6475625fbcaa2c3c0e50eed2fa1255d7514d4a2/src/graph/tuning.cc'
)

LINKS = {
  name: Link(gigabytes * 1e9, latency, source)
  for name, gigabytes, latency, source in (
    ('nvlink4', 18 * 20.6, 3.4e-6, _NVLINK),
    ('nvlink3', 12 * 20.0, 3.4e-6, _NVLINK),
    ('pcie5', 48.0, 5.7e-6, _OTHERS),
    ('pcie4', 24.0, 5.7e-6, _OTHERS),
    ('infiniband-ndr', 400 / 8, 14e-6, _OTHERS),
    ('infiniband-hdr', 200 / 8, 14e-6, _OTHERS),
    ('ethernet-100', 100 / 8, 14e-6, _OTHERS),
    ('ethernet-25', 25 / 8, 14e-6, _OTHERS),
    ('ethernet-10', 10 / 8, 14e-6, _OTHERS),
  )
}


def parse(text: str) -> Link:
  """A link of LINKS by name, or 'GB/S:MICROSECONDS'; else a ValueError."""
  if text in LINKS:
    return LINKS[text]
  try:
    bandwidth, latency = map(float, text.split(':'))
  except ValueError:
    bandwidth = latency = math.nan
  if not (0 < bandwidth <= 1e6 and 0 <= latency <= 1e6):
    raise ValueError(
      f'{text!r} is no link: use {", ".join(LINKS)}, or GB/S:MICROSECONDS of '
      'your own, such as 4.5:30'
    )
  return Link(bandwidth * 1e9, latency * 1e-6, 'given')
