"""Exported nets give the probabilities of the nets that they came from.

onnxruntime runs the ONNX files, and a process without this package the
StableHLO ones. The nets have few kernels, at the true sizes of images.
"""

import functools
import json
import math
import os
import pathlib
import subprocess
import sys
import tarfile
from unittest import mock

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from safetensors import numpy as safetensors
from scipy import special

import alexnet_jax
from alexnet_jax.config import presets
from alexnet_jax.data import dataset, stats
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.interop import (
  arrays,
  card,
  channels_first,
  export,
  from_torchvision,
  load,
)
from alexnet_jax.models import alexnet

_REAL = pathlib.Path(os.environ.get('ALEXNET_JAX_TEST_DATA', '/nowhere'))
_TAR = _REAL / 'ilsvrc2012-mini/ILSVRC2012_img_val.tar'
PARTS = (slice(0, 1), slice(1, 8), slice(8, 15), slice(15, 20))  # 1, 7, 7, 5
HANGING = {'data.crop_size': 71}  # windows of all poolings hang over the end
DENSE = ('fc6', 'fc7')


@functools.cache
def photos():
  """20 images of ILSVRC-2012, or drawn ones where there are none."""
  if _TAR.is_file():
    with tarfile.open(_TAR) as tar:
      files = [tar.extractfile(member) for member in tar.getmembers()[:20]]
      found = [Image.open(file).convert('RGB') for file in files]
  else:
    drawn = np.random.default_rng(0).integers(0, 256, (20, 9, 9, 3), np.uint8)
    found = [Image.fromarray(one) for one in drawn]
  return np.stack([np.asarray(one.resize((256, 256))) for one in found])


def _config(preset, **fields):
  """A preset with few kernels and units, for ten classes."""
  config = presets.load(preset)
  narrow = 1 if preset == 'smoke' else 8
  for name, layer in config.model.layer.items():
    if name.startswith('conv'):
      layer.kernels //= narrow
    elif name != 'fc8':
      layer.units = 32
  config.model.num_classes = 10
  config.update_from_flattened_dict(fields)
  return config


def _parameters(config):
  crop = config.data.crop_size
  return jax.eval_shape(
    lambda key: alexnet.initialise(config.model, key, crop_size=crop),
    jax.random.key(0),
  )


@functools.cache
def _net(preset, **fields):
  """A net in which all weights and biases count, and images score apart."""
  config = _config(preset, **fields).copy_and_resolve_references()
  rng = np.random.default_rng(0)
  relu = config.model.activation == 'relu'

  def drawn(path, spec):
    if path[-1].key == 'bias':
      return rng.normal(0, 1, spec.shape).astype(np.float32)
    scale = (2 / math.prod(spec.shape[:-1])) ** 0.5
    scale *= 4 if config.model.activation == 'logistic' else 1
    if path[-2].key == 'conv1' and not relu:
      scale /= 60  # of pixels: few units are saturated
    return rng.normal(0, scale, spec.shape).astype(np.float32)

  size = config.data.image_size
  no_colours = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
  net = net_lib.Net(
    config=config,
    params=jax.tree_util.tree_map_with_path(drawn, _parameters(config)),
    classes=tuple(dataset.ClassInfo(n, n, n) for n in 'abcdefghij'),
    statistics=stats.Statistics(
      rng.uniform(90, 150, (size, size, 3)).astype(np.float32),
      stats.RgbPca(*no_colours),
    ),
  )
  logits, fc8 = _logits(net), net.params['fc8']
  # onnxruntime rounds tanh and logistic otherwise, by some 1e-6.
  scale = (2 if relu else 0.3) / logits.std(axis=0).mean()
  scaled = {
    'kernel': scale * fc8['kernel'],
    'bias': scale * (fc8['bias'] - logits.mean(axis=0)),
  }
  return net.replace(params=net.params | {'fc8': scaled})


def _logits(net):
  return net.features(photos(), 'fc8')['fc8']


def _probabilities(net):
  return special.softmax(_logits(net), axis=1)


def _run(file, images):
  session = onnxruntime.InferenceSession(file)
  found = [session.run(None, {'images': images[part]}) for part in PARTS]
  logits, probabilities = map(np.concatenate, zip(*found, strict=True))
  return logits, probabilities


def _same_in_onnx(net, folder, *, preprocess=False):
  file = folder / 'net.onnx'
  export.export(net, kind='onnx', output=file, preprocess=preprocess)
  if preprocess:
    _, images = net.squares(photos())
  else:
    images = np.asarray(net.preprocess(photos())).transpose(0, 3, 1, 2)
  logits, probabilities = _run(file, images)
  ours = _probabilities(net)
  assert ours.std(axis=0).mean() > 0.01  # images differ
  np.testing.assert_allclose(probabilities, ours, rtol=0, atol=1e-5)
  ours = special.softmax(logits, axis=1)
  np.testing.assert_allclose(probabilities, ours, rtol=0, atol=1e-6)
  return onnx.load(file)


@pytest.mark.parametrize(
  'preset',
  ['default', 'source2012', 'bvlc', 'caffenet', 'torchvision', 'smoke'],
)
def test_onnx_gives_the_same_probabilities(preset, tmp_path):
  net = _net(preset)
  _same_in_onnx(net, tmp_path)


_LAYER = 'model.layer'
FORMS = {
  'windows hang over': HANGING,
  'windows hang over, rounded down': {**HANGING, 'model.rounding': 'down'},
  'sums over the window': {'model.lrn.alpha': 0.01},
  'means over the window': {'model.lrn.alpha_of': 'mean'},
  'LRN across columns': {'model.lrn.across_columns': True},
  'spatial norm by the sum': {
    f'{_LAYER}.conv3.ops': ('spatial_norm', 'activation'),
    'model.spatial_norm.alpha_of': 'sum',
  },
  'tanh, four columns': {'model.activation': 'tanh', 'model.columns': 4},
  'logistic': {'model.activation': 'logistic'},
  'conv6, bottleneck': {'model.conv6': True, 'model.bottleneck': True},
  'dense columns': {
    **HANGING,  # fc6 reads maps of 2 x 2
    **{f'{_LAYER}.{name}.inputs': 'own_column' for name in DENSE},
  },
  'fc8 reads maps': {**HANGING, 'model.skip_layers': DENSE},
  'dropout by 1 - rate': {'model.dropout_rate': 0.2},
  'dropout of maps': {
    f'{_LAYER}.conv5.ops': ('activation', 'pool', 'dropout'),
    'model.dropout_scaling': 'training',
  },
}


@pytest.mark.parametrize('form', FORMS)
def test_onnx_says_each_form_of_the_net(form, tmp_path):
  net = _net('smoke', **FORMS[form])
  model = _same_in_onnx(net, tmp_path)
  outputs = {name for node in model.graph.node for name in node.output}
  assert {*net.layers} - outputs == {'fc8'}  # each activation has its name


@pytest.mark.parametrize('mean_at', ['crop', 'centre'])
def test_onnx_preprocesses(mean_at, tmp_path):
  fields = {'data.mean_at': mean_at, 'data.channel_stddevs': (50.0, 55.0, 60.0)}
  net = _net('smoke', **fields)
  _same_in_onnx(net, tmp_path, preprocess=True)


def test_onnx_says_what_a_reader_needs(tmp_path):
  config = _config('smoke')
  config.data.dir = '/home/someone/cats'
  net = _net('smoke').replace(config=config)
  model = _same_in_onnx(net, tmp_path)
  facts = {p.key: json.loads(p.value) for p in model.metadata_props}
  assert facts['config']['model']['lrn']['k'] == 2
  assert facts['config']['data']['dir'] == 'cats'  # not where it lay
  assert [c['name'] for c in facts['classes']] == [*'abcdefghij']
  mean = net.statistics.mean_image.reshape(-1, 3).mean(axis=0)
  np.testing.assert_allclose(facts['mean_pixel'], mean, rtol=1e-4)


def test_a_bfloat16_net_is_float32_in_onnx(tmp_path):
  net = _net('smoke')
  half = net.replace(config=_config('smoke', dtype='bfloat16'))
  export.export(half, kind='onnx', output=tmp_path / 'a.onnx')
  images = np.asarray(net.preprocess(photos()).transpose(0, 3, 1, 2))
  _, probabilities = _run(tmp_path / 'a.onnx', images)
  ours = _probabilities(net)
  np.testing.assert_allclose(probabilities, ours, rtol=0, atol=1e-5)


_WITHOUT = """
import sys, numpy as np
sys.modules['alexnet_jax'] = None  # cannot be imported
from jax import export
for kind in ('crops', 'squares'):
  program = export.deserialize(bytearray(open(f'{kind}.hlo', 'rb').read()))
  assert program.platforms == ('cpu', 'cuda', 'tpu')
  images = np.load(f'{kind}.npy')
  parts = [program.call(images[part]) for part in (slice(0, 1), slice(1, 8))]
  found = [part['probabilities'] for part in parts]
  np.save(f'{kind}-found.npy', np.concatenate(found))
"""


def test_stablehlo_runs_without_this_package(tmp_path):
  net = _net('smoke')
  _, squares = net.squares(photos())
  for name, images in (
    ('crops', net.preprocess(photos())),
    ('squares', squares),
  ):
    file = tmp_path / f'{name}.hlo'
    preprocess = name == 'squares'
    export.export(net, kind='stablehlo', output=file, preprocess=preprocess)
    np.save(tmp_path / f'{name}.npy', images)
  command = [sys.executable, '-P', '-c', _WITHOUT]
  subprocess.run(command, check=True, cwd=tmp_path)
  ours = _probabilities(net)[:8]
  for name in ('crops', 'squares'):
    found = np.load(tmp_path / f'{name}-found.npy')
    np.testing.assert_allclose(found, ours, rtol=0, atol=1e-5)


def test_torch_layout_has_torchvisions_names_and_order(tmp_path):
  net = _net('torchvision')
  export.export(net, kind='torch', output=tmp_path / 'a.safetensors')
  tensors = safetensors.load_file(tmp_path / 'a.safetensors')
  shapes = {name: tensor.shape for name, tensor in tensors.items()}
  assert shapes == {
    'features.0.weight': (8, 3, 11, 11),
    'features.0.bias': (8,),
    'features.3.weight': (24, 8, 5, 5),
    'features.3.bias': (24,),
    'features.6.weight': (48, 24, 3, 3),
    'features.6.bias': (48,),
    'features.8.weight': (32, 48, 3, 3),
    'features.8.bias': (32,),
    'features.10.weight': (32, 32, 3, 3),
    'features.10.bias': (32,),
    'classifier.1.weight': (32, 32 * 6 * 6),
    'classifier.1.bias': (32,),
    'classifier.4.weight': (32, 32),
    'classifier.4.bias': (32,),
    'classifier.6.weight': (10, 32),
    'classifier.6.bias': (10,),
  }
  conv2, fc6 = net.params['conv2'], net.params['fc6']
  theirs = tensors['features.3.weight'][5, 7, 1, 3]  # kernel, channel, row, col
  assert theirs == conv2['kernel'][1, 3, 7, 5]
  np.testing.assert_array_equal(tensors['features.3.bias'], conv2['bias'])
  c, row, column = 31, 2, 5
  theirs = tensors['classifier.1.weight'][9, (c * 6 + row) * 6 + column]
  assert theirs == fc6['kernel'][(row * 6 + column) * 32 + c, 9]
  fc7 = net.params['fc7']['kernel']
  np.testing.assert_array_equal(tensors['classifier.4.weight'], fc7.T)


def test_torchvisions_weights_come_back_as_the_same_bytes(tmp_path):
  net = _net('torchvision')
  first, second = tmp_path / 'a.safetensors', tmp_path / 'b.safetensors'
  export.export(net, kind='torch', output=first)
  tensors = safetensors.load_file(first)
  found = arrays.channels_last(
    {
      f'{name}/{ours}': tensors[f'{theirs}.{kind}']
      for name, theirs in from_torchvision.NAMES.items()
      for ours, kind in from_torchvision.KINDS.items()
    },
  )
  back = net.replace(params=arrays.tree(found))
  export.export(back, kind='torch', output=second)
  assert first.read_bytes() == second.read_bytes()
  jax.tree.map(np.testing.assert_array_equal, back.params, net.params)


def test_our_own_file_holds_the_whole_net(tmp_path):
  net = _net('smoke')
  export.export(net, kind='safetensors', output=tmp_path / 'a.safetensors')
  back = load.load(tmp_path / 'a.safetensors')
  assert back.classes == net.classes and back.config == net.config
  np.testing.assert_array_equal(_logits(back), _logits(net))
  assert 'alexnet_jax.load(' in (tmp_path / 'a.safetensors.md').read_text()


def test_exported_files_can_be_read_by_others(tmp_path):
  (tmp_path / 'plain').write_bytes(b'')
  for kind in ('onnx', 'stablehlo', 'torch'):
    output = tmp_path / f'{kind}.file'
    export.export(_net('torchvision'), kind=kind, output=output)
    assert output.stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_blocks_of_channels_are_reordered_one_by_one():
  maps = np.random.default_rng(0).normal(size=(2, 3, 4))  # H, W, C
  kernel = np.random.default_rng(1).normal(size=(24, 5))
  blocks = np.concatenate([maps[..., :2].ravel(), maps[..., 2:].ravel()])
  theirs = channels_first.dense(kernel, maps=(2, 3), blocks=2)
  first = maps.transpose(2, 0, 1).ravel()  # C, H, W
  np.testing.assert_allclose(theirs @ first, blocks @ kernel)


def _other(preset, **fields):
  """A net whose config says something else."""
  return _net(preset).replace(config=_config(preset, **fields))


def _local():
  return _other('smoke', **{f'{_LAYER}.conv3.local': True})


def _stateful():
  return _net('smoke').replace(model_state={'means': {'a': np.ones(1)}})


REFUSED = [
  ('onnx', _local, 'config.model.layer.conv3.local = True: ONNX has no'),
  ('onnx', _stateful, 'the net has means besides its parameters'),
  ('torch', _stateful, 'the net has means besides its parameters'),
  (
    'torch',
    lambda: _net('smoke'),
    'config.model.columns = 2, and 1 in torchvision',
  ),
  (
    'torch',
    lambda: _other('torchvision', **{'data.crop_size': 200}),
    'config.data.crop_size = 200 gives maps of 5 x 5',
  ),
  (
    'torch',
    lambda: _other('torchvision', **{'model.activation': 'logistic'}),
    "config.model.activation = 'logistic', and 'relu' in torchvision",
  ),
]


@pytest.mark.parametrize(('kind', 'make', 'words'), REFUSED)
def test_what_a_file_cannot_hold_is_refused(kind, make, words, tmp_path):
  with pytest.raises(ValueError, match=words) as error:
    export.export(make(), kind=kind, output=tmp_path / 'a.file')
  assert '\n' not in str(error.value)
  assert not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def small():
  return _net('smoke')


def test_files_are_never_overwritten(small, tmp_path):
  for taken in ('a.onnx', 'b.onnx.md'):
    (tmp_path / taken).write_text('mine')
    with pytest.raises(ValueError, match=f'{taken} exists: remove it'):
      output = tmp_path / taken.removesuffix('.md')
      export.export(small, kind='onnx', output=output)
    assert (tmp_path / taken).read_text() == 'mine'
  assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
  ('kind', 'output', 'preprocess', 'words'),
  [
    ('tflite', 'a.file', False, '--to=tflite: use safetensors, onnx'),
    ('torch', 'a.file', True, '--preprocess with --to=torch, a file of weigh'),
    ('onnx', 'a.md', False, 'give a file such as alexnet.onnx'),
    ('onnx', 'no/a.onnx', False, 'there is no folder'),
  ],
)
def test_what_cannot_be_asked(kind, output, preprocess, words, small, tmp_path):
  with pytest.raises(ValueError, match=words):
    output = tmp_path / output
    export.export(small, kind=kind, output=output, preprocess=preprocess)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('kind', 'package'),
  [('onnx', 'onnx'), ('stablehlo', 'flatbuffers'), ('torch', 'safetensors')],
)
def test_a_missing_package_is_named(kind, package, small, tmp_path):
  with (
    mock.patch.dict(sys.modules, {package: None}),
    pytest.raises(
      ValueError, match=rf'{package} is not installed: .*pip install {package}'
    ),
  ):
    export.export(small, kind=kind, output=tmp_path / 'a.file')
  assert not list(tmp_path.iterdir())


UNKNOWN = {'fingerprint': ''}  # of a net that was converted


def test_a_model_card_has_the_facts(tmp_path):
  fields = {'data.resize': 'warp', 'data.channel_stddevs': (4.0, 5.0, 6.0)}
  net = _other('smoke', **fields)
  meta = {'dataset': 'cats', 'fingerprint': 'f00d', 'top1_error': 0.4071}
  export.export(
    net.replace(step=1234), kind='onnx', output=tmp_path / 'a.onnx', meta=meta
  )
  text = (tmp_path / 'a.onnx.md').read_text()
  weights = sum(a.size for a in jax.tree.leaves(net.params))
  mean = net.statistics.mean_image.reshape(-1, 3).astype(float).mean(axis=0)
  for fact in (
    f'{weights:,} parameters',
    'trained for 1,234 minibatches',
    f'alexnet_jax\n{alexnet_jax.__version__}',
    'Data set: cats (fingerprint f00d)',
    'Classes: 10 (a, b, c, d, e, ...)',
    '40.71 % top-1',
    'Resize the image to 80 x 80 pixels, whatever its shape',
    ', '.join(f'{value:.3f}' for value in mean),
    'Divide by 4.0, 5.0, 6.0',
    "onnxruntime.InferenceSession('a.onnx')",
    '- config.data.crop_size = 67',
    'float32 [B, 3, 67, 67]',
  ):
    assert fact in text, fact
  assert sorted(f.name for f in tmp_path.iterdir()) == ['a.onnx', 'a.onnx.md']
  text = card.text(
    net, kind='onnx', name='a', preprocess=False, meta=meta | UNKNOWN
  )
  assert '- Data set: cats\n' in text
  assert '\nin 8 layers. Written' in text
