"""Converts nets from and to the files of other programs.

  python -m alexnet_jax.tools.convert --from=FILE --output=DIR
  python -m alexnet_jax.tools.convert --restore=RUN --to=KIND --output=FILE

--from reads bvlc_alexnet and CaffeNet of Caffe (.caffemodel), the model zoo's
bvlcalexnet (.onnx), torchvision's alexnet and our own nets (.safetensors), told
by what is in the file. DIR then is a WORKDIR as training leaves it, for
--restore and --config.init_from, and appears only when it is complete.

--restore takes a WORKDIR, a checkpoints/STEP or a .safetensors file, and --to
says what to write: docs/weights.md lists the kinds.
"""

import pathlib

from absl import flags

from alexnet_jax import cli
from alexnet_jax.runtime import compile, paths

_FROM = flags.DEFINE_string('from', '', 'File of another program, or of ours.')
_OUTPUT = flags.DEFINE_string(
  'output', '', 'What to write: of --from, a folder that does not exist yet.'
)
_MEAN = flags.DEFINE_string(
  'mean', '', 'Mean image of a net of Caffe, FILE.binaryproto.'
)
_CLASSES = flags.DEFINE_string(
  'classes',
  '',
  "File with a line for each class: 'n01440764 tench, Tinca tinca', or words. "
  'Empty: those of ILSVRC-2012, if the net has 1,000.',
)
_RESTORE = flags.DEFINE_string(
  'restore', '', 'WORKDIR, checkpoints/STEP or .safetensors file to write out.'
)
_TO = flags.DEFINE_string(
  'to', '', 'What to write: safetensors, onnx, stablehlo or torch.'
)
_PREPROCESS = flags.DEFINE_bool(
  'preprocess',
  False,
  'Whether a program (onnx, stablehlo) crops and subtracts the mean itself.',
)
_INTO = (_RESTORE, _TO)


def main() -> None:
  """Converts in the direction that the flags say."""
  inwards, outwards = bool(_FROM.value), any(flag.value for flag in _INTO)
  if inwards == outwards:
    raise ValueError(
      'give --from=FILE --output=DIR, or --restore=RUN --to=KIND '
      '--output=FILE: --help says more'
    )
  needed = [_OUTPUT] if inwards else [*_INTO, _OUTPUT]
  for flag in needed:
    if not flag.value:
      raise ValueError(f'--{flag.name} is missing: --help says what to give')
  if inwards:
    if _PREPROCESS.value:
      raise ValueError('--preprocess goes with --to: leave it out')
    _in()
    return
  for flag in (_MEAN, _CLASSES):
    if flag.value:
      raise ValueError(f'--{flag.name} goes with --from: leave it out')
  compile.keep_programs()
  _out()


def _in() -> None:
  from alexnet_jax.interop import as_run, classes, foreign

  as_run.check(_OUTPUT.value)  # before minutes are spent
  found = foreign.read(_FROM.value, mean=_MEAN.value, names=_CLASSES.value)
  file = cli.printable(pathlib.Path(_FROM.value).name)
  imagenet = found.net.classes == classes.of_units(1000)
  name = f'{"ImageNet" if imagenet else "a net"} (converted from {file})'
  step = as_run.write(found.net, _OUTPUT.value, name=name)
  for note in found.notes:
    print(cli.printable(note))
  print(
    f'{cli.printable(_FROM.value)}: {found.what}, {len(found.net.classes)} '
    f'classes\n{cli.printable(str(step))} is complete'
  )


def _out() -> None:
  from alexnet_jax.checkpoint import layout, restore
  from alexnet_jax.evaluate import net as net_lib
  from alexnet_jax.interop import export, load, native

  path = _RESTORE.value

  def read(step: pathlib.Path) -> tuple[net_lib.Net, layout.Meta]:
    return load.load(str(step)), restore.read_meta(step, check=False)

  if native.is_file(path):
    net, meta = load.load(path), None
  else:
    net, meta = restore.of_newest(path, read=read)
  output = paths.expand(_OUTPUT.value)
  export.export(
    net,
    kind=_TO.value,
    output=output,
    preprocess=_PREPROCESS.value,
    meta=meta,
  )
  print(f'{cli.printable(str(output))} is complete')


if __name__ == '__main__':
  cli.run(main)
