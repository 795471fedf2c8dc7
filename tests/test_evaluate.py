"""Error rates: each image once, whatever the devices; numpy finds the same."""

import math
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import setup as setup_lib
from alexnet_jax.evaluate import predict
from alexnet_jax.models import alexnet
from tests import nets, saved

_REAL = pathlib.Path(os.environ.get('ALEXNET_JAX_TEST_DATA', '/nowhere'))


def _setup(*, data=1, column=1, **fields):
  config = nets.config(data=data, column=column, short=True)
  config.eval.batch_size = 32
  config.data.embedded_train_images = 12
  config.data.embedded_val_images = 57  # 32 + 25
  config.update_from_flattened_dict(fields)
  return setup_lib.set_up(config)


def _predict(setup, *, views=1):
  state = saved.decided(setup.programs.init())
  return predict.predict(setup, variables=state.variables, views=views)


def _same(one, other):
  assert one.names == other.names
  assert one.errors.num_images == other.errors.num_images == 57
  assert one.errors.top1_error == other.errors.top1_error
  assert one.errors.top5_error == other.errors.top5_error
  assert math.isclose(one.errors.loss, other.errors.loss, rel_tol=1e-5)


@pytest.mark.parametrize(('data', 'column'), [(1, 2), (2, 1), (4, 1), (2, 2)])
def test_57_images_count_57_and_err_alike_on_1_2_and_4_devices(data, column):
  _same(_predict(_setup()), _predict(_setup(data=data, column=column)))


def test_57_real_images_count_once_on_1_and_2_devices(command, tmp_path):
  source = _REAL / 'ilsvrc2012-mini'
  if not source.is_dir():
    pytest.skip('ALEXNET_JAX_TEST_DATA has no ilsvrc2012-mini')
  args = f'--source={source}', f'--output={tmp_path}/out', '--image_size=80'
  done = command('alexnet_jax.tools.prepare', *args)
  assert done.returncode == 0, done.stderr
  data = {
    'data.source': 'prepared',
    'data.dir': str(tmp_path / 'out'),
    'model.num_classes': 1000,
  }
  alone = _predict(_setup(**data))
  assert len(set(alone.names)) == 57 and 'val_00000001' in alone.names[0]
  _same(alone, _predict(_setup(column=2, **data)))
  _same(alone, _predict(_setup(data=2, **data)))


def _views(image):
  """Crops of 67 x 67 of an image of 80 x 80, by hand, at nine places.

  And the mirror images of the first five: the ten of §4.1 but for four.
  """
  corners = [(0, 0), (0, 13), (13, 0), (13, 13), (6, 6)]
  edges = [(0, 6), (6, 0), (6, 13), (13, 6)]
  crops = [image[y : y + 67, x : x + 67] for y, x in corners + edges]
  return crops + [crop[:, ::-1] for crop in crops[:5]]


def _logits(setup, params):
  """Of each view of each validation image, by the whole net on one device."""
  model = alexnet.create(setup.config.model, columns_here=2)
  apply = jax.jit(alexnet.whole(lambda p, x: model.apply({'params': p}, x)[0]))
  mean = np.asarray(setup.dataset.mean_image)
  images = [setup.dataset.val[i].image - mean for i in range(57)]
  views = np.array([_views(image) for image in images], np.float32)
  return np.asarray(
    apply(jax.device_get(params), jnp.asarray(views.reshape(-1, 67, 67, 3)))
  ).reshape(57, 14, -1)


def _softmax(logits):
  e = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return e / e.sum(axis=-1, keepdims=True)


def test_numpy_finds_the_same_errors_from_the_logits():
  setup = _setup(column=2)
  state = saved.decided(setup.programs.init())
  logits = _logits(setup, state.params).astype(np.float64)
  labels = np.array([setup.dataset.val[i].label for i in range(57)])
  for views, p in (
    (1, _softmax(logits[:, 4])),
    (9, _softmax(logits[:, :9]).mean(axis=1)),
    (10, np.delete(_softmax(logits), range(5, 9), axis=1).mean(axis=1)),
  ):
    found = predict.predict(setup, variables=state.variables, views=views)
    best = np.argsort(-p, axis=1, kind='stable')
    right = best == labels[:, None]
    assert found.errors.top1_error == np.mean(~right[:, :1].any(axis=1))
    assert found.errors.top5_error == np.mean(~right[:, :5].any(axis=1))
    loss = -np.log(p[np.arange(57), labels]).mean()
    np.testing.assert_allclose(found.errors.loss, loss, rtol=1e-4)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.probabilities, p, atol=1e-4)
    assert 0.2 < found.errors.top5_error < found.errors.top1_error
