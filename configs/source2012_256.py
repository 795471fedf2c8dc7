r"""source2012_automatic.py in minibatches of 256: the notes' doubled rates.

  python -m alexnet_jax.main --config=configs/source2012_256.py \
      --config.data.dir=DATA

Rates of 0.02 for kernels and 0.04 for biases. There: "matches #170 exactly",
42.3 % top-1 and 19.7 % top-5 error with the centre crop at epoch 84, with the
colour noise off from epoch 61 and conv1 frozen from epoch 73 by hand
(layer-params-170-256-double.cfg:195-203). Not yet run to the end here.
"""

from ml_collections import config_dict

from alexnet_jax.configs import source2012_automatic


def get_config() -> config_dict.ConfigDict:
  """source2012_automatic.py with both rates doubled, by the linear rule."""
  config = source2012_automatic.get_config()
  # Deviation: minibatches of 128 images and a rate of 0.01 (§5).
  # 2012: run 170 also with 256 images and both rates doubled, of kernels and of
  # biases (layer-params-170-256-double.cfg).
  # Here: the same, by the linear rule.
  config.batch_size = 256
  config.batch_scaling.rule = 'linear'
  return config
