"""What is said before and during a run that may not learn."""

import math

import numpy as np
import pytest

from alexnet_jax import setup as setup_lib
from alexnet_jax.steps import evaluate
from alexnet_jax.train import health
from tests import nets

RGB = np.array([123.7, 116.8, 103.9], np.float32)


def _mean(pixel=RGB):
  return np.broadcast_to(np.asarray(pixel, np.float32), (9, 9, 3)).copy()


def _images(seed=0):
  """Crops whose red is above blue, as in photographs."""
  rng = np.random.default_rng(seed)
  noise = rng.normal(0, 40, (4, 8, 8, 3))
  return np.clip(RGB + noise, 0, 255).astype(np.uint8)


def test_nothing_is_said_of_photographs():
  assert health.input_warnings(_images(), mean_image=_mean()) == []


@pytest.mark.parametrize(
  ('images', 'mean', 'said'),
  [
    (_images() / np.float32(255), _mean(), 'look like 0-1'),
    (_images() / np.float32(255), _mean(RGB / 255), 'look like 0-1'),
    ((_images() - RGB) / 58, _mean(), 'look standardised'),
    (_images(), _mean(RGB / 255), 'mean image is at most'),
    (_images(), _mean(RGB[::-1]), 'in BGR order; images here are RGB'),
    (_images()[..., ::-1], _mean(), 'one of them is in BGR order'),
  ],
)
def test_input_on_another_scale_or_order_is_named(images, mean, said):
  warnings = health.input_warnings(images, mean_image=mean)
  assert any(said in w for w in warnings)
  assert all(w.startswith('warning: ') for w in warnings)


def _moments(x, *, rows=1):
  """Of images [N, units], as that many rows of devices would see them."""
  parts = x.reshape(rows, -1, x.shape[-1])
  mean = parts.mean(axis=1)
  squares = ((parts - mean[:, None]) ** 2).sum(axis=1)
  return evaluate.Moments(mean, squares, (parts > 0).sum(axis=1))


def test_rows_of_devices_add_up():
  x = np.random.default_rng(0).normal(size=(12, 5)) - 1
  reports = [
    health.summarise(
      {'fc6/activation': _moments(x, rows=rows)}, images=12, rectified=True
    )
    for rows in (1, 2, 6)
  ]
  for report in reports:
    np.testing.assert_allclose(report.rows[0].stddev, x.std(axis=0).mean())
    assert report.rows[0].dead == reports[0].rows[0].dead


def test_rows_by_hand():
  x = np.array([[0.0, 2.0, -1.0], [0.0, 4.0, -3.0]])
  stages = {
    'fc6': _moments(x),
    'fc6/activation': _moments(np.maximum(x, 0)),
    'fc8': _moments(x),
  }
  report = health.summarise(stages, images=2, rectified=True)
  stds = [(0 + 1 + 1) / 3, (0 + 1 + 0) / 3, 2 / 3]
  np.testing.assert_allclose([r.stddev for r in report.rows], stds)
  assert [r.dead for r in report.rows] == [None, 2 / 3, None]
  lines = health.describe(report, minimum=0.5).split('\n')
  assert 'on 2 images' in lines[0] and '66.7%' in lines[2]
  assert [line.split()[-1] for line in lines[2:4]] == ['bad', 'good']
  assert '0.5 or more' in lines[4] and len(lines) == 5
  weak = health.describe(report, minimum=0.7).split('\n')
  assert weak[3].endswith('bad')
  assert max(map(len, lines)) < 80
  tanh = health.summarise(stages, images=2, rectified=False)
  assert [r.dead for r in tanh.rows] == [None] * 3


def test_a_weak_signal_is_named_with_its_causes():
  report = health.summarise(
    {'fc8': _moments(np.array([[0.0], [0.001]]))}, images=2, rectified=True
  )
  assert health.signal_warning(report, minimum=0.0005) == ''
  text = health.signal_warning(report, minimum=0.002)
  assert '0.0005' in text and 'config.health.min_signal = 0.002' in text
  assert '0-255' in text and 'stddev' in text and '\n' not in text


@pytest.mark.parametrize('mesh', [(1, 1), (2, 2)])
def test_probe_sees_what_the_network_computes(mesh):
  data, column = mesh
  config = nets.config(data=data, column=column)
  config.data.embedded_train_images = 12
  setup = setup_lib.set_up(config)
  variables = setup.programs.init().variables
  report = health.probe(setup, variables=variables, batch=nets.batch())
  assert report.images == nets.BATCH
  assert [r.stage for r in report.rows][:2] == ['conv1', 'conv1/activation']
  one = setup_lib.set_up(nets.config())
  alone = health.probe(
    one, variables=one.programs.init().variables, batch=nets.batch()
  )
  for row, same in zip(report.rows, alone.rows, strict=True):
    np.testing.assert_allclose(row.stddev, same.stddev, rtol=1e-3, atol=1e-7)
    assert row.dead == same.dead
  assert 0 < report.rows[0].stddev < 100


def _said(losses, *, steps=300, width=1):
  """Which lines, of `width` steps each, a watch says something at."""
  watch = health.LossWatch(classes=10, steps=steps, tolerance=0.01)
  texts = [watch.see(float(loss), steps=width) for loss in losses]
  return [(line + 1, text) for line, text in enumerate(texts) if text]


@pytest.mark.parametrize('width', [1, 20])
def test_a_noisy_loss_at_chance_is_named_once(width):
  rng = np.random.default_rng(0)
  losses = math.log(10) + rng.normal(0, 0.2 / math.sqrt(width), 1000)
  ((line, text),) = _said(losses, width=width)
  assert line * width == 300
  assert 'over 300 steps, is no better than chance, ln(10) = 2.303' in text
  assert '--config=source2012' in text and '\n' not in text


def test_a_loss_above_chance_is_named_too():
  assert len(_said([2.55] * 1000)) == 1


def test_a_loss_that_falls_is_left_alone():
  assert not _said(np.linspace(2.5, 1.0, 1000))
  assert not _said([2.303] * 250 + [1.5] * 1000)


def test_a_loss_that_rises_again_to_chance_is_named():
  assert [line for line, _ in _said([0.5] * 1000 + [2.4] * 1000)] != []


def test_one_image_says_nothing_of_the_signal():
  report = health.summarise(
    {'fc8': _moments(np.array([[1.0]]))}, images=1, rectified=True
  )
  assert health.signal_warning(report, minimum=0.002) == ''


def test_a_few_bluish_images_are_no_sign_of_bgr():
  rng = np.random.default_rng(3)
  tint = rng.normal(0, 40, (8, 1, 1, 1)) * np.array([1, 0, -1])
  images = np.clip(
    120 - np.array([10, 0, -10]) + tint + np.zeros((8, 8, 8, 3)), 0, 255
  ).astype(np.uint8)
  assert images[..., 0].mean() < images[..., 2].mean()
  assert health.input_warnings(images, mean_image=_mean()) == []
