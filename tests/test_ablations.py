"""Ablations: what they do to the network, and which go together."""

import itertools

import jax
import numpy as np
import pytest

from alexnet_jax.config import ablations, schema, validate
from alexnet_jax.configs import default, source2012
from alexnet_jax.models import alexnet, summary
from tests import nets

# Worked out by hand from the shapes of §3.5.
PARAMETERS = {
  'one_gpu_half': 59_798_312,
  'ungrouped': 62_378_344,
  # conv2 320 x (5 x 5 x 48 + 1), conv3 384 x (9 x 160 + 1), fc6 from 4608 to
  # 4096 a column, fc7 from 4096 to 2048 a column.
  'no_exchange': 34_944 + 384_320 + 553_344 + 663_936 + 442_624
  + 8192 * 4609 + 4096 * 4097 + 4_097_000,
  # conv3 sees 96 maps.
  'no_conv2': 60_965_224 - 307_456 - 384 * 9 * (256 - 96),
  # conv4 sees the 256 maps of both columns.
  'no_conv3': 60_965_224 - 885_120 + 384 * 9 * (256 - 192),
  'no_conv4': 60_965_224 - 663_936,
  # fc6 sees 6 x 6 x 384.
  'no_conv5': 60_965_224 - 442_624 + 36 * (384 - 256) * 4096,
}  # fmt: skip


def _ablated(*names, base=default):
  config = base.get_config()
  ablations.apply(config, names)
  validate.check(config)
  return config


@pytest.mark.parametrize('name', ablations.ABLATIONS)
def test_parameters_at_full_width(name):
  rows = summary.layers(_ablated(name).model, crop_size=224)
  expected = PARAMETERS.get(name, 60_965_224)
  assert sum(row.parameters for row in rows) == expected


@pytest.mark.parametrize('name', ablations.ABLATIONS)
def test_both_presets_can_be_ablated(name):
  for base in (default, source2012):
    before, after = base.get_config(), _ablated(name, base=base)
    changed = {
      field
      for (field, a), (_, b) in zip(
        schema.leaves(before), schema.leaves(after), strict=True
      )
      if a != b
    }
    assert changed > {'ablations'}
    assert after.ablations == (name,)


@pytest.mark.parametrize(
  'pair', list(itertools.combinations(ablations.ABLATIONS, 2)), ids='-'.join
)
def test_any_two_are_refused_or_give_maps_of_the_papers_sizes(pair):
  try:
    config = _ablated(*pair)
  except ValueError:
    return
  rows = summary.layers(config.model, crop_size=224)
  inputs = {row.name: row.input[:-1] for row in rows}
  assert inputs['fc6'] == (6, 6)
  assert inputs.get('conv3', inputs.get('conv4')) == (13, 13)


def test_sizes_meet_without_overlap_and_without_layers():
  def after(name):
    rows = summary.layers(_ablated(name).model, crop_size=224)
    return {row.name: row for row in rows}

  assert after('no_overlap')['conv3'].input == (13, 13, 256)
  assert after('no_overlap')['fc6'].input == (6, 6, 256)
  assert after('no_conv2')['conv3'].input == (13, 13, 96)
  assert after('no_conv5')['fc6'].input == (6, 6, 384)


@pytest.mark.parametrize('name', ['no_exchange', 'ungrouped'])
def test_one_device_and_two_columns_agree(name):
  losses = []
  for column in (1, 2):
    config = nets.config(data=1, column=column)
    ablations.apply(config, [name])
    config.model.skip_layers = ('conv4', 'conv5', 'fc6')  # as conv2 and fc7
    losses.append(nets.Trained(config, num_steps=2).losses)
  np.testing.assert_allclose(*losses, rtol=1e-5)


def test_no_exchange_keeps_columns_apart_up_to_fc8():
  config = nets.config()
  ablations.apply(config, ['no_exchange'])
  params = alexnet.initialise(config.model, jax.random.key(0), crop_size=67)
  model = alexnet.create(config.model, columns_here=2)
  images = jax.random.normal(jax.random.key(1), (2, 67, 67, 3)) * 50

  def activations(params):
    call = alexnet.whole(lambda p: model.apply({'params': p}, images)[1])
    return jax.device_get(jax.jit(call)(params))

  before = activations(params)
  kernel = np.array(params['conv1']['kernel'])
  kernel[..., : kernel.shape[-1] // 2] *= 99
  louder = {'kernel': kernel}
  after = activations(params | {'conv1': params['conv1'] | louder})
  for name in ('conv3', 'conv5/pool', 'fc6', 'fc7'):
    k = before[name].shape[-1] // 2
    np.testing.assert_array_equal(before[name][..., k:], after[name][..., k:])
    assert (before[name][..., :k] != after[name][..., :k]).any(), name
  assert (before['fc8'] != after['fc8']).any()


def test_no_lrn_takes_every_norm_out_of_both_presets():
  for base in (default, source2012):
    stages = alexnet.stages(_ablated('no_lrn', base=base).model)
    assert not any('norm' in s or 'lrn' in s for s in stages)


@pytest.mark.parametrize(
  ('names', 'said'),
  [
    (['one_gpu_half', 'ungrouped'], 'both change which column sees which'),
    (['no_exchange', 'tanh', 'ungrouped'], '--ablation=no_exchange and'),
    (['no_conv2', 'no_conv4'], 'the number of layers'),
    (['no_overlap', 'no_conv5'], 'the sizes of maps'),
    (['no_conv2', 'no_overlap'], 'the sizes of maps'),
    (['tanh', 'tanh'], '--ablation=tanh is given twice'),
    (['no_lnr'], 'there is no_lrn'),
    (['no_lrn,tanh'], 'the flag can be repeated'),
  ],
)
def test_what_cannot_go_together_is_refused(names, said):
  with pytest.raises(ValueError) as error:
    ablations.apply(default.get_config(), names)
  assert said in str(error.value) and '\n' not in str(error.value)


def test_order_does_not_matter():
  names = ['no_exchange', 'no_conv3', 'no_lrn', 'no_overlap']
  one, other = _ablated(*names), _ablated(*reversed(names))
  del one.ablations, other.ablations
  assert one == other
