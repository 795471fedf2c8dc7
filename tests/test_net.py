"""A network from Python: against evaluation, numpy and hand-made steps."""

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax.checkpoint import layout, restore
from alexnet_jax.config import schema
from alexnet_jax.data import augment, sources
from alexnet_jax.evaluate import load, net, predict
from alexnet_jax.train import by_hand
from tests import nets, saved

N = 5  # images
PIXEL = np.zeros((1, 1, 3), np.uint8)


@pytest.fixture(scope='module')
def step(tmp_path_factory):
  """A checkpoint as training writes it, statistics and all."""
  folder = tmp_path_factory.mktemp('run')
  return saved.checkpoint(folder, nets.config(), statistics=True)


@pytest.fixture(scope='module')
def loaded(step):
  return alexnet_jax.load(step)


@pytest.fixture(scope='module')
def evaluated(step):
  """The same net on its data set, as --mode=eval has it."""
  return load.network(step, config=nets.config())


def _images(network):
  return np.stack([network.setup.dataset.val[i].image for i in range(N)])


def test_a_folder_stands_for_its_images(tmp_path, monkeypatch):
  names = ('a.jpg', 'b/c.PNG', 'album.jpg/d.jpeg', 'phone.heic')
  left = ('.t/c.jpg', '@eaDir/a.jpg/THUMB.jpg', '__MACOSX/b.jpg', '.h.jpg', 'n')
  for name in (*names, *left):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
  (tmp_path / 'b' / 'circle').symlink_to(tmp_path)
  expected = sorted(str(tmp_path / name) for name in names)
  assert sorted(net.files(str(tmp_path))) == expected
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match="'' is no file or folder"):
    net.files('')
  (tmp_path / 'empty').mkdir()
  with pytest.raises(ValueError, match='empty holds no images: give others'):
    net.files('empty')
  assert net.files('typo.jpg') == ['typo.jpg']  # not found when it is read


@pytest.mark.parametrize('views', [1, 10])
def test_predicts_what_evaluation_predicts(loaded, evaluated, views):
  expected = predict.predict(
    evaluated.setup, variables=evaluated.variables, views=views
  )
  found = loaded.predict(_images(evaluated), views=views, batch_size=2)
  classes = [c.name for c in evaluated.setup.dataset.classes]
  assert found.classes == classes and len(found.names) == N
  best = expected.probabilities[:N, : len(classes)]
  np.testing.assert_allclose(found.probabilities, best, atol=1e-6)
  assert best.std(axis=0).max() > 1e-3  # images differ
  assert [top[0][0] for top in found.top(1)] == [
    classes[i] for i in best.argmax(axis=1)
  ]


def test_features_are_those_of_evaluation(loaded, evaluated):
  layers = ('conv5', 'fc7/activation')
  found = loaded.features(_images(evaluated), layers, batch_size=3)
  batch = next(
    predict.minibatches(evaluated.setup, evaluated.setup.dataset.val, title='')
  )
  fc7 = predict.features(evaluated.setup, batch, variables=evaluated.variables)
  np.testing.assert_allclose(found['fc7/activation'], fc7[:N], atol=1e-4)
  assert found['conv5'].shape == (N, 3, 3, 32)
  everything = loaded.features(_images(evaluated), loaded.layers)
  assert list(everything) == list(loaded.layers)


def test_images_lose_the_mean_as_in_numpy(loaded, evaluated):
  images = _images(evaluated)
  found = np.asarray(loaded.preprocess(images))
  middle = (nets.IMAGE - nets.CROP) // 2
  for image, x in zip(images, found, strict=True):
    expected = augment.reference(
      image,
      offset=(middle, middle),
      mirror=False,
      mean_image=evaluated.setup.dataset.mean_image,
      colour=np.zeros(3, np.float32),
      crop_size=nets.CROP,
    )
    np.testing.assert_allclose(x, expected, atol=1e-4)


def test_channels_are_divided_by_their_deviations(loaded, evaluated):
  images, stddevs = _images(evaluated), (50.0, 60.0, 70.0)
  config = loaded.config.copy_and_resolve_references()
  config.data.channel_stddevs = stddevs
  divided = loaded.replace(config=config)
  np.testing.assert_allclose(
    divided.preprocess(images),
    np.asarray(loaded.preprocess(images)) / np.array(stddevs, np.float32),
    rtol=1e-6,
  )


def test_a_net_is_whole_without_its_data_set(step, monkeypatch):
  """The mean image and the colours are in the checkpoint."""
  data = sources.load(nets.config().data, seed=0)
  monkeypatch.setattr(sources, 'load', lambda *_, **__: pytest.fail('read'))
  found = alexnet_jax.load(step.parent.parent)  # the workdir
  np.testing.assert_array_equal(found.statistics.mean_image, data.mean_image)
  np.testing.assert_array_equal(found.statistics.pca.stddevs, data.pca.stddevs)
  assert found.step == 7


def test_an_old_checkpoint_takes_them_from_its_data_set(tmp_path, loaded):
  old = saved.checkpoint(tmp_path, nets.config())
  assert not (old / layout.STATISTICS).exists()
  found = alexnet_jax.load(old)
  for a, b in zip(found.statistics, loaded.statistics, strict=True):
    np.testing.assert_array_equal(np.asarray(a[0]), np.asarray(b[0]))


def test_damaged_statistics_are_damage(tmp_path):
  path = saved.checkpoint(tmp_path, nets.config(), statistics=True)
  files = [p for p in (path / layout.STATISTICS).rglob('*') if p.is_file()]
  largest = max(files, key=lambda p: p.stat().st_size)
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 1
  largest.write_bytes(content)
  with pytest.raises(restore.DamagedError, match='is not what was written'):
    alexnet_jax.load(path)


def test_whatever_holds_an_image_is_read(loaded, tmp_path):
  rng = np.random.default_rng(0)
  array = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
  picture = Image.fromarray(array)
  (tmp_path / 'in' / 'deeper').mkdir(parents=True)
  for name in ('in/b.png', 'in/deeper/a.png'):
    picture.save(tmp_path / name)
  (tmp_path / 'in' / 'notes.txt').write_text('no image')
  one = loaded.squares(picture)[1][0]
  for given in (
    array,
    array[None],
    jnp.asarray(array),
    (one for one in (array, picture)),
    tmp_path / 'in',
  ):
    names, squares = loaded.squares(given)
    assert all((square == one).all() for square in squares)
  assert [pathlib.Path(name).name for name in names] == ['b.png', 'a.png']
  grey = loaded.squares(picture.convert('L'))[1]
  assert grey.shape == (1, nets.IMAGE, nets.IMAGE, 3)


def test_warping_keeps_the_edges(loaded):
  config = loaded.config.copy_and_resolve_references()
  config.data.resize = 'warp'
  wide = np.zeros((90, 300, 3), np.uint8)
  wide[:, :20] = 255  # at the left edge, which a crop does not see
  cropped = loaded.squares(wide)[1]
  warped = loaded.replace(config=config).squares(wide)[1]
  assert not cropped.any() and (warped[0, :, 0] == 255).all()


@pytest.mark.parametrize(
  ('act', 'says'),
  [
    (lambda n: n.predict('/no/such.jpg'), 'such.jpg: No such file'),
    (lambda n: n.predict([]), 'no images'),
    (lambda n: n.predict(np.zeros((4, 4, 3))), 'float64 [4, 4, 3]: give uint8'),
    (lambda n: n.predict(np.zeros((9, 9, 3), np.uint8), views=3), 'views = 3'),
    (lambda n: n.predict(PIXEL, batch_size=0), 'batch_size = 0: use 1'),
    (lambda n: n.predict(PIXEL[:0]), 'uint8 [0, 1, 3]: give uint8'),
    (lambda _: net._each([None]), 'None is no image: give a file'),
    (lambda _: net._each(b'GIF'), "b'GIF' is no image: give a file"),
    (lambda n: n.features([], 'conv9'), "no layer 'conv9': use conv1, conv1/"),
    (lambda n: by_hand.train_step(n, freeze=['x']), "no layer 'x': use conv1"),
    (
      lambda n: by_hand.train_step(n, learning_rate=-1.0),
      'config.optim.learning_rate = -1.0: use',
    ),
    (
      lambda n: alexnet_jax.build('smoke', classes=['a', 'a']),
      "class 'a': give each class a name of its own",
    ),
    (lambda n: alexnet_jax.with_classes(n, []), 'give the name of each class'),
    (lambda n: alexnet_jax.with_classes(n, 'ab'), 'give a list of names'),
    (lambda n: alexnet_jax.build('nothing'), '--config=nothing: no such'),
    (lambda n: alexnet_jax.load('/no/such'), '/no/such does not exist'),
  ],
)
def test_mistakes_cost_one_line(loaded, act, says):
  with pytest.raises(ValueError) as error:
    act(loaded)
  assert says in str(error.value) and '\n' not in str(error.value)


def test_one_step_is_the_update_rule_on_the_gradient(loaded, evaluated):
  """§5 by hand: v = -rate (0.0005 w + gradient), in kernels and biases."""
  config = loaded.config.copy_and_resolve_references()
  config.model.dropout_rate = 0.0
  config.augment.update(random_crop=False, mirror=False, colour_stddev=0.0)
  plain = loaded.replace(config=config)
  images, labels = _images(evaluated), np.arange(N) % 10

  x = plain.preprocess(images)

  def loss(params):
    logits = plain.apply(params, x)
    picked = jax.nn.log_softmax(logits)[jnp.arange(N), labels]
    return -picked.mean()

  value, grads = jax.jit(jax.value_and_grad(loss))(plain.params)
  state, step = alexnet_jax.train_step(
    plain, learning_rate=0.1, freeze=['conv1']
  )
  before = jax.device_get(plain.params)
  state, metrics = step(state, images, labels)
  assert float(metrics['loss']) == pytest.approx(float(value), rel=1e-5)
  assert float(metrics['learning_rate']) == pytest.approx(0.1)
  for name, layer in before.items():
    for kind, w in layer.items():
      decay = 0.0005 * w if kind == 'kernel' else 0.0
      expected = w - 0.1 * (decay + np.asarray(grads[name][kind]))
      if name == 'conv1':
        expected = w
      np.testing.assert_allclose(
        state.params[name][kind], expected, rtol=1e-4, atol=1e-6
      )


def test_labels_that_do_not_fit_are_refused(loaded, evaluated):
  state, step = alexnet_jax.train_step(loaded)
  for labels in ([0, 1], [0, 1, 2, 3, 10], [-1, 0, 0, 0, 0]):
    with pytest.raises(ValueError, match='give a whole number from 0 to 9'):
      step(state, _images(evaluated), labels)
  with pytest.raises(ValueError, match='give a whole number from 0 to 9'):
    by_hand._whole([0.7], images=1, classes=10)  # would be 0


def test_a_state_that_is_used_up_is_refused(loaded, evaluated):
  state, step = alexnet_jax.train_step(loaded)
  step(state, _images(evaluated), [0] * N)
  with pytest.raises(ValueError, match='used up: go on with the one'):
    step(state, _images(evaluated), [0] * N)


def test_other_classes_get_a_new_last_layer(loaded):
  other = alexnet_jax.with_classes(loaded, ['cat', 'dog'])
  assert other.params['fc8']['kernel'].shape[1] == 2
  assert other.params['fc7'] is loaded.params['fc7']
  assert other.statistics is loaded.statistics
  found = other.predict(np.zeros((30, 30, 3), np.uint8))
  assert found.classes == ['cat', 'dog']
  assert found.probabilities.sum() == pytest.approx(1, abs=1e-6)
  assert str(found).splitlines()[0] == 'image 0'


def test_a_net_is_shown_in_one_line(loaded):
  assert repr(loaded) == 'Net(8 layers, 47,354 parameters, 10 classes, step 7)'


def test_numbers_of_64_bits_change_nothing(loaded, evaluated):
  """JAX_ENABLE_X64 is often set where nets are analysed."""
  images, labels = _images(evaluated), np.arange(N)
  with jax.enable_x64(True), jax.numpy_dtype_promotion('standard'):
    found = loaded.predict(images, views=1).probabilities
    built = alexnet_jax.build('smoke')
    state, step = alexnet_jax.train_step(loaded, freeze='conv1')
    state, _ = step(state, images, labels)
  expected = loaded.predict(images, views=1).probabilities
  np.testing.assert_allclose(found, expected, atol=1e-6)
  for net_ in (built.params, state.params):
    assert {a.dtype for a in jax.tree.leaves(net_)} == {np.dtype('float32')}


def test_averages_are_of_the_same_classes(loaded):
  a = net.Labels(['x'], np.array([[0.2, 0.8]], np.float32), ['u', 'v'])
  b = a._replace(probabilities=np.array([[0.6, 0.4]], np.float32))
  mean = net.average([a, b])
  np.testing.assert_allclose(mean.probabilities, [[0.4, 0.6]], rtol=1e-6)
  with pytest.raises(ValueError, match='have no average'):
    net.average([a, b._replace(classes=['u', 'w'])])


def test_a_built_net_has_the_initial_values_of_its_config():
  built = alexnet_jax.build('smoke', seed=3)
  kernel = np.asarray(built.params['conv2']['kernel'])
  assert kernel.std() == pytest.approx(0.01, rel=0.05)
  assert (np.asarray(built.params['conv2']['bias']) == 1).all()
  assert isinstance(built.config, schema.Config)
  assert len(built.classes) == built.config.model.num_classes


IMPORTS = """
import json, sys, time
start = time.process_time()
import alexnet_jax
seconds = time.process_time() - start
early = sorted(sys.modules)
alexnet_jax.load
print(json.dumps([seconds, early, sorted(sys.modules)]))
"""


def test_importing_costs_nothing_until_it_is_used():
  """The import alone is without jax; loading is without grain and others."""
  done = subprocess.run(
    [sys.executable, '-c', IMPORTS],
    cwd=pathlib.Path(__file__).parent.parent,
    capture_output=True,
    text=True,
    check=True,
  )
  seconds, early, late = json.loads(done.stdout)
  assert not {'jax', 'numpy', 'flax'} & set(early)
  assert seconds < 0.05
  assert 'jax' in late
  assert not {'grain', 'tensorflow_datasets', 'matplotlib'} & set(late)
