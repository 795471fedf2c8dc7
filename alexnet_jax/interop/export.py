"""Writes a net to a file for other programs, and a model card beside it."""

import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import card, native, tensors

# The packages of the extra [export] that a kind needs.
_PACKAGES = {
  'safetensors': 'safetensors',
  'onnx': 'onnx',
  'stablehlo': 'flatbuffers',
  'torch': 'safetensors',
}
_PROGRAMS = ('onnx', 'stablehlo')  # the others are weights alone


def export(
  net: net_lib.Net,
  *,
  kind: str,
  output: pathlib.Path,
  preprocess: bool = False,
  meta: Mapping[str, Any] | None = None,
) -> None:
  """Writes a net to `output`, and a model card to that name with .md behind it.

  Args:
    net: as alexnet_jax.load gives it.
    kind: 'safetensors', with config, classes and mean image; 'onnx';
      'stablehlo'; or 'torch', the layout of torchvision's alexnet.
    output: a new file.
    preprocess: whether the program takes RGB squares, uint8 [B, T, T, 3], in
      place of centre crops less their mean; of 'onnx' and 'stablehlo'.
    meta: of the checkpoint (layout.Meta), for its data set and error rate.

  Raises ValueError if the file exists, the kind cannot hold the net, or a
  package is missing; nothing is written then.
  """
  _check(kind, output, preprocess=preprocess)
  net = _without_folders(net)
  with tempfile.TemporaryDirectory(dir=output.parent, prefix='.') as scratch:
    new = pathlib.Path(scratch) / output.name
    _write(net, new, kind=kind, preprocess=preprocess)
    text = card.text(
      net, kind=kind, name=output.name, preprocess=preprocess, meta=meta or {}
    )
    _card(new).write_text(text, encoding='utf-8')
    os.replace(new, output)
    os.replace(_card(new), _card(output))


def _card(output: pathlib.Path) -> pathlib.Path:
  return output.with_name(f'{output.name}.md')


def _without_folders(net: net_lib.Net) -> net_lib.Net:
  """Leaves out where things lay on this machine: the file will travel."""
  config = net.config.copy_and_resolve_references()
  config.data.dir = os.path.basename(config.data.dir.rstrip('/'))
  config.init_from = os.path.basename(config.init_from.rstrip('/'))
  return net.replace(config=config)


def _check(kind: str, output: pathlib.Path, *, preprocess: bool) -> None:
  if kind not in _PACKAGES:
    raise ValueError(f'--to={kind}: use {", ".join(_PACKAGES)}')
  if preprocess and kind not in _PROGRAMS:
    raise ValueError(
      f'--preprocess with --to={kind}, a file of weights alone: use '
      f'--to={" or --to=".join(_PROGRAMS)}, or leave it out'
    )
  if output.suffix in ('', '.md'):
    raise ValueError(
      f'--output={output}: give a file such as alexnet.{kind}; its model card '
      f'is called {output.name}.md'
    )
  for path in (output, _card(output)):
    if path.exists():
      raise ValueError(f'{path} exists: remove it, or give another --output')
  if not output.parent.is_dir():
    raise ValueError(f'--output={output}: there is no folder {output.parent}')
  tensors.library(_PACKAGES[kind])


def _write(
  net: net_lib.Net, path: pathlib.Path, *, kind: str, preprocess: bool
) -> None:
  match kind:  # imported here: each needs a package that may be missing
    case 'onnx':
      from alexnet_jax.interop import onnx_out

      onnx_out.write(net, path, preprocess=preprocess)
    case 'stablehlo':
      from alexnet_jax.interop import stablehlo

      stablehlo.write(net, path, preprocess=preprocess)
    case 'torch':
      from alexnet_jax.interop import torch_layout

      torch_layout.write(net, path)
    case _:
      native.write(net, str(path))
