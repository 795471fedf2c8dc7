"""What devices and batches cost: one net on three meshes, and in six sizes.

Virtual devices of a CPU share its cores, so a second one buys nothing: what the
meshes (1,2) and (2,1) lose against (1,1) is the price of splitting (§3.2), what
they win is a better use of the cores. Not in the paper: any size but 128.
"""

import dataclasses

from alexnet_jax.bench import rows, step, workers

MESHES = (step.Mesh(1, 1), step.Mesh(1, 2), step.Mesh(2, 1))
BATCH_SIZES = (16, 32, 64, 128, 256, 512)


def run(bench: step.Bench) -> list[rows.Row]:
  """Rows of three meshes in turns, then of each batch size on one mesh."""
  columns = bench.config.model.columns
  bench = dataclasses.replace(bench, what='step', peer=None)
  meshes = [mesh for mesh in MESHES if columns % mesh.column == 0]
  found = step.run(dataclasses.replace(bench, meshes=meshes))
  found += [
    _of_size(dataclasses.replace(bench, batch_size=size, meshes=meshes[:1]))
    for size in BATCH_SIZES
  ]
  return [row | {'bench': 'scaling'} for row in found]


def _of_size(bench: step.Bench) -> rows.Row:
  """The row, or what is wrong, such as too little memory."""
  try:
    (row,) = step.run(bench)
  except workers.Failed as error:
    return {'batch_size': bench.batch_size, 'failed': str(error)}
  return row
