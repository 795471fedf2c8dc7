"""Measures this program on this machine, beside its peers.

  python -m alexnet_jax.tools.bench --what=input --source=ILSVRC2012
  python -m alexnet_jax.tools.bench --what=step --torch_python=PYTHON --json

--what=input: images/s and CPU time an image of preparing, of the training
pipeline, and of a plain numpy loop; with --torch_python of torch's DataLoader.
--what=end_to_end: training steps fed from records, beside the step alone.
--what=step: the whole training step of a config, images on the device; eval:
ten views of whole images; ops: each operation, forward and backward; scaling:
the step on three meshes and in batches of 16 to 512. The last four need neither
grain, TFDS nor orbax. --what=processes: training by one process of all devices,
and by one for each. Without a --config the net is the paper's, in float32 and
minibatches of 128.
"""

import json
import pathlib
import sys
import tempfile

from absl import flags

from alexnet_jax import cli, paper
from alexnet_jax.bench import ops, rows, scaling, step
from alexnet_jax.bench.baselines import pytorch
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.runtime import malloc

flags_lib.define()
_WHAT = flags.DEFINE_enum(
  'what',
  'input',
  ['input', 'end_to_end', 'step', 'eval', 'ops', 'scaling', 'processes'],
  'What to measure.',
)
_SOURCE = flags.DEFINE_string(
  'source',
  '',
  'input, end_to_end: images, as tools.prepare takes them, but for tfds:NAME.',
)
_IMAGES = flags.DEFINE_integer(
  'images',
  4000,
  'input, end_to_end: training images, repeated.',
  lower_bound=256,
)
_BATCH_SIZE = flags.DEFINE_list(
  'batch_size', [], 'All but input: images; default: those of --config.'
)
_DTYPE = flags.DEFINE_list(
  'dtype', [], 'All but input: float32, bfloat16; default: that of --config.'
)
_MESH = flags.DEFINE_list(
  'mesh',
  ['1x1'],
  'end_to_end, step, eval, processes: data x column, as 1x1,1x2; they take '
  'turns.',
)
_SECONDS = flags.DEFINE_float('seconds', 3.0, 'Of a round.', lower_bound=0.1)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Of each kind.', lower_bound=1)
_TORCH_PYTHON = flags.DEFINE_string(
  'torch_python', '', 'An interpreter that has PyTorch, numpy and Pillow.'
)
_PEER_FORMS = flags.DEFINE_list(
  'peer_forms', [], 'step, eval: LAYOUT/MODE/LRN of the peer; default: all.'
)
_SAVE = flags.DEFINE_bool('save', False, 'Write bench/results/DATE_WHAT.json.')
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead.')
_DEFAULT = pathlib.Path(__file__).parents[2] / 'configs' / 'default.py'
_TYPED = sys.argv[1:]
_DTYPES = ('float32', 'bfloat16')


def main() -> None:
  """Measures, prints, and saves if so told."""
  conditions = rows.conditions(_TYPED)
  fed = _WHAT.value in ('input', 'end_to_end')
  found = _fed() if fed else _on_device()
  if fed:
    conditions |= {'images': _IMAGES.value}
  if _WHAT.value != 'input':
    conditions |= {'config': flags_lib.name()}
  if _SAVE.value:
    gpu = found[0].get('platform') == 'gpu'
    name = _WHAT.value + '_gpu' * gpu
    rows.save([row | conditions for row in found], name=name)
  if _JSON.value:
    first = {} if fed else found[0]
    print(json.dumps(first | {'rows': found, 'conditions': conditions}))
    return
  for row in found:
    print(_line(row))


def _fed() -> list[rows.Row]:
  """The rows of what reads records."""
  from alexnet_jax.bench import end_to_end  # grain, TFDS
  from alexnet_jax.bench import input as input_bench

  if not _SOURCE.value:
    raise ValueError('--source is missing: give images, as for tools.prepare')
  malloc.keep_freed_memory()
  with tempfile.TemporaryDirectory() as folder:
    bench = input_bench.Bench(
      folder=pathlib.Path(folder),
      source=_SOURCE.value,
      images=_IMAGES.value,
      seconds=_SECONDS.value,
      rounds=_ROUNDS.value,
      torch_python=_TORCH_PYTHON.value,
    )
    if _WHAT.value == 'input':
      return input_bench.run(bench)
    return end_to_end.run(bench, _one_config())


def _one_config() -> step.Config:
  """The config of the only batch size, dtype and mesh.

  Raises:
    ValueError: if there are more.
  """
  for name, values in (
    ('batch_size', _BATCH_SIZE.value),
    ('dtype', _DTYPE.value),
    ('mesh', _MESH.value),
  ):
    if len(values) > 1:
      raise ValueError(
        f'--{name}={",".join(values)}: --what=end_to_end takes one at a time'
      )
  (bench,) = _benches()
  return step.with_mesh(bench, bench.meshes[0])


def _on_device() -> list[rows.Row]:
  """The rows of all batch sizes and dtypes."""
  benches = _benches()
  match _WHAT.value:
    case 'ops':
      return [row for bench in benches for row in ops.run(bench)]
    case 'scaling':
      return [row for bench in benches for row in scaling.run(bench)]
    case 'processes':
      from alexnet_jax.bench import multihost  # orbax, TFDS, as training has

      return [row for bench in benches for row in multihost.run(bench)]
    case _:
      return [row for bench in benches for row in step.run(bench)]


def _benches() -> list[step.Bench]:
  """One for each dtype and batch size.

  Raises:
    ValueError: if a flag's value cannot be used.
  """
  theirs = pytorch.Peer(
    python=_TORCH_PYTHON.value,
    forms=tuple(map(pytorch.parse, _PEER_FORMS.value)),
  )
  config = flags_lib.value()
  if not any(map(_is_config, _TYPED)):
    config.batch_size = paper.BATCH_SIZE
  batch_sizes = _BATCH_SIZE.value or [str(config.batch_size)]
  dtypes = _DTYPE.value or [config.dtype]
  wrong = [dtype for dtype in dtypes if dtype not in _DTYPES]
  if wrong:
    raise ValueError(f'--dtype={wrong[0]}: use {" or ".join(_DTYPES)}')
  return [
    step.Bench(
      what='eval' if _WHAT.value == 'eval' else 'step',
      config=config,
      batch_size=_number('batch_size', batch_size),
      meshes=[_mesh(mesh) for mesh in _MESH.value],
      dtype=dtype,
      seconds=_SECONDS.value,
      rounds=_ROUNDS.value,
      peer=theirs if theirs.python else None,
    )
    for dtype in dtypes
    for batch_size in batch_sizes
  ]


def _number(flag: str, text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise ValueError(f'--{flag} holds {text!r}: use 1 or more')
  return int(text)


def _mesh(text: str) -> step.Mesh:
  parts = text.split('x')
  if len(parts) != 2:
    raise ValueError(f'--mesh holds {text!r}: use data x column, as 1x2')
  return step.Mesh(*(_number('mesh', part) for part in parts))


def _line(row: rows.Row) -> str:
  """A row in words."""
  if 'cpu_us_per_image' in row:
    return _input_line(row)
  for key, first in (
    ('of_step_alone', 'the step alone'),
    ('of_one_process', 'one process'),
  ):
    if key in row:
      return _relative_line(row, key=key, first=first)
  if 'failed' in row:
    return f'{row["batch_size"]} images: {row["failed"]}'
  return _op_line(row) if 'ms' in row else _step_line(row)


def _input_line(row: rows.Row) -> str:
  low, high = row['range']
  return (
    f'{row["what"]:42}{row["images_per_second"]:>10,.0f} images/s '
    f'({low:,.0f} to {high:,.0f}, n = {row["n"]}), '
    f'{row["cpu_us_per_image"]:,.0f} us of CPU an image'
  )


def _relative_line(row: rows.Row, *, key: str, first: str) -> str:
  """Of a row that says how fast it is beside the first."""
  low, high = row[f'{key}_range']
  return (
    f'{row["what"]:18}{row["images_per_second"]:>10,.1f} images/s, '
    f'{row[key]:.2f} of {first} ({low:.2f} to {high:.2f}, n = {row["n"]})'
  )


def _op_line(row: rows.Row) -> str:
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


def _step_line(row: rows.Row) -> str:
  theirs = ''
  if row['ratio'] is not None:
    theirs = (
      f'; PyTorch {row["peer_images_per_second"]:,.1f} ({row["peer_form"]}), '
      f'ratio {row["ratio"]:.2f} ({row["ratio_range"][0]:.2f} to '
      f'{row["ratio_range"][1]:.2f}), '
      f'{row["peer_peak_memory_bytes"] / 1e9:.2f} GB'
    )
  low, high = row['images_per_second_range']
  if row['ratio_to_first_mesh'] != 1:
    theirs = f'; {row["ratio_to_first_mesh"]:.2f} of the first mesh{theirs}'
  return (
    f'{row["bench"]}, {row["batch_size"]} images, {row["mesh"]}, '
    f'{row["dtype"]}: {row["images_per_second"]:,.1f} images/s ({low:,.1f} to '
    f'{high:,.1f}, n = {row["n"]}), {row["matmul_share"]:.0%} of a matrix '
    f'product, {row["peak_memory_bytes"] / 1e9:.2f} GB, '
    f'{row["moved_bytes_per_image"]:,} bytes an image between devices, '
    f'compiled in {row["compile_seconds"]:.1f} s{theirs}'
  )


def with_config(argv: list[str]) -> list[str]:
  """The command line, with configs/default.py where it names no config."""
  given = any(map(_is_config, argv))
  return argv if given else [*argv, f'--config={_DEFAULT}']


def _is_config(argument: str) -> bool:
  return argument.split('=')[0].lstrip('-') == 'config'


if __name__ == '__main__':
  sys.argv = with_config(sys.argv)
  cli.run(main)
