"""The state of a run's checkpoints, for tools/checkpoint.py."""

import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from alexnet_jax.checkpoint import checksums, layout, restore


class StepReport(NamedTuple):
  """One checkpoint; also the keys of tools.checkpoint --json."""

  step: int  # minibatches trained
  sound: bool | None  # files and arrays match their sums; None: not checked
  reason: str | None  # why it is not sound
  top1_error: float | None  # centre crop, validation; None: not evaluated
  digest: str | None  # of all arrays together
  bytes: int  # of all files
  dataset: str | None  # its name


def report(path: str, *, verify: bool) -> list[StepReport]:
  """Reports on checkpoints, the oldest first.

  `path` is a WORKDIR, its folder checkpoints, or one STEP in it; with `verify`
  every byte is read and compared with its checksum. Raises ValueError if there
  is no checkpoint.
  """

  def look() -> list[StepReport]:
    newest = layout.find(path)  # or the step itself
    one = newest == pathlib.Path(path)
    steps = [newest] if one else layout.steps(newest.parent)
    found = [_report_if_there(step, verify=verify) for step in reversed(steps)]
    if not any(found):
      raise restore.RemovedError(path)
    return list(filter(None, found))

  return restore.while_it_is_there(look, path=path)


def _report_if_there(step: pathlib.Path, *, verify: bool) -> StepReport | None:
  """Reports on a step; None if its run has removed it meanwhile."""
  try:
    found = _report_step(step, verify=verify)
  except Exception:  # orbax has many, if files go while it reads
    if os.path.lexists(step):
      raise
    return None
  return found if os.path.lexists(step) else None


def _report_step(step: pathlib.Path, *, verify: bool) -> StepReport:
  files = [path for path in step.rglob('*') if path.is_file()]
  known = StepReport(
    step=int(step.name),
    sound=None,
    reason=None,
    top1_error=None,
    digest=None,
    bytes=sum(path.stat().st_size for path in files),
    dataset=None,
  )
  try:
    meta = restore.read_meta(step, check=False)  # quick: no checksums
    known = known._replace(
      top1_error=meta['top1_error'],
      digest=checksums.combine(meta['digests']),
      dataset=meta['dataset'],
    )
    if verify:
      restore.read_arrays(step, meta=restore.read_meta(step))
  except restore.DamagedError as error:
    return known._replace(sound=False, reason=error.reason)
  return known._replace(sound=True if verify else None)  # None: not checked


def config_lines(path: str) -> Iterator[str]:
  """The config of the newest checkpoint, a line for each field."""
  meta = restore.of_newest(
    path, read=lambda step: restore.read_meta(step, check=False)
  )
  return _fields(meta['config'], prefix='')


def _fields(config: dict[str, Any], *, prefix: str) -> Iterator[str]:
  for name, value in sorted(config.items()):
    if isinstance(value, dict):
      yield from _fields(value, prefix=f'{prefix}{name}.')
    else:
      yield f'{prefix}{name} = {value!r}'
