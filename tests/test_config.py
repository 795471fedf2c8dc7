"""Configs: what is refused and how, and durations."""

import json
import re

import pytest

from alexnet_jax.config import durations, schema, validate
from alexnet_jax.configs import default, imagenet, smoke, source2012
from tests.golden import facts

SHIPPED = facts.CONFIGS.values()
REFUSED = [  # field, value, what the message must name
  ('batch_size', 0, 'from 1 to 65536'),
  ('num_epochs', 0, 'from 1 to 100000'),
  ('total_steps', 0, 'from 1 to 2147483647'),
  ('seed', -1, 'from 0 to 4294967295'),
  ('mesh.data', 3, 'multiple, such as 15'),
  ('mesh.column', 3, '2 columns'),
  ('grad_accumulation_steps', 3, 'use a divisor'),
  ('model.activation', 'rleu', "'relu' or 'tanh'"),
  ('model.columns', 0, 'from 1 to 1024'),
  ('model.dropout_rate', 1.0, '0 or more and below 1'),
  ('model.layer.conv2.kernels', 31, '2 columns cannot share'),
  ('model.layer.conv2.kernels', 0, 'from 1 to 1000000'),
  ('model.layer.conv2.stride', 0, 'from 1 to 4096'),
  ('model.layer.conv2.inputs', 'oun', "'own_column' or 'both_columns'"),
  ('model.layer.conv1.inputs', 'own_column', "use 'image'"),
  ('optim.decay.conv1', -1.0, 'number 0 or more'),
  ('model.layer.fc6.inputs', 'summed', "use 'own_column' or 'both_columns'"),
  ('model.layer.fc8.inputs', 'own_column', "use 'summed'"),
  ('model.lrn.alpha_of', 'average', "'sum' or 'mean'"),
  ('model.spatial_norm.size', 4, 'odd'),
  ('model.skip_layers', ('conv1',), 'use conv2, conv3'),
  ('model.skip_layers', ('conv9',), 'use conv2, conv3'),
  ('data.mean_at', 'center', "'crop' or 'centre'"),
  ('schedule.counts', 'steps', "'epochs' or 'fractions'"),
  ('schedule.bias', ((1.0, 1.0),), 'begin with 0'),
  ('schedule.bias', (), 'begin with 0'),
  ('schedule.kernel', ((0.0, 1.0), (9.0, 0.1), (5.0, 0.1)), 'rise'),
  ('schedule.kernel', ((0.0, -1.0),), 'factors of 0 or more'),
  ('schedule.layer.conv1.bias', (0.0, 1.0), 'pairs of a time'),
  ('schedule.kernel', ((0, 'fast'),), 'pairs of a time'),
  ('schedule.kernel', ((0.0, 1.0), (float('inf'), 0.1)), 'pairs of a time'),
  ('augment.colour_epochs', -1, 'number 0 or more'),
  ('model.layer.conv1.ops', ('poool',), 'use activation, lrn'),
  ('model.layer.conv1.ops', ('exchange',), 'use activation, lrn'),
  ('model.layer.fc6.ops', ('lrn',), 'use activation, dropout'),
  ('model.layer.conv2.padding', -1, 'from 0 to 4096'),
  ('model.layer.conv5.size', 9, 'a larger config.data.crop_size than 67'),
  ('data.crop_size', 20, 'a larger config.data.crop_size than 20'),
  ('health.probe_images', 1, 'number 2 or more'),
  ('model.lrn.n', 4, 'odd'),
  ('model.pool.stride', 4, '3 or less'),
  ('data.dir', '/data', '--config.data.source=prepared'),
  ('optim.learning_rate', -0.1, 'number 0 or more'),
  ('optim.momentum', float('nan'), '0 or more and below 1'),
  ('batch_scaling.rule', 'sqrt', "use '' or 'linear'"),
  ('batch_scaling.base_batch_size', 0, 'from 1 to 65536'),
  ('batch_scaling.warmup_epochs', -1.0, 'from 0 to 100000'),
  ('batch_scaling.warmup_epochs', 5.0, '--config.batch_scaling.rule=linear'),
  ('batch_scaling.trust_coefficient', 0.0, 'above 0'),
  ('plateau.factor', 1.0, 'above 0 and below 1'),
  ('plateau.min_improvement', 0.0, 'above 0'),
  ('data.source', 'imagenet', "'embedded' or 'prepared'"),
  ('data.crop_size', 81, 'use that or less'),
  ('eval.final_views', 5, '1 or 9 or 10'),
]


@pytest.mark.parametrize('config', SHIPPED)
def test_shipped_configs_pass(config):
  validate.check(config.get_config())


@pytest.mark.parametrize(('field', 'value', 'hint'), REFUSED)
def test_refuses_in_one_line_that_names_the_field(field, value, hint):
  config = smoke.get_config()
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError) as error:
    validate.check(config)
  text = str(error.value)
  shown = str(value[0] if field.endswith(('ops', 'skip_layers')) else value)
  assert hint in text and shown in text and '\n' not in text
  assert field.split('.')[-2 if 'layer' in field else -1] in text


@pytest.mark.parametrize(
  ('images', 'epochs', 'message'),
  [
    (
      64,
      5.0,
      '= 64, which is below config.batch_scaling.base_batch_size = 128',
    ),
    (256, 91.0, 'use config.num_epochs = 90 or less'),
    (256, 90.0, ''),
    (128, 5.0, ''),  # nothing to rise to, as in a sweep over sizes
  ],
)
def test_a_warm_up_rises_and_ends_within_the_run(images, epochs, message):
  config = imagenet.get_config()
  config.batch_size, config.batch_scaling.rule = images, 'linear'
  config.batch_scaling.warmup_epochs = epochs
  if not message:
    return validate.check(config)
  with pytest.raises(ValueError) as error:
    validate.check(config)
  text = str(error.value)
  assert message in text and f'warmup_epochs = {epochs}' in text
  assert '\n' not in text


def test_tables_in_fractions_of_the_run_end_with_it():
  config = source2012.get_config()
  config.schedule.counts = 'fractions'
  with pytest.raises(ValueError, match='use times below 1, the whole run'):
    validate.check(config)


def test_epochs_become_steps_rounded_up():
  config = imagenet.get_config()
  plan = durations.plan(config, train_images=1_281_167)
  assert plan.total_steps == 900_821  # 90 x 1281167 / 128 = 900820.5...
  config.total_steps = 60
  assert durations.plan(config, train_images=120).total_steps == 60


def test_epochs_end_where_their_last_image_is_seen():
  plan = durations.Plan(total_steps=9, images_per_epoch=10, batch_size=4)
  ends = [s for s in range(1, 10) if plan.epoch_ends(s, every_epochs=1)]
  assert ends == [3, 5, 8]  # images 12, 20 and 32
  ends = [s for s in range(1, 10) if plan.epoch_ends(s, every_epochs=2)]
  assert ends == [5]
  assert plan.epoch(5) == 2.0


def test_nearest_field_is_found_by_spelling_or_by_its_last_name():
  known = [name for name, _ in schema.leaves(default.get_config())]

  def nearest(path):
    return schema.nearest(path, known=known)

  assert nearest('optim.momentm') == ['optim.momentum']
  assert nearest('crop_size') == ['data.crop_size']
  assert 'optim.learning_rate' in nearest('optim.lr')
  assert 'batch_size' in nearest('zzz')


@pytest.mark.parametrize('config', SHIPPED)
def test_every_field_of_a_config_has_a_rule_and_no_other_has(config):
  shipped = {name for name, _ in schema.leaves(config.get_config())}
  assert shipped == set(schema.FIELDS)


def test_more_steps_than_can_be_counted_are_refused():
  config = imagenet.get_config()
  config.num_epochs, config.batch_size = 100_000, 1
  with pytest.raises(ValueError, match=r'128,116,700,000 steps.*use fewer'):
    durations.plan(config, train_images=1_281_167)


@pytest.mark.parametrize(
  'old, value, advice',
  [
    ('model.leave_out', (), 'use config.model.skip_layers'),
    ('model.layer.conv2.then', (), 'use config.model.layer.conv2.ops'),
    (
      'model.layer.conv2.sees',
      'own',
      'inputs, its new name (own is own_column',
    ),
  ],
)
def test_an_old_name_costs_one_line_with_the_new_one(old, value, advice):
  config = smoke.get_config()
  section, name = old.rsplit('.', 1)
  schema.get(config, section)[name] = value
  with pytest.raises(ValueError, match=re.escape(advice)) as error:
    validate.check(config)
  assert '\n' not in str(error.value)


def test_a_config_of_an_old_run_is_read_with_the_names_of_today():
  today = json.loads(json.dumps(default.get_config().to_dict()))
  old = json.loads(json.dumps(today))
  inputs = {'own_column': 'own', 'both_columns': 'both', 'summed': 'parts'}
  old['model']['leave_out'] = old['model'].pop('skip_layers')
  for layer in old['model']['layer'].values():
    name = layer.pop('inputs')
    layer['sees'], layer['then'] = inputs.get(name, name), layer.pop('ops')
  assert schema.upgrade(old) == schema.upgrade(today) == today
  config = schema.Config(schema.from_json(schema.upgrade(old)))
  validate.check(config)
  assert config.model.layer.conv1.ops == ('activation', 'lrn', 'pool')


def test_fields_added_since_an_old_run_do_what_it_did():
  today = json.loads(json.dumps(default.get_config().to_dict()))
  old = json.loads(json.dumps(today))
  for field in ('dropout_scaling', 'rounding'):
    del old['model'][field]
  del old['model']['lrn']['across_columns']
  for field in ('channel_stddevs', 'resize'):
    del old['data'][field]
  for field in ('kernels', *schema.FORMS):
    del old[field]
  as_then = {'kernels': 'xla', 'native_bfloat16': False, 'winograd': False}
  assert schema.upgrade(old) == today | as_then


@pytest.mark.parametrize(
  'damaged', [{}, {'model': 3}, {'data': [], 'model': 3}]
)
def test_what_is_no_config_passes_unchanged(damaged):
  assert schema.upgrade(damaged) == damaged


def test_a_damaged_config_keeps_what_is_wrong_with_it():
  upgraded = schema.upgrade({'model': {'layer': [], 'lrn': 3}, 'data': ''})
  assert upgraded['model'].items() >= {'layer': [], 'lrn': 3}.items()
  assert upgraded['data'] == ''
