"""Images/s of training steps (§5) and of ten views (§4.1), beside PyTorch's.

Each mesh has a worker (bench/jax_step.py), and so do the PyTorch baseline
(bench/baselines/torch_step.py) and a matrix product, which shows the machine's
peak. Rounds are interleaved, so ratios are of rounds seconds apart. Images are
on the device; bench/input.py measures reading them.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from alexnet_jax.bench import rows, workers
from alexnet_jax.bench.settings import Mesh, Settings

Answers = Sequence[workers.Answer]
# What `measure_scaling` compares.
SCALING_MESHES = (Mesh(1, 1), Mesh(1, 2), Mesh(2, 1))
SCALING_BATCH_SIZES = (16, 32, 64, 128, 256, 512)


def measure_steps(settings: Settings) -> list[rows.ResultRow]:
  """A row for each mesh and kernels; ValueError if one cannot run."""
  what = settings.what
  kernels = settings.kernels or (settings.config.kernels,)
  options: dict[tuple[str, str], dict[str, Any]] = {
    (str(mesh), kernel): {
      'config': settings.with_mesh(mesh, kernels=kernel).to_dict(),
      'what': what,
      'dtype': settings.dtype,
    }
    for mesh, kernel in itertools.product(settings.meshes, kernels)
  }
  first, others = next(iter(options)), {}
  about = {'peer_form': None}
  with contextlib.ExitStack() as stack:

    def started(command: list[str]) -> workers.Worker:
      return stack.enter_context(workers.Worker(command))

    series = {
      each: (started(workers.jax_command('jax_step', asked)), what)
      for each, asked in options.items()
    }
    info = series[first][0].info
    if settings.baseline:
      asked = options[first] | {'platform': info['platform']}
      form, tried = settings.baseline.fastest(asked, seconds=settings.seconds)
      theirs = stack.enter_context(settings.baseline.start(asked, form=form))
      others['PyTorch'] = theirs, what
      about = {'peer_form': form, 'peer_forms': tried}
      about |= {'peer_version': theirs.info['version']}
    command = workers.jax_command('jax_step', options[first])
    others['product'] = started(command), 'product'
    found = workers.measure(
      series | others, seconds=settings.seconds, rounds=settings.rounds
    )
  common = {'bench': what, 'dtype': settings.dtype, **about}
  common |= {'batch_size': settings.batch_size}
  common |= {name: info[name] for name in ('platform', 'device')}
  return [
    _step_row(found[each], first=found[first], others=found)
    | {'mesh': each[0], 'kernels': each[1]}
    | {'parts': found[each][-1].get('parts', 1)}
    | {'native_bfloat16': found[each][-1].get('native_bfloat16', False)}
    | {'winograd': found[each][-1].get('winograd', False)}
    | common
    for each in options
  ]


def measure_scaling(settings: Settings) -> list[rows.ResultRow]:
  """Steps on three meshes, interleaved; then of each batch size on (1, 1).

  Virtual devices of a CPU share its cores: what (1, 2) and (2, 1) lose against
  (1, 1) is the cost of splitting (§3.2), what they win is a better use of the
  cores. The paper has batches of 128 only.
  """
  columns = settings.config.model.columns
  meshes = [mesh for mesh in SCALING_MESHES if columns % mesh.column == 0]
  settings = dataclasses.replace(
    settings, what='step', baseline=None, meshes=meshes
  )
  found = measure_steps(settings)
  for size in SCALING_BATCH_SIZES:
    try:
      found += measure_steps(
        dataclasses.replace(settings, batch_size=size, meshes=meshes[:1])
      )
    except workers.WorkerError as error:  # such as too little memory
      found.append({'batch_size': size, 'failed': str(error)})
  return [row | {'bench': 'scaling'} for row in found]


def _step_row(
  ours: Answers, *, first: Answers, others: Mapping[Any, Answers]
) -> rows.ResultRow:
  """One mesh, compared round by round with PyTorch, product and first mesh."""
  rates, theirs = _rates(ours), _rates(others.get('PyTorch', []))
  peak = [each['flop'] / each['seconds'] for each in others['product']]
  last, peer = ours[-1], others.get('PyTorch', [{}])[-1]
  flop = last['flop_per_image']
  shares = rows.ratios([flop * rate for rate in rates], peak)
  return {
    **rows.spread('images_per_second', rates, digits=2),
    **rows.spread('peer_images_per_second', theirs, digits=2),
    **rows.spread('ratio', rows.ratios(rates, theirs)),
    **rows.spread('ratio_to_first_mesh', rows.ratios(rates, _rates(first))),
    **rows.spread('matmul_share', shares),
    **rows.spread('matmul_gflops', [each / 1e9 for each in peak], digits=1),
    'compile_seconds': round(last['compile_seconds'], 2),
    'peak_memory_bytes': last['peak_memory_bytes'],
    'peer_peak_memory_bytes': peer.get('peak_memory_bytes'),
    'flop_per_image': flop,
    'moved_bytes_per_image': round(last['moved_bytes_per_image']),
    'n': len(rates),
  }


def _rates(answers: Answers) -> list[float]:
  """Images/s of each round."""
  return [each['images'] / each['seconds'] for each in answers]
