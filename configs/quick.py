"""A small net of two columns that learns drawn gratings in a minute.

  launch/local.sh --config=configs/quick.py

The net and the images of configs/study.py, four epochs of them, for the first
try and for lessons. configs/default.py is the paper's net at full width.
"""

from ml_collections import config_dict

from alexnet_jax.configs import study


def get_config() -> config_dict.ConfigDict:
  """study.py for longer, with the report at the end."""
  config = study.get_config()
  config.total_steps = 120  # four epochs
  config.report.at_end = True
  config.log.every_steps = 5
  return config
