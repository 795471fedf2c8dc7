"""Result rows as lines of text, for tools/bench.py."""

from alexnet_jax.bench import rows

_RELATIVE = {'of_step_alone': 'the step alone', 'of_one_process': 'one process'}


def line(row: rows.ResultRow) -> str:
  """A row of any benchmark in one line."""
  if 'cpu_us_per_image' in row:
    return _input_line(row)
  for key, first in _RELATIVE.items():
    if key in row:
      return _relative_line(row, key=key, first=first)
  if 'failed' in row:
    return f'{row["batch_size"]} images: {row["failed"]}'
  return _op_line(row) if 'ms' in row else _step_line(row)


def _input_line(row: rows.ResultRow) -> str:
  low, high = row['range']
  return (
    f'{row["what"]:42}{row["images_per_second"]:>10,.0f} images/s '
    f'({low:,.0f} to {high:,.0f}, n = {row["n"]}), '
    f'{row["cpu_us_per_image"]:,.0f} us of CPU an image'
  )


def _relative_line(row: rows.ResultRow, *, key: str, first: str) -> str:
  low, high = row[f'{key}_range']
  return (
    f'{row["what"]:18}{row["images_per_second"]:>10,.1f} images/s, '
    f'{row[key]:.2f} of {first} ({low:.2f} to {high:.2f}, n = {row["n"]})'
  )


def _op_line(row: rows.ResultRow) -> str:
  kinds = {'': 'ms', 'naive': 'naive_ms', 'PyTorch': 'peer_ms'}
  kinds |= {'a product or copy': 'floor_ms'}
  times = [
    f'{name} {row[kind]:,.2f} ms'.strip()
    for name, kind in kinds.items()
    if row[kind] is not None
  ]
  rate = f'{row["gb_per_second"]:,.0f} GB/s'
  if row['flop']:
    rate = f'{row["gflops"]:,.0f} GFLOP/s'
  return f'{row["what"]:22}{", ".join(times)}, {rate}'


def _step_line(row: rows.ResultRow) -> str:
  compared = ''
  if row['ratio_to_first_mesh'] != 1:
    compared = f'; {row["ratio_to_first_mesh"]:.2f} of the first mesh'
  if row['ratio'] is not None:
    low, high = row['ratio_range']
    compared += (
      f'; PyTorch {row["peer_images_per_second"]:,.1f} ({row["peer_form"]}), '
      f'ratio {row["ratio"]:.2f} ({low:.2f} to {high:.2f}), '
      f'{row["peer_peak_memory_bytes"] / 1e9:.2f} GB'
    )
  low, high = row['images_per_second_range']
  return (
    f'{row["bench"]}, {row["batch_size"]} images, {row["mesh"]}, '
    f'{row["dtype"]}: {row["images_per_second"]:,.1f} images/s ({low:,.1f} to '
    f'{high:,.1f}, n = {row["n"]}), {row["matmul_share"]:.0%} of a matrix '
    f'product, {row["peak_memory_bytes"] / 1e9:.2f} GB, '
    f'{row["moved_bytes_per_image"]:,} bytes an image between devices, '
    f'compiled in {row["compile_seconds"]:.1f} s{compared}'
  )
