"""The shipped configs against what the paper prints (PAPER.md's tables)."""

import pytest

from alexnet_jax import paper
from alexnet_jax.config import ablations
from alexnet_jax.configs import default, imagenet
from alexnet_jax.models import summary

# name: (weights, biases, multiply-adds), worked out by hand from §3.5
BY_HAND = {
  'conv1': (11 * 11 * 3 * 96, 96, 105_415_200),
  'conv2': (5 * 5 * 48 * 256, 256, 223_948_800),
  'conv3': (3 * 3 * 256 * 384, 384, 149_520_384),
  'conv4': (3 * 3 * 192 * 384, 384, 112_140_288),
  'conv5': (3 * 3 * 192 * 256, 256, 74_760_192),
  'fc6': (9216 * 4096, 4096, 37_748_736),
  'fc7': (4096 * 4096, 4096, 16_777_216),
  'fc8': (4096 * 1000, 1000, 4_096_000),
}
NEURONS = [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]


@pytest.fixture(scope='module')
def rows():
  return summary.layers(default.get_config().model, crop_size=224)


def test_each_layer_has_the_sizes_of_section_3_5(rows):
  assert [row.name for row in rows] == list(BY_HAND)
  for row in rows:
    weights, biases, multiply_adds = BY_HAND[row.name]
    assert row.parameters == weights + biases, row.name
    assert row.multiply_adds == multiply_adds, row.name


def test_totals(rows):
  assert sum(row.parameters for row in rows) == 60_965_224 == paper.PARAMETERS
  assert [row.neurons for row in rows] == NEURONS
  assert sum(NEURONS) == paper.NEURONS
  assert sum(r.multiply_adds for r in rows) == 724_406_816
  assert paper.MULTIPLY_ADDS == 724_406_816


def test_maps_after_pooling(rows):
  after = {row.name: row.after for row in rows}
  assert after['conv1'] == (27, 27, 96)
  assert after['conv2'] == (13, 13, 256)
  assert after['conv5'] == (6, 6, 256)


def test_crops_of_227_give_the_same_maps():
  rows = summary.layers(default.get_config().model, crop_size=227)
  assert rows[0].output == (55, 55, 96)


def test_sixth_convolutional_layer_adds_its_parameters():
  config = default.get_config()
  config.model.conv6 = True
  rows = summary.layers(config.model, crop_size=224)
  assert sum(row.parameters for row in rows) == 61_555_304


def test_table_puts_the_papers_numbers_beside_ours():
  text = summary.table(default.get_config().model, crop_size=224)
  assert '60,965,224' in text and '253,440' in text and '55x55x48' in text


def test_imagenet_config_is_the_procedure_of_section_5():
  config = imagenet.get_config()
  assert config.batch_size == 128
  assert config.num_epochs == 90
  assert config.total_steps is None
  optim = config.optim.to_dict()
  assert set(optim.pop('decay').values()) == {1.0}  # one decay for all layers
  assert optim == {
    'learning_rate': 0.01,
    'momentum': 0.9,
    'weight_decay': 0.0005,
    'decay_biases': False,
  }
  layers = config.model.layer
  assert {n for n in layers if n != 'conv6' and layers[n].bias == 1} == {
    'conv2', 'conv4', 'conv5', 'fc6', 'fc7'
  }  # fmt: skip
  assert {layers[n].stddev for n in layers if n != 'conv6'} == {0.01}


def test_the_centre_crop_is_in_section_6():
  """Footnote 5: 39.0 and 18.3 %; §4.1 has no number."""
  assert '§6: 39.0 / 18.3' in ablations.ABLATIONS['single_view'].effect
