"""Lists the checkpoints of a run, and says whether they are sound.

  python -m alexnet_jax.tools.checkpoint --dir=WORKDIR [--verify] [--json]

--verify reads every file and every array and compares them with the checksums
taken when they were saved; exit code 1 if one differs. --json always does so,
and prints a list of objects, the oldest step first: `step`, `sound`, `reason`
(null if sound), `top1_error` (validation, centre crop; null between
evaluations), `digest` (32 hexadecimal digits for all arrays together; null if
they cannot be read), `bytes`, `dataset`.
"""

import json

from absl import flags

from alexnet_jax import cli
from alexnet_jax.checkpoint import bucket_sync, inspect
from alexnet_jax.runtime import paths

_DIR = flags.DEFINE_string(
  'dir',
  '',
  'WORKDIR, its folder checkpoints, or one STEP in it, here or on a bucket.',
)
_VERIFY = flags.DEFINE_bool(
  'verify', False, 'Compare with the checksums; see above.'
)
_JSON = flags.DEFINE_bool('json', False, 'Print a list of objects instead.')
_CONFIG = flags.DEFINE_bool(
  'show_config', False, 'Print the config of the newest step, field by field.'
)


def main() -> int:
  """Prints the list."""
  if not _DIR.value:
    raise ValueError('--dir is missing: give a WORKDIR, such as runs/default')
  if paths.is_remote(_DIR.value):
    with bucket_sync.downloaded(_DIR.value) as folder:
      return _list(str(folder))
  return _list(_DIR.value)


def _list(path: str) -> int:
  reports = inspect.report(path, verify=_VERIFY.value or _JSON.value)
  if _JSON.value:
    print(json.dumps([r._asdict() for r in reports], indent=2))
  else:
    print(_table(reports))
  if _CONFIG.value:
    print('\n'.join(inspect.config_lines(path)))
  return 1 if _VERIFY.value and not all(r.sound for r in reports) else 0


def _table(reports: list[inspect.StepReport]) -> str:
  """A line for each checkpoint, then the data sets."""
  head = f'{"step":>9} {"top-1 error":>12} {"MB":>9}  {"sound":11} '
  lines = [head + 'digest of arrays']
  for r in reports:
    error = '-' if r.top1_error is None else f'{r.top1_error:.4f}'
    sound = {None: 'not checked', True: 'yes', False: 'NO'}[r.sound]
    lines.append(
      f'{r.step:>9} {error:>12} {r.bytes / 1e6:>9.1f}  {sound:11} '
      f'{r.digest or "-"}'
    )
    lines += [f'{"":9} {cli.printable(r.reason)}'] if r.reason else []
  names = dict.fromkeys(r.dataset for r in reports if r.dataset)
  lines += [f'data set: {cli.printable(name)}' for name in names]
  return '\n'.join(lines)


if __name__ == '__main__':
  cli.run(main)
