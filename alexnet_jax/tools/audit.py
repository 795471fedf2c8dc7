"""Prints what a config's steps move between devices, beside Figure 2 (§3.2).

  python -m alexnet_jax.tools.audit --config=configs/default.py

Compiles the training and the evaluation step, of one view, for the config's
mesh and reads the result; needs no data. Exit code 1 if the movements differ
from those that the config needs. The column Figure 2 is of the paper's network
on two columns, whatever the config. With --target for GPUs that this machine
need not have: then it prints their kernels and memory too, and needs the extra
gpu-compile.
"""

import json
import sys

from absl import flags

from alexnet_jax import cli
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.config import schema, validate
from alexnet_jax.parallel import mesh, target
from alexnet_jax.studies import audit, communication, gpu

flags_lib.define()
_TARGET = flags.DEFINE_enum(
  'target', '', ['', *target.DEVICES], 'Compile for such GPUs.'
)
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead.')


def main() -> int:
  """Prints measured and expected movements, and with --target the cost."""
  config = flags_lib.value()
  if _TARGET.value:
    report, costs = _for_target(config)
  else:
    mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
    report, costs = communication.report(config), {}
  if _JSON.value:
    found = audit.as_json(report)
    if costs:
      found |= {'target': _TARGET.value, 'cost': gpu.as_json(costs)}
    print(json.dumps(found, indent=2))
  else:
    print(audit.describe(report, config=config))
    if costs:
      print('\n' + gpu.describe(costs, name=_TARGET.value))
  return print_problems(report)


def _for_target(
  config: schema.Config,
) -> tuple[communication.Report, dict[str, gpu.Cost]]:
  """Compiles both steps of a config for a mesh of other devices."""
  validate.check(config)
  devices = target.mesh(_TARGET.value, **config.mesh.to_dict())
  steps = communication.compile_steps(config, mesh=devices)
  report = communication.of_steps(steps, config=config, mesh=devices)
  return report, gpu.costs(steps, config=config, name=_TARGET.value)


def print_problems(report: communication.Report) -> int:
  """Prints a line on stderr for each problem; the exit code."""
  for problem in report.problems:
    print(f'error: {problem}', file=sys.stderr)
  return 1 if report.problems else 0


if __name__ == '__main__':
  cli.run(main)
