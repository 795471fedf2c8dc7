"""Writes the report of a run, or a page that compares several.

  python -m alexnet_jax.tools.report --workdir=runs/default
  python -m alexnet_jax.tools.report --compare runs/default runs/default-no_lrn

The first writes WORKDIR/report/index.html, as training does at its end; the
second writes compare.html. A page is one file that needs no other file and no
network. Where a run lacks something, it gives the command that makes it.
"""

import pathlib

import jax
from absl import flags

from alexnet_jax import cli
from alexnet_jax.checkpoint import bucket_sync
from alexnet_jax.runtime import bucket as bucket_lib
from alexnet_jax.runtime import compile, paths
from alexnet_jax.studies import report
from alexnet_jax.studies.report import several, single

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'The run to report on, here or on a bucket.'
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir',
  '',
  "The run's data set, if it has moved or is on a bucket: an address that only "
  'config.json names is not followed.',
)
_COMPARE = flags.DEFINE_multi_string(
  'compare', [], 'Runs to set side by side: --compare W1 W2 ...'
)
_OUTPUT = flags.DEFINE_string(
  'output', None, f'Where --compare writes its page; default: {several.PAGE}.'
)


def main() -> None:
  """Writes the page and prints its path."""
  compared = [*_COMPARE.value, *cli.arguments()]
  if bool(_WORKDIR.value) == bool(compared):
    raise ValueError(
      'give either --workdir=WORKDIR, or --compare WORKDIR WORKDIR ...'
    )
  if _WORKDIR.value and _OUTPUT.value is not None:
    raise ValueError(
      f'--output={_OUTPUT.value} goes with --compare: the report of a run is '
      f'WORKDIR/{single.FOLDER}/{single.PAGE}; leave it out'
    )
  jax.config.update('jax_platforms', 'cpu')  # leaves GPUs to those who train
  compile.keep_programs()  # those that explain images
  if _WORKDIR.value and paths.is_remote(_WORKDIR.value):
    print(_write_to_bucket(_WORKDIR.value))
    return
  if _WORKDIR.value:
    workdir = paths.expand(_WORKDIR.value)
    print(report.write(workdir, data_dir=_DATA_DIR.value))
    return
  if not _COMPARE.value:
    raise ValueError(
      f'{compared[0]!r} is no flag: give runs after --compare, to compare them'
    )
  output = several.PAGE if _OUTPUT.value is None else _OUTPUT.value
  workdirs = [paths.expand(one) for one in compared]
  print(report.compare(workdirs, output=paths.expand(output)))


def _write_to_bucket(url: str) -> str:
  """Writes the page beside the run in its bucket; returns its address."""
  with bucket_sync.downloaded(url) as workdir:
    report.write(workdir, data_dir=_DATA_DIR.value)
    bucket = bucket_lib.Folder(url)
    files = filter(pathlib.Path.is_file, (workdir / single.FOLDER).rglob('*'))
    names = [path.relative_to(workdir).as_posix() for path in files]
    bucket.put_all(workdir, names=names)
  return f'{bucket.url}/{single.FOLDER}/{single.PAGE}'


if __name__ == '__main__':
  cli.run(main, takes_arguments=True)
