"""Lists the checkpoints of a run, and says whether they are sound.

  python -m alexnet_jax.tools.checkpoint --dir=WORKDIR [--verify] [--json]

--verify reads every file and every array and compares them with the sums that
were taken when they were saved; exit code 1 if one differs. --json always does
so, and prints a list of objects, the oldest step first: `step`, `sound`,
`reason` (null if sound), `top1_error` (validation, centre crop; null between
evaluations), `digest` (32 hexadecimal digits for all arrays together; null if
they are not known), `bytes`, `dataset`. Not in the paper.
"""

import json
import pathlib
from typing import NamedTuple

from absl import flags

from alexnet_jax import cli
from alexnet_jax.checkpoint import bucket_sync, checksums, layout, restore
from alexnet_jax.runtime import paths

_DIR = flags.DEFINE_string(
  'dir',
  '',
  'WORKDIR, its folder checkpoints, or one STEP in it, here or on a bucket.',
)
_VERIFY = flags.DEFINE_bool(
  'verify', False, 'Compare with the sums; see above.'
)
_JSON = flags.DEFINE_bool('json', False, 'Print a list of objects instead.')
_CONFIG = flags.DEFINE_bool(
  'show_config', False, 'Print the config of the newest step, field by field.'
)


class Report(NamedTuple):
  """What is known of a step."""

  step: int
  sound: bool | None  # None: not looked at
  reason: str | None  # why it is not sound
  top1_error: float | None
  digest: str | None
  bytes: int
  dataset: str | None


def main() -> int:
  """Prints the list."""
  if not _DIR.value:
    raise ValueError('--dir is missing: give a WORKDIR, such as runs/default')
  if paths.is_remote(_DIR.value):
    with bucket_sync.copied(_DIR.value) as folder:
      return _list(str(folder))
  return _list(_DIR.value)


def _list(place: str) -> int:
  newest = layout.find(place)
  one = newest == pathlib.Path(place)
  steps = [newest] if one else layout.steps(newest.parent)
  verify = _VERIFY.value or _JSON.value
  reports = [report(step, verify=verify) for step in reversed(steps)]
  if _JSON.value:
    print(json.dumps([r._asdict() for r in reports], indent=2))
  else:
    print(table(reports))
  if _CONFIG.value:
    print(_fields(restore.read_meta(newest, check=False)['config']))
  return 1 if _VERIFY.value and not all(r.sound for r in reports) else 0


def report(step: pathlib.Path, *, verify: bool) -> Report:
  """Looks at a step; with `verify` at every byte of it."""
  files = [path for path in step.rglob('*') if path.is_file()]
  known = Report(
    step=int(step.name),
    sound=None,
    reason=None,
    top1_error=None,
    digest=None,
    bytes=sum(path.stat().st_size for path in files),
    dataset=None,
  )
  try:
    meta = restore.read_meta(step, check=False)
    known = known._replace(
      top1_error=meta['top1_error'],
      digest=checksums.combine(meta['digests']),
      dataset=meta['dataset'],
    )
    if verify:
      restore.read_arrays(step, meta=restore.read_meta(step))
  except restore.DamagedError as error:
    return known._replace(sound=False, reason=error.reason)
  return known._replace(sound=True if verify else None)


def table(reports: list[Report]) -> str:
  """A line for each step."""
  lines = [
    f'{"step":>9} {"top-1 error":>12} {"MB":>9}  {"sound":11} digest of arrays'
  ]
  for r in reports:
    error = '-' if r.top1_error is None else f'{r.top1_error:.4f}'
    sound = {None: 'not checked', True: 'yes', False: 'NO'}[r.sound]
    lines.append(
      f'{r.step:>9} {error:>12} {r.bytes / 1e6:>9.1f}  {sound:11} '
      f'{r.digest or "-"}'
    )
    lines += [f'{"":9} {cli.printable(r.reason)}'] if r.reason else []
  names = dict.fromkeys(r.dataset for r in reports if r.dataset)
  return '\n'.join(
    [*lines, *(f'data set: {cli.printable(name)}' for name in names)]
  )


def _fields(config: dict, prefix: str = '') -> str:
  lines = []
  for name, value in sorted(config.items()):
    if isinstance(value, dict):
      lines.append(_fields(value, f'{prefix}{name}.'))
    else:
      lines.append(f'{prefix}{name} = {value!r}')
  return '\n'.join(lines)


if __name__ == '__main__':
  cli.run(main)
