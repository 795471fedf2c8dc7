"""What several processes cost: training by one, and by one for each device.

The same command, mesh and cores, in turns; the rate is that of the second half
of a run's steps, reading and augmenting included. Not in the paper, whose two
GPUs share a process.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

from alexnet_jax.bench import jax_step, rows, step
from alexnet_jax.train import log

_STEPS = 10  # that are measured, after as many that are not
_CONFIG = """
import json
import pathlib
from ml_collections import config_dict
from alexnet_jax import run

def get_config():
  text = pathlib.Path(__file__).with_suffix('.json').read_text()
  return config_dict.ConfigDict(run.from_json(json.loads(text)))
"""


def run(bench: step.Bench) -> list[rows.Row]:
  """A row of one process, and one of as many as there are devices.

  Raises:
    ValueError: if the mesh has one device, or a process fails.
  """
  (mesh, *_) = bench.meshes
  devices = mesh.data * mesh.column
  if devices == 1:
    raise ValueError(f'--mesh={mesh}: use one of several devices, such as 1x2')
  rates: dict[int, list[float]] = {1: [], devices: []}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    _write_config(folder, bench, mesh)
    for number in range(bench.rounds):
      for processes, found in rates.items():
        workdir = folder / f'{processes}-{number}'
        found.append(_rate(folder, workdir=workdir, processes=processes))
  jax_step.set_up(step.with_mesh(bench, step.Mesh(1, 1)))
  return [
    {
      'bench': 'processes',
      'what': f'{processes} x {devices // processes} devices',
      'batch_size': bench.batch_size,
      'mesh': str(mesh),
      'dtype': bench.dtype,
      **rows.spread('images_per_second', found, digits=2),
      **rows.spread('of_one_process', rows.ratios(found, rates[1])),
      'n': len(found),
      **jax_step.machine(),
    }
    for processes, found in rates.items()
  ]


def _write_config(
  folder: pathlib.Path, bench: step.Bench, mesh: step.Mesh
) -> None:
  config = step.with_mesh(bench, mesh)
  config.total_steps, config.log.every_steps = 2 * _STEPS, _STEPS
  config.data.embedded_val_images, config.eval.final_views = 20, 1
  config.report.at_end = False
  (folder / 'config/validate.py').write_text(_CONFIG)
  (folder / 'config.json').write_text(json.dumps(config.to_dict()))


def _rate(
  folder: pathlib.Path, *, workdir: pathlib.Path, processes: int
) -> float:
  """Images/s of a run of so many processes."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  flags = [f'--config={folder / "config/validate.py"}', f'--workdir={workdir}']
  if processes > 1:
    flags += [f'--coordinator=127.0.0.1:{port}', f'--num_processes={processes}']
  crew = [
    _start(flags + ([f'--process_id={process}'] if processes > 1 else []))
    for process in range(processes)
  ]
  for process in crew:
    _, errors = process.communicate()
    if process.returncode:
      raise ValueError(f'a process failed: {errors.splitlines()[-1:]}')
  records = log.read_metrics(workdir / 'metrics.jsonl')
  (last,) = [
    record
    for record in records
    if record['split'] == 'train' and record['step'] == 2 * _STEPS
  ]
  return last['images_per_second']


def _start(flags: list[str]) -> subprocess.Popen[str]:
  root = pathlib.Path(__file__).parents[2]
  return subprocess.Popen(
    [sys.executable, '-m', 'alexnet_jax.main', *flags],
    env=os.environ | {'PYTHONPATH': str(root)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
