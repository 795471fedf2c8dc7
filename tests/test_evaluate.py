"""Error rates: each image once, whatever the devices."""

import math

import pytest

from alexnet_jax import evaluate
from alexnet_jax import run as run_lib
from tests import nets


def _errors(*, data, column, views=1):
  config = nets.config(data=data, column=column)
  config.eval.batch_size = 32
  config.data.embedded_train_images = 12
  config.data.embedded_val_images = 57  # 32 + 25
  setup = run_lib.set_up(config)
  params = setup.programs.init().params
  return evaluate.error_rates(setup, params=params, views=views)


@pytest.mark.parametrize(('data', 'column'), [(1, 2), (2, 1), (4, 1), (2, 2)])
def test_57_images_count_57_and_err_alike_on_1_2_and_4_devices(data, column):
  alone = _errors(data=1, column=1)
  here = _errors(data=data, column=column)
  assert here.num_images == alone.num_images == 57
  assert here.top1_error == alone.top1_error
  assert here.top5_error == alone.top5_error
  assert math.isclose(here.loss, alone.loss, rel_tol=1e-6)
