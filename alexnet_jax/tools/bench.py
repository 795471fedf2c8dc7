"""Measures this program on this machine, beside its peers.

  python -m alexnet_jax.tools.bench --what=input --source=ILSVRC2012

--what=input: images/s and CPU time an image of preparing, of the training
pipeline, and of a plain numpy loop; with --torch_python of torch's DataLoader.
"""

import json
import pathlib
import tempfile

from absl import flags

from alexnet_jax.bench import input as input_bench
from alexnet_jax.bench import rows
from alexnet_jax.parallel import host_memory
from alexnet_jax.tools import cli

_WHAT = flags.DEFINE_enum('what', 'input', ['input'], 'What to measure.')
_SOURCE = flags.DEFINE_string(
  'source', '', 'Images, as tools.prepare takes them, but for tfds:NAME.'
)
_IMAGES = flags.DEFINE_integer(
  'images', 4000, 'Training images; the source is repeated.', lower_bound=256
)
_SECONDS = flags.DEFINE_float('seconds', 3.0, 'Of a round.', lower_bound=0.1)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Of each kind.', lower_bound=1)
_TORCH_PYTHON = flags.DEFINE_string(
  'torch_python', '', 'An interpreter that has PyTorch, numpy and Pillow.'
)
_SAVE = flags.DEFINE_bool('save', False, 'Write bench/results/DATE_input.json.')
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead.')


def main() -> None:
  """Measures, prints, and saves if so told."""
  if not _SOURCE.value:
    raise ValueError('--source is missing: give images, as for tools.prepare')
  host_memory.keep_freed_memory()
  with tempfile.TemporaryDirectory() as folder:
    found = input_bench.run(
      input_bench.Bench(
        folder=pathlib.Path(folder),
        source=_SOURCE.value,
        images=_IMAGES.value,
        seconds=_SECONDS.value,
        rounds=_ROUNDS.value,
        torch_python=_TORCH_PYTHON.value,
      )
    )
  conditions = rows.conditions() | {'images': _IMAGES.value}
  if _SAVE.value:
    rows.save([row | conditions for row in found], name=_WHAT.value)
  if _JSON.value:
    print(json.dumps({'rows': found, 'conditions': conditions}, indent=1))
    return
  for row in found:
    low, high = row['range']
    print(
      f'{row["what"]:42}{row["images_per_second"]:>10,.0f} images/s '
      f'({low:,.0f} to {high:,.0f}, n = {row["n"]}), '
      f'{row["cpu_us_per_image"]:,.0f} us of CPU an image'
    )


if __name__ == '__main__':
  cli.run(main)
