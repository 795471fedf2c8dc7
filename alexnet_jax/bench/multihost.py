"""The cost of several hosts: training by one process, and by one a device.

Both have the same command, mesh and cores, in interleaved runs. The rate is
that of the second half of a run's steps, reading and augmenting included.
"""

import functools
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

from alexnet_jax.bench import jax_step, rows, workers
from alexnet_jax.bench.settings import Mesh, Settings
from alexnet_jax.train import log

_STEPS = 10  # measured, after as many that are not
_CONFIG = """
from alexnet_jax.config import schema

def get_config():
  return schema.Config({})
"""


def measure_processes(settings: Settings) -> list[rows.ResultRow]:
  """A row of one process, and one of as many as the mesh has devices.

  Raises ValueError if the mesh has one device, or a process fails.
  """
  mesh = settings.meshes[0]
  devices = mesh.data * mesh.column
  if devices == 1:
    raise ValueError(f'--mesh={mesh}: use one of several devices, such as 1x2')
  with tempfile.TemporaryDirectory() as folder:
    config = write_config(pathlib.Path(folder), settings, mesh)
    measures = {
      f'{number} x {devices // number} devices': functools.partial(
        _rate, config, processes=number
      )
      for number in (1, devices)
    }
    rates = workers.interleave(measures, rounds=settings.rounds)
  jax_step.set_up(settings.with_mesh(Mesh(1, 1)))
  about = {'bench': 'processes', 'batch_size': settings.batch_size}
  about |= {'mesh': str(mesh), 'dtype': settings.dtype} | jax_step.machine()
  return [about | row for row in rows.relative(rates, name='of_one_process')]


def write_config(
  folder: pathlib.Path, settings: Settings, mesh: Mesh
) -> pathlib.Path:
  """Writes FOLDER/config.py, the config of all runs; its path."""
  config = settings.with_mesh(mesh)
  config.total_steps, config.log.every_steps = 2 * _STEPS, _STEPS
  config.data.embedded_val_images, config.eval.final_views = 20, 1
  config.report.at_end = False
  path = folder / 'config.py'
  path.write_text(_CONFIG.format(config.to_dict()))
  return path


def _rate(config: pathlib.Path, *, processes: int) -> float:
  """Images/s of a run of so many processes."""
  workdir = tempfile.mkdtemp(dir=config.parent)
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  command = [sys.executable, '-m', 'alexnet_jax.main']
  command += [f'--config={config}', f'--workdir={workdir}']
  if processes > 1:
    command.append(f'--coordinator=127.0.0.1:{port}')
    command.append(f'--num_processes={processes}')
  started = [
    subprocess.Popen(
      command + ([f'--process_id={process}'] if processes > 1 else []),
      env=os.environ | {'PYTHONPATH': str(workers.ROOT)},
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    for process in range(processes)
  ]
  for process in started:
    _, errors = process.communicate()
    if process.returncode:
      raise ValueError(f'a process failed: {errors.splitlines()[-1:]}')
  records = log.read_metrics(pathlib.Path(workdir, 'metrics.jsonl'))
  train = {r['step']: r for r in records if r['split'] == 'train'}
  return train[2 * _STEPS]['images_per_second']
