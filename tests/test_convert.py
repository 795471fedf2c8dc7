"""Weights of other programs: the same numbers as theirs, or one line."""

import dataclasses
import functools
import io
import json
import pathlib
import pickle
import re
import sys
import zipfile

import jax
import numpy as np
import pytest
from onnx import helper, numpy_helper
from safetensors import numpy as safetensors

import alexnet_jax
from alexnet_jax import setup as setup_lib
from alexnet_jax.checkpoint import compatible, layout
from alexnet_jax.data import dataset, sources
from alexnet_jax.evaluate import load as evaluate_load
from alexnet_jax.interop import classes, foreign
from alexnet_jax.train import warm_start
from tests import buckets, caffe_files, nets, saved
from tests.golden import drawn

HERE = pathlib.Path(__file__).parent
TOLERANCE = 1e-5  # of the largest
CAFFE_LAYERS = [
  f'{name}/{kind}' for name in drawn.CAFFE for kind in ('kernel', 'bias')
]


@functools.cache
def _caffe():
  return drawn.weights(drawn.CAFFE)


def _tuned():
  """With a few classes."""
  own = {
    name: array[: drawn.TUNED_CLASSES]
    for name, array in _caffe().items()
    if name.startswith('fc8')
  }
  return _caffe() | own


def _agrees(net, golden):
  """Holds logits and layers of a net against those of PyTorch."""
  stored = np.load(HERE / 'golden' / f'{golden}.npz')
  found = net.features(drawn.images(), ('fc8', *drawn.LAYERS))
  maps = np.asarray(found['conv5/pool'])[..., :: drawn.EVERY]
  ours = {
    'logits': found['fc8'],
    'conv5/pool': maps.transpose(0, 3, 1, 2),
    'fc7/activation': found['fc7/activation'],
  }
  for name, expected in stored.items():
    array = ours[name]
    assert expected.std(axis=0).max() > 0.01 * np.abs(expected).max()  # differ
    error = np.abs(np.asarray(array) - expected).max()
    assert error <= TOLERANCE * np.abs(expected).max(), (name, error)


def _write(path, content):
  with path.open('wb') as file:
    file.writelines([content] if isinstance(content, bytes) else content)
  return str(path)


@pytest.fixture(scope='module')
def bvlc(tmp_path_factory):
  """A full bvlc_alexnet in messages of version 1, and a mean image."""
  folder = tmp_path_factory.mktemp('bvlc')
  _write(folder / 'mean', caffe_files.mean(drawn.mean_image()))
  content = caffe_files.model(_caffe(), version=1)
  return _write(folder / 'net', content), str(folder / 'mean')


def test_bvlc_alexnet_of_old_messages_gives_what_caffe_would(bvlc):
  file, mean = bvlc
  found = foreign.read(file, mean=mean)
  assert (found.what, found.notes) == ('bvlc_alexnet of Caffe', ())
  config = found.net.config
  assert config.model.num_classes == 1000 and config.mesh.column == 1
  assert config.model.dropout_scaling == 'training'
  expected = drawn.mean_image()[::-1].transpose(1, 2, 0)
  np.testing.assert_array_equal(found.net.statistics.mean_image, expected)
  _agrees(found.net, 'caffe')


def test_a_tuned_caffenet_of_new_messages_gives_what_caffe_would(
  tmp_path, bvlc
):
  content = caffe_files.model(
    _tuned(), order=caffe_files.CAFFENET, name='any', drop6={'ratio': 0.5}
  )
  names = tmp_path / 'names'
  names.write_text('\n'.join(f'kind {i}, more words' for i in range(10)))
  file = _write(tmp_path / 'net', content)
  found = foreign.read(file, mean=bvlc[1], names=str(names))
  assert found.what == 'CaffeNet of Caffe'
  assert found.net.classes[3] == (
    'kind 3, more words',
    'kind 3',
    'kind 3, more words',
  )
  assert found.net.config.model.num_classes == drawn.TUNED_CLASSES
  _agrees(found.net, 'caffenet')


def test_only_thousand_classes_are_those_of_imagenet():
  assert classes.of_units(1000)[0] == (
    'n01440764', 'tench', 'tench, Tinca tinca'
  )  # fmt: skip
  assert [c.name for c in classes.of_units(2)] == ['class 0', 'class 1']


def _refusal(path, content, **options):
  """The one line about a file that cannot be converted."""
  with pytest.raises(ValueError, match='cannot be converted') as error:
    foreign.read(_write(path, content), **options)
  assert '\n' not in str(error.value)
  return str(error.value)


def _maps(name, type_):
  """Whether a layer is in front of fc6, which would be large."""
  return name[-1] in '12345' or name == 'data'


@pytest.mark.parametrize('version', [0, 1, 2])
def test_layers_of_all_versions_are_understood(tmp_path, version):
  content = caffe_files.model(_caffe(), version=version, keep=_maps)
  line = _refusal(tmp_path / 'net', content)
  assert 'it ends in front of fc6, which is in bvlc_alexnet' in line


@pytest.mark.parametrize(
  ('name', 'what'), [('AlexNet', 'bvlc_alexnet'), ('CaffeNet', 'CaffeNet')]
)
def test_a_file_of_arrays_alone_is_told_by_its_name(tmp_path, name, what):
  content = caffe_files.model(
    _caffe(), name=name, keep=lambda _, type_: type_ == 'Convolution'
  )
  line = _refusal(tmp_path / 'net', content)
  assert f'it ends in front of fc6, which is in {what}' in line


# Facts of one layer that make it another network, and what the line says.
OTHERS = [
  ({'conv2': {'group': 1}}, "'conv2' has groups = 1, which is 2"),
  ({'conv1': {'stride': 2}}, "'conv1' has stride = 2, which is 4"),
  ({'conv1': {'pad': 2}}, "'conv1' has padding = 2, which is 0"),
  ({'conv3': {'size': 5}}, "'conv3' has size = 5, which is 3"),
  ({'norm1': {'n': 3}}, "'norm1' has n = 3, which is 5"),
  ({'norm1': {'alpha': 5e-4}}, "'norm1' has alpha = 0.0005, which is 0.0001"),
  ({'norm2': {'beta': 0.5}}, "'norm2' has beta = 0.5, which is 0.75"),
  ({'norm2': {'k': 2.0}}, "'norm2' has k = 2, which is 1.0"),
  ({'norm2': {'region': 1}}, "'norm2' has across = False, which is True"),
  ({'pool1': {'size': 2}}, "'pool1' has size = 2, which is 3"),
  ({'pool5': {'pool': 1}}, "'pool5' has method = 'average', which is 'max'"),
  ({'relu3': {'type': 'TanH'}}, "'relu3' is 'TanH', where conv3/activation"),
]


@pytest.mark.parametrize(('changes', 'line'), OTHERS)
def test_another_network_is_refused_with_what_differs(tmp_path, changes, line):
  content = caffe_files.model(_caffe(), keep=_maps, **changes)
  assert line in _refusal(tmp_path / 'net', content)


def test_arrays_of_other_sizes_are_refused(tmp_path):
  arrays = _caffe() | {'conv4/kernel': _caffe()['conv4/kernel'][:, :100]}
  line = _refusal(tmp_path / 'net', caffe_files.model(arrays, keep=_maps))
  assert 'kernels of 384 x 100 x 3 x 3, which are 384 x 192 x 3 x 3' in line


def test_a_shape_that_its_data_do_not_fill_is_refused(tmp_path, monkeypatch):
  def lying(array, **options):
    huge = (2**40, *array.shape[1:]) if array.ndim == 4 else None
    return blob(array, shape=huge, **options)

  blob = caffe_files.blob
  monkeypatch.setattr(caffe_files, 'blob', lying)
  line = _refusal(tmp_path / 'net', caffe_files.model(_caffe(), keep=_maps))
  assert "'conv1/kernel' does not hold the 1099511627776 x 3" in line


def test_branches_are_refused(tmp_path):
  content = caffe_files.model(
    _caffe(), keep=lambda n, t: _maps(n, t) and n != 'pool1'
  )
  assert "'conv2' reads 'pool1', not what 'norm1' gives" in _refusal(
    tmp_path / 'net', content
  )


def _pickled():
  return pickle.dumps({'features.0.weight': [1.0]})


def _zipped():
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('archive/data.pkl', _pickled())
  return file.getvalue()


def _safetensors(**shapes):
  arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
  return safetensors.save(arrays)


FOREIGN = {
  'empty': (b'', 'is empty'),
  'JPEG': (b'\xff\xd8\xff\xe0' + bytes(99), 'is a JPEG image'),
  'pth': (_zipped(), 'torch.load(.*weights_only=True.*save_file'),
  'old_pth': (_pickled(), 'torch.load(.*weights_only=True.*save_file'),
  'HDF5': (b'\x89HDF\r\n\x1a\n' + bytes(99), 'is an HDF5 file'),
  'text': (b'name: "AlexNet"\nlayer {\n', 'cut off, or it is none'),
  'TensorFlow': (b'model_checkpoint_path: "model"\n', 'cut off, or it is none'),
  'noise': (np.random.default_rng(0).bytes(1000), 'cut off, or it is none'),
  'zeros': (bytes(1000), 'cut off, or it is none'),
  'other': (_safetensors(a=(3,)), 'it holds another network'),
  'header': (b'\xff' * 8 + b'{}', 'no whole .safetensors file'),
  'cut': (_safetensors(a=(99,))[:-9], 'no whole .safetensors file'),
}


@pytest.mark.parametrize('kind', FOREIGN)
def test_a_foreign_file_is_refused_in_one_line(command, tmp_path, kind):
  content, line = FOREIGN[kind]
  file = tmp_path / 'file'
  file.write_bytes(content)
  done = _convert(command, tmp_path, '--from=file', '--output=out')
  assert done.returncode == 1 and done.stderr.count('\n') == 1, done.stderr
  assert re.search(line.replace('(', r'\('), done.stderr), done.stderr
  assert [*tmp_path.iterdir()] == [file]


def _convert(command, folder, *args):
  return command('alexnet_jax.tools.convert', *args, cwd=folder)


@pytest.mark.parametrize('share', [0.3, 0.999])
def test_a_file_that_is_cut_off_is_refused(tmp_path, share):
  content = b''.join(caffe_files.model(_caffe(), keep=_maps))
  cut = content[: int(share * len(content))]
  assert 'cut off' in _refusal(tmp_path / 'net', cut)
  model = onnx_model(_caffe(), dense=False).SerializeToString()
  cut = model[: int(share * len(model))]
  assert 'cut off' in _refusal(tmp_path / 'net', cut)


@pytest.mark.parametrize(
  ('args', 'line'),
  [
    (['--from=.', '--output=out'], '--from=. is a folder'),
    (['--from=none', '--output=out'], "'none': give one that exists"),
    (['--from=net'], '--output is missing'),
    (['--from=net', '--output=old'], '--output=old exists'),
    (['--from=net', '--output=out', '--mean=net'], 'leave out --mean=net'),
    (['--from=net', '--output=out', '--classes=net'], 'leave out --classes'),
    (['--from=net', '--restore=net', '--output=out'], 'give --from=FILE'),
    (['--output=out'], 'give --from=FILE'),
    (['--restore=net', '--output=out'], '--to is missing'),
    (['--from=net', '--output=out', '--to=onnx'], 'give --from=FILE'),
  ],
)  # fmt: skip
def test_flags_are_checked(command, small, tmp_path, args, line):
  (tmp_path / 'net').symlink_to(small)
  (tmp_path / 'old').mkdir()
  done = _convert(command, tmp_path, *args)
  assert done.returncode == 1 and line in done.stderr, done.stderr
  assert done.stderr.count('\n') == 1
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  ('content', 'line'),
  [
    (b'', 'holds 0 x 0 x 0 x 0 numbers'),
    (b'\xff\xd8\xff', 'no .binaryproto'),
    (b''.join(caffe_files.mean(np.zeros((3, 2, 2)))), 'holds 1 x 3 x 2 x 2'),
    (
      b''.join(caffe_files.blob(np.zeros(9), shape=(3, 256, 256))),
      'does not hold the 3 x 256 x 256 numbers',
    ),
  ],
)
def test_a_mean_that_is_none_is_refused(tmp_path, content, line):
  mean = _write(tmp_path / 'mean', content)
  with pytest.raises(ValueError, match=line):
    foreign.mean_image(mean)


def onnx_model(arrays, *, size=224, dense=True, **changes):
  """bvlcalexnet as the zoo has it: names, 54 windows, padded pooling.

  `changes` are attributes by the name of a node's output.
  """
  tensors, nodes, last = [], [], 'data_0'

  def layer(name):
    for kind in ('kernel', 'bias'):
      own = numpy_helper.from_array(
        arrays[f'{name}/{kind}'], f'{name}_{kind[0]}'
      )
      tensors.append(own)
      yield own.name

  def node(op, output, *more, **attributes):
    nonlocal last
    attributes |= changes.get(output, {})
    op = attributes.pop('op', op)
    nodes.append(helper.make_node(op, [last, *more], [output], **attributes))
    last = output

  for name, (pad, stride, group) in caffe_files.CONVS.items():
    size_ = arrays[f'{name}/kernel'].shape[2:]
    sizes = dict(kernel_shape=size_, strides=[stride] * 2, pads=[pad] * 4)
    node('Conv', f'{name}_1', *layer(name), group=group, **sizes)
    node('Relu', f'{name}_2')
    if name in ('conv1', 'conv2'):
      node('LRN', f'{name}_n', size=5, alpha=1e-4, beta=0.75, bias=1.0)
    if name in ('conv1', 'conv2', 'conv5'):
      pads = [0, 0, 1, 1] if name != 'conv2' else [0] * 4
      sizes = dict(kernel_shape=[3, 3], strides=[2, 2], pads=pads)
      node('MaxPool', f'{name}_p', **sizes)
  if dense:
    tensors.append(numpy_helper.from_array(np.array([1, 9216]), 'OC2_DUMMY_1'))
    node('Reshape', 'OC2_DUMMY_0', 'OC2_DUMMY_1')
    for name in ('fc6', 'fc7', 'fc8'):
      node('Gemm', f'{name}_1', *layer(name), transB=1)
      if name != 'fc8':
        node('Relu', f'{name}_2')
        node('Dropout', f'{name}_3', ratio=0.5)
    node('Softmax', 'prob_1')
  info = helper.make_tensor_value_info
  inputs = [info(t.name, t.data_type, list(t.dims)) for t in tensors]
  inputs.insert(0, info('data_0', 1, [1, 3, size, size]))
  outputs = [info(last, 1, [1, 1000])]
  graph = helper.make_graph(nodes, 'alexnet', inputs, outputs, tensors)
  opset = helper.make_opsetid('', 8)
  return helper.make_model(graph, ir_version=3, opset_imports=[opset])


def test_the_zoos_bvlcalexnet_gives_its_own_numbers(tmp_path):
  model = onnx_model(_caffe())
  found = foreign.read(_write(tmp_path / 'net', model.SerializeToString()))
  assert found.what == 'bvlc_alexnet of ONNX'
  assert found.net.config.data.crop_size == 223  # 54 windows, no padding
  assert 'the mean is one colour, blue 104' in found.notes[0]
  _agrees(found.net, 'zoo')


@pytest.mark.parametrize(
  ('changes', 'line'),
  [
    ({}, 'it ends in front of fc6'),
    ({'size': 227}, 'it ends in front of fc6'),
    ({'size': 512}, 'images of 3 x SIZE x SIZE'),
    ({'conv4_1': {'group': 1}}, "'conv4_1' has groups = 1, which is 2"),
    ({'conv1_1': {'pads': [2] * 4}}, "'conv1_1' has padding = 2, which is 0"),
    (
      {'conv1_1': {'auto_pad': 'SAME_UPPER'}},
      "'conv1_1' has padding = 'SAME_UPPER', which is 0",
    ),
    ({'conv3_1': {'dilations': [2, 2]}}, "has dilation = 2, which is 1"),
    ({'conv1_n': {'alpha': 1e-3}}, "'conv1_n' has alpha = 0.001, which is"),
    (
      {'conv1_p': {'pads': [0] * 4}},
      "'conv1_p' has rounding = '26 windows of 54', which is 'up'",
    ),
    ({'conv1_p': {'pads': [0] * 4, 'ceil_mode': 1}}, 'it ends in front of fc6'),
    ({'conv5_p': {'op': 'AveragePool'}}, "'conv5_p' is 'AveragePool', where"),
  ],
)  # fmt: skip
def test_another_onnx_net_is_refused_with_what_differs(tmp_path, changes, line):
  model = onnx_model(_caffe(), dense=False, **changes)
  content = model.SerializeToString()
  assert line in _refusal(tmp_path / 'net', content)


def test_an_onnx_net_of_other_numbers_is_refused(tmp_path):
  half = {k: a.astype(np.float16) for k, a in _caffe().items() if 'conv' in k}
  model = onnx_model(half, dense=False)
  line = _refusal(tmp_path / 'net', model.SerializeToString())
  assert "'conv1_k' is not of float32" in line


def test_torchvisions_alexnet_gives_its_own_numbers(tmp_path):
  state = {
    name.replace('/kernel', '.weight').replace('/bias', '.bias'): array
    for name, array in drawn.weights(drawn.TORCHVISION).items()
  }
  safetensors.save_file(state, tmp_path / 'net')
  found = foreign.read(str(tmp_path / 'net'))
  assert found.what == "torchvision's alexnet"
  assert found.net.classes[0] == (
    'n01440764', 'tench', 'tench, Tinca tinca'
  )  # fmt: skip
  _agrees(found.net, 'torchvision')


def _torchvision(**shapes):
  """A state dict with arrays of these shapes, else of one number."""
  names = (
    f'{name}.{kind}'
    for name in drawn.TORCHVISION
    for kind in ('weight', 'bias')
  )
  return safetensors.save(
    {name: np.zeros(shapes.get(name, 1), np.float32) for name in names}
  )


def test_torchvisions_names_with_other_sizes_are_refused(tmp_path):
  line = _refusal(tmp_path / 'net', _torchvision())
  assert 'classifier.1.bias is F32 of 1: it should be F32' in line
  head = {'classifier.6.weight': (5, 4096), 'classifier.6.bias': 5}
  line = _refusal(tmp_path / 'net', _torchvision(**head))
  assert 'classifier.1.bias is F32 of 1' in line
  extra = safetensors.load(_torchvision()) | {'features.1.mean': np.zeros(3)}
  line = _refusal(tmp_path / 'net', safetensors.save(extra))
  assert 'cannot be converted' in line


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run of a small net, with a checkpoint at step 7."""
  workdir = tmp_path_factory.mktemp('run')
  saved.checkpoint(workdir, _small_config())
  return workdir


def _small_config():
  config = nets.config()
  config.data.embedded_train_images = 20
  config.data.embedded_val_images = 10
  config.mesh.column = 1
  config.model.lrn.across_columns = True
  return config


@pytest.fixture(scope='module')
def small(run, tmp_path_factory):
  """That net as a .safetensors file."""
  file = tmp_path_factory.mktemp('small') / 'net.safetensors'
  alexnet_jax.save(alexnet_jax.load(run), file)
  return file


def _same(net, other):
  trees = [(n.params, n.statistics, n.model_state) for n in (net, other)]
  jax.tree.map(np.testing.assert_array_equal, *trees)
  assert net.classes == other.classes
  assert net.config.to_dict() == other.config.to_dict()


def test_a_saved_net_is_loaded_as_it_was(run, small, monkeypatch, tmp_path):
  net, loaded = alexnet_jax.load(run), alexnet_jax.load(small)
  _same(net, loaded)
  assert loaded.step == 7
  assert (
    small.stat().st_mode == (run / 'checkpoints/7/files.json').stat().st_mode
  )
  folder = buckets.make(monkeypatch, tmp_path)
  alexnet_jax.save(net, 'fake://b/nets/net.safetensors')
  assert (folder / 'nets' / 'net.safetensors').stat().st_size > 10**5
  _same(net, alexnet_jax.load('fake://b/nets/net.safetensors'))


def test_a_net_of_other_dtypes_is_saved_as_float32(small, tmp_path):
  net = alexnet_jax.load(small)
  half = jax.tree.map(lambda a: a.astype('bfloat16'), net.params)
  alexnet_jax.save(net.replace(params=half), tmp_path / 'net')
  expected = jax.tree.map(lambda a: a.astype('float32'), half)
  _same(alexnet_jax.load(tmp_path / 'net'), net.replace(params=expected))


def test_a_converted_net_is_a_run(command, run, small, tmp_path):
  done = _convert(command, tmp_path, f'--from={small}', '--output=a/net')
  assert done.returncode == 0 and 'is complete' in done.stdout, done.stderr
  out = tmp_path / 'a' / 'net'
  assert {path.name for path in out.iterdir()} == {'config.json', 'checkpoints'}
  assert [*out.parent.iterdir()] == [out]
  assert json.loads((out / 'config.json').read_text())['history'] == []
  _same(alexnet_jax.load(run), alexnet_jax.load(out))
  config = nets.config(column=2)  # too many for a net across the columns
  found = evaluate_load.network(layout.find(str(out)), config=config)
  jax.tree.map(
    np.testing.assert_array_equal,
    found.variables['params'],
    alexnet_jax.load(run).params,
  )
  config = _small_config()
  config.init_from, config.init_layers = str(out), 'conv'
  setup = setup_lib.set_up(config)
  state = warm_start.initial_state(setup)
  np.testing.assert_array_equal(
    state.params['conv5']['kernel'],
    found.variables['params']['conv5']['kernel'],
  )


def _edited(file, to, **metadata):
  arrays = safetensors.load_file(file)
  header = file.read_bytes()[8:]
  own = json.JSONDecoder().raw_decode(header.decode('latin-1'))[0]
  fields = own['__metadata__'] | metadata
  arrays.pop(metadata.get('without', ''), None)
  if 'reshape' in metadata:
    name = metadata['reshape']
    arrays[name] = arrays[name].reshape(-1)
  safetensors.save_file(arrays, to, metadata=fields)
  return to


CLASS = {'id': 'a', 'name': 'a', 'words': 'a'}


@pytest.mark.parametrize(
  ('metadata', 'line'),
  [
    ({'format': 'pt'}, 'not written by alexnet_jax.*tools.convert'),
    ({'config': '{'}, 'its config is no JSON'),
    ({'config': '[' * 10**5}, 'its config is no JSON'),
    ({'config': '[]'}, 'its config is no dict'),
    ({'config': '{}'}, 'use the version that wrote it'),
    ({'classes': '[3]'}, 'its class 3 is not an id'),
    ({'classes': json.dumps([CLASS] * 2)}, "class 'a' 2 times"),
    ({'classes': json.dumps([CLASS] * 11)}, '11 classes for 10 units'),
    ({'classes': json.dumps([CLASS | {'name': '\x1b[2J'}])}, 'cannot be shown'),
    ({'step': '-1'}, "its step is '-1'"),
    ({'without': 'conv3/bias'}, 'it lacks the array conv3/bias'),
    ({'reshape': 'fc6/kernel'}, 'fc6/kernel is F32 of 2048: it should be'),
  ],
)
def test_a_file_of_ours_is_checked(small, tmp_path, metadata, line):
  file = _edited(small, tmp_path / 'net', **metadata)
  with pytest.raises(ValueError, match=line) as error:
    alexnet_jax.load(file)
  assert '\n' not in str(error.value)


def test_loading_a_file_of_caffe_says_how_to_convert_it(tmp_path):
  file = tmp_path / 'net.caffemodel'
  _write(file, caffe_files.model(_caffe(), keep=_maps))
  with pytest.raises(ValueError, match=f'tools.convert --from={file} --output'):
    alexnet_jax.load(file)


def test_a_config_of_huge_sizes_takes_no_memory(small, tmp_path):
  config = alexnet_jax.load(small).config.copy_and_resolve_references()
  config.model.layer.fc6.units = config.model.layer.fc7.units = 10**6
  file = _edited(small, tmp_path / 'net', config=json.dumps(config.to_dict()))
  with pytest.raises(ValueError, match='it should be F32'):
    alexnet_jax.load(file)


def test_a_missing_package_is_named(small, monkeypatch, tmp_path):
  net = alexnet_jax.load(small)
  for name in ('safetensors', 'safetensors.numpy'):
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ValueError, match=r"pip install '\.\[export\]'"):
    alexnet_jax.load(small)
  with pytest.raises(ValueError, match=r"pip install '\.\[export\]'"):
    alexnet_jax.save(net, tmp_path / 'net')


def test_a_net_that_cannot_be_written_leaves_nothing(small, tmp_path):
  net = alexnet_jax.load(small)
  for path, error in (
    (tmp_path, IsADirectoryError),
    (tmp_path / 'a/b', OSError),
  ):
    with pytest.raises(error):
      alexnet_jax.save(net, path)
  assert not [*tmp_path.iterdir()]


def test_words_of_classes_may_differ_but_not_their_ids(tmp_path):
  config = _small_config()
  data = sources.load(config.data, seed=0)

  def check(*ids):
    own = tuple(dataset.ClassInfo(i, i, i) for i in ids)
    other = dataclasses.replace(data, classes=own)
    compatible.check_classes(meta, other, path=tmp_path)

  found = classes.of_units(1000)[:2]
  meta = {'classes': [c._asdict() for c in found], 'dataset': 'b'}
  check('n01440764', 'n01443537')
  with pytest.raises(ValueError, match='knows the 2 classes'):
    check('n01443537', 'n01440764')
