"""Fine-tuning against training from scratch, on halves of the classes."""

import doctest
import json

import pytest

from alexnet_jax.configs import transfer as config_file
from alexnet_jax.studies import transfer
from alexnet_jax.train import log as log_lib
from tests import commands, nets


def _config(**fields):
  config = config_file.get_config()
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


def test_examples():
  assert doctest.testmod(transfer).failed == 0


def test_a_seed_trains_three_networks_and_only_once(tmp_path, capsys):
  tiny = {'total_steps': 3, 'data.embedded_train_images': 96}
  tiny['model.skip_layers'] = nets.SKIPPED
  config = _config(**tiny, **{'data.embedded_val_images': 20})
  arguments = {'output': tmp_path, 'seeds': [4], 'error': 1.0}
  (row,) = transfer.train_seeds(config, **arguments)
  assert row == transfer.SeedResult(4, 3, 3)  # any error is good enough
  log = tmp_path / 'seed-4/tuned.log'
  assert f'seed 4, tuned: 3; {log}' in capsys.readouterr().out
  said = log.read_text()
  assert said.count(' afresh') == 1
  assert f'conv3, fc7 of {tmp_path}/seed-4/pretrained' in said
  kept = {
    name: json.loads((tmp_path / 'seed-4' / name / 'config.json').read_text())
    for name in ('pretrained', 'scratch', 'tuned')
  }
  classes = [c['data']['embedded_classes'] for c in kept.values()]
  assert classes == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [5, 6, 7, 8, 9]]
  assert [c['seed'] for c in kept.values()] == [4, 4, 4]
  assert transfer.train_seeds(config, **arguments) == [row]
  assert log.read_text().count('done already') == 1
  (never,) = transfer.train_seeds(config, **(arguments | {'error': -1.0}))
  assert never == transfer.SeedResult(4, None, None)


def _evaluations(*errors, every=3):
  made = []
  for number, error in enumerate(errors, start=1):
    step = every * number
    line = {'step': step, 'epoch': 1.0, 'time': 1.0, 'loss': 1.0}
    line |= {'top5_error': 0.0, 'learning_rate': 0.01}
    made.append(line | {'split': 'train', 'top1_error': 0.0})
    line |= {'views': 1, 'num_images': 100}
    made.append(line | {'split': 'val', 'top1_error': error})
  return made


@pytest.mark.parametrize(
  ('errors', 'step'),
  [
    ((0.8, 0.4, 0.1, 0.2, 0.0), 9),  # the first, though it rises again
    ((0.05,), 3),
    ((0.8, 0.11), None),
    ((), None),
  ],
)
def test_the_first_evaluation_that_is_good_enough(tmp_path, errors, step):
  path = tmp_path / 'metrics.jsonl'
  lines = map(json.dumps, _evaluations(*errors))
  path.write_text(''.join(f'{line}\n' for line in lines))
  records = log_lib.read_metrics(path)
  assert transfer.first_step(records, error=0.1) == step


def test_steps_between_evaluations():
  config = _config(**{'data.embedded_train_images': 100, 'batch_size': 32})
  assert transfer.resolution(config) == 4


def test_a_run_that_did_not_reach_the_error_affects_its_row_alone():
  rows = [transfer.SeedResult(0, 30, 10), transfer.SeedResult(1, None, 20)]
  rows += [transfer.SeedResult(2, 40, None), transfer.SeedResult(3, None, None)]
  told = transfer.describe(rows, error=0.1, most_steps=60, every=3)
  assert 'evaluated every 3 steps' in told and 'never' not in told
  lines = {
    line.split()[0]: ' '.join(line.split()) for line in told.splitlines()
  }
  assert lines['1'] == '1 not in 60 20 > 3.0'
  assert lines['2'] == '2 40 not in 60 < 0.7'
  assert lines['3'] == '3 not in 60 not in 60 -'
  assert lines['median'] == 'median not in 60 not in 60'
  assert 'fine-tuned 2, from scratch 1, neither 1 of 4 seeds' in told
  assert '60 steps of pre-training' in told
  assert 'scratch seed 1, tuned seed 2, scratch seed 3, tuned seed 3' in told


def test_the_paired_difference_has_its_interval():
  rows = [transfer.SeedResult(n, 10 + d, 10) for n, d in enumerate((1, 2, 6))]
  told = transfer.describe(rows, error=0.1, most_steps=60, every=3)
  assert 'mean (95 % interval): +3.0 (-3.6 to +9.6) steps' in told


@pytest.mark.parametrize(
  ('flag', 'said'),
  [
    ('--seeds=', '--seeds=: use one or more whole numbers'),
    ('--seeds=0,0', '--seeds=0,0 has 0 twice: give it once'),
  ],
)
def test_wrong_seeds_cost_a_line(command, tmp_path, flag, said):
  config = f'--config={commands.ROOT}/configs/transfer.py'
  output = f'--output={tmp_path}/x'
  done = command('alexnet_jax.tools.transfer', config, flag, output)
  assert done.returncode == 1 and done.stderr.count('\n') == 1
  assert said in done.stderr and not (tmp_path / 'x').exists()


def test_other_data_are_refused(tmp_path):
  config = _config(**{'data.source': 'prepared'})
  with pytest.raises(ValueError, match="classes of 'embedded'"):
    transfer.train_seeds(config, output=tmp_path, seeds=[0], error=0.1)
