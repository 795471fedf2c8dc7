"""Fine-tuning against training from scratch, on halves of the classes."""

import doctest
import json

import pytest

from alexnet_jax.experiments import transfer
from configs import transfer as config_file


def _config(**fields):
  config = config_file.get_config()
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


def test_examples():
  assert doctest.testmod(transfer).failed == 0


def test_a_seed_trains_three_networks_and_only_once(tmp_path, capsys):
  tiny = {'total_steps': 3, 'data.embedded_train_images': 96}
  config = _config(**tiny, **{'data.embedded_val_images': 20})
  arguments = {'output': tmp_path, 'seeds': [4], 'error': 1.0}
  (row,) = transfer.run(config, **arguments)
  assert row == transfer.Row(4, 3, 3)  # any error is good enough
  first = capsys.readouterr().out
  assert first.count(' afresh') == 1
  assert f'conv5, fc6, fc7 of {tmp_path}/seed-4/pretrained' in first
  kept = {
    name: json.loads((tmp_path / 'seed-4' / name / 'config.json').read_text())
    for name in ('pretrained', 'scratch', 'tuned')
  }
  classes = [c['data']['embedded_classes'] for c in kept.values()]
  assert classes == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [5, 6, 7, 8, 9]]
  assert [c['seed'] for c in kept.values()] == [4, 4, 4]
  assert transfer.run(config, **arguments) == [row]
  assert capsys.readouterr().out.count('done already') == 3
  (never,) = transfer.run(config, **(arguments | {'error': -1.0}))
  assert never == transfer.Row(4, None, None)


def test_other_data_are_refused(tmp_path):
  config = _config(**{'data.source': 'prepared'})
  with pytest.raises(ValueError, match="classes of 'embedded'"):
    transfer.run(config, output=tmp_path, seeds=[0], error=0.1)
