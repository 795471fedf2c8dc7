"""Prints what a config's steps move between devices, beside Figure 2 (§3.2).

  python -m alexnet_jax.tools.audit --config=configs/default.py

Compiles the training and the evaluation step for the config's mesh and reads
the result; needs no data. Exit code 1 if the movements differ from those that
the config needs. The column Figure 2 is of the paper's network on two columns,
whatever the config.
"""

import json
import sys

from absl import flags

from alexnet_jax import cli
from alexnet_jax.config import flags as flags_lib
from alexnet_jax.parallel import mesh
from alexnet_jax.studies import audit, communication

flags_lib.define()
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead.')


def main() -> int:
  """Prints measured and expected movements."""
  config = flags_lib.value()
  mesh.make_cpu_devices(config.mesh.data * config.mesh.column)
  report = communication.report(config)
  if _JSON.value:
    print(json.dumps(audit.as_json(report), indent=2))
  else:
    print(audit.describe(report, config=config))
  return print_problems(report)


def print_problems(report: communication.Report) -> int:
  """Prints a line on stderr for each problem; the exit code."""
  for problem in report.problems:
    print(f'error: {problem}', file=sys.stderr)
  return 1 if report.problems else 0


if __name__ == '__main__':
  cli.run(main)
