"""Writes a model card: what an exported net is, reads, and how to load it."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import alexnet_jax
from alexnet_jax.checkpoint import compatible
from alexnet_jax.config import presets
from alexnet_jax.evaluate import net as net_lib

_CARD = """\
# {name}

AlexNet (Krizhevsky, Sutskever and Hinton, 2012) with {parameters:,} parameters
in {layers} layers{trained}. Written by alexnet_jax
{version}.

- Data set: {dataset}
- Classes: {classes}
- Error rate: {error}

## Input

{steps}

## Load

{load}

## Config

What differs from configs/default.py:

{changes}

## Licence

Not stated. Whoever publishes this file chooses a licence, within the terms of
the data set that it was trained on.

## Citation

A. Krizhevsky, I. Sutskever and G. E. Hinton. ImageNet classification with deep
convolutional neural networks. Advances in Neural Information Processing
Systems 25, 2012.
"""

_LOAD = {
  'safetensors': """\
    import alexnet_jax
    net = alexnet_jax.load('{name}')
    print(net.predict('photo.jpg'))
""",
  'onnx': """\
    import onnxruntime
    session = onnxruntime.InferenceSession('{name}')
    logits, probabilities = session.run(None, {{'images': images}})

`images`: {images}. Arithmetic is float32.
Config, classes (in the order of the outputs) and the mean pixel are in the
metadata of the file.
""",
  'stablehlo': """\
    import jax, pathlib
    from jax import export
    data = bytearray(pathlib.Path('{name}').read_bytes())
    program = export.deserialize(data)
    outputs = program.call(images)  # {{'logits', 'probabilities'}}

`images`: {images}. It needs jax and flatbuffers.
""",
  'torch': """\
    import torchvision
    from safetensors.torch import load_file
    model = torchvision.models.alexnet(num_classes={units})
    model.load_state_dict(load_file('{name}'))
    model.eval()

Its input is float32 [B, 3, {crop}, {crop}], as above. torchvision's class has
64, 192, 384, 256 and 256 kernels and 4,096 units: a net of other numbers needs
one of its own.
""",
}


def text(
  net: net_lib.Net,
  *,
  kind: str,
  name: str,
  preprocess: bool,
  meta: Mapping[str, Any],
) -> str:
  """Returns the card of a file, as Markdown.

  Args:
    net: what the file holds.
    kind: 'safetensors', 'onnx', 'stablehlo' or 'torch'.
    name: of the file.
    preprocess: whether the program in the file takes whole squares.
    meta: of the checkpoint, with its data set and error rate; or {}.
  """
  units, crop = net.config.model.num_classes, net.config.data.crop_size
  return _CARD.format(
    name=name,
    parameters=sum(leaf.size for leaf in jax.tree.leaves(net.params)),
    layers=len(net.params),
    # A net that was converted is at step 0 too: nothing is known of it.
    trained=f', trained for {net.step:,} minibatches' * bool(net.step),
    version=alexnet_jax.__version__,
    dataset=_dataset(net, meta),
    classes=_classes(net),
    error=_error(meta),
    steps=_input(net, preprocess=preprocess),
    load=_LOAD[kind]
    .format(
      name=name,
      units=units,
      crop=crop,
      images=_images(net, kind=kind, preprocess=preprocess),
    )
    .rstrip(),
    changes=_changes(net),
  )


def _dataset(net: net_lib.Net, meta: Mapping[str, Any]) -> str:
  if 'dataset' in meta:
    fingerprint = meta['fingerprint']  # '' of a net that was converted
    return meta['dataset'] + f' (fingerprint {fingerprint})' * bool(fingerprint)
  data = net.config.data
  return ' '.join(filter(None, (data.source, data.tfds or data.dir)))


def _classes(net: net_lib.Net) -> str:
  names = [c.name for c in net.classes]
  some = ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')
  unused = net.config.model.num_classes - len(names)
  more = f'; the last {unused} outputs have no class' if unused else ''
  return f'{len(names)} ({some}){more}'


def _error(meta: Mapping[str, Any]) -> str:
  error = meta.get('top1_error')
  if error is None:
    return 'not measured with these parameters'
  return f'{100 * error:.2f} % top-1 on the validation split, centre crop'


def _input(net: net_lib.Net, *, preprocess: bool) -> str:
  """The preprocessing (§2, §4.1) in words and numbers."""
  data = net.config.data
  t, s = data.image_size, data.crop_size
  square = {
    'crop': f'Resize the image so that its shorter side is {t} pixels, and cut '
    f'out the {t} x {t} in the middle.',
    'warp': f'Resize the image to {t} x {t} pixels, whatever its shape.',
  }[data.resize]
  mean = np.asarray(net.statistics.mean_image).mean(axis=(0, 1), dtype=float)
  steps = [
    f'{square} RGB, 0 to 255.',
    f'Cut out the {s} x {s} in the middle.',
    'Subtract the same part of the mean image, whose mean is '
    f'{", ".join(f"{value:.3f}" for value in mean)} (R, G, B).',
  ]
  if data.channel_stddevs:
    stddevs = ', '.join(map(str, data.channel_stddevs))
    steps.append(f'Divide by {stddevs} (R, G, B).')
  listed = '\n'.join(f'{i}. {step}' for i, step in enumerate(steps, 1))
  own = '\n\nThe file does all but the first step itself.' if preprocess else ''
  return listed + own


def _images(net: net_lib.Net, *, kind: str, preprocess: bool) -> str:
  t, s = net.config.data.image_size, net.config.data.crop_size
  if preprocess:
    return f'uint8 [B, {t}, {t}, 3], for any B'
  shape = f'[B, 3, {s}, {s}]' if kind == 'onnx' else f'[B, {s}, {s}, 3]'
  return f'float32 {shape}, as above, for any B'


def _changes(net: net_lib.Net) -> str:
  default = presets.load('default').to_dict()
  lines = [
    f'- config.{change.field} = {json.dumps(change.new)}'
    for change in compatible.changes(default, net.config)
  ]
  return '\n'.join(lines) or 'nothing'
