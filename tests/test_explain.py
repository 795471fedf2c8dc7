"""Explanations against finite differences, hand-worked cases and loops."""

import doctest
import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax.data import dataset
from alexnet_jax.studies.explain import (
  backward,
  cam,
  exciting,
  fields,
  gratings,
  occlusion,
  page,
  views,
)
from tests import nets, saved

TOOL = 'alexnet_jax.tools.explain'


def _drawn(net, *, seed=0):
  """The net with random weights that let images through all layers."""

  rng = np.random.default_rng(seed)

  def draw(path, old):
    if path[-1].key == 'bias':
      return jnp.zeros(old.shape)
    fan_in = old.size / old.shape[-1]
    first = 1 / 60 if path[-2].key == 'conv1' else 1
    drawn = first * (2 / fan_in) ** 0.5 * rng.normal(size=old.shape)
    return jnp.asarray(drawn, jnp.float32)

  params = jax.tree_util.tree_map_with_path(draw, net.params)
  return net.replace(params=params)


@functools.cache
def _net(columns=2, dtype='float32', rounding='up'):
  config = nets.config()
  # conv4 is as conv5; two columns need the others.
  skipped = ('conv4',) if columns > 1 else ('conv2', 'conv4', 'conv5')
  config.model.skip_layers = skipped
  config.model.columns, config.dtype = columns, dtype
  config.model.rounding = rounding
  return _drawn(alexnet_jax.build(config))


@functools.cache
def _activations(columns=2):
  """Returns a compiled function: preprocessed images -> activations by name."""
  net = _net(columns)
  return jax.jit(lambda x: net.activations(net.params, x))


def _images(count, *, seed=0):
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 256, (count, 10, 10, 3)).astype(np.uint8)
  return coarse.repeat(8, axis=1).repeat(8, axis=2)  # 80 x 80 pixels


@pytest.mark.parametrize('module', [fields, gratings])
def test_doctests(module):
  assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize('columns', [1, 2])
def test_a_gradient_is_that_of_finite_differences(columns):
  net = _net(columns)
  x = net.preprocess(_images(2))
  units = np.array([[3], [7]])
  found = backward.of_units(net, x=x, layer='fc8', units=units)

  def score(x):
    logits = np.asarray(_activations(columns)(x)['fc8'])
    return logits[np.arange(2), units[:, 0]]

  np.testing.assert_allclose(
    found.activations[np.arange(2), units[:, 0]], score(x), rtol=1e-5, atol=1e-6
  )
  gradients = np.asarray(found.gradients)
  for seed in range(3):
    noise = np.random.default_rng(seed).normal(size=x.shape)
    # Along the gradient and aside, so that the slope is not almost zero.
    way = gradients / np.abs(gradients).max() + 0.1 * noise
    step = 0.02 * way.astype(np.float32)
    slopes = (score(x + step) - score(x - step)) / 2
    expected = (gradients * step).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(slopes, expected, rtol=0.02)


def test_bfloat16_gives_nearly_the_same_gradient():
  whole, half = _net(), _net(dtype='bfloat16')
  units = np.array([[3], [7]])
  one, other = (
    np.asarray(
      backward.of_units(
        net, x=net.preprocess(_images(2)), layer='fc8', units=units
      ).gradients
    ).reshape(2, -1)
    for net in (whole, half)
  )
  norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
  assert ((one * other).sum(axis=1) / norms > 0.95).all()


def _small(*, ops, weights, bias=0.0, crop=4):
  """One kernel of one pixel that reads red, its ops, and fc8."""
  config = nets.config()
  config.model.columns = 1
  config.model.skip_layers = tuple(
    name for name in config.model.layer if name not in ('conv1', 'fc8')
  )
  for name, layer in config.model.layer.items():
    layer.ops = tuple(ops) if name == 'conv1' else ()
  first = config.model.layer.conv1
  first.size, first.stride, first.padding, first.kernels = 1, 1, 0, 1
  config.model.pool.size = config.model.pool.stride = 2
  config.data.crop_size = config.data.image_size = crop
  net = alexnet_jax.build(config, classes=['a', 'b'])
  kernel = jnp.array([2.0, 0.0, 0.0]).reshape(1, 1, 3, 1)
  params = {
    'conv1': {'kernel': kernel, 'bias': jnp.array([bias])},
    'fc8': {'kernel': jnp.asarray(weights, jnp.float32), 'bias': jnp.zeros(2)},
  }
  shapes = jax.tree.map(jnp.shape, net.params)
  assert jax.tree.map(jnp.shape, params) == shapes
  return net.replace(params=params)


def _red(rows):
  """An image of which only the red channel is not zero."""
  x = np.zeros((1, len(rows), len(rows), 3), np.float32)
  x[0, :, :, 0] = rows
  return jnp.asarray(x)


RED = [
  [1, 5, 0, 0],
  [0, 0, 0, 7],
  [-1, -2, 0, 2],
  [-3, -4, 3, 0],
]
# Of the four pooled places, for each of two classes.
WEIGHTS = [[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [2.0, 1.0]]


@pytest.mark.parametrize(
  'norm', [(), ('lrn',), ('spatial_norm',)], ids=lambda norm: ''.join(norm)
)
@pytest.mark.parametrize(
  ('rule', 'expected'),
  [
    # The first class reads 1, -1, 1 and 2 of what is pooled; conv1 doubles red.
    # Maxima are at 5, 7, nowhere (all are negative: the first counts) and 3.
    ('gradient', {(0, 1): 2, (1, 3): -2, (3, 2): 4}),
    ('guided', {(0, 1): 2, (3, 2): 4}),
    ('deconvnet', {(0, 1): 2, (2, 0): 2, (3, 2): 4}),
  ],
)
def test_rules_by_hand(norm, rule, expected):
  net = _small(ops=('activation', *norm, 'pool'), weights=WEIGHTS)
  if norm and rule != 'deconvnet':
    pytest.skip('only the deconvnet leaves out normalisation')
  found = backward.of_units(
    net, x=_red(RED), layer='fc8', units=np.array([[0]]), rule=rule
  ).gradients[0]
  by_hand = np.zeros((4, 4, 3))
  for place, value in expected.items():
    by_hand[*place, 0] = value
  np.testing.assert_allclose(found, by_hand, atol=1e-6)


def test_a_unit_of_a_map_is_projected_alone():
  net = _small(ops=('activation', 'pool'), weights=WEIGHTS)
  found = backward.of_units(
    net,
    x=_red(RED),
    layer='conv1/pool',
    units=np.array([[0, 1, 0]]),
    rule='deconvnet',
  )
  assert float(found.activations[0, 0, 1, 0]) == 14  # 2 x 7
  assert np.argwhere(np.asarray(found.gradients)).tolist() == [[0, 1, 3, 0]]


def test_guided_backpropagation_in_numpy():
  rng = np.random.default_rng(0)
  weights, red = rng.normal(size=(16, 2)), rng.normal(size=(4, 4))
  net = _small(ops=('activation',), weights=weights)
  found = backward.of_units(
    net, x=_red(red), layer='fc8', units=np.array([[1]]), rule='guided'
  ).gradients[0, :, :, 0]
  signal = weights[:, 1].reshape(4, 4)
  np.testing.assert_allclose(
    found, 2 * np.maximum(signal, 0) * (red > 0), rtol=1e-6
  )


def test_grad_cam_by_hand():
  weights = np.zeros((4, 2))
  weights[:, 1] = [4, -1, 0, 1]  # their mean, and so that of the gradient: 1
  weights[:, 0] = -weights[:, 1]
  net = _small(ops=('activation',), weights=weights, bias=-1.0, crop=2)
  x = _red([[1, 2], [0, 3]])  # maps: 2 x - 1, rectified: 1, 3, 0, 5
  x = jnp.concatenate([x, x])
  maps = cam.grad_cam(
    net, x=x, labels=np.array([1, 0]), layer='conv1/activation'
  )
  np.testing.assert_allclose(maps[0], [[1, 3], [0, 5]], rtol=1e-6)
  np.testing.assert_allclose(
    maps[1], 0
  )  # weighted by -1: nothing speaks for it
  before = cam.grad_cam(net, x=x[:1], labels=np.array([1]), layer='conv1')
  # The gradient before the ReLU is 4, -1, 0 (inactive) and 1: a mean of 1.
  np.testing.assert_allclose(before[0], [[1, 3], [0, 5]], rtol=1e-6)


def test_grad_cam_is_of_the_last_maps():
  net = _net()
  assert cam.last_maps(net) == 'conv5/activation'
  x = net.preprocess(_images(2))
  labels = np.array([1, 2])
  found = cam.grad_cam(net, x=x, labels=labels)
  all_layers = _activations()(x)
  maps = all_layers['conv5/activation']
  assert found.shape == maps.shape[:3] and found.min() >= 0
  # Of a net that ends after conv5's maps, by finite differences of one map.
  expected = _slow_cam(net, maps, labels, logits=all_layers['fc8'])
  np.testing.assert_allclose(found, expected, rtol=0.02)


def _slow_cam(net, maps, labels, *, logits):
  """Grad-CAM with the layers after conv5 written out in numpy."""
  p, (b, h, w, c) = jax.tree.map(np.asarray, net.params), maps.shape

  def scores(maps):
    pooled = np.stack(
      [
        np.stack(
          [
            maps[:, i : i + 3, j : j + 3].max(axis=(1, 2))
            for j in range(0, w - 1, 2)
          ],
          axis=1,
        )
        for i in range(0, h - 1, 2)
      ],
      axis=1,
    )
    # Columns one after the other, as fc6 reads both.
    y = np.moveaxis(pooled.reshape(*pooled.shape[:3], 2, c // 2), 3, 1)
    y = y.reshape(len(maps), -1)
    for layer in ('fc6', 'fc7'):
      y = 0.5 * np.maximum(y @ p[layer]['kernel'] + p[layer]['bias'], 0)
    return y @ p['fc8']['kernel'] + p['fc8']['bias']

  base = np.asarray(maps, np.float64)
  np.testing.assert_allclose(scores(base), logits, rtol=1e-3, atol=1e-4)
  found = []
  for n in range(b):
    total = np.zeros((h, w))
    for k in range(c):
      step = np.zeros((1, h, w, c))
      step[..., k] = 1e-4  # everywhere: the sum of the gradient over places
      up, down = scores(base[n : n + 1] + step), scores(base[n : n + 1] - step)
      slope = (up - down)[0, labels[n]] / 2e-4
      total += slope / (h * w) * base[n, :, :, k]
    found.append(np.maximum(total, 0))
  return np.stack(found)


def test_occlusion_is_that_of_a_loop():
  net, labels = _net(), np.array([3, 7])
  x = net.preprocess(_images(2))
  found = occlusion.occlude(
    net, x=x, labels=labels, places=4, side=20, batch_size=5
  )
  assert found.corners.tolist() == [0, 16, 31, 47]

  def score(x):
    logits = np.asarray(_activations()(x)['fc8'], np.float64)
    every = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return every[np.arange(2), labels]

  np.testing.assert_allclose(found.whole, score(x), rtol=1e-4)
  for i, top in enumerate(found.corners):
    for j, left in enumerate(found.corners):
      hidden = np.array(x)
      hidden[:, top : top + 20, left : left + 20] = 0
      np.testing.assert_allclose(
        found.hidden[:, i, j], score(hidden), rtol=1e-3
      )
  np.testing.assert_allclose(
    found.drops, found.whole[:, None, None] - found.hidden
  )
  assert np.ptp(found.hidden) > 1e-3


@pytest.mark.parametrize('layer', ['conv1/pool', 'fc6'])
def test_the_strongest_are_those_of_a_full_sort(layer):
  net, images = _net(), _images(20)
  images[13] = images[4]  # as strong: the first comes first
  every = np.concatenate(
    [
      _activations()(net.preprocess(images[first : first + 2]))[layer]
      for first in range(0, 20, 2)
    ]
  )
  values = every[..., 5].reshape(20, -1)
  best = np.argsort(-values.max(axis=1), kind='stable')[:9]
  found = exciting.strongest(net, images, layer=layer, unit=5, batch_size=7)
  assert [one.number for one in found] == best.tolist()
  np.testing.assert_allclose(
    [one.value for one in found], values[best].max(axis=1), rtol=1e-5
  )
  projected = backward.of_units(
    net,
    x=net.preprocess(images[best]),
    layer=layer,
    units=np.array([one.unit for one in found]),
    rule='deconvnet',
  ).gradients
  for one, projection in zip(found, np.asarray(projected), strict=True):
    np.testing.assert_array_equal(one.projection, projection)
    assert every[one.number][one.unit] == pytest.approx(one.value, rel=1e-5)
    np.testing.assert_array_equal(one.crop, images[one.number, 6:73, 6:73])
    assert one.projection.shape == one.crop.shape
    outside = np.array(one.projection)
    outside[slice(*one.rows), slice(*one.columns)] = 0
    assert not outside.any() and one.projection.any()
    assert one.seen.shape[:2] == (
      one.rows.end - one.rows.first,
      one.columns.end - one.columns.first,
    )
  drawn = page._unit(found)
  assert drawn['fields'][8] == (found[8].rows, found[8].columns)
  np.testing.assert_array_equal(drawn['crops'][8], found[8].crop)
  np.testing.assert_array_equal(
    drawn['projections'][8], views.around_grey(found[8].projection)
  )
  few = exciting.strongest(net, list(images[:3]), layer=layer, unit=5)
  assert len(few) == 3


class _Split:
  """A split with an image that cannot be read."""

  image_size = 80

  def __len__(self):
    return 5

  def __getitem__(self, index):
    return dataset.get_by_take(self, index)

  def take(self, indices):
    return [
      dataset.Unreadable('damaged')
      if i == 2
      else dataset.Example(_images(5)[i], 0, f'image {i}')
      for i in indices
    ]


def test_a_split_of_a_data_set_is_looked_through():
  found = exciting.strongest(_net(), _Split(), layer='conv2', unit=0)
  assert {one.name for one in found} == {f'image {i}' for i in (0, 1, 3, 4)}


@pytest.mark.parametrize('kind', ['up', 'down', 'spatial_norm'])
def test_fields_are_what_a_change_reaches(kind):
  net = _net(rounding='down' if kind == 'down' else 'up')
  if kind == 'spatial_norm':
    config = net.config.copy_and_resolve_references()
    config.model.layer.conv1.ops = ('activation', 'pool', 'spatial_norm')
    config.model.spatial_norm.alpha = 1.0
    net = net.replace(config=config)
  size = net.config.data.crop_size
  x = np.random.default_rng(0).normal(size=(1, size, size, 3)) * 50
  changed = np.repeat(x, size, axis=0)
  changed[np.arange(size), np.arange(size)] += 1000  # wins any maximum
  layers = ('conv1', 'conv1/pool', 'conv2', 'conv2/pool', 'conv3', 'conv5')
  run = jax.jit(
    lambda x: {name: net.activations(net.params, x)[name] for name in layers}
  )
  before = run(jnp.asarray(x, jnp.float32))
  after = run(jnp.asarray(changed, jnp.float32))
  for layer in layers:
    differs = np.asarray(after[layer] != before[layer])  # [size, H, W, C]
    reached = differs.any(axis=(2, 3))
    for place in range(reached.shape[1]):
      found = fields.field(
        net.config.model, crop_size=size, layer=layer, place=place
      )
      rows = np.flatnonzero(reached[:, place])
      assert (rows.min(), rows.max() + 1) == found, (layer, place)
      assert len(rows) == found.end - found.first


def test_explained_images_hold_all_maps():
  net, images = _net(), _images(2)
  found = alexnet_jax.explain(net, images, places=2)
  best = net.predict(images, views=1)
  assert found.labels.tolist() == best.probabilities.argmax(axis=1).tolist()
  np.testing.assert_array_equal(
    found.probabilities, best.probabilities.max(axis=1)
  )
  assert found.classes == [top[0][0] for top in best.top(1)]
  x = net.preprocess(images)
  gradient, guided = (
    backward.of_units(
      net, x=x, layer='fc8', units=found.labels[:, None], rule=rule
    ).gradients
    for rule in ('gradient', 'guided')
  )
  np.testing.assert_array_equal(found.gradient, gradient)
  np.testing.assert_array_equal(found.saliency, np.abs(gradient).max(axis=3))
  np.testing.assert_array_equal(found.guided, guided)
  assert found.occluded is not None
  np.testing.assert_allclose(
    found.occluded.whole, found.probabilities, rtol=1e-4
  )
  shown = views.panels(found, number=1)
  assert [*shown] == ['image', 'saliency', 'Grad-CAM', 'occlusion', 'guided']
  for name, own in (
    ('image', found.crops[1]),
    ('saliency', views.brightness(found.saliency[1])),
    ('Grad-CAM', views.heat(shown['image'], found.grad_cam[1], smooth=True)),
    (
      'occlusion',
      views.heat(shown['image'], found.occluded.drops[1], smooth=False),
    ),
    ('guided', views.around_grey(found.guided[1])),
  ):
    np.testing.assert_array_equal(shown[name], own, name)
  name = net.classes[4].name
  other = alexnet_jax.explain(net, images, label=name, places=0)
  assert other.classes == [name] * 2 and other.occluded is None


def test_other_activations_have_gradients_alone():
  config = nets.config(short=True)
  config.model.activation = 'tanh'
  net = alexnet_jax.build(config)
  found = alexnet_jax.explain(net, _images(1), places=0)
  assert found.guided is None and found.gradient.any()
  (patch,) = exciting.strongest(net, _images(1), layer='conv1', unit=0)
  assert patch.projection.any()


X = np.zeros((1, nets.CROP, nets.CROP, 3), np.float32)


def _of(layer='fc8', unit=(0,), rule='gradient', net=_net):
  backward.of_units(
    net(), x=jnp.asarray(X), layer=layer, units=np.array([unit]), rule=rule
  )


def _tanh():
  config = nets.config(short=True)
  config.model.activation = 'tanh'
  return alexnet_jax.build(config)


@pytest.mark.parametrize(
  ('act', 'says'),
  [
    (lambda: _of('conv9'), "no layer 'conv9': use conv1, conv1/activation"),
    (lambda: _of(unit=(10,)), 'no unit 10 in fc8: it is 10, counted from 0'),
    (lambda: _of('conv5', (0, 3, 0)), 'no unit 0:3:0 in conv5: it is 3 x 3 x'),
    (lambda: _of('conv5'), 'by 3 numbers, not 1: the layer is 3 x 3 x 32'),
    (lambda: _of(rule='x'), "rule = 'x': use gradient, guided, deconvnet"),
    (lambda: _of(rule='guided', net=_tanh), 'is for ReLUs, and this network'),
    (
      lambda: cam.grad_cam(
        _net(), x=jnp.asarray(X), labels=np.array([0]), layer='fc6'
      ),
      "layer 'fc6' has no maps: use one of conv1 to conv5",
    ),
    (
      lambda: occlusion.occlude(
        _net(), x=jnp.asarray(X), labels=np.array([0]), side=99
      ),
      'side = 99, batch_size = 32: use 1 or more, and a side of at most 67',
    ),
    (
      lambda: alexnet_jax.explain(_net(), _images(1), label='clas 3'),
      "no class 'clas 3': use class 3, class 9",
    ),
    (lambda: alexnet_jax.explain(_net(), []), 'no images'),
    (
      lambda: exciting.strongest(_net(), [], layer='conv1', unit=0),
      'no images: give files',
    ),
    (
      lambda: exciting.strongest(_net(), _images(1), layer='fc6', unit=-1),
      'no unit -1 in fc6',
    ),
    (
      lambda: exciting.strongest(
        _net(), _images(1), layer='fc6', unit=0, count=0
      ),
      'count = 0, batch_size = 64: use 1 or more',
    ),
  ],
)
def test_mistakes_are_a_line(act, says):
  with pytest.raises(ValueError) as caught:
    act()
  message = str(caught.value)
  assert says in message and '\n' not in message


def test_noise_has_the_share_of_chance():
  noise = np.random.default_rng(0).normal(size=(200, 200, 3))
  wave = np.array([0.1, 0.02])
  found = gratings.share(noise.astype(np.float32), wave=wave)
  chance = np.pi * 2**2 * 2 / 200**2  # two discs of two cycles
  assert found == pytest.approx(chance, rel=0.5)


def test_the_wave_of_a_grating_is_the_one_that_is_drawn():
  for kind in (0, 3):
    rng, again = (np.random.default_rng(5) for _ in range(2))
    image = gratings.synthetic.draw(rng, kind=kind, image_size=256)
    wave = gratings._wave(again, kind=kind)
    assert gratings.share(image.astype(np.float32), wave=wave) > 0.8
    assert gratings.share(image.astype(np.float32), wave=wave[::-1]) < 0.1


def test_a_gradient_with_the_stripes_of_the_image_has_most_of_its_power_there():
  # By each pixel it is 2 where red is above its mean in a paint with red, else
  # 0: stripes, or nothing at all of a paint without.
  net = _small(
    ops=('activation',),
    weights=np.ones((64 * 64, 2)),
    bias=-2 * (gratings.synthetic.STRENGTH - 7.5),
    crop=64,
  )
  found = gratings.measure(net, images=10)
  paints = gratings.synthetic.PAINTS.values()
  red = np.array([paint[0] > 0 for paint in paints])
  assert (found.own[red] > 0.5).all() and (found.turned[red] < 0.02).all()
  assert not found.own[~red].any() and not found.turned[~red].any()
  assert found.chance == pytest.approx(26 / 64**2, rel=0.2)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder with a run, photos, one file that is none and a hostile name."""
  folder = tmp_path_factory.mktemp('user')
  run = folder / 'runs' / 'default'
  saved.checkpoint(run, nets.config(short=True), statistics=True)
  for name in ('photo.jpg', 'photos/a.png', 'photos/<b>$x$.png'):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(_images(1, seed=len(name))[0]).save(path)
  (folder / 'photos' / 'c.jpg').write_text('no image')
  return folder


def test_the_command_explains_images(command, place, tmp_path):
  args = ('--restore=runs/default', f'--output={tmp_path}', '--places=2')
  done = command(TOOL, *args, 'photos', 'photo.jpg', cwd=place)
  assert done.returncode == 1  # for the file that is no image
  assert done.stderr.count('\n') == 1 and 'c.jpg' in done.stderr
  lines = done.stdout.splitlines()
  names = ['photos/<b>$x$.png', 'photos/a.png', 'photo.jpg']
  assert [line.rpartition(': ')[0] for line in lines[:-1]] == names
  assert lines[-1] == str(tmp_path / 'index.html')
  best = alexnet_jax.load(place / 'runs/default').predict(
    place / 'photo.jpg', views=1
  )
  ((what, share),) = best.top(1)[0]
  assert lines[-2] == f'photo.jpg: {what} {100 * share:.1f} %'
  text = (tmp_path / 'index.html').read_text()
  assert '<b>' not in text and '&lt;b&gt;$x$.png' in text
  made = sorted(path.name for path in tmp_path.glob('*.png'))
  assert made == ['001-b-x.png', '002-a.png', '003-photo.png']
  for name in made:
    with Image.open(tmp_path / name) as picture:
      assert picture.width == 864


def test_the_command_finds_what_excites_a_unit(command, place, tmp_path):
  args = ('--restore=runs/default', f'--output={tmp_path}')
  done = command(TOOL, *args, '--unit=conv3:3', cwd=place)
  assert done.returncode == 0, done.stderr
  *lines, path = done.stdout.splitlines()
  values = [float(line.split()[0]) for line in lines]
  assert len(lines) == 9 and values == sorted(values, reverse=True)
  assert all('embedded-val-' in line for line in lines)
  assert lines[0].split()[1] in (tmp_path / 'index.html').read_text()
  assert path == str(tmp_path / 'index.html')
  assert (tmp_path / 'conv3-3.png').exists()


@pytest.mark.parametrize(
  ('args', 'said'),
  [
    ([], 'no images: give their files after the flags'),
    (['--unit=conv3'], '--unit=conv3: give a layer and the number of a unit'),
    (['--unit=conv3:99'], 'no unit 99 in conv3: it has 48, counted from 0'),
    (['--unit=conv3:3', 'empty'], 'empty holds no images: give others'),
    (['empty'], 'empty holds no images: give others'),
    (['--class=cat', 'photo.jpg'], "no class 'cat': use"),
  ],
)
def test_mistakes_in_the_command(command, place, tmp_path, args, said):
  (place / 'empty').mkdir(exist_ok=True)
  flags = ('--restore=runs/default', f'--output={tmp_path}/out')
  done = command(TOOL, *flags, *args, cwd=place)
  assert done.returncode == 1 and said in done.stderr
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert not [*tmp_path.iterdir()]


def test_a_data_set_that_is_gone_is_said_to_be(command, place, tmp_path):
  net = alexnet_jax.load(place / 'runs/default')
  config = net.config.copy_and_resolve_references()
  config.data.update({'source': 'prepared', 'dir': str(tmp_path / 'gone')})
  file = tmp_path / 'net.safetensors'
  alexnet_jax.save(net.replace(config=config), file)
  done = command(TOOL, f'--restore={file}', '--unit=conv3:3', cwd=tmp_path)
  assert done.returncode == 1
  assert done.stderr == (
    f'error: the data set of the checkpoint is not at {tmp_path}/gone: give '
    '--data_dir, or images after the flags\n'
  )


def test_the_program_of_the_page_runs(place, monkeypatch):
  monkeypatch.chdir(place)
  (place / 'photos' / 'c.jpg').unlink()
  text = (pathlib.Path(__file__).parent.parent / 'docs/explain.md').read_text()
  programs = re.findall(r'```python\n(.*?)```', text, re.S)
  assert len(programs) == 2
  for program in programs:
    found = {}
    for own, here in (
      ('images=100', 'images=2'),
      ('places=7', 'places=1'),
      ('conv5', 'conv3'),
    ):
      program = program.replace(own, here)
    exec(program, found)
  assert found['shares'].own.shape == (2,)
  assert 0 < found['shares'].chance < 0.02


def test_views_of_maps():
  crop = np.full((4, 4, 3), 100, np.uint8)
  hot = views.heat(crop, np.array([[0.0, 2.0], [-2.0, 0.0]]), smooth=False)
  assert hot[0, 0].tolist() == [177] * 3  # pale: (100 + 255) / 2
  red, _, blue = hot[0, 3].tolist()
  assert red > 200 > blue  # orange speaks for the class
  red, _, blue = hot[3, 0].tolist()
  assert blue > 150 > red
  nothing = np.zeros((4, 4))
  assert (views.heat(crop, nothing, smooth=True) == 177).all()
  assert not views.brightness(nothing).any()
  assert (views.around_grey(np.zeros((4, 4, 3))) == 127).all()
  signs = views.around_grey(np.array([[[-2.0, 0.0, 2.0]]]))
  assert signs.tolist() == [[[0, 127, 255]]]
  ramp = views.brightness(np.arange(16.0).reshape(4, 4))
  assert ramp[0, 0, 0] == 0 and ramp[3, 3, 0] == 255
