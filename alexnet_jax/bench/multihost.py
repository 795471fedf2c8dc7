"""The cost of several hosts: training by one process, and by one a device.

Both have the same command, mesh and cores, in interleaved runs. The rate is
that of the second half of a run's steps, reading and augmenting included.
"""

import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

from alexnet_jax.bench import jax_step, rows, step
from alexnet_jax.train import log

_STEPS = 10  # measured, after as many that are not
_CONFIG_FILE = 'config.py'
_CONFIG = """
import json
import pathlib
from alexnet_jax.config import schema

def get_config():
  text = pathlib.Path(__file__).with_suffix('.json').read_text()
  return schema.Config(schema.from_json(json.loads(text)))
"""


def measure_processes(settings: step.StepSettings) -> list[rows.ResultRow]:
  """A row of one process, and one of as many as the mesh has devices.

  Raises:
    ValueError: if the mesh has one device, or a process fails.
  """
  mesh = settings.meshes[0]
  devices = mesh.data * mesh.column
  if devices == 1:
    raise ValueError(f'--mesh={mesh}: use one of several devices, such as 1x2')
  rates: dict[int, list[float]] = {1: [], devices: []}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_config(folder, settings, mesh)
    for number, processes in itertools.product(range(settings.rounds), rates):
      workdir = folder / f'{processes}-{number}'
      rates[processes].append(
        _rate(folder, workdir=workdir, processes=processes)
      )
  jax_step.set_up(step.with_mesh(settings, step.Mesh(1, 1)))
  return [
    {
      'bench': 'processes',
      'what': f'{processes} x {devices // processes} devices',
      'batch_size': settings.batch_size,
      'mesh': str(mesh),
      'dtype': settings.dtype,
      **rows.spread('images_per_second', found, digits=2),
      **rows.spread('of_one_process', rows.ratios(found, rates[1])),
      'n': len(found),
      **jax_step.machine(),
    }
    for processes, found in rates.items()
  ]


def write_config(
  folder: pathlib.Path, settings: step.StepSettings, mesh: step.Mesh
) -> pathlib.Path:
  """Writes FOLDER/config.py, the config of all runs; its path."""
  config = step.with_mesh(settings, mesh)
  config.total_steps, config.log.every_steps = 2 * _STEPS, _STEPS
  config.data.embedded_val_images, config.eval.final_views = 20, 1
  config.report.at_end = False
  path = folder / _CONFIG_FILE
  path.write_text(_CONFIG)
  path.with_suffix('.json').write_text(json.dumps(config.to_dict()))
  return path


def _rate(
  folder: pathlib.Path, *, workdir: pathlib.Path, processes: int
) -> float:
  """Images/s of a run of so many processes."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  flags = [f'--config={folder / _CONFIG_FILE}', f'--workdir={workdir}']
  if processes > 1:
    flags += [f'--coordinator=127.0.0.1:{port}', f'--num_processes={processes}']
  started = [
    _start(flags + ([f'--process_id={process}'] if processes > 1 else []))
    for process in range(processes)
  ]
  for process in started:
    _, errors = process.communicate()
    if process.returncode:
      raise ValueError(f'a process failed: {errors.splitlines()[-1:]}')
  (last,) = (
    record
    for record in log.read_metrics(workdir / 'metrics.jsonl')
    if record['split'] == 'train' and record['step'] == 2 * _STEPS
  )
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
