"""Parts of a minibatch and forms of products, chosen by a measurement."""

import json

import jax
import pytest

from alexnet_jax import setup as setup_lib
from alexnet_jax import train
from alexnet_jax.config import durations
from alexnet_jax.configs import default
from alexnet_jax.evaluate import load
from alexnet_jax.parallel import mesh as mesh_lib
from alexnet_jax.steps import measure
from alexnet_jax.train import run
from tests import nets, test_train
from tests.faults import runs


@pytest.fixture
def cache(tmp_path):
  """A folder of compiled programs that is empty."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', str(tmp_path))
  yield tmp_path
  jax.config.update('jax_compilation_cache_dir', before)


def _config(batch_size=16, **kwargs):
  config = nets.config(short=True, **kwargs)
  config.batch_size = batch_size
  config.grad_accumulation_steps, config.winograd = None, False
  return config


def _choose(config, *, steps=10, **kwargs):
  setup = setup_lib.set_up(config)
  told = []
  found = measure.choose(
    setup.config,
    mesh=setup.mesh,
    plan=durations.Plan(steps, 100, config.batch_size),
    inputs=measure.Inputs(
      setup.mean_image, lambda: setup_lib.blank_batch(setup)
    ),
    tell=told.append,
    **kwargs,
  )
  return found, told


def _parts(config, **kwargs):
  found, told = _choose(config, **kwargs)
  return found['grad_accumulation_steps'], told


def _file(setup, field='grad_accumulation_steps'):
  config = setup.config.copy_and_resolve_references()
  config.native_bfloat16 = False
  return measure._file(config, field, mesh=setup.mesh)


def _kept(cache):
  (file,) = cache.glob('measured-*.json')
  return file


def test_it_is_measured_once_and_kept(cache):
  found, (begun, line) = _parts(_config(column=2), always=True)
  assert begun.startswith('measuring once which config.grad_accumulation_steps')
  seconds = json.loads(_kept(cache).read_text())
  assert list(seconds) == ['1', '2'] and all(seconds.values())
  assert found == (2 if seconds['2'] < 0.97 * seconds['1'] else 1)
  assert line.endswith(f'; it is set to {found}')
  for fastest, times in ((2, {1: 3.0, 2: 2.0}), (1, {1: 2.0, 2: 1.99})):
    _kept(cache).write_text(json.dumps(times))
    assert _parts(_config(column=2)) == (fastest, [])


def test_the_first_step_of_each_compiles_and_is_not_counted():
  """The median of the others counts: other work may disturb one of them."""
  first, second, third = [4, 4, 4, 9], [9, 3, 3, 3], [2, 9, 4, 4]
  taken = {1: [0, *first], 2: [0, *second, 0, *[3] * 4], 4: [0, *third]}
  found = measure.in_turns((1, 2, 4, 8), lambda n: float(taken[n].pop(0)))
  assert found == {1: 4, 2: 3, 4: 4}


@pytest.mark.parametrize(
  ('images', 'data', 'parts'),
  [(128, 1, 4), (32, 1, 1), (512, 1, 8), (128, 2, 2), (100, 1, 4), (34, 1, 2)],
)
def test_other_fields_are_measured_in_parts_of_32_images(images, data, parts):
  config = _config(batch_size=images, data=data)
  mesh = mesh_lib.create(data=data, column=1)
  made = measure._in_usual_parts(config, mesh=mesh)
  assert made.grad_accumulation_steps == parts
  config.grad_accumulation_steps = 1  # pinned
  assert measure._in_usual_parts(config, mesh=mesh) == config


@pytest.mark.parametrize(
  ('images', 'able'),
  [(128, (2, 4, 8)), (32, (1, 2, 4)), (64, (1, 2, 4, 8)), (1024, (1, 2, 4, 8))],
)
def test_parts_have_8_to_64_images_if_there_are_such(images, able):
  config, mesh = _config(batch_size=images), mesh_lib.create(data=1, column=1)
  field = 'grad_accumulation_steps'
  assert measure._candidates(config, field, mesh=mesh) == able
  assert _parts(config, steps=1)[0] == 1  # not measured


@pytest.mark.parametrize('content', ['', '{"2": 1.0}', '[]', '{"1": "x"}'])
def test_a_damaged_choice_is_none(cache, content):
  setup = setup_lib.set_up(_config())
  file = _file(setup)
  file.write_text(content)
  assert _parts(_config()) == (1, [])
  file.write_text('{"1": 3.0, "2": 2.0}')
  assert _parts(_config()) == (2, [])


def test_another_minibatch_has_a_choice_of_its_own(cache):
  setup = setup_lib.set_up(_config())
  _file(setup).write_text('{"1": 3, "2": 2}')
  assert _parts(_config())[0] == 2
  assert _parts(_config(batch_size=32))[0] == 1


def test_a_long_run_is_worth_it(cache):
  assert _parts(_config(column=2))[0] == 1 and not [*cache.glob('measured-*')]
  assert _parts(_config(column=2), steps=10**8)[1]


@pytest.mark.parametrize(
  ('field', 'dtype'), [('native_bfloat16', 'bfloat16'), ('winograd', 'float32')]
)
def test_a_form_is_used_where_it_is_faster(cache, field, dtype):
  config = _config(batch_size=8, column=2)
  config.dtype, config[field] = dtype, None
  assert _choose(config)[0][field] is False  # a short run
  found, (_, line) = _choose(config, always=True)
  assert list(json.loads(_kept(cache).read_text())) == ['False', 'True']
  assert line.endswith(f'; it is set to {found[field]}')
  for faster in (False, True):
    times = {'False': 2.0, 'True': 1.0 if faster else 3.0}
    _kept(cache).write_text(json.dumps(times))
    assert _choose(config)[0][field] is faster
    config[field] = not faster  # pinned
    assert field not in _choose(config)[0]
    config[field] = None


@pytest.mark.usefixtures('cache')
def test_float32_is_not_multiplied_as_bfloat16():
  config = _config(batch_size=8, column=2)
  found, lines = _choose(config, always=True)
  assert (found['native_bfloat16'], lines) == (False, [])


@pytest.mark.usefixtures('cache')
def test_an_old_run_goes_on_without_winograds_algorithm(tmp_path, monkeypatch):
  setup = setup_lib.set_up(test_train._config(winograd=None))
  seconds = {False: 2.0, True: 1.0}
  monkeypatch.setattr(measure, '_WORTH', 0)
  monkeypatch.setattr(measure, '_measure', lambda *_, **__: seconds)

  def chosen():
    return run._as_measured(setup, workdir=tmp_path).config.winograd

  assert chosen() is True
  old = setup.config.to_dict()
  del old['winograd']
  (tmp_path / 'config.json').write_text(json.dumps(old))
  assert chosen() is False


def test_an_evaluation_takes_the_forms_of_the_run(tmp_path):
  config = default.get_config()
  trained = config.copy_and_resolve_references()
  trained.winograd, trained.grad_accumulation_steps = True, 4
  meta = {'config': json.loads(json.dumps(trained.to_dict()))}

  def used(config):
    return load._with_network(config, meta, typed=(), path=tmp_path)

  assert used(config).winograd is True
  assert used(config).grad_accumulation_steps is None  # of training alone
  config.winograd = False
  assert used(config).winograd is False


@pytest.mark.usefixtures('cache')
def test_few_images_are_not_divided():
  assert _parts(_config(batch_size=8), always=True) == (1, [])
  assert _parts(_config(data=2), always=True) == (1, [])


def test_a_run_keeps_what_it_began_with(tmp_path, capsys):
  whole, stopped = tmp_path / 'whole', tmp_path / 'stopped'
  two = {'grad_accumulation_steps': 2}
  train.train(test_train._config(**two), workdir=whole)
  train.train(test_train._config(total_steps=4, **two), workdir=stopped)
  capsys.readouterr()
  auto = test_train._config()
  assert auto.grad_accumulation_steps is None
  train.train(auto, workdir=stopped)
  assert runs.lines(stopped)[-1]['loss'] == runs.lines(whole)[-1]['loss']
  config = json.loads((stopped / 'config.json').read_text())
  assert config['grad_accumulation_steps'] == 2
  assert 'grad_accumulation_steps was' not in capsys.readouterr().out


def test_a_short_run_takes_minibatches_whole(tmp_path):
  train.train(test_train._config(total_steps=1), workdir=tmp_path)
  config = json.loads((tmp_path / 'config.json').read_text())
  assert config['grad_accumulation_steps'] == 1


@pytest.mark.parametrize('given', ['auto', 'None', '4'])
def test_the_flag_takes_a_number_or_auto(command, given):
  words = ('--config=configs/smoke.py', '--mode=summary')
  flag = f'--config.grad_accumulation_steps={given}'
  done = command('alexnet_jax.main', *words, flag)
  assert (done.returncode, done.stderr) == (0, '')
